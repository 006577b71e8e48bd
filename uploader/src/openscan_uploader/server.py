"""The OpenScanCloud protocol of the original server and of ours. One method per call; errors never show the token."""
import threading
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple
from urllib.parse import urlsplit

import requests

from openscan_uploader.errors import NotPossible, Refused, Unreachable, WrongToken

#: urllib3 also applies the first one to each block that is sent: 256 kB within a minute.
_CONNECT_SECONDS = 60
_ANSWER_SECONDS = 300
#: Where a server may have its API, below the address that people enter. They may also enter the page's address.
_BELOW = ("", "/api/openscan", "/api/plugins/openscan_cloud")
#: Temporary statuses: the same request may succeed later.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
_LARGEST_PART_BYTES = 200_000_000
_NO_ADDRESS = "This is not a server's address. It must look like https://example.org, without a user name, password or question mark."
_NOT_KNOWN = "The server does not know this token. Copy it again from the email or page that showed it."

DONE, FAILED, EXPIRED, CREATED = "processing done", "processing failed", "expired", "created"
FINAL = frozenset({DONE, FAILED, EXPIRED})


class Passing(Exception):
    """The server could not be reached, or asks to try later: after `wait_seconds`, if it says so. `answered`: whether it answered."""

    def __init__(self, sentence: str, wait_seconds: float = 0.0, answered: bool = False) -> None:
        super().__init__(sentence)
        self.wait_seconds = wait_seconds
        self.answered = answered


@dataclass(frozen=True)
class TokenInfo:
    """What a token has left and allows. Sizes are bytes."""

    credit: int
    limit_filesize: int
    limit_photos: int
    #: The largest part; 200,000,000 if the server does not say.
    limit_part: int = _LARGEST_PART_BYTES
    #: A sentence for people; empty if the server has none.
    message: str = ""
    assigned_to: str = ""
    #: What the server can do beyond the original protocol: `files` (photos as they are, with their names), `missing_parts`, `crc32`.
    features: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """A project's status. `text` is the server's word for it, such as `processing started`."""

    project: str
    text: str
    download_link: str = field(default="", repr=False)
    #: From 0 to 1; 0 if the server does not say.
    progress: float = 0.0
    message: str = ""
    error: str = ""
    #: The project's page for people.
    page: str = field(default="", repr=False)
    #: Numbers of the parts that the server does not have; None if it does not say.
    missing_parts: Optional[Tuple[int, ...]] = None
    received_bytes: Optional[int] = None
    #: What the server did not use, and why.
    set_aside: Tuple[str, ...] = ()

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.text in FINAL

    @property
    def is_done(self) -> bool:
        """Whether the model can be downloaded."""
        return self.text == DONE and bool(self.download_link)


@dataclass(frozen=True)
class Created:
    """A project that waits for its parts: one link for each, in their order."""

    links: "Tuple[str, ...]" = field(repr=False)
    secret: str = field(default="", repr=False)


class _Bearer(requests.auth.AuthBase):
    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Send no login with links: they need none and may lead to other hosts. This also keeps passwords from netrc out."""
    return request


class Server:
    """One server, asked with one token. May be used by several threads at once."""

    def __init__(self, url: str, token: str, user: str = "openscan", password: str = "free") -> None:  # noqa: S107 - public pair
        self._candidates = _addresses(url)
        if len(token) < 15 or not token.isascii() or not token.isalnum():
            raise WrongToken("A token has 32 letters and digits. Copy it again from the email or page that showed it to you.")
        self._token = token
        self._basic = (user, password)
        self._base = ""
        #: Whether the server accepts the token in a header. The original accepts it only in the address.
        self._bearer = False
        self._local = threading.local()
        self._finding = threading.Lock()

    @property
    def base(self) -> str:
        """The address of the server's API; before the first call, a guess."""
        return self._base or self._candidates[0]

    # The calls ------------------------------------------------------------------------------------------------------

    def token_info(self) -> TokenInfo:
        """Raises WrongToken, Refused, Passing."""
        answer = self._find() if not self._base else self._ask("getTokenInfo")
        try:
            return TokenInfo(
                credit=int(answer["credit"]), limit_filesize=int(answer["limit_filesize"]), limit_photos=int(answer["limit_photos"]),
                limit_part=min(int(answer.get("limit_part") or _LARGEST_PART_BYTES), _LARGEST_PART_BYTES),
                message=str(answer.get("message") or ""), assigned_to=str(answer.get("assigned_to") or ""),
                features=tuple(str(name) for name in answer.get("features") or ()))
        except (KeyError, TypeError, ValueError) as error:
            raise Refused("The server does not answer like an OpenScanCloud. Check its address.", 200) from error

    def create(self, project: str, photos: int, parts: int, size_bytes: int, secret: str = "",
               files_json: str = "") -> Created:
        """Create a project, or get new links for one that waits for parts. Raises Refused, Passing."""
        more = {"files": files_json} if files_json else {}
        answer = self._ask("createProject", project=project, photos=photos, parts=parts, filesize=size_bytes, **more, **_secret(secret))
        links = answer.get("ulink")
        if not isinstance(links, list) or len(links) != parts or not all(isinstance(link, str) for link in links):
            raise Refused("The server returned the wrong number of upload links. Try again; if that does not help, tell the server's "
                          "operator.", 200)
        return Created(tuple(links), str(answer.get("secret") or secret))

    def start(self, project: str, secret: str = "") -> None:
        """Raises Refused (parts are missing), Passing."""
        self._ask("startProject", project=project, **_secret(secret))

    def reset(self, project: str, secret: str = "") -> None:
        """Delete a project. Raises Refused, Passing."""
        self._ask("resetProject", project=project, **_secret(secret))

    def status(self, project: str, secret: str = "") -> Status:
        """Raises Refused (401: unknown project), Passing."""
        answer = self._ask("getProjectInfo", project=project, **_secret(secret))
        missing, received = answer.get("missing_parts"), answer.get("received")
        set_aside = answer.get("set_aside")
        return Status(
            project=project, text=str(answer.get("status") or ""), download_link=str(answer.get("dlink") or ""),
            progress=_number(answer.get("progress")), message=str(answer.get("message") or ""),
            error=str(answer.get("error_text") or ""), page=str(answer.get("page") or ""),
            missing_parts=tuple(missing) if isinstance(missing, list) else None,
            received_bytes=received if isinstance(received, int) else None,
            set_aside=tuple(map(str, set_aside)) if isinstance(set_aside, list) else ())

    def send(self, link: str, body: Any) -> Dict[str, Any]:
        """Send a part. `body` has a length and yields blocks. Returns the answer's JSON object, or an empty one.

        Raises Refused for any answer except 200, and Passing if the connection is lost or the server asks to try later.
        """
        try:
            answer = self._session().post(link, data=body, headers={"Content-Type": "application/octet-stream"}, auth=_no_login,
                                          timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS), allow_redirects=False)
        except requests.RequestException as error:
            raise Passing(_why_unreachable(error)) from None
        if answer.status_code != 200:
            raise _problem(answer)
        return _json(answer) or {}

    def open_download(self, link: str, start: int = 0, tag: str = "") -> requests.Response:
        """Open a result, from byte `start` on if it is still the file of this `tag`. Raises Refused, Passing."""
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if tag:
                headers["If-Range"] = tag
        try:
            answer = self._session().get(link, headers=headers, auth=_no_login, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS), stream=True)
        except requests.RequestException as error:
            raise Passing(_why_unreachable(error)) from None
        if answer.status_code not in (200, 206):
            with answer:
                raise _problem(answer)
        return answer

    # Requests -------------------------------------------------------------------------------------------------------

    def _session(self) -> requests.Session:
        """This thread's session, which keeps connections open. Sessions are not safe for several threads."""
        session: Optional[requests.Session] = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = "openscan-uploader"
            self._local.session = session
        return session

    def _find(self) -> Dict[str, Any]:
        """Ask for the token's data at each address that the API may have. Returns the first valid answer."""
        with self._finding:
            passing: Optional[Passing] = None
            problem: Optional[Exception] = None
            # Try all addresses with the token in a header first: a wrong guess must not put it into another program's log.
            for bearer in (True, False):
                for base in self._candidates:
                    try:
                        answer = self._call(base, bearer, "getTokenInfo", {})
                    except WrongToken as error:
                        problem = error  # the original server's answer to a token in a header
                        continue
                    except Refused as error:
                        problem = problem or error
                        continue
                    except Passing as error:
                        passing = error
                        continue
                    if "credit" in answer:
                        self._base, self._bearer = base, bearer
                        return answer
            if isinstance(problem, WrongToken):
                raise problem
            if passing is not None:
                raise passing
            raise problem or Refused("No OpenScanCloud answers at this address. Check it; it should look like https://example.org.", 404)

    def _ask(self, command: str, **parameters: Any) -> Dict[str, Any]:
        if not self._base:
            self._find()
        return self._call(self._base, self._bearer, command, parameters)

    def _request(self, url: str, bearer: bool, parameters: Dict[str, Any]) -> requests.Response:
        """Send a request, and repeat it once if the connection breaks: a server may close a kept connection just when it is used
        again. Every command may be repeated."""
        options: Dict[str, Any] = {"timeout": (_CONNECT_SECONDS, _ANSWER_SECONDS), "allow_redirects": False}
        if bearer:
            method, options["data"], options["auth"] = "POST", parameters, _Bearer(self._token)
        else:
            method, options["params"], options["auth"] = "GET", {"token": self._token, **parameters}, self._basic
        try:
            return self._session().request(method, url, **options)
        except requests.Timeout:
            raise
        except requests.ConnectionError:
            return self._session().request(method, url, **options)

    def _call(self, base: str, bearer: bool, command: str, parameters: Dict[str, Any]) -> Dict[str, Any]:
        try:
            answer = self._request(f"{base}/{command}", bearer, parameters)
        except requests.RequestException as error:
            raise Passing(_why_unreachable(error)) from None
        if answer.is_redirect:
            if answer.headers.get("Location", "").startswith("https:") and base.startswith("http:"):
                raise NotPossible(f"The server wants https. Enter https{base[4:]} as its address.")
            raise Refused("The server redirects to another address. Enter the address that your browser shows for it.", answer.status_code)
        content = _json(answer)
        if answer.status_code == 200 and content is not None:
            return content
        if answer.status_code in PASSING:
            raise _problem(answer)
        if command == "getTokenInfo" and content is not None and answer.status_code in (400, 401):
            raise WrongToken(_sentence(content) or _NOT_KNOWN)
        if command == "getTokenInfo" and answer.status_code in (400, 401) and not bearer:
            raise WrongToken(_NOT_KNOWN)
        raise _problem(answer)


def _addresses(url: str) -> "List[str]":
    """The addresses that the API may have, for what people enter as the server."""
    text = url.strip().rstrip("/")
    if not text:
        raise NotPossible("No server is set. Give its address with --server, or run `openscan-upload token` once to enter it.")
    if "://" not in text:
        text = f"https://{text}"
    try:
        address = urlsplit(text)
        valid = address.scheme in ("http", "https") and bool(address.hostname) and (address.port or 1) > 0
    except ValueError:
        raise NotPossible(_NO_ADDRESS) from None
    if not valid or address.username or address.query or address.fragment:
        raise NotPossible(_NO_ADDRESS)
    for page in ("/openscan/upload", "/openscan"):
        if address.path.endswith(page) and not address.path.endswith("/api/openscan"):
            text = text[:-len(page)]
            break
    return [text + below for below in (_BELOW if not urlsplit(text).path.endswith(_BELOW[1:]) else ("",))]


def _secret(secret: str) -> Dict[str, str]:
    return {"secret": secret} if secret else {}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _json(answer: requests.Response) -> "Optional[Dict[str, Any]]":
    try:
        content = answer.json()
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _sentence(content: "Optional[Dict[str, Any]]") -> str:
    error = (content or {}).get("error")
    return error if isinstance(error, str) else ""


def _problem(answer: requests.Response) -> Exception:
    """The error to raise for an answer that is not a success."""
    status = answer.status_code
    sentence = _sentence(_json(answer)) or f"The server answered with status {status}."
    if status in PASSING:
        return Passing(sentence, _retry_after(answer.headers.get("Retry-After", "")), answered=True)
    return Refused(sentence, status)


def _retry_after(text: str) -> float:
    return min(float(text), 600.0) if text.isascii() and text.isdigit() else 0.0


def _why_unreachable(error: requests.RequestException) -> str:
    """A sentence without the address, which may hold the token."""
    if isinstance(error, requests.exceptions.SSLError):
        return "The server's certificate is not valid, or something on the way to the server interferes."
    if isinstance(error, requests.exceptions.ProxyError):
        return "The proxy refuses the connection. Check this computer's proxy settings."
    if isinstance(error, requests.Timeout):
        return "The server does not answer."
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)):
        return "The server sent an address that is not valid."
    return "The connection to the server was lost."


def unreachable(error: Passing) -> Unreachable:
    """The error for callers after waiting has not helped."""
    return Unreachable(f"{error} The server keeps what was sent. Start again to continue.")


def in_blocks(answer: requests.Response) -> "Iterator[bytes]":
    """The body of an answer. Raises Passing if it is interrupted."""
    try:
        yield from answer.iter_content(1 << 18)
    except requests.RequestException as error:
        raise Passing(_why_unreachable(error)) from None


def missing_of(status: Status, parts: int) -> "Optional[Sequence[int]]":
    """The parts that the server lacks; None if it does not say."""
    if status.missing_parts is None:
        return None
    return [number for number in status.missing_parts if isinstance(number, int) and 1 <= number <= parts]
