"""What the OpenScan tests share: tokens, work in many processes, and a client that asks as rigs do."""
import multiprocessing
import uuid
from typing import Any, Callable, Optional

import requests

from app_extensions.openscan import scans, tokens
from app_extensions.openscan.models import Scan, Token

MB = 1_000_000
BASIC = ("openscan", "free")


def private_token(credit_bytes: int = 100 * MB, **fields: Any) -> tuple[Token, str]:
    """A private token and its text."""
    return tokens.create_token(forename="Ada", surname="Lovelace", mail="ada@example.org", credit_bytes=credit_bytes, **fields)


def public_token(daily_bytes: int = 100 * MB, **fields: Any) -> tuple[Token, str]:
    """A public token and its text."""
    return tokens.create_token(kind=Token.PUBLIC, label="everybody", daily_bytes=daily_bytes, **fields)


def new_scan(token: Token, size_bytes: int = 10 * MB, parts: int = 1) -> Scan:
    """A scan of a name of its own, straight from the rule."""
    return scans.create_scan(token, uuid.uuid4().hex, photos=1, parts=parts, filesize_bytes=size_bytes)


def in_processes(work: Callable[[Any], Any], arguments: list) -> list:
    """Runs `work` for each of `arguments` in a process of its own, all at once. Needs committed data (`live_db`)."""
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
        return self.session.get(self.root + command, params={"token": self.token, **parameters}, timeout=60,
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
