"""The stand-in's HTTP side: keep-alive connections that close after five idle seconds, answers, chunked bodies, faults."""
import json
import socket
import struct
import sys
import time
import traceback
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Optional
from urllib.parse import parse_qs, unquote, urlsplit

from .world import Fault, World


class Answer(Exception):
    """An answer that ends the call where it is raised."""

    def __init__(self, status: int, body: Any = "", content_type: str = "application/json", **headers: str) -> None:
        """:param body: bytes, a text, or anything else as JSON; ``headers``: underscores stand for dashes"""
        super().__init__(status)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.content_type = content_type
        if isinstance(body, bytes):
            self.body = body
        elif isinstance(body, str):
            self.body = body.encode()
        else:
            self.body = json.dumps(body, ensure_ascii=False).encode()


def tapis_json(status: int, message: str, result: Any = None, *, built: bool = True, **more: Any) -> Answer:
    """An answer in Tapis' envelope. :param built: with the commit and build that systems and files tell, tenants do not"""
    body = {
        "status": "success" if status < 400 else "error", "message": message, "result": result, "version": "1.8.0",
        "metadata": {}, **more,
    }
    if built:
        body.update(commit="0000000", build="2024-01-01T00:00:00Z")
    return Answer(status, body)


def plain(status: int, message: str) -> Answer:
    """An answer in plain text, as Tapis gives for what its filters refuse."""
    return Answer(status, message, "text/plain;charset=UTF-8")


class Handler(BaseHTTPRequestHandler):
    """One connection; ``Server.routes`` tells who answers what."""

    protocol_version = "HTTP/1.1"
    server_version = "nginx"
    sys_version = ""
    disable_nagle_algorithm = True  # or every call on a kept-alive connection costs 40 ms
    wbufsize = 1 << 16
    server: "Server"

    @property
    def world(self) -> World:
        """The stand-in's state."""
        return self.server.world

    def setup(self) -> None:
        """Count the connection and let it idle for five seconds at most, as the proxy before Tapis does."""
        super().setup()
        self.world.count("connections")
        self.world.enter("connections")
        self.connection.settimeout(self.world.settings["idle_seconds"])

    def finish(self) -> None:
        """The connection ends."""
        self.world.leave("connections")
        try:
            super().finish()
        except OSError:  # the client, or a fault, has closed it already
            self.rfile.close()

    def do(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        self.raw_path = parts.path
        self.url_path = unquote(parts.path)
        self.query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        length = int(self.headers.get("Content-Length") or 0)
        self.connection.settimeout(60)
        self.request_body = self.rfile.read(length) if length else b""
        latency = self.world.settings["latency_ms"]
        if latency and not self.raw_path.startswith("/_"):
            time.sleep(latency / 1000)
        try:
            self.server.routes(self)
        except Answer as answer:
            self.send_answer(answer)
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            self.close_connection = True
        except Exception:  # noqa: BLE001  (a fault of the stand-in itself: say so loudly)
            traceback.print_exc(file=sys.stderr)
            self.world.count("own_errors")
            self.send_answer(Answer(500, "the stand-in failed; see its log", "text/plain"))
        else:
            self.wfile.flush()
        self.connection.settimeout(self.world.settings["idle_seconds"])

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do

    def send_answer(self, answer: Answer, fault: Optional[Fault] = None) -> None:
        """Send a whole answer with its length. :param fault: one that lets it drip"""
        try:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                for block in fault.drops([answer.body]) if fault else [answer.body]:
                    self.wfile.write(block)
                    self.wfile.flush()
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError, socket.timeout):
            self.close_connection = True

    def send_chunked(self, blocks: Iterable[bytes], content_type: str, fault: Optional[Fault] = None) -> int:
        """Stream a body without Content-Length; a fault may cut, stall or spoil it. :return: body bytes sent"""
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        kind = fault.kind if fault else ""
        for block in (fault.drops(blocks) if kind == "drip" else blocks):
            if kind == "corrupt":
                block = bytes(len(block))
            if kind in ("abort", "short", "stall") and sent + len(block) > fault.after_bytes:
                first, block = block[: fault.after_bytes - sent], block[fault.after_bytes - sent:]
                self._chunk(first)
                sent += len(first)
                self.wfile.flush()
                if kind == "abort":
                    self.reset()
                    return sent
                if kind == "short":
                    break
                time.sleep(fault.seconds)
                kind = ""
            self._chunk(block)
            sent += len(block)
            if kind == "drip":
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()
        return sent

    def _chunk(self, block: bytes) -> None:
        if block:
            self.wfile.write(b"%x\r\n" % len(block))
            self.wfile.write(block)
            self.wfile.write(b"\r\n")

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def misbehave(self, fault: Optional[Fault]) -> None:
        """Do what a fault asks before the answer: another status, a broken connection, a pause."""
        if fault is None:
            return
        if fault.kind == "status":
            raise Answer(fault.status, fault.body or {"status": "error", "message": "FILES_OPSC_ERR SSH trouble"},
                         fault.content_type, **fault.headers)
        if fault.kind in ("cut_error", "drip_error"):
            self._send_broken_error(fault)
            raise BrokenPipeError
        if fault.kind == "disconnect":
            self.wfile.flush()
            self.reset()
            raise BrokenPipeError
        if fault.kind == "slow":
            time.sleep(fault.seconds)

    def _send_broken_error(self, fault: Fault) -> None:
        """An error whose body ends too early (``cut_error``), or comes a few bytes at a time (``drip_error``)."""
        body = (fault.body or '{"status": "error", "message": "FILES_OPSC_ERR SSH trouble"}').encode().ljust(4000)
        self.send_response(fault.status)
        self.send_header("Content-Type", fault.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if fault.kind == "cut_error":
            self.wfile.write(b"%x\r\n" % len(body))
            self.wfile.write(body[:fault.after_bytes])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        for block in fault.drops([body]):
            self._chunk(block)
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def json_body(self) -> Any:
        """The request's body as JSON; an empty one is an empty object. :raises Answer: 400, not JSON"""
        try:
            return json.loads(self.request_body or b"{}")
        except ValueError:
            raise Answer(400, "not JSON", "text/plain") from None

    def log_message(self, *args: Any) -> None:
        """Nothing: request lines carry codes and states."""


class Server(ThreadingHTTPServer):
    """A thread a connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], world: World, routes: Callable[[Handler], None]) -> None:
        self.world = world
        self.routes = routes
        super().__init__(address, Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that its client broke off is nothing to report; anything else is."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, socket.timeout, ValueError)):
            super().handle_error(request, client_address)
