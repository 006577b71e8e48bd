"""HTTP over plain sockets: a client that takes so little time itself that the server's is what is measured."""
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional
from urllib.parse import urlsplit

BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class Answer:
    """An answer's status, its body's length, and the seconds from connecting to its last byte. The body is kept for small ones only."""

    status: int
    body_bytes: int
    seconds: float
    body: bytes = b""


def send_file(url: str, path: Path, chunked: bool = False, **headers: str) -> Answer:
    """POST a file: with its length by the kernel's sendfile, or in chunks of half a megabyte as OpenScan3 sends it."""
    started = time.perf_counter()
    size = path.stat().st_size
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    with _request("POST", url, {"Content-Type": "application/octet-stream", **framing, **headers}) as connection, path.open("rb") as file:
        if chunked:
            while True:
                data = file.read(512 * 1024)
                connection.sendall(b"%x\r\n%s\r\n" % (len(data), data))
                if not data:
                    break
        else:
            connection.sendfile(file)
        return _answer(connection, started)


def get(url: str, stop_after: Optional[int] = None, into: Optional[bytearray] = None, **headers: str) -> Answer:
    """GET, the body thrown away or appended to `into`; `stop_after` so many bytes of it the connection is cut."""
    started = time.perf_counter()
    with _request("GET", url, headers) as connection:
        return _answer(connection, started, stop_after, into)


def _request(method: str, url: str, headers: dict[str, str]) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=120)
    path = address.path + (f"?{address.query}" if address.query else "")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {address.netloc}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection


def _answer(connection: socket.socket, started: float, stop_after: Optional[int] = None, into: Optional[bytearray] = None) -> Answer:
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            raise ConnectionError("the server closed without an answer")
        head += data
    head, _, body = head.partition(b"\r\n\r\n")
    count = len(body)
    if into is not None:
        into += body
    buffer = memoryview(bytearray(BUFFER_BYTES))
    while stop_after is None or count < stop_after:
        wanted = BUFFER_BYTES if stop_after is None else min(BUFFER_BYTES, stop_after - count)
        length = connection.recv_into(buffer[:wanted])
        if not length:
            break
        count += length
        if into is not None:
            into += buffer[:length]
        if len(body) < 65536:
            body += bytes(buffer[: min(length, 65536)])
    return Answer(int(head.split()[1]), count, time.perf_counter() - started, body)
