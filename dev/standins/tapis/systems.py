"""The stand-in's Systems service: listing with its surprising defaults, search, paging, one system."""
import re
from typing import Any, NoReturn

from .http import Handler, tapis_json
from .tokens import caller
from .world import System

SUMMARY = ("id", "systemType", "owner", "host", "effectiveUserId", "defaultAuthnMethod", "canExec", "parentId")


def attributes(request: Handler, system: System) -> dict[str, Any]:
    """All attributes that the stand-in knows of a system."""
    return {
        "tenant": request.world.tenant, "id": system.id, "description": system.description or None,
        "systemType": system.system_type, "owner": system.owner, "host": system.host, "enabled": system.enabled,
        "effectiveUserId": "${apiUserId}", "defaultAuthnMethod": "PKI_KEYS", "bucketName": None,
        "rootDir": "/corral/projects/" + system.id, "port": 22, "useProxy": False, "isPublic": False,
        "isDynamicEffectiveUser": True, "canExec": False, "parentId": None, "sharedWithUsers": system.shared_with,
        "tags": [], "notes": {**system.notes, **({"title": system.title} if system.title else {})}, "uuid": system.uuid, "deleted": False,
        "created": system.created, "updated": system.created,
    }


def _like(pattern: str) -> "re.Pattern[str]":
    """``*`` is any run, ``!`` one character; upper and lower case differ."""
    parts = {"*": ".*", "!": "."}
    return re.compile("".join(parts.get(char, re.escape(char)) for char in pattern), re.DOTALL)


def _holds(text: str, operator: str, value: str) -> bool:
    if operator in ("eq", "neq"):
        return (text == value) == (operator == "eq")
    if operator in ("like", "nlike"):
        return bool(_like(value).fullmatch(text)) == (operator == "like")
    if operator == "in":
        return text in value.split(",")
    raise tapis_json(400, f"SYSLIB_SEARCH_ERROR unsupported operator: {operator}")


def _matches(found: dict[str, Any], search: str) -> bool:
    for condition in search.split("~"):
        match = re.fullmatch(r"\(?(\w+)\.(\w+)\.(.*?)\)?", condition)
        if match is None:
            raise tapis_json(400, f"SYSLIB_SEARCH_ERROR invalid search condition: {condition}")
        name, operator, value = match.groups()
        if name not in found:
            raise tapis_json(400, f"SYSLIB_SEARCH_ERROR unsupported attribute: {condition}")
        actual = found[name]
        if not _holds(str(actual).lower() if isinstance(actual, bool) else str(actual), operator, value):
            return False
    return True


def _selected(found: dict[str, Any], select: str) -> dict[str, Any]:
    if select == "allAttributes":
        return found
    wanted: list[str] = []
    for name in select.split(","):
        wanted += SUMMARY if name == "summaryAttributes" else [name.strip()]
    return {name: found[name] for name in wanted if name in found}


def _integer(request: Handler, name: str, default: int) -> int:
    try:
        return int(request.query.get(name, default))
    except ValueError:
        raise tapis_json(400, f"Invalid value for {name}") from None


def listing(request: Handler) -> NoReturn:
    """``GET /v3/systems``: the caller's own systems unless ``listType`` says more, 100 unless ``limit`` says more."""
    world = request.world
    world.count("systems")
    username = caller(request)
    request.misbehave(world.fault_for("systems", "", username))
    list_type = request.query.get("listType", "OWNED").upper()
    if list_type not in ("OWNED", "SHARED_PUBLIC", "ALL", "MINE"):
        raise tapis_json(400, f"SYSLIB_LISTTYPE_ERROR invalid listType: {list_type}")
    limit = _integer(request, "limit", 100)
    skip = _integer(request, "skip", 0)
    order = request.query.get("orderBy", "id(asc)")
    after = request.query.get("startAfter", "")
    with world.lock:
        systems = sorted(world.systems.values(), key=lambda system: system.id, reverse="(desc)" in order)
    found = []
    for system in systems:
        own = system.owner == username
        if not system.seen_by(username) or (not own and list_type in ("OWNED", "MINE")) or (
            own and list_type == "SHARED_PUBLIC"
        ):
            continue
        row = attributes(request, system)
        if (not request.query.get("search") or _matches(row, request.query["search"])) and (
            not after or system.id > after
        ):
            found.append(_selected(row, request.query.get("select", "summaryAttributes")))
    shown = found[skip:] if limit < 0 else found[skip:skip + limit]
    raise tapis_json(200, f"TAPIS_FOUND Systems found: {len(shown)}", shown, metadata={
        "recordCount": len(shown), "recordLimit": limit, "recordsSkipped": skip, "orderBy": order,
        "startAfter": after or None, "totalCount": len(found) if request.query.get("computeTotal") == "true" else -1,
    })


def one(request: Handler, system_id: str) -> NoReturn:
    """``GET /v3/systems/{id}``."""
    request.world.count("system")
    username = caller(request)
    request.misbehave(request.world.fault_for("system", system_id, username))
    system = request.world.systems.get(system_id)
    if system is None:
        raise tapis_json(404, f"SYSAPI_NOT_FOUND System not found. System: {system_id}")
    if not system.seen_by(username):
        raise tapis_json(403, f"SYSLIB_UNAUTH User is not authorized. User: {username} System: {system_id}")
    select = request.query.get("select", "allAttributes")
    raise tapis_json(200, f"TAPIS_FOUND System found: {system_id}", _selected(attributes(request, system), select))
