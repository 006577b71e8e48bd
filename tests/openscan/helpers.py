"""What the OpenScan tests share: tokens, work in many processes, and a client that asks as rigs do."""
import multiprocessing
import re
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

import pytest
import requests

from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.upkeep import periodic
from app_extensions.openscan.upkeep.checks import check_settings
from dev.sandbox.processes import Service, answers_http, free_port
from dev.sandbox.stack import HOST_DIR, WEB_ARGUMENTS

MB = 1_000_000
BASIC = ("openscan", "free")


def private_token(credit_bytes: int = 100 * MB, **fields: Any) -> tuple[Token, str]:
    """A private token and its text."""
    return tokens.create_token(forename="Ada", surname="Lovelace", mail="ada@example.org", credit_bytes=credit_bytes, **fields)


def public_token(daily_bytes: int = 100 * MB, **fields: Any) -> tuple[Token, str]:
    """A public token and its text."""
    return tokens.create_token(kind=Token.PUBLIC, label="everybody", daily_bytes=daily_bytes, **fields)


def new_scan(token: Token, size_bytes: int = 10 * MB, parts: int = 1) -> Scan:
    """Create a scan with a unique name, without HTTP."""
    return scans.create_scan(token, uuid.uuid4().hex, photos=1, parts=parts, filesize_bytes=size_bytes)


def in_processes(work: Callable[[Any], Any], arguments: list) -> list:
    """Runs `work` for each of `arguments`, all at once, each in its own process. Needs committed data (`live_db`)."""
    from django.db import connections

    connections.close_all()  # else the children would talk over this process's connection
    with multiprocessing.get_context("fork").Pool(len(arguments)) as pool:
        return pool.map(work, arguments, chunksize=1)


class Rig:
    """A client of one server's rig API with one token, over HTTP."""

    def __init__(self, server: str, token: str, root: str = "/api/openscan/", address: Optional[str] = None):
        self.root = server + root
        self.token = token
        self.session = requests.Session()
        self.session.auth = BASIC
        if address:
            self.session.headers["X-Forwarded-For"] = address

    def get(self, command: str, **parameters: Any) -> requests.Response:
        """The command by GET, with the token in the query as the firmwares send it."""
        return self.session.get(self.root + command, params={"token": self.token, **parameters}, timeout=120,
                                allow_redirects=False)

    def create(self, project: str, filesize: int, parts: int = 1, photos: int = 1) -> list[str]:
        """Creates a project and returns its upload links."""
        answer = self.get("createProject", project=project, photos=photos, parts=parts, filesize=filesize)
        assert answer.status_code == 200, answer.text
        return answer.json()["ulink"]

    def info(self, project: str) -> dict:
        """getProjectInfo of a project that is there."""
        answer = self.get("getProjectInfo", project=project)
        assert answer.status_code == 200, answer.text
        return answer.json()


def put_part(link: str, body: Any, **headers: str) -> requests.Response:
    """Sends one part as the desktop uploader does."""
    return requests.post(link, data=body, headers={"Content-Type": "application/octet-stream", **headers}, timeout=120,
                         allow_redirects=False)


class RawConnection:
    """A hand-written HTTP request over a plain socket, for what no well-behaved client does."""

    def __init__(self, url: str, method: str = "POST", **headers: str):
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=120)
        lines = [f"{method} {address.path} HTTP/1.1", f"Host: {address.netloc}",
                 *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()), "", ""]
        self.send("\r\n".join(lines).encode())

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def status(self) -> int:
        """The status of the answer that comes next, its body left unread."""
        line = b""
        while not line.endswith(b"\r\n"):
            byte = self.socket.recv(1)
            if not byte:
                raise ConnectionError("the server closed without an answer")
            line += byte
        while True:
            header = b""
            while not header.endswith(b"\r\n"):
                header += self.socket.recv(1)
            if header == b"\r\n":
                return int(line.split()[1])

    def close(self) -> None:
        self.socket.close()


@contextmanager
def own_gunicorn(stack: Any, name: str, wrapper: tuple = (), workers: int = 2, port: int = 0, **environment: str) -> Iterator[Service]:
    """A further gunicorn on the same database and media, with its own settings; `service.address` is where it listens.

    :param wrapper: a command to run gunicorn under, e.g. ("prlimit", "--fsize=1000000")
    :param port: where it listens; a free one if 0
    """
    port = port or free_port()
    service = Service(
        name=name, log=stack.log_path(name), cwd=HOST_DIR, ready=lambda: answers_http(f"http://127.0.0.1:{port}/login/"),
        env={**stack.environment(), "WO_OPENSCAN_PUBLIC_URL": f"http://127.0.0.1:{port}", **environment},
        argv=[*wrapper, sys.executable, "-m", "gunicorn", "webodm.wsgi", "--bind", f"127.0.0.1:{port}", "--timeout", "300000",
              "--workers", str(workers), "--preload", *WEB_ARGUMENTS])
    service.address = f"http://127.0.0.1:{port}"
    service.start()
    try:
        service.wait_ready()
        yield service
    finally:
        service.stop()


def kept_files(scan: Scan) -> list[str]:
    """The names of the files that lie in a scan's directory."""
    directory = part_files.scan_dir(scan.pk)
    return sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []


def files_being_received(scan: Scan) -> list[str]:
    """The names of the files in `.incoming` that belong to a scan."""
    return sorted(path.name for path in part_files.incoming_dir().glob(f"{scan.pk}-*"))


def files_match_rows(scan: Scan) -> bool:
    """Whether the scan's directory holds exactly the files that its part rows name, each of its size."""
    rows = {part.file_name: part.size_bytes for part in scan.parts.all()}
    directory = part_files.scan_dir(scan.pk)
    return rows == {name: (directory / name).stat().st_size for name in kept_files(scan)}


def refused(answer: requests.Response, status: int, *words: str) -> None:
    """Asserts an error as clients expect it: the status, JSON, one sentence without HTML, with these words in it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/json")
    assert list(answer.json()) == ["error"]
    sentence = answer.json()["error"]
    assert sentence.endswith(".") and "<" not in sentence and "\n" not in sentence
    for word in words:
        assert word in sentence, sentence


def found_by_checks(**values) -> set:
    from django.test import override_settings

    with override_settings(**values):
        return {message.id for message in check_settings(None)}


SAMPLE = re.compile(r'^[a-z_:][a-z0-9_:]*(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? (-?[0-9.e+-]+|NaN|\+Inf)$')


def figures(text: str) -> dict:
    """Sample to value; every line is checked against the text format, and every sample has its HELP and TYPE."""
    found, typed = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            typed.add(line.split()[2])
            assert line.split()[3] == ("counter" if line.split()[2].endswith("_total") else "gauge"), line
        elif not line.startswith("# HELP "):
            assert SAMPLE.match(line), line
            name, value = line.rsplit(" ", 1)
            assert name.split("{")[0] in typed, line
            assert name not in found, f"{name} twice"
            found[name] = float(value)
    return found


def wanted_by_catch_up(job, most=10_000):
    """The scans for which catch_up queues a job, without queueing it.

    :param most: catch_up's bound; by default, what other tests left behind takes no place away
    """
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(periodic, "dispatch", lambda name, pk, **_: found.append((name, pk)))
        patch.setattr(periodic, "_MOST_MESSAGES", most)
        periodic.catch_up()
    return [pk for name, pk in found if name == job]
