"""Fetch one file's content and check it. Each thread streams through its own requests session.

tapipy is not used, because it reads whole bodies into memory and parses them as JSON twice (contracts). Ranges are not used either,
because they are unsafe at Tapis. A broken file is fetched again from the start.
"""
import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, TypeVar
from urllib.parse import quote

import requests
import urllib3
from requests.adapters import HTTPAdapter

from app_extensions.shared.retry import pause, retry_after, waits
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.problems import SystemNotAccessible, TapisProblem, TokenExpired
from app_extensions.tapis.sync.verify import NotAnImage, check_image
from app_extensions.tapis.transport import CutAfter

logger = logging.getLogger("app.logger")

_T = TypeVar("_T")

BLOCK_BYTES = 1 << 18
#: Block size for reading only the beginning of a file.
SMALL_BLOCK_BYTES = 1 << 16
#: Lowest average speed. Slower downloads are stopped, or a trickle would hold its connection forever.
LEAST_BYTES_A_SECOND = 5000
#: Longest download of a file of unknown size.
MOST_SECONDS = 3600.0
ATTEMPTS = 6
#: Fewer attempts for the beginning of a file, because somebody waits for it.
BEGINNING_ATTEMPTS = 2
#: How much of an error's body is read, and for how long.
ERROR_BYTES = 2000
ERROR_SECONDS = 5.0
#: Statuses after which another attempt may help. 500 means trouble with SSH, except for a revoked token.
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class FileProblem(Exception):
    """One file could not be fetched. Others may still work.

    missing: Tapis does not find the file. refused: Tapis answers 4xx, for example for a link to a directory. broken: fetched twice with the
    same size and not a valid photo, so it is broken at its source.
    """

    def __init__(self, reason: str, *, missing: bool = False, refused: bool = False, broken: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing
        self.refused = refused
        self.broken = broken


class Stopped(Exception):
    """The caller asked to stop."""


class _Again(Exception):
    """An attempt failed, but another one may succeed."""

    def __init__(self, reason: str, *, wait: float = 0.0, strain: bool = True, moved: int = 0) -> None:
        super().__init__(reason)
        self.wait = wait
        self.strain = strain
        self.moved = moved  # bytes received before the failure


@dataclass
class Fetched:
    """A fetched file. size: its bytes. moved: bytes received over all attempts."""

    size: int
    moved: int


class ContentFetcher:
    """Fetches files with one user's access. Any number of threads may share it.

    :param stopped: checked between blocks; True stops the download
    :param strained: called when Tapis seems overloaded (429, 5xx, broken connections), so that the caller opens fewer connections
    """

    def __init__(self, access: TapisAccess, stopped: Callable[[], bool] = lambda: False,
                 strained: Callable[[], None] = lambda: None) -> None:
        self.access = access
        self.stopped = stopped
        self.strained = strained
        self._local = threading.local()

    def fetch(self, system_id: str, path: str, target: Path, size: Optional[int]) -> Fetched:
        """Fetch a complete file to ``target``, which is overwritten, and check it.

        :param size: bytes that the file must have; None if the listing does not say (symbolic links)
        :raises FileProblem: this file cannot be fetched
        :raises TapisProblem: no file of this system can be fetched with this access
        :raises Stopped: the caller asked to stop
        """
        url = self._url(system_id, path)
        moved = broken = 0
        last_size = -1

        def attempt(token: str) -> Fetched:
            nonlocal moved, broken, last_size
            try:
                got = self._attempt(url, token, target, size)
            except _Again as problem:
                moved += problem.moved
                raise
            moved += got
            try:
                check_image(target)
            except NotAnImage as problem:
                broken += 1
                if broken > 1 and last_size == got:
                    raise FileProblem(f"{problem} (fetched twice with {got} bytes)", broken=True) from None
                last_size = got
                raise _Again(str(problem), strain=False) from None
            return Fetched(got, moved)

        return self._repeat(attempt, ATTEMPTS)

    def beginning(self, system_id: str, path: str, enough: Callable[[bytearray], bool], most: int, seconds: float) -> bytes:
        """The first bytes of a file. Tapis has no safe way to ask for a part, so this closes the connection once they are enough.

        :param enough: called after each block with all bytes so far; True ends the reading
        :param most: bytes after which reading stops in any case; up to one more block may be returned
        :param seconds: time to read the body in one attempt; after that, the bytes received so far are returned
        :raises FileProblem: this file cannot be fetched
        :raises TapisProblem: no file of this system can be fetched with this access
        :raises Stopped: the caller asked to stop
        """
        url = self._url(system_id, path)
        return self._repeat(lambda token: self._read_beginning(url, token, enough, most, seconds), BEGINNING_ATTEMPTS)

    def _url(self, system_id: str, path: str) -> str:
        return f"{self.access.base_url}/v3/files/content/{quote(system_id, safe='')}/{quote(path.strip('/'), safe='/')}"

    def _repeat(self, attempt: Callable[[str], _T], attempts: int) -> _T:
        """The result of an attempt. Retries with a new token after a 401, as long as there is one. After other
        trouble, makes up to ``attempts`` attempts.

        :param attempt: called with the token to send
        """
        wait = waits(attempts, conf.retry_seconds)
        while True:
            token = self.access.token()
            try:
                return attempt(token)
            except _Unauthorized as refused:
                # Again with each new token: first the stored one, if the request's has ended, then the refreshed one.
                if self.access.renew(token) == token:
                    raise refused.problem from None
            except _Again as problem:
                if problem.strain:
                    self.strained()
                seconds = next(wait, None)
                if seconds is None:
                    raise FileProblem(f"{problem} ({attempts} attempts)") from None
                pause(max(seconds, problem.wait), self.stopped)
                if self.stopped():
                    raise Stopped() from None

    def close(self) -> None:
        """Close the calling thread's connections."""
        session = getattr(self._local, "session", None)
        if session is not None:
            session.close()
            self._local.session = None

    def _session(self) -> requests.Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["Accept-Encoding"] = "identity"
            adapter = HTTPAdapter(pool_connections=1, pool_maxsize=1)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._local.session = session
            self._local.used_at = 0.0
        elif time.monotonic() - self._local.used_at > 4:
            session.close()  # the proxy closes connections after 5 s without use; sending on a closed one would cost an attempt
        return session

    def _attempt(self, url: str, token: str, target: Path, size: Optional[int]) -> int:
        session = self._session()
        got = 0
        limit: Optional[CutAfter] = None
        try:
            with session.get(url, headers={"X-Tapis-Token": token}, stream=True, allow_redirects=False,
                             timeout=(conf.connect_timeout, conf.timeout)) as response:
                self._check_answer(response)
                with open(target, "wb") as out, CutAfter(response, _seconds_for(size)) as limit:
                    for block in response.iter_content(BLOCK_BYTES):
                        out.write(block)
                        got += len(block)
                        if size is not None and got > size:
                            raise _Again(f"more than the {size} bytes that were listed", strain=False)
                        if self.stopped():
                            raise Stopped()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = "it came too slowly" if limit is not None and limit.cut else type(error).__name__
            raise _Again(f"the connection broke after {got} bytes ({reason})", moved=got) from None
        except _Again as problem:
            problem.moved = got
            raise
        finally:
            self._local.used_at = time.monotonic()
        if size is not None and got != size:
            raise _Again(f"{got} bytes instead of {size}", moved=got)
        return got

    def _read_beginning(self, url: str, token: str, enough: Callable[[bytearray], bool], most: int, seconds: float) -> bytes:
        session = self._session()
        found = bytearray()
        limit: Optional[CutAfter] = None
        try:
            with session.get(url, headers={"X-Tapis-Token": token}, stream=True, allow_redirects=False,
                             timeout=(conf.connect_timeout, conf.timeout)) as response:
                self._check_answer(response)
                with CutAfter(response, seconds) as limit:
                    for block in response.iter_content(SMALL_BLOCK_BYTES):
                        found += block
                        if len(found) >= most or enough(found):
                            break
                        if self.stopped():
                            raise Stopped()
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            if limit is None or not limit.cut:
                raise _Again(f"the connection broke after {len(found)} bytes ({type(error).__name__})") from None
        finally:
            self._local.used_at = time.monotonic()
        if limit.cut and not found:
            raise _Again("it came too slowly")
        return bytes(found)

    def _check_answer(self, response: requests.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        text = _error_text(response)
        if status == 401:
            raise _Unauthorized(_refusal(response, text))
        if status == 500 and "revoked" in text.lower():
            raise TokenExpired("Tapis says that the token is revoked. Log in to Tapis again.")
        if status in AGAIN:
            raise _Again(f"Tapis answers {status}", wait=retry_after(response.headers.get("Retry-After")))
        if status == 404:
            raise FileProblem("Tapis no longer finds it", missing=True)
        raise FileProblem(f"Tapis answers {status}: {text}", refused=status < 500)


def _error_text(response: requests.Response) -> str:
    """The beginning of an error's body, in one line. If it is cut or trickles, return what has come so far.

    The status decides what to do. The text only tells users why.
    """
    parts: list[bytes] = []
    with CutAfter(response, ERROR_SECONDS):
        try:
            while sum(map(len, parts)) < ERROR_BYTES:
                part = response.raw.read(64, decode_content=True)
                if not part:
                    break
                parts.append(part)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            logger.info("Tapis: the body of an answer with status %d was cut: %s", response.status_code, type(error).__name__)
    return " ".join(b"".join(parts).decode("utf-8", "replace").split())[:200]


def _seconds_for(size: Optional[int]) -> float:
    return MOST_SECONDS if size is None else 2 * conf.timeout + size / LEAST_BYTES_A_SECOND


class _Unauthorized(Exception):
    def __init__(self, problem: TapisProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _refusal(response: requests.Response, text: str) -> TapisProblem:
    if "json" in response.headers.get("Content-Type", ""):
        return SystemNotAccessible(f"No credentials for this system: {text}", status=403)
    return TokenExpired("Tapis does not accept the token. Log in to Tapis again.")
