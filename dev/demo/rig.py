"""A client of the OpenScanCloud API that behaves as the OpenScan3 firmware does: GET calls with Basic authentication and the token in the
query, parts sent to signed links without authentication, in chunks of no declared length."""
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Callable

import requests

BASIC = ("openscan", "free")
TIMEOUT_SECONDS = 60
SEND_BYTES = 512 * 1024


class RigError(Exception):
    """The server refused a call; the text is what it answered."""


class Rig:
    """One device: where its host setting points and which token it holds."""

    def __init__(self, host: str, token: str) -> None:
        self._host = host.rstrip("/")
        self._token = token

    def call(self, command: str, **parameters: Any) -> dict[str, Any]:
        """GET a command; returns its JSON. Raises RigError on any status but 200. The token stays out of all messages."""
        try:
            answer = requests.get(
                f"{self._host}/{command}", params={"token": self._token, **parameters}, auth=BASIC, timeout=TIMEOUT_SECONDS,
            )
        except requests.RequestException as error:
            raise RigError(f"{command}: {self._host} does not answer ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise RigError(f"{command}: {answer.status_code} {_error_of(answer)}")
        return answer.json()

    def upload(self, link: str, part: BinaryIO, size: int) -> None:
        """POST one part, chunked as OpenScan3 sends it. Raises RigError on any status but 200."""
        kind = {"Content-Type": "application/octet-stream"}
        try:
            answer = requests.post(link, data=_chunks(part, size), headers=kind, timeout=TIMEOUT_SECONDS)
        except requests.RequestException as error:
            # Without the error's own text: it holds the link, whose path is a secret.
            raise RigError(f"upload: the connection broke ({type(error).__name__})") from None
        if answer.status_code != 200:
            raise RigError(f"upload: {answer.status_code} {_error_of(answer)}")

    def wait_until_final(self, project: str, on_change: Callable[[dict[str, Any]], None], timeout_seconds: float) -> dict[str, Any]:
        """Poll getProjectInfo, as rigs do, until its status is final; returns the last answer. Raises RigError after the timeout."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            info = self.call("getProjectInfo", project=project)
            on_change(info)
            if info["status"] in ("processing done", "processing failed", "expired"):
                return info
            if time.monotonic() > deadline:
                raise RigError(f"the project was still '{info['status']}' after {timeout_seconds / 60:.0f} minutes")
            time.sleep(1)


def download(link: str, target: Path) -> int:
    """GET a result link without any authentication into a file; returns its bytes. Raises RigError."""
    with requests.get(link, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code != 200:
            raise RigError(f"download: {answer.status_code} {_error_of(answer)}")
        with target.open("wb") as file:
            for chunk in answer.iter_content(1 << 20):
                file.write(chunk)
    size = target.stat().st_size
    if size != int(answer.headers["Content-Length"]):
        raise RigError(f"the download broke off after {size} of {answer.headers['Content-Length']} bytes")
    return size


def _chunks(part: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        data = part.read(min(SEND_BYTES, size))
        if not data:
            return
        size -= len(data)
        yield data


def _error_of(answer: requests.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason
