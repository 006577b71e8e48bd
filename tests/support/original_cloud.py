"""A strict server that knows only the original OpenScanCloud protocol, and a line to a server that breaks.

It takes commands by GET with the Basic pair and the token in the address, part bodies by POST with a length, and one stored or deflated
zip cut into parts. Whatever else comes is turned away and noted in `problems`.
"""
import io
import json
import random
import socket
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import parse_qs, urlsplit

TOKEN = "Original0Token0Original0Token012"
_PAIR = "Basic " + b64encode(b"openscan:free").decode()
_COMMANDS = {"getTokenInfo", "createProject", "startProject", "getProjectInfo", "resetProject"}
_PART_BYTES = 200_000_000


class Project:
    """What the server knows of one project."""

    def __init__(self, photos: int, parts: int, size_bytes: int) -> None:
        self.photos, self.parts, self.size_bytes = photos, parts, size_bytes
        self.status = "created"
        self.received: dict[int, Path] = {}
        self.members: dict[str, bytes] = {}
        self.result = b""


class OriginalCloud:
    """The server. Tests read and set its attributes; `fault` is asked before each part is read and before each command."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.credit, self.limit_filesize, self.limit_photos = 50_000_000_000, 2_000_000_000, 2000
        self.projects: dict[str, Project] = {}
        self.links: dict[str, tuple[str, int]] = {}
        self.sent_parts: list[tuple[str, int]] = []
        self.commands: list[str] = []
        self.problems: list[str] = []
        self.keep = True
        #: Answer 410 to each upload.
        self.turns_away = False
        self.model = model_zip()
        self.fault: Callable[[str], Optional[int]] = lambda what: None
        self.lock = threading.Lock()
        cloud = self

        class Handler(_Handler):
            server_side = cloud

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}"
        #: What links begin with: a broken line in front of the server, where a test has one.
        self.public = self.address
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()  # `stop` waits as long

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def expire_links(self) -> None:
        """What four hours do."""
        with self.lock:
            self.links.clear()

    def finish(self, name: str) -> None:
        """The model is done."""
        project = self.projects[name]
        project.status, project.result = "processing done", self.model

    def only(self) -> Project:
        """The one project that there is."""
        (project,) = self.projects.values()
        return project

    # Commands

    def run(self, command: str, asked: dict) -> tuple[int, dict]:
        if asked.get("token") != TOKEN:
            return 400, {}
        name = asked.get("project", "")
        project = self.projects.get(name)
        if command == "getTokenInfo":
            return 200, {"credit": self.credit, "limit_filesize": self.limit_filesize, "limit_photos": self.limit_photos}
        if not name:
            return 400, {}
        if command == "createProject":
            return self._create(name, asked)
        if command == "resetProject":
            self.projects.pop(name, None)
            return 200, {}
        if project is None:
            return (401 if command == "getProjectInfo" else 400), {}
        if command == "startProject":
            return self._start(project)
        link = f"{self.public}/model/{name.encode().hex()}" if project.result else ""
        return 200, {"dlink": link, "status": project.status, "ulink": []}

    def _create(self, name: str, asked: dict) -> tuple[int, dict]:
        if not name.isascii() or not name.endswith(".zip"):
            self.problems.append(f"a project's name that is none of an uploader: {name!r}")
        try:
            photos, parts, size = (int(asked[key]) for key in ("photos", "parts", "filesize"))
        except (KeyError, ValueError):
            return 400, {}
        if size > self.limit_filesize or photos > self.limit_photos or size > self.credit or parts < 1:
            self.problems.append("a set beyond the limits")
            return 400, {}
        project = self.projects.get(name)
        if project is not None and (project.status != "created" or project.parts != parts or project.size_bytes != size):
            return 400, {}
        if project is None:
            self.projects[name] = Project(photos, parts, size)
        tokens = [f"{random.getrandbits(64):016x}" for _ in range(parts)]
        with self.lock:
            self.links.update({token: (name, number) for number, token in enumerate(tokens, 1)})
        return 200, {"status": "created", "ulink": [f"{self.public}/upload/{token}" for token in tokens], "credit": self.credit - size}

    def _start(self, project: Project) -> tuple[int, dict]:
        if project.status != "created":
            return 200, {"status": project.status}
        paths = [project.received.get(number) for number in range(1, project.parts + 1)]
        if None in paths or sum(path.stat().st_size for path in paths if path) != project.size_bytes:
            return 400, {}
        if self.keep:
            try:
                with zipfile.ZipFile(io.BytesIO(b"".join(path.read_bytes() for path in paths if path))) as archive:
                    assert archive.testzip() is None
                    project.members = {name: archive.read(name) for name in archive.namelist()}
            except (zipfile.BadZipFile, AssertionError) as error:
                self.problems.append(f"the parts are no zip: {error}")
                return 400, {}
        project.status = "initialized"
        return 200, {"status": "initialized"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_side: OriginalCloud
    timeout = 120

    def do_GET(self) -> None:
        cloud, address = self.server_side, urlsplit(self.path)
        command = address.path.strip("/")
        if command.startswith("model/"):
            self._model(bytes.fromhex(command[6:]).decode())
            return
        if command not in _COMMANDS:
            self._html(404)
            return
        if self.headers.get("Authorization") != _PAIR:
            self._html(401)
            return
        cloud.commands.append(command)
        status = cloud.fault(command)
        if status:
            self._html(status)
            return
        with cloud.lock:
            asked = {key: values[0] for key, values in parse_qs(address.query).items()}
        status, content = cloud.run(command, asked)
        self._answer(status, json.dumps(content).encode(), "application/json")

    def do_POST(self) -> None:
        cloud, path = self.server_side, urlsplit(self.path).path
        if not path.startswith("/upload/"):
            self.close_connection = True
            self._html(405)  # as Flask answers a route that is for GET
            return
        with cloud.lock:
            link = cloud.links.get(path[8:])
        length = self.headers.get("Content-Length")
        if self.headers.get("Authorization"):
            cloud.problems.append("a login sent to an upload link")
        if link is None or length is None or cloud.turns_away:
            self.rfile.read(int(length or 0))  # an answer before the end of the body is lost on many clients
            self._html(410 if length else 411)
            return
        if not 0 < int(length) <= _PART_BYTES:
            cloud.problems.append(f"a part of {length} bytes")
            self.close_connection = True
            self._html(413)
            return
        status = cloud.fault("upload")
        name, number = link
        place = cloud.directory / f"{random.getrandbits(64):016x}"
        left = int(length)
        with place.open("wb") as file:
            while left:
                block = self.rfile.read(min(left, 1 << 18))
                if not block:
                    break
                if cloud.keep:
                    file.write(block)
                left -= len(block)
            if not cloud.keep:
                file.truncate(int(length) - left)
        if left or status:
            place.unlink()
            self.close_connection = True
            if status:
                self._html(status)
            return
        with cloud.lock:
            project = cloud.projects.get(name)
            if project is not None:
                project.received[number] = place
                cloud.sent_parts.append((name, number))
        self._answer(200, b"", "text/plain")

    def _model(self, name: str) -> None:
        result = self.server_side.projects[name].result
        status, start = 200, 0
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.headers.get("If-Range") == '"one"':
            status, start = 206, int(wanted[6:].partition("-")[0])
        self.send_response(status)
        self.send_header("Content-Length", str(len(result) - start))
        self.send_header("ETag", '"one"')
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(result) - 1}/{len(result)}")
        self.end_headers()
        self.wfile.write(result[start:])

    def _html(self, status: int) -> None:
        self._answer(status, b"<html>no</html>", "text/html")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def model_zip(texture_bytes: int = 300_000) -> bytes:
    """A small model as servers deliver it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("model.obj", "mtllib model.mtl\n")
        archive.writestr("model.mtl", "newmtl a\n")
        archive.writestr("texture.jpg", random.Random(1).randbytes(texture_bytes))
    return out.getvalue()


@contextmanager
def original_cloud(directory: Path) -> Iterator[OriginalCloud]:
    """The server, running."""
    cloud = OriginalCloud(directory)
    try:
        yield cloud
    finally:
        cloud.stop()


class BadLine:
    """A TCP proxy that cuts connections after a number of bytes, slows them down, or is down altogether."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        #: Bytes towards the server after which a connection is cut, one entry per connection that sends so many.
        self.cuts: list[int] = []
        #: So many answers to large requests get lost: the server has done what was asked, and the connection is gone.
        self.lose_answers = 0
        #: Bytes of an answer after which a connection is cut, as `cuts`.
        self.answer_cuts: list[int] = []
        self.delay_seconds = 0.0
        self.down = False
        #: So many bytes towards the server, and the line is down.
        self.down_after: Optional[int] = None
        self.was_cut = 0
        #: Change a byte of the next large block, once.
        self.alter_once = False
        #: Bytes that went towards the server.
        self.sent_bytes = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def heal(self) -> None:
        """In order again; what went over it is counted anew."""
        self.cuts[:] = []
        self.answer_cuts[:] = []
        self.lose_answers = 0
        self.down, self.down_after, self.delay_seconds, self.sent_bytes, self.was_cut = False, None, 0.0, 0, 0

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            sent = [0]
            for source, target, cuts in ((client, server, self.cuts), (server, client, self.answer_cuts)):
                threading.Thread(target=self._pass, args=(source, target, cuts, sent), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, cuts: list[int], sent: list[int]) -> None:
        """`sent[0]`: how many bytes the client has sent on this connection."""
        passed = 0
        try:
            while True:
                data = source.recv(16384)
                if not data:
                    break
                passed += len(data)
                with self._lock:
                    if cuts is self.cuts:
                        self.sent_bytes += len(data)
                        sent[0] += len(data)
                        self.down = self.down or (self.down_after is not None and self.sent_bytes > self.down_after)
                    cut = self.down or bool(cuts) and passed >= cuts[0]
                    if cut and cuts:
                        cuts.pop(0)
                    if cuts is self.answer_cuts and self.lose_answers and sent[0] > 10_000:
                        self.lose_answers -= 1
                        cut = True
                    if self.alter_once and cuts is self.cuts and len(data) > 10_000:
                        self.alter_once = False
                        data = data[:-1] + bytes([data[-1] ^ 1])
                if cut:
                    self.was_cut += 1
                    break
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                target.sendall(data)
        except OSError:
            pass  # the other direction closed it
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


@contextmanager
def bad_line(port: int) -> Iterator[BadLine]:
    """A line to the server on this port; in order until a test says otherwise."""
    line = BadLine(port)
    try:
        yield line
    finally:
        line.stop()
