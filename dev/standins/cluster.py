"""A ClusterODM-shaped front of real nodes: one address, an empty queue, no word on what stands behind it.

It takes a task in whole, answers at once, and forwards it to the machine with the most room, as ClusterODM does; from then on
it passes everything about that task through. A machine that is dead shows as a connection that breaks off, for ever.
``python dev/standins/cluster.py --node http://127.0.0.1:1 --node …`` prints its address.
"""
import argparse
import json
import re
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import urlsplit

import requests

NO_LIMIT = 99999999999
RUNNING, FAILED = 20, 30
ATTEMPTS = 5


class Cluster:
    """What is known of tasks: bodies that came in, then which machine has it."""

    def __init__(self, nodes: "list[str]", limit: int) -> None:
        self.nodes = nodes
        self.limit = limit
        self.incoming: dict[str, list] = {}
        self.waiting: dict[str, dict] = {}
        self.routes: dict[str, str] = {}
        self.lock = threading.Lock()

    def info(self) -> dict:
        engine = next(filter(None, map(self._ask, self.nodes)), {})
        return {"version": "1.5.3", "taskQueueCount": 0, "totalMemory": NO_LIMIT, "availableMemory": NO_LIMIT,
                "cpuCores": NO_LIMIT, "maxImages": None, "maxParallelTasks": self.limit or NO_LIMIT,
                "engineVersion": engine.get("engineVersion", "?"), "engine": engine.get("engine", "?")}

    def options(self) -> Any:
        for node in self.nodes:
            if self._ask(node):
                return requests.get(node + "/options", timeout=5).json()
        return {"error": "Cannot compute /options, no nodes are online."}

    def commit(self, task: str) -> dict:
        requests_made = self.incoming.pop(task)
        self.waiting[task] = {"uuid": task, "dateCreated": int(time.time() * 1000), "status": {"code": RUNNING}, "options": [],
                              "imagesCount": 1}
        threading.Thread(target=self._forward, args=(task, requests_made), daemon=True).start()
        return {"uuid": task}

    def waiting_info(self, task: str, with_output: bool) -> dict:
        told = dict(self.waiting[task])
        told["processingTime"] = int(time.time() * 1000) - told["dateCreated"]
        if with_output:
            told["output"] = ["Launching... please wait! This can take a few minutes."]
        return told

    def _forward(self, task: str, requests_made: list) -> None:
        for attempt in range(ATTEMPTS):
            node = self._best()
            try:
                assert node, "no node is online"
                for path, headers, body in requests_made:
                    answer = requests.post(f"{node}{path}", headers=headers, data=body, timeout=60).json()
                    assert "error" not in answer, answer
                answer = requests.post(f"{node}/task/new/commit/{task}", timeout=60).json()
                assert answer.get("uuid") == task, answer
            except (requests.RequestException, AssertionError) as problem:
                print(f"{task}: not forwarded to {node}: {problem}", flush=True)
                time.sleep(0.5 * attempt)
                continue
            self.routes[task] = node
            self.waiting.pop(task)
            return
        self.waiting[task]["status"] = {"code": FAILED, "errorMessage": f"Failed to forward task to processing node after {ATTEMPTS} "
                                                                        "attempts. Try again later."}

    def _best(self) -> Optional[str]:
        with self.lock:
            told = [(node, self._ask(node)) for node in self.nodes]
            ranked = sorted((info["taskQueueCount"] - info["maxParallelTasks"], list(self.routes.values()).count(node), node)
                            for node, info in told if info)
            return ranked[0][2] if ranked else None

    @staticmethod
    def _ask(node: str) -> Optional[dict]:
        try:
            return requests.get(node + "/info", timeout=5).json()
        except requests.RequestException:
            return None


class Handler(BaseHTTPRequestHandler):
    """Routes as in ClusterODM's proxy."""

    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/info":
            self._json(self.cluster.info())
        elif path == "/options":
            self._json(self.cluster.options())
        elif path == "/task/list":
            self._json([{"uuid": task} for task in [*self.cluster.waiting, *self.cluster.routes]])
        else:
            self._about_task(path)

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        body = self._body()
        headers = {"Content-Type": self.headers.get("Content-Type", "")}
        upload = re.fullmatch(r"/task/new/(upload|commit)/([0-9a-f-]{36})", path)
        if path == "/task/new/init":
            task = self.headers.get("set-uuid") or str(uuid.uuid4())
            self.cluster.incoming[task] = [("/task/new/init", {**headers, "set-uuid": task}, body)]
            self._json({"uuid": task})
        elif upload and upload.group(2) not in self.cluster.incoming:
            self._json({"error": "Invalid taskId"})
        elif upload and upload.group(1) == "upload":
            self.cluster.incoming[upload.group(2)].append((path, headers, body))
            self._json({"success": True})
        elif upload:
            self._json(self.cluster.commit(upload.group(2)))
        else:
            found = re.search(rb"[0-9a-f]{8}-[0-9a-f-]{27}", body)
            task = found.group().decode() if found else ""
            if task in self.cluster.routes:
                self._pass(self.cluster.routes[task], data=body, headers=headers)
            else:
                self._json({"error": f"Invalid route for taskId {task}, no nodes in routing table."})

    def _about_task(self, path: str) -> None:
        found = re.fullmatch(r"/task/([0-9a-f-]{36})/(.+)", path)
        task = found.group(1) if found else ""
        if task in self.cluster.routes:
            self._pass(self.cluster.routes[task])
        elif task in self.cluster.waiting and found.group(2) == "info":
            self._json(self.cluster.waiting_info(task, "with_output" in self.path))
        else:
            self._json({"error": f"Invalid route for taskId {task}, no task table entry."})

    def _pass(self, node: str, **more: Any) -> None:
        try:
            ranges = {"Range": self.headers["Range"]} if self.headers.get("Range") else {}
            answer = requests.request(self.command, node + self.path, timeout=60, **{"headers": ranges, **more})
        except requests.ConnectionError:
            self.close_connection = True  # ClusterODM drops the connection, so that no client takes it for an answer
            self.connection.close()
            return
        self.send_response(answer.status_code)
        for name in ("Content-Type", "Content-Range", "Accept-Ranges", "Content-Disposition"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
            if not size:
                return b"".join(pieces)

    def _json(self, content: Any) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--node", action="append", required=True)
    parser.add_argument("--limit", type=int, default=0, help="most concurrent tasks, as a cloud provider of ClusterODM says it")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    Handler.cluster = Cluster(arguments.node, arguments.limit)
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    print(f"cluster at http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
