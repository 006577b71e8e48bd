"""What the doctor sees from outside: the running web server, and the public address that rigs use."""
import base64
import ipaddress
import json
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any, Optional
from urllib.parse import urlsplit

#: A root mount of each plugin, and how often each is asked: gunicorn's workers differ when one missed the mounts.
MOUNTS = ("/api/openscan/status", "/api/tapis-storage/systems")
ASKED = 12
#: uploader.py and WindowsUploader.py send 9 kB and more; gunicorn stops at 4094 bytes as it comes, nginx at 8 kB.
LONG_QUERY = "filelist=" + "x" * 20000


def is_this_machine_only(host: str) -> bool:
    """Whether `host` names the machine itself (localhost, 127.0.0.1, ::1, 0.0.0.0), which no rig can reach."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def fetch(url: str, timeout: float = 10.0, headers: Optional[dict[str, str]] = None) -> tuple[int, bytes]:
    """GET `url`; returns status and the first 64 kB. Raises OSError where nothing answers.

    A server of this machine's is asked without a proxy, and its certificate is not checked: it is made out to another name.
    """
    if not url.startswith(("http://", "https://")):
        raise OSError(f"{url} is not an http address")
    request = urllib.request.Request(url, headers={"User-Agent": "webodm-doctor", **(headers or {})})  # noqa: S310 (checked)
    try:
        with _opener(urlsplit(url).hostname or "").open(request, timeout=timeout) as answer:
            return answer.status, answer.read(65536)
    except urllib.error.HTTPError as error:
        return error.code, error.read(65536)
    except socket.timeout as error:
        raise OSError(f"no answer in {timeout:.0f} s") from error


def _opener(host: str) -> urllib.request.OpenerDirector:
    if not is_this_machine_only(host):
        return urllib.request.build_opener()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the machine's certificates, which take their time to read
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))


def is_ours(path: str, status: int, body: bytes) -> bool:
    """Whether an answer to a root mount came from our plugin: its status line says online, and its other calls answer in JSON."""
    if path == MOUNTS[0]:
        return status == 200 and b"online" in body
    return status in (200, 401, 403) and body.lstrip()[:1] in (b"{", b"[")


def look(url: str, public: dict[str, Any]) -> dict[str, Any]:
    """Asks the web server at `url` (nothing if empty) and the public address in `public` (answers of `probe.py`)."""
    seen: dict[str, Any] = {"url": url, "public": {}}
    headers = _basic(public)
    if public.get("openscan") and not is_this_machine_only(urlsplit(public["openscan"]).hostname or ""):
        seen["public"] = _look_public(public["openscan"], headers)
    if not url:
        return seen
    missing: dict[str, int] = {}
    wrong: dict[str, str] = {}
    try:
        for path in MOUNTS:
            for _ in range(ASKED):
                status, body = fetch(url + path, headers=headers)
                if status == 404 and not body.lstrip().startswith(b"{"):  # our own 404s are JSON
                    missing[path] = missing.get(path, 0) + 1
                elif not is_ours(path, status, body):
                    wrong[path] = f"HTTP {status}: {' '.join(body[:80].decode(errors='replace').split())}"
        status, _ = fetch(f"{url}{MOUNTS[0]}?{LONG_QUERY}", headers=headers)
    except OSError as error:
        seen["error"] = str(getattr(error, "reason", error))
        return seen
    seen.update(mounts_missing=missing, wrong_answers=wrong, asked=ASKED, long_line=status not in (400, 414, 431))
    return seen


def _basic(public: dict[str, Any]) -> dict[str, str]:
    if not public.get("basic"):
        return {}
    return {"Authorization": "Basic " + base64.b64encode(":".join(public["basic"]).encode()).decode()}


def _look_public(url: str, headers: dict[str, str]) -> dict[str, Any]:
    try:
        status, body = fetch(url + MOUNTS[0], headers=headers)
    except OSError as error:
        return {"error": str(getattr(error, "reason", error)), "unreachable": True}
    if not is_ours(MOUNTS[0], status, body):
        return {"error": f"HTTP {status}, not our answer"}
    try:
        status, body = fetch(url + "/api/openscan/health", headers=headers)
        return {"scheme": json.loads(body).get("scheme", "")} if status == 200 else {}
    except (OSError, ValueError):
        return {}
