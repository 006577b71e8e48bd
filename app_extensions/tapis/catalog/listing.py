"""List Tapis systems through tapipy, and directories as plain JSON in pages.

tapipy builds an object for every entry, which takes ten times as long as parsing the JSON. So directory pages of 1000 entries are read
without it. Both ways have time limits (one per call, one for all calls of a sync), get no refresh token, percent-encode paths, and follow
no redirects: a redirect would carry the token along.
"""
import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional
from urllib.parse import quote

import requests
from tapipy import errors as tapipy_errors

from app_extensions.shared.photo_files import CLUTTER, role_of
from app_extensions.shared.retry import pause, retry_after, waits
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.problems import PathNotFound, RequestRefused, SystemNotAccessible, TapisProblem, TapisUnreachable, TokenExpired
from app_extensions.tapis.transport import BoundedAdapter

if TYPE_CHECKING:
    from tapipy.tapis import Tapis

#: Default and maximum of ``limit``. A shorter page is the last one.
PAGE = 1000
ATTEMPTS = 4
#: Works whether the service searches for the pattern or matches whole names.
JPEG_PATTERN = r"regex:(?i).*\.jpe?g$"
JPEG_NAME = re.compile(r"\.jpe?g\Z", re.IGNORECASE)
SYSTEM_FIELDS = "id,systemType,host,description,enabled,created,notes"


@dataclass(frozen=True)
class Entry:
    """One item of a directory listing."""

    name: str
    path: str
    type: str
    size: int
    last_modified: str

    @property
    def is_link(self) -> bool:
        """Whether this is a symbolic link. Its size is then that of the link itself."""
        return self.type == "symbolic_link"

    @property
    def may_be_directory(self) -> bool:
        """Whether this is a directory, or a link that may lead to one."""
        return self.type in ("dir", "symbolic_link", "unknown")

    @property
    def is_image(self) -> bool:
        """Whether this is a .jpg or .jpeg (in any case), or a link named like one. Hidden files such as a Mac's ``._*`` do not count."""
        return (self.type in ("file", "symbolic_link", "unknown") and bool(JPEG_NAME.search(self.name))
                and role_of(self.name) != CLUTTER)


def quoted(path: str) -> str:
    """A percent-encoded path for tapipy. ``/`` stays as it is; the root is ``/``."""
    return quote(path.strip("/"), safe="/") or "/"


class TapisListing:
    """Listings with one user's access. Each thread has its own tapipy client.

    :param stopped: checked while waiting between attempts; True ends the wait
    :param seconds: what all calls together may take; None: ``TAPIS_LISTING_SECONDS``
    """

    def __init__(self, access: TapisAccess, stopped: Optional[Callable[[], bool]] = None, seconds: Optional[float] = None) -> None:
        self.access = access
        self.stopped = stopped
        self._local = threading.local()
        self._seconds = conf.listing_seconds if seconds is None else seconds
        self._end = time.monotonic() + self._seconds
        self.calls = 0

    def _call_seconds_left(self) -> float:
        """Seconds that one call may take, including its body. Without a limit, a trickling answer would block its thread for hours."""
        return min(self.seconds_left(), 4 * conf.timeout)

    def seconds_left(self) -> float:
        """Seconds until no more calls are made."""
        return self._end - time.monotonic()

    def systems(self) -> list[dict]:
        """Every enabled system with the configured id prefix, in the documented form.

        :raises TapisProblem: the systems cannot be listed
        """
        prefix = conf.system_prefix
        found = self._call(
            "", lambda token: self._asked(lambda tapis: tapis.systems.getSystems(
                listType="ALL", search=f"(id.like.{prefix}*)", select=SYSTEM_FIELDS, orderBy="id", limit=-1
            ), self._client(token)), _system,
        )
        return [system for system in found if system and system["id"].startswith(prefix)]

    def pages(self, system_id: str, path: str, pattern: str = "", *, offset: int = 0, limit: int = PAGE) -> Iterator[list[Entry]]:
        """A directory's entries in pages, sorted by name.

        :param offset: entries to skip at the start
        :param limit: entries per page, 1000 at most
        :raises PathNotFound: no such path; :raises SystemNotAccessible: no credentials, forbidden
        """
        more = {"pattern": pattern} if pattern else {}
        while True:
            page = self._call(system_id, partial(self._listed, system_id, path, {"limit": limit, "offset": offset, **more}), _entry)
            yield page
            if len(page) < limit:
                return
            offset += len(page)

    def has_images(self, system_id: str, path: str) -> bool:
        """Whether a directory holds an image. Asks for one entry, and for more only if that entry is not an image.

        :raises PathNotFound: no such path; :raises SystemNotAccessible: no credentials, forbidden
        """
        try:
            first = next(self.pages(system_id, path, JPEG_PATTERN, limit=1))
        except RequestRefused:
            first = None  # this system does not support patterns
        if first is not None and not first:
            return False
        if first and self._is_image_in(first[0], path):
            return True
        return any(page for page in self.images(system_id, path))

    @staticmethod
    def _is_image_in(entry: Entry, path: str) -> bool:
        """Whether the entry is an image inside the directory. If the path itself is a file, Tapis lists only that file."""
        return entry.is_image and entry.path.strip("/") != path.strip("/")

    def images(self, system_id: str, path: str) -> Iterator[list[Entry]]:
        """A directory's images in pages. Filtered here as well: only LINUX systems support patterns, others answer 400."""
        pages = self.pages(system_id, path, JPEG_PATTERN)
        try:
            first = next(pages)
        except RequestRefused:
            pages = self.pages(system_id, path)
            first = next(pages)
        for page in itertools.chain([first], pages):
            yield [entry for entry in page if self._is_image_in(entry, path)]

    def _client(self, token: str) -> "Tapis":
        # Loaded when it is needed: it takes 18 MB and a tenth of a second, and every process of WebODM imports this module.
        from tapipy.tapis import Tapis

        held = getattr(self._local, "held", None)
        if held is None or held[0] != token:
            tapis = Tapis(base_url=self.access.base_url, tenant_id=self.access.client.tenant_id, access_token=token)
            for scheme in ("https://", "http://"):
                tapis.requests_session.mount(scheme, BoundedAdapter(self._call_seconds_left))
            tapis.requests_session.max_redirects = 0
            tapis.plugin_on_call_post_request_callables.append(self._keep)
            held = (token, tapis)
            self._local.held = held
        return held[1]

    def _session(self) -> requests.Session:
        session = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = requests.Session()
            for scheme in ("https://", "http://"):
                session.mount(scheme, BoundedAdapter(self._call_seconds_left))
        return session

    def _listed(self, system_id: str, path: str, query: "dict[str, Any]", token: str) -> Any:
        """A listing's answer as parsed JSON. :raises BaseTapyException: as tapipy does, so that ``_call`` can handle errors of both ways"""
        url = f"{self.access.base_url}/v3/files/ops/{quote(system_id, safe='')}/{quoted(path)}"
        try:
            response = self._session().get(url, params=query, headers={"X-Tapis-Token": token}, allow_redirects=False)
        except requests.RequestException as error:
            raise tapipy_errors.BaseTapyException(msg=str(error)) from None
        body = response.content
        expected = response.headers.get("Content-Length", "")
        if expected.isdigit() and len(body) < int(expected):
            raise tapipy_errors.BaseTapyException(msg="the answer was cut")
        if response.status_code >= 300:
            kind = _KINDS.get(response.status_code, tapipy_errors.BaseTapyException)
            raise kind(msg=_message(response), response=response)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise tapipy_errors.InvalidServerResponseError(msg="the answer is not JSON") from None

    def _keep(self, operation: Any, response: Any, **kwargs: Any) -> None:
        """Keep the raw answer. tapipy calls this with every answer before it builds objects."""
        self._local.answer = response

    def _asked(self, operation: "Callable[[Tapis], Any]", tapis: "Tapis") -> Any:
        """tapipy's answer, or the raw body if tapipy cannot build objects from it.

        tapipy fails on nested lists, and a system's ``notes`` may hold any JSON, such as the outline of a survey.
        """
        self._local.answer = None
        try:
            return operation(tapis)
        except TypeError:
            if self._local.answer is None:
                raise
            return self._local.answer.content

    def _call(self, system_id: str, operation: Callable[[str], Any], read: Callable[[Any], Any]) -> list[Any]:
        """Make one call, and retry if that may help.

        :param operation: makes the call with a token
        :param read: converts one item of the answer
        :returns: the converted items
        """
        timed_out = False
        wait = waits(ATTEMPTS, conf.retry_seconds)
        while True:
            if self.seconds_left() <= 0:
                raise SystemNotAccessible(
                    f"Listing stopped after {self._seconds:g} seconds in total (WO_TAPIS_LISTING_SECONDS).", status=502)
            token = self.access.token()
            try:
                self.calls += 1
                return _read(_items(operation(token)), read)
            except tapipy_errors.UnauthorizedError as error:
                # Again with each new token: first the stored one, if the request's has ended, then the refreshed one.
                if self.access.renew(token) == token:
                    raise _unauthorized(error, system_id) from None
            except tapipy_errors.ForbiddenError as error:
                raise SystemNotAccessible(f"Tapis forbids it: {_reason(error)}") from None
            except tapipy_errors.NotFoundError as error:
                raise PathNotFound(f"Tapis cannot find it: {_reason(error)}") from None
            except tapipy_errors.BadRequestError as error:
                raise RequestRefused(f"Tapis refuses the request: {_reason(error)}") from None
            except tapipy_errors.BaseTapyException as error:
                problem, again = _temporary(error, timed_out)
                timed_out = timed_out or problem.detail.startswith("No answer")
                seconds = next(wait, None) if again else None
                if seconds is None or (self.stopped and self.stopped()):
                    raise problem from None
                if error.response is not None:
                    seconds = max(seconds, retry_after(error.response.headers.get("Retry-After")))
                pause(min(seconds, max(0.0, self.seconds_left())), self.stopped)


#: The exceptions that tapipy raises, by HTTP status.
_KINDS = {
    400: tapipy_errors.BadRequestError, 401: tapipy_errors.UnauthorizedError, 403: tapipy_errors.ForbiddenError,
    404: tapipy_errors.NotFoundError, 500: tapipy_errors.InternalServerError, 503: tapipy_errors.ServiceUnavailableError,
}


def _message(response: requests.Response) -> str:
    """The text of an error answer: ``message`` in Tapis' JSON, else the body."""
    if 300 <= response.status_code < 400:
        return "redirects"
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return response.content.decode("utf-8", "replace")
    message = body.get("message") if isinstance(body, dict) else body
    return str(message or "")


def _items(answer: Any) -> list[Any]:
    """The items of an answer. tapipy returns a list of objects, raw JSON if the result is empty, or bytes for odd content types."""
    if isinstance(answer, bytes):
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError):
            raise tapipy_errors.InvalidServerResponseError("the answer is not JSON") from None
    if isinstance(answer, dict):
        answer = answer.get("result")
    if answer is None:
        return []
    if not isinstance(answer, list):
        raise tapipy_errors.InvalidServerResponseError("the answer is not a list")
    return answer


def _read(items: list[Any], read: Callable[[Any], Any]) -> list[Any]:
    try:
        if not all(isinstance(item, dict) or hasattr(item, "__dict__") for item in items):  # JSON, or an object of tapipy's
            raise TypeError("an item is no object")
        return [read(item) for item in items]
    except (TypeError, ValueError, OverflowError):
        raise tapipy_errors.InvalidServerResponseError("an item has another form than documented") from None


def _get(item: Any, name: str, default: Any = None) -> Any:
    value = item.get(name) if isinstance(item, dict) else getattr(item, name, None)
    return default if value is None else value


def _text(item: Any, name: str) -> str:
    """A text field of an item, "" if it is missing. :raises TypeError: the value is not text"""
    value = _get(item, name, "")
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _system(item: Any) -> Optional[dict]:
    """The documented form of a system; None if it is disabled."""
    if _get(item, "enabled", True) is False:
        return None
    title = _get(_get(item, "notes", {}), "title", "")
    return {
        "id": _text(item, "id"),
        "host": _text(item, "host"),
        "systemType": _text(item, "systemType"),
        "description": _text(item, "description") or (title if isinstance(title, str) else ""),
        "created": _text(item, "created"),
    }


def _entry(item: Any) -> Entry:
    name = _text(item, "name")
    if not name:
        raise ValueError("an entry without a name")
    return Entry(
        name=name, path=_text(item, "path"), type=_text(item, "type") or "unknown",
        size=int(_get(item, "size", 0)), last_modified=str(_get(item, "lastModified", "")),
    )


def _reason(error: tapipy_errors.BaseTapyException) -> str:
    """Tapis' own words for the user, shortened and in one line."""
    text = error.message
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return " ".join(str(text or "no reason given").split())[:200]


def _unauthorized(error: tapipy_errors.BaseTapyException, system_id: str) -> TapisProblem:
    """The problem behind a 401. As JSON: no credentials for that system. As plain text: a bad token (contracts, "Errors")."""
    response = error.response
    content_type = response.headers.get("Content-Type", "") if response is not None else ""
    if system_id and "json" in content_type:
        return SystemNotAccessible(f"No credentials for this system: {_reason(error)}", status=403)
    return TokenExpired("Tapis does not accept the token. Log in to Tapis again.")


def _temporary(error: tapipy_errors.BaseTapyException, timed_out: bool) -> "tuple[TapisProblem, bool]":
    """The problem to report if all attempts fail, and whether another attempt may help."""
    status = error.response.status_code if error.response is not None else 0
    if status == 500 and "revoked" in _reason(error).lower():
        return TokenExpired("Tapis says that the token is revoked. Log in to Tapis again."), False
    if status >= 500 or status == 429:
        return SystemNotAccessible(f"Tapis answers {status}: {_reason(error)}", status=502), True
    if status:
        return SystemNotAccessible(f"Tapis answers {status}: {_reason(error)}", status=502), False
    reason = _reason(error)
    if "timed out" in reason.lower():
        return TapisUnreachable(f"No answer within {conf.timeout:g} seconds."), not timed_out
    if "redirects" in reason.lower():
        return TapisUnreachable("Tapis redirects to another address. WebODM does not send the token there."), False
    if isinstance(error, tapipy_errors.InvalidServerResponseError):
        return SystemNotAccessible(f"Tapis's answer cannot be read: {reason}", status=502), False
    return TapisUnreachable("The connection to Tapis failed."), True
