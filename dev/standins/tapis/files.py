"""The stand-in's Files service: listings with their limits, contents as chunked streams."""
import fnmatch
import re
import time
from typing import Callable

from .http import Answer, Handler, plain, tapis_json
from .tokens import caller, end_access_tokens
from .tree import Directory, File, NotThere, listing_item
from .world import Fault, System

LIMIT = 1000


def _system(request: Handler, system_id: str, username: str) -> System:
    system = request.world.systems.get(system_id)
    if system is None:
        raise tapis_json(404, f"FILES_SYSTEM_NOTFOUND System not found: {system_id}")
    if not system.seen_by(username):
        raise tapis_json(403, f"FILES_NOT_AUTHORIZED User {username} may not read system {system_id}")
    if not system.enabled:
        raise tapis_json(400, f"FILES_SYSTEM_NOTENABLED System is not enabled: {system_id}")
    if not system.has_credentials:
        # Refreshing the token does not help.
        raise tapis_json(401, f"FILES_CLIENT_SSH_NO_CREDENTIALS No credentials for user {username} on system {system_id}")
    return system


def _fault(request: Handler, operation: str, system_id: str, path: str, username: str) -> "Fault | None":
    fault = request.world.fault_for(operation, f"{system_id}/{path}", username)
    if fault is not None and fault.kind == "expire":
        end_access_tokens(request.world, username)
        raise plain(401, "TAPIS_SECURITY_JWT_EXPIRED The token has expired.")
    request.misbehave(fault)
    return fault


def _pattern(request: Handler, system: System) -> Callable[[str], bool]:
    text = request.query.get("pattern", "")
    if not text:
        return lambda name: True
    if system.system_type != "LINUX":
        raise tapis_json(400, "FILES_PATTERN_NOT_SUPPORTED Patterns are supported on LINUX systems only.")
    if text.startswith("regex:"):
        try:
            compiled = re.compile(text[len("regex:"):])
        except re.error as error:
            raise tapis_json(400, f"FILES_BAD_PATTERN {error}") from None
        full = request.world.settings["regex_full_match"]
        return lambda name: bool(compiled.fullmatch(name) if full else compiled.search(name))
    return lambda name: fnmatch.fnmatchcase(name, text.removeprefix("glob:"))


def _number(request: Handler, name: str, default: int, highest: int) -> int:
    try:
        value = int(request.query.get(name, default))
    except ValueError:
        raise plain(400, f"Invalid value for {name}.") from None
    if not 0 <= value <= highest or (name == "limit" and value < 1):
        # Some of the service's errors are a bare string.
        raise plain(400, f"{name} must be between {1 if name == 'limit' else 0} and {highest}.")
    return value


def listing(request: Handler, system_id: str, path: str) -> None:
    """``GET /v3/files/ops/{system}/{path}``: at most 1000 items, by name, without a total."""
    world = request.world
    world.count("list")
    world.count(f"list:{system_id}")
    username = caller(request)
    path = path.strip("/")
    fault = _fault(request, "list", system_id, path, username)
    system = _system(request, system_id, username)
    limit = _number(request, "limit", LIMIT, LIMIT)
    offset = _number(request, "offset", 0, 1 << 62)
    if request.query.get("recurse", "false").lower() == "true":
        raise tapis_json(400, "the stand-in does not list recursively; the project must not ask for it")
    wanted = _pattern(request, system)
    try:
        node = system.tree.find(path)
    except NotThere:
        raise tapis_json(404, f"FILES_PATH_NOT_FOUND Path not found. System: {system_id} path: {path}") from None
    if isinstance(node, Directory):
        with system.tree.lock:
            names = sorted(name for name in node.entries if wanted(name))[offset:offset + limit]
            items = [
                listing_item(system_id, f"{path}/{name}" if path else name, name, node.entries[name]) for name in names
            ]
    else:
        items = [listing_item(system_id, path, path.rpartition("/")[2], node)]
    answer = tapis_json(200, "FILES_LISTING_OK ok", items)
    if fault is not None and fault.kind == "grow" and isinstance(node, Directory):
        # Somebody is still copying the flight: each time it is listed, there is one image more afterwards.
        system.tree.put_file(f"{path}/GROWN_{fault.hits:05d}.JPG", min(world.photos, key=lambda photo: photo.stat().st_size),
                             modified=time.time())
        node.modified = time.time()
    if fault is not None and fault.kind == "drip":
        request.send_answer(answer, fault)
        return
    raise answer


def content(request: Handler, system_id: str, path: str) -> None:
    """``GET /v3/files/content/{system}/{path}``: a chunked stream; the token is checked before it starts only."""
    world = request.world
    world.count("content")
    username = caller(request)
    path = path.strip("/")
    fault = _fault(request, "content", system_id, path, username)
    system = _system(request, system_id, username)
    if request.headers.get("Range") is not None:
        raise tapis_json(400, "FILES_RANGE Invalid range header: use the service's own form.")
    if request.query.get("zip", "false").lower() == "true":
        raise tapis_json(400, "the stand-in makes no archives; the project must not ask for them")
    try:
        node = system.tree.find(path)
    except NotThere:
        raise tapis_json(404, f"FILES_PATH_NOT_FOUND Path not found. System: {system_id} path: {path}") from None
    if not isinstance(node, File):
        raise tapis_json(400, f"FILES_CONTENT_DIR Not a file: {path}")
    if fault is not None and fault.kind == "html":
        raise Answer(200, "<html><body>Service under maintenance</body></html>", "text/html")
    world.count("content_started")
    world.enter("content")
    try:
        sent = request.send_chunked(node.blocks(), "application/octet-stream", fault)
        world.count("content_bytes", sent)
    finally:
        world.leave("content")
