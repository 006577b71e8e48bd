"""A real S3 server (moto's, in a separate process) and a line to it that can be made to fail."""
import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import parse_qs, urlsplit

import boto3
from botocore.config import Config

from dev.sandbox.processes import Service, answers_http, free_port
from dev.sandbox.stack import ROOT
from dev.standins import sigv4

MOTO = ROOT / ".venv" / "clients" / "bin" / "moto_server"
ACCESS_KEY, SECRET_KEY = "AKIDSCANTESTS", "s3cretKeyOfTheTests/NeverToBeSeen"
BUCKET = "scans"
#: Where the live processes that know the storage find their jobs.
S3_QUEUE = "openscan-s3"
#: The least that S3 takes as a part.
PART_BYTES = 5 * 1024 * 1024


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """An empty S3 server. :return: its address"""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    service = Service(name="s3", argv=[str(MOTO), "-H", "127.0.0.1", "-p", str(port)], log=log,
                      env={"PATH": "/usr/bin:/bin", "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": "100000"},  # larger objects go to a temporary file
                      ready=lambda: answers_http(address + "/moto-api/"))
    service.start()
    try:
        service.wait_ready()
        client_of(address).create_bucket(Bucket=BUCKET)
        yield address
    finally:
        service.stop()


def client_of(address: str) -> Any:
    """boto3's client, straight to the server: what a test looks with."""
    return boto3.client("s3", endpoint_url=address, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                        region_name="us-east-1", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}))


@dataclass
class Fault:
    """What happens to requests that `match`, `times` of them: `cut` (the connection closes within the request's body), `lost`
    (done, but the answer does not come), `altered` (a byte is turned over before the storage compares what came), `damaged` (the same,
    behind its back), `tagged` (the answer's ETag is one of the storage's own making), or an HTTP status."""

    kind: Any
    match: Callable[["Seen"], bool]
    times: int = 10**9
    then: Optional[Callable[[], Any]] = None


@dataclass
class Seen:
    """A request as it came: `part` is a multipart upload's part, else 0."""

    method: str
    key: str
    query: dict
    size_bytes: int

    @property
    def part(self) -> int:
        return int(self.query.get("partNumber", ["0"])[0])


@dataclass
class Line:
    """A proxy before the server, which takes only what a storage that checks signatures and checksums would."""

    target: str
    port: int = field(default_factory=free_port)
    seen: "list[Seen]" = field(default_factory=list)
    refused: "list[tuple[int, str]]" = field(default_factory=list)
    faults: "list[Fault]" = field(default_factory=list)
    is_down: bool = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def fail(self, kind: Any, match: Callable[[Seen], bool] = lambda seen: True, times: int = 10**9,
             then: Optional[Callable[[], Any]] = None) -> None:
        """From now on, `times` requests that match end so; `then` is called before that."""
        self.faults.append(Fault(kind, match, times, then))

    def heal(self) -> None:
        """The line is sound again, and has seen nothing."""
        self.faults.clear()
        self.seen.clear()
        self.refused.clear()
        self.is_down = False

    def parts_sent(self) -> "list[int]":
        """The numbers of the parts that were sent."""
        return [seen.part for seen in self.seen if seen.method == "PUT" and seen.part]

    def fault_for(self, seen: Seen) -> Optional[Fault]:
        for fault in self.faults:
            if fault.times > 0 and fault.match(seen):
                fault.times -= 1
                return fault
        return None


@contextmanager
def faulty_line(target: str) -> Iterator[Line]:
    """A line to the S3 server at `target`, sound until a test says otherwise."""
    line = Line(target)
    host = urlsplit(target).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            if not line.is_down:
                super().handle()

        def _pass(self) -> None:
            address = urlsplit(self.path)
            seen = Seen(self.command, address.path.partition(f"/{BUCKET}/")[2], parse_qs(address.query, keep_blank_values=True),
                        int(self.headers.get("Content-Length") or 0))
            if line.is_down:
                self.close_connection = True
                return
            fault = line.fault_for(seen)
            if fault is not None and fault.then is not None:
                fault.then()
            if fault is not None and fault.kind == "cut":
                self.rfile.read(seen.size_bytes // 2)
                self.close_connection = True
                return
            body = self.rfile.read(seen.size_bytes)
            if fault is not None and isinstance(fault.kind, int):
                self._answer(fault.kind, [], b"<Error><Code>SlowDown</Code><Message>by order of the test</Message></Error>")
                return
            if fault is not None and fault.kind == "altered":
                body = bytes([body[0] ^ 1]) + body[1:]
            refusal = sigv4.problem(self.command, self.path, self.headers, body, {ACCESS_KEY: SECRET_KEY})
            if refusal is not None:
                line.refused.append(refusal)
                self._answer(refusal[0], [], f"<Error><Code>{refusal[1]}</Code><Message>-</Message></Error>".encode())
                return
            if fault is not None and fault.kind == "damaged":
                body = bytes([body[0] ^ 1]) + body[1:]
            line.seen.append(seen)
            connection = http.client.HTTPConnection(host, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
            connection.request(self.command, self.path, body=body or None, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
            if fault is not None and fault.kind == "lost":
                self.close_connection = True
            else:
                own = fault is not None and fault.kind == "tagged"
                self._answer(answer.status, [(name, '"opaque=="' if own and name.lower() == "etag" else value)
                                             for name, value in answer.getheaders()], content)
            connection.close()

        def _answer(self, status: int, headers: list, content: bytes) -> None:
            self.send_response_only(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that was killed is what some tests are about."""

    server = Server(("127.0.0.1", line.port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        server.shutdown()
        server.server_close()


class Store:
    """The bucket as a test sees it, and the settings that lead there."""

    def __init__(self, address: str, line: Line):
        self.client = client_of(address)
        self.line = line
        self.values = {
            "S3_BUCKET": BUCKET, "S3_ENDPOINT": line.address, "S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET_KEY": SECRET_KEY,
            "S3_PART": str(PART_BYTES)}

    def switch_on(self, settings: Any) -> None:
        """Has this process use it, and its jobs go to a queue that no worker listens to."""
        for name, value in self.values.items():
            setattr(settings, f"OPENSCAN_{name}", value)
        settings.OPENSCAN_CELERY_QUEUE = "nobody"

    @property
    def environment(self) -> "dict[str, str]":
        """The same for another process."""
        return {f"WO_OPENSCAN_{name}": value for name, value in self.values.items()}

    def keys(self, prefix: str) -> "list[str]":
        """The keys of all objects that begin so."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]

    def results_of(self, scan: Any) -> "list[str]":
        """The keys of a scan's results."""
        return self.keys(f"openscan/results/{scan.pk}-")

    def read(self, key: str) -> bytes:
        """An object's bytes."""
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def open_uploads(self, prefix: str) -> "list[str]":
        """The keys of unfinished uploads that begin so."""
        answer = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for one in answer.get("Uploads", ())]
