"""The stand-in's authenticator: login page, codes, tokens, revocation; and the tenant with its public key."""
import base64
import binascii
import html
import json
import secrets
import time
from functools import partial
from typing import Any, NoReturn
from urllib.parse import parse_qs

import jwt

from . import http
from .http import Answer, Handler
from .tokens import caller, note_issued
from .world import Client

tapis_json = partial(http.tapis_json, built=False)

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Tapis (stand-in)</title></head>
<body style="font-family: sans-serif; max-width: 30em; margin: 4em auto">{body}</body></html>"""
FORM = """<h1>Log in to Tapis</h1><p>A stand-in for tenant <b>{tenant}</b>: any of its users, no password.</p>
<form method="post" action="/v3/oauth2/login">{hidden}
<p><label>User <input name="username" autofocus required></label></p>
<p>Application <b>{client}</b> asks to act for you.</p>
<button name="approve" value="yes">Log in and allow</button> <button name="approve" value="no" formnovalidate>Deny</button>
</form>"""
FIELDS = ("client_id", "redirect_uri", "response_type", "state")


def page(status: int, body: str) -> Answer:
    """A page for people."""
    return Answer(status, PAGE.format(body=body), "text/html; charset=utf-8", Cache_Control="no-store")


def tenant(request: Handler, tenant_id: str) -> NoReturn:
    """``GET /v3/tenants/{tenant}``: no token needed; ``public_key`` is a PEM whose body is one unwrapped line."""
    world = request.world
    world.count("tenant")
    request.misbehave(world.fault_for("tenant"))
    if tenant_id != world.tenant:
        raise tapis_json(404, f"No tenant found with tenant_id {tenant_id}.")
    url = world.base_url
    raise tapis_json(200, "Tenant retrieved successfully.", {
        "tenant_id": world.tenant, "base_url": url, "site_id": "tacc", "token_service": url + "/v3/tokens",
        "security_kernel": url + "/v3/security", "authenticator": url + "/v3/oauth2", "owner": "nobody@example.org",
        "admin_user": "admin", "token_gen_services": ["authenticator"], "public_key": world.key.public_pem,
        "description": "A stand-in tenant.",
    })


def authorize(request: Handler) -> NoReturn:
    """``GET /v3/oauth2/authorize``: the login page."""
    request.world.count("authorize")
    request.misbehave(request.world.fault_for("authorize"))
    values = {name: request.query.get(name, "") for name in FIELDS}
    _check(request, values)
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{html.escape(value)}">' for name, value in values.items()
    )
    raise page(200, FORM.format(
        tenant=html.escape(request.world.tenant), hidden=hidden, client=html.escape(values["client_id"])
    ))


def _check(request: Handler, values: dict[str, str]) -> Client:
    client = request.world.clients.get(values["client_id"])
    if client is None:
        raise tapis_json(400, f"Invalid client: {values['client_id']}")
    if values["redirect_uri"] != client.callback_url:
        raise tapis_json(400, "redirect_uri query parameter does not match the registered callback_url for the client.")
    if values["response_type"] != "code":
        raise tapis_json(400, f"Unsupported response_type: {values['response_type']}")
    return client


def login(request: Handler) -> NoReturn:
    """What the login page sends. A denial renders a page and never redirects."""
    world = request.world
    form = {name: values[-1] for name, values in parse_qs(request.request_body.decode(), keep_blank_values=True).items()}
    values = {name: form.get(name, "") for name in FIELDS}
    client = _check(request, values)
    if form.get("approve") != "yes":
        raise page(200, "<h1>Authorization denied</h1><p>The application gets no access. You may close this page.</p>")
    username = form.get("username", "")
    if world.users.get(username) != "user":
        raise page(401, "<h1>Login failed</h1><p>No such user.</p>")
    code = secrets.token_urlsafe(24)
    with world.lock:
        world.codes[code] = {
            "client_id": client.client_id, "username": username, "redirect_uri": client.callback_url,
            "ends": time.time() + world.settings["code_seconds"],
        }
    # Not URL-encoded, as the authenticator does it.
    location = f"{client.callback_url}?code={code}&state={values['state']}"
    if not location.isprintable():
        raise tapis_json(400, "bad state")
    raise Answer(302, "", "text/html", Location=location, Cache_Control="no-store")


def _form(request: Handler) -> dict[str, Any]:
    if "json" in request.headers.get("Content-Type", ""):
        return json.loads(request.request_body or b"{}")
    return {name: values[-1] for name, values in parse_qs(request.request_body.decode()).items()}


def _client(request: Handler, form: dict[str, Any]) -> Client:
    """The client by HTTP Basic only. Its error echoes the secret, as the authenticator's does."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    client_id = client_key = ""
    if scheme.lower() == "basic":
        try:
            client_id, _, client_key = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise tapis_json(400, "Unable to parse the basic authorization header.") from None
    client = request.world.clients.get(client_id)
    if client is None or not secrets.compare_digest(client.client_key.encode(), client_key.encode()):
        shown = {"client_id": client_id or form.get("client_id"), "client_key": client_key or form.get("client_key")
                 or form.get("client_secret")}
        raise tapis_json(400, f"Invalid client credentials: {shown}; request data: {form}")
    return client


def tokens(request: Handler) -> NoReturn:
    """``POST /v3/oauth2/tokens``: codes and refresh tokens become tokens."""
    world = request.world
    form = _form(request)
    grant = form.get("grant_type", "")
    world.count(f"token.{grant}")
    fault = world.fault_for("token", grant)
    request.misbehave(fault)
    client = _client(request, form)
    if grant == "authorization_code":
        with world.lock:
            code = world.codes.pop(form.get("code", ""), None)
        if code is None or code["client_id"] != client.client_id or code["ends"] < time.time():
            raise tapis_json(400, f"Invalid authorization code: {form.get('code')}; client_key: {client.client_key}")
        if form.get("redirect_uri") != code["redirect_uri"]:
            raise tapis_json(400, f"Invalid redirect_uri; client_key: {client.client_key}")
        username = code["username"]
    elif grant == "refresh_token":
        username = _refresh(request, form.get("refresh_token", ""), client)
    else:
        raise tapis_json(400, f"Invalid grant_type {grant!r}; client_key: {client.client_key}")
    result = world.make_tokens(username, client.client_id)
    if fault and fault.kind == "swap":
        result["access_token"]["access_token"] = fault.body
    note_issued(request, username, result)
    raise tapis_json(world.settings["token_status"], "Token created successfully.", result)


def _refresh(request: Handler, token: str, client: Client) -> str:
    """The user of a refresh token. An old one keeps working after it has been used."""
    world = request.world
    try:
        claims = jwt.decode(token, world.key.public_pem, algorithms=["RS256"])
    except jwt.InvalidTokenError:
        raise tapis_json(400, f"Invalid refresh token: {token}; client_key: {client.client_key}") from None
    if claims["tapis/token_type"] != "refresh" or claims["tapis/client_id"] != client.client_id:
        raise tapis_json(400, f"Invalid refresh token; client_key: {client.client_key}")
    if claims["jti"] in world.revoked:
        raise tapis_json(500, "Token is revoked.")
    if world.settings["refresh"] == "refused":
        raise tapis_json(400, f"Refresh is not offered by this tenant; client_key: {client.client_key}")
    return claims["tapis/username"]


def revoke(request: Handler) -> NoReturn:
    """``POST /v3/oauth2/tokens/revoke``: one token a call."""
    world = request.world
    world.count("revoke")
    request.misbehave(world.fault_for("revoke"))
    token = _form(request).get("token", "")
    try:
        claims = jwt.decode(token, world.key.public_pem, algorithms=["RS256"])
    except jwt.InvalidTokenError:
        raise tapis_json(400, f"Unable to revoke token: {token}") from None
    with world.lock:
        world.revoked.add(claims["jti"])
    raise tapis_json(200, f"Token {claims['jti']} has been revoked.", "")


def userinfo(request: Handler) -> NoReturn:
    """``GET /v3/oauth2/userinfo``: the name only, as profiles are best effort."""
    raise tapis_json(200, "User profile retrieved successfully.", {"username": caller(request)})
