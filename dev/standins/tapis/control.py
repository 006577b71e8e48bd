"""The control API of the stand-in, under ``/_…``: everything a test or a demonstration may ask of it. JSON in, JSON out.

``GET  /_counters``            calls by operation, bytes of contents, connections, greatest numbers at the same time
``POST /_counters/reset``
``POST /_faults``              one fault or a list of them, added; ``GET`` shows them with their hits; ``DELETE`` ends them all.
    ``kind``: ``status`` (answers ``status``, ``body``, ``content_type``, ``headers``), ``disconnect``, ``slow`` (waits
    ``seconds`` before it answers), ``abort`` (reset after ``after_bytes`` of the content), ``short`` (ends cleanly there),
    ``stall`` (stops there for ``seconds``), ``drip`` (content and list: ``after_bytes`` each ``seconds``),
    ``cut_error`` (an error with ``status`` whose body ends after ``after_bytes``), ``drip_error`` (the same, but its body comes
    ``after_bytes`` each ``seconds``), ``grow`` (list: one image more is there after each listing of ``path``),
    ``corrupt`` (zeros), ``html`` (200 and a page), ``expire`` (the caller's access tokens end with this call), ``swap`` (token:
    the access token is ``body``)
    ``operation``: ``content``, ``list``, ``systems``, ``system``, ``token``, ``revoke``, ``tenant``, ``authorize``, ``any``
    ``path`` (a regular expression searched in ``system/path``, or the grant), ``user``, ``skip`` (calls left alone first),
    ``every`` (each n-th call), ``times`` (how often at most), ``per_path`` (count each path by itself)
``POST /_settings``            any of ``access_seconds, refresh_seconds, code_seconds, token_status, latency_ms,
                               regex_full_match, idle_seconds, refresh`` (``works``, ``none``: no refresh tokens are given,
                               ``refused``: they are given and never accepted)
``POST /_users``               ``username``, ``service``
``POST /_clients``             ``client_id``, ``callback_url``, ``client_key`` (made if missing); the answer shows the key
``POST /_systems``             ``id, owner, shared_with, system_type, enabled, has_credentials, description, title, notes``
``POST /_flights``             ``system, flight, count`` and ``size_bytes, modified, first``: a generated flight; ``flights``: many of
                               them by name; ``smallest``: of the smallest photo there is
``POST /_files``               ``system, path``, ``action``: ``put`` (``photo`` number, or ``content`` in base64;
                               ``size_bytes, modified, mime``), ``link`` (``target``), ``directory``, ``remove``
``POST /_tokens``              ``username, kind, client_id, lifetime``, ``claims`` (changed), ``without`` (left out); kinds:
                               ``access, refresh, pair, service, forged, tampered, none, hs256, wrong_tenant,
                               wrong_issuer, expired``
``POST /_tokens/expire``       ``username`` (empty: everybody): access tokens given out so far count as expired
``POST /_key/rotate``          the tenant gets another key
"""
import base64
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from . import jwts
from .flights import generated_flight
from .http import Answer, Handler
from .tokens import end_access_tokens, note_issued
from .tree import Link
from .world import Fault, System


def control(request: Handler, name: str) -> NoReturn:
    """Answer a call of the control API."""
    method = f"{request.command} {name}"
    action = ACTIONS.get(method)
    if action is None:
        raise Answer(404, {"error": f"no {method}"})
    try:
        raise Answer(200, action(request, request.json_body()))
    except (KeyError, TypeError, ValueError, LookupError) as error:
        raise Answer(400, {"error": f"{type(error).__name__}: {error}"}) from None


def _counters(request: Handler, body: Any) -> Any:
    world = request.world
    with world.lock:
        return {"calls": dict(world.counters), "peaks": dict(world.peaks), "running": dict(world.running)}


def _reset(request: Handler, body: Any) -> Any:
    request.world.reset_counters()
    return {}


def _faults(request: Handler, body: Any) -> Any:
    made = [Fault(**each) for each in (body if isinstance(body, list) else [body])]
    with request.world.lock:
        request.world.faults += made
    return {"faults": len(request.world.faults)}


def _show_faults(request: Handler, body: Any) -> Any:
    with request.world.lock:
        return {"faults": [{"kind": each.kind, "operation": each.operation, "hits": each.hits}
                           for each in request.world.faults]}


def _end_faults(request: Handler, body: Any) -> Any:
    with request.world.lock:
        request.world.faults.clear()
    return {}


def _settings(request: Handler, body: Any) -> Any:
    unknown = set(body) - set(request.world.settings)
    if body.get("refresh", "works") not in ("works", "none", "refused"):
        raise ValueError("refresh is works, none or refused")
    if unknown:
        raise ValueError(f"unknown settings: {sorted(unknown)}")
    with request.world.lock:
        request.world.settings.update(body)
        return dict(request.world.settings)


def _users(request: Handler, body: Any) -> Any:
    request.world.add_user(body["username"], "service" if body.get("service") else "user")
    return {"username": body["username"]}


def _clients(request: Handler, body: Any) -> Any:
    return asdict(request.world.add_client(body["client_id"], body["callback_url"], body.get("client_key", "")))


def _systems(request: Handler, body: Any) -> Any:
    return {"id": request.world.add_system(System(**body)).id}


def _flights(request: Handler, body: Any) -> Any:
    body = dict(body)
    system = request.world.systems[body.pop("system")]
    names, count = body.pop("flights", None) or [body.pop("flight")], body.pop("count")
    photo = min(request.world.photos, key=lambda path: path.stat().st_size) if body.pop("smallest", False) else request.world.photos[0]
    for name in names:
        generated_flight(system, name, count, photo, **body)
    return {}


def _files(request: Handler, body: Any) -> Any:
    tree = request.world.systems[body["system"]].tree
    action, path = body.get("action", "put"), body["path"]
    if action == "put":
        photo: Path = request.world.photos[body.get("photo", 0) % len(request.world.photos)]
        if "content" in body:
            photo = request.world.keep(base64.b64decode(body["content"]))
        tree.put_file(path, photo, size=body.get("size_bytes"), modified=body.get("modified", time.time()),
                      mime=body.get("mime", ""))
    elif action == "link":
        tree.put(path, Link(body["target"]))
    elif action == "directory":
        tree.make_directory(path)
    elif action == "remove":
        tree.remove(path)
    else:
        raise ValueError(f"unknown action {action}")
    return {}


@lru_cache(maxsize=1)
def _forger() -> jwts.SigningKey:
    """A key that is not the tenant's."""
    return jwts.SigningKey()


def _tokens(request: Handler, body: Any) -> Any:
    world = request.world
    kind, username = body.get("kind", "access"), body["username"]
    if kind == "pair":
        pair = world.make_tokens(username, body.get("client_id", ""))
        note_issued(request, username, pair)
        return pair
    more = {
        "refresh": {"token_type": "refresh"}, "service": {"account_type": "service"}, "expired": {"lifetime": -60},
    }.get(kind, {})
    tenant = "othertenant" if kind == "wrong_tenant" else world.tenant
    issuer = "https://elsewhere.tapis.io/v3/tokens" if kind == "wrong_issuer" else world.issuer
    claims = jwts.claims_for(
        issuer, tenant, username, client_id=body.get("client_id", ""),
        **{"lifetime": body.get("lifetime", 14400), **more},
    )
    claims.update(body.get("claims", {}))
    for name in body.get("without", ()):
        del claims[name]
    if kind == "none":
        return {"token": jwts.unsigned(claims)}
    if kind == "hs256":
        return {"token": jwts.confused(claims, world.key.public_pem)}
    if kind == "forged":
        return {"token": _forger().sign(claims)}
    if kind == "tampered":
        other = {**claims, "sub": f"nobody@{tenant}", "tapis/username": "nobody"}
        return {"token": jwts.tampered(world.key.sign(other), **claims)}
    token = world.key.sign(claims)
    note_issued(request, username, {"access_token": claims})
    return {"token": token}


def _expire(request: Handler, body: Any) -> Any:
    return {"ended": end_access_tokens(request.world, body.get("username", ""))}


def _rotate(request: Handler, body: Any) -> Any:
    request.world.key = jwts.SigningKey()
    return {}


ACTIONS = {
    "GET counters": _counters, "POST counters/reset": _reset, "POST faults": _faults, "GET faults": _show_faults,
    "DELETE faults": _end_faults, "POST settings": _settings, "POST users": _users, "POST clients": _clients,
    "POST systems": _systems, "POST flights": _flights, "POST files": _files, "POST tokens": _tokens,
    "POST tokens/expire": _expire, "POST key/rotate": _rotate,
}
