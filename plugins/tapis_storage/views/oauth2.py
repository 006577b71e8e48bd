"""``/api/oauth2/tapis/``: views of the Tapis login."""
import json
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.tapis import jobs
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login import identity, oauth2, tokens
from app_extensions.tapis.login.oauth2 import Login, active_client, local_path
from app_extensions.tapis.login.verification import Claims
from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.problems import BadInput, TapisProblem

from .common import TEMPLATES, TapisAPIView, address_of, page, refuse_nul_in, text_of, wants_page

BASE = "/api/oauth2/tapis/"
#: Users are warned this long before the end of a login that cannot be renewed.
WARN_SECONDS = 600
BACKEND = "django.contrib.auth.backends.ModelBackend"


def _authorize_path(client: TapisOAuth2Client, redirect_after: str = "", tenant_id: str = "") -> str:
    query = {name: value for name, value in (("tenant_id", tenant_id), ("redirect_after", redirect_after)) if value}
    return f"{BASE}authorize/{client.client_id}/" + (f"?{urlencode(query)}" if query else "")


@page
def index(request: HttpRequest) -> HttpResponse:
    """The login page, with the tenants to choose from."""
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD"])
    redirect_after = local_path(request.GET.get("redirect_after", ""), request.get_host())
    asked = redirect_after if "redirect_after" in request.GET else ""
    clients = [
        {"client_id": client.client_id, "name": client.name, "tenant_id": client.tenant_id,
         "authorize": _authorize_path(client, asked, client.tenant_id)}
        for client in TapisOAuth2Client.objects.filter(is_active=True)
    ]
    if not wants_page(request):
        return JsonResponse({"success": True, "clients": clients, "count": len(clients)})
    mine = TapisOAuth2Token.objects.filter(user_id=request.user.pk).select_related("client", "identity")
    return render(request, TEMPLATES + "login.html", {
        "title": "Tapis", "clients": clients, "tokens": mine if request.user.is_authenticated else [],
    })


@csrf_exempt
@page
def authorize(request: HttpRequest, client_id: str) -> HttpResponse:
    """GET sends the browser to Tapis. POST gives a program an address to open in the browser.

    That is our own address, not Tapis', because the state must be made in the session of the browser that opens it.
    """
    if request.method not in ("GET", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    asked = {**_body(request), **request.GET.dict()}
    tenant_id = text_of(asked, "tenant_id")
    client = active_client(client_id, tenant_id)
    redirect_after = local_path(text_of(asked, "redirect_after"), request.get_host())
    if request.method == "POST":
        path = _authorize_path(client, redirect_after if asked.get("redirect_after") else "", tenant_id)
        return JsonResponse({"success": True, "authorization_url": request.build_absolute_uri(path)})
    return HttpResponseRedirect(oauth2.begin_login(
        client, request.tapis_login, request.user, redirect_after, address_of(request)))


def _body(request: HttpRequest) -> dict[str, Any]:
    """The request's form or JSON object. :raises BadInput: the body is neither"""
    if request.content_type != "application/json" or not request.body:
        return request.POST.dict()
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise BadInput("body", "must be a JSON object.")
    refuse_nul_in(body, "body")
    return body


@page
def callback(request: HttpRequest) -> HttpResponse:
    """Tapis sends the browser back to this address with a code."""
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    try:
        done = oauth2.finish_login(
            request.GET.get("state", ""), request.GET.get("code", ""), request.tapis_login, request.user
        )
    except identity.ChoiceNeeded:
        if wants_page(request):
            return HttpResponseRedirect(BASE + "link/")
        raise
    return _logged_in(request, done)


def _logged_in(request: HttpRequest, done: Login) -> HttpResponse:
    if request.user.pk != done.identity.user_id:
        login(request, done.identity.user, backend=BACKEND)
    oauth2.tell_logged_in(done)
    if not wants_page(request) and "application/json" in request.META.get("HTTP_ACCEPT", ""):
        return JsonResponse({
            "success": True, "user": done.identity.user.username, "tapis_username": done.identity.username,
            "tenant_id": done.identity.tenant_id, "redirect_after": done.redirect_after,
        })
    return HttpResponseRedirect(done.redirect_after)


@csrf_protect
@page
def link(request: HttpRequest) -> HttpResponse:
    """The linking page, where a person chooses the WebODM account for a verified Tapis user."""
    if request.method not in ("GET", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    pending = oauth2.pending_login(request.tapis_login)
    if request.method == "POST":
        choice = request.POST.get("choice", "")
        if choice == "cancel":
            pending.state.delete()
            return HttpResponseRedirect(BASE)
        if choice not in ("link", "create"):
            raise BadInput("choice", "must be link, create or cancel.")
        return _logged_in(request, oauth2.finish_pending(pending, request.user, create=choice == "create"))
    return render(request, TEMPLATES + "link.html", {
        "title": "Tapis", "claims": pending.claims, "next": BASE + "link/",
        "new_name": _new_name(request, pending.claims),
    })


def _new_name(request: HttpRequest, claims: Claims) -> str:
    """The name of the new account that the person can choose instead of linking one. Empty if no new account is allowed."""
    may = not request.user.is_authenticated and conf.create_users and identity.is_allowed(claims)
    return identity.free_username(claims) if may else ""


@csrf_protect
@page
def disconnect(request: HttpRequest) -> HttpResponse:
    """The button on the login page that revokes and deletes one client's tokens. Programs use ``revoke/``."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.is_authenticated:
        raise TapisProblem("Sign in to WebODM first.", status=401, error="Not logged in")
    client = oauth2.client_of(request.user, request.POST.get("client_id", ""), request.POST.get("tenant_id", ""))
    problem = tokens.revoke_tokens(request.user, client)
    if problem is not None:
        raise TapisProblem(f"The tokens are deleted here, but Tapis did not revoke them: {problem.detail}", error="Disconnected here only")
    return HttpResponseRedirect(BASE)


def token_row(token: TapisOAuth2Token) -> dict[str, Any]:
    """The public fields of a stored token: everything except the tokens themselves."""
    return {
        "client_id": token.client.client_id, "client_name": token.client.name, "tenant_id": token.client.tenant_id,
        "base_url": token.client.base_url, "tapis_username": token.identity.username, "is_valid": token.is_valid,
        "is_expired": token.is_expired, "can_refresh": token.can_refresh, "expires_at": token.expires_at,
        "seconds_left": int(token.seconds_left), "invalid_reason": token.invalid_reason, "warning": _warning(token),
    }


def _warning(token: TapisOAuth2Token) -> str:
    """What the user must do before this login ends, or now that it has ended. Empty if there is nothing to do.

    Some tenants give no refresh token or refuse every refresh. Their users have to log in again every few hours.
    """
    renews = token.can_refresh and token.refresh_failed_at is None
    if token.is_valid and (renews or token.seconds_left > WARN_SECONDS):
        return ""
    if token.is_valid and not token.is_expired:
        minutes = max(1, int(token.seconds_left // 60))
        if token.can_refresh:
            return (f"Your Tapis login ends in {minutes} min, and WebODM could not renew it. Renew it now or log in to Tapis again "
                    "to keep your syncs running.")
        return f"Your Tapis login ends in {minutes} min and cannot be renewed. Log in to Tapis again to keep your syncs running."
    return "Your Tapis login has ended. Log in to Tapis again; the syncs that wait for it will continue."


class StatusView(TapisAPIView):
    """``GET status/``: who the caller is at Tapis, and how long the logins are valid."""

    def get(self, request: Request) -> Response:
        """Every login of the caller, without the tokens themselves."""
        mine = TapisOAuth2Token.objects.filter(user_id=request.user.pk).select_related("client", "identity")
        identities = TapisIdentity.objects.filter(user_id=request.user.pk)
        rows = [token_row(token) for token in mine]
        return Response({
            "success": True, "user": request.user.username, "tokens": rows, "count": len(rows),
            "authenticated": any(row["is_valid"] and (not row["is_expired"] or row["can_refresh"]) for row in rows),
            "waiting_syncs": jobs.paused().filter(user_id=request.user.pk).count(), "email": request.user.email,
            "identities": [{"subject": each.subject, "issuer": each.issuer} for each in identities],
        })


class RefreshView(TapisAPIView):
    """``POST refresh/<client_id>/``."""

    def post(self, request: Request, client_id: str) -> Response:
        """Refresh the caller's stored token now."""
        client = active_client(client_id, text_of(request.data, "tenant_id") or request.GET.get("tenant_id", ""))
        tokens.access_token_for(request.user, client, force=True)
        token = TapisOAuth2Token.objects.select_related("client", "identity").get(user_id=request.user.pk, client=client)
        return Response({"success": True, "refreshed_at": token.refreshed_at, **token_row(token)})


class RevokeView(TapisAPIView):
    """``POST revoke/<client_id>/`` (or DELETE)."""

    def post(self, request: Request, client_id: str) -> Response:
        """Revoke the caller's tokens at Tapis and delete them here."""
        tenant_id = text_of(request.data, "tenant_id") or request.GET.get("tenant_id", "")
        problem = tokens.revoke_tokens(request.user, oauth2.client_of(request.user, client_id, tenant_id))
        body = {"success": True, "message": "The Tapis login is revoked.", "revoked_at_tapis": problem is None}
        if problem is not None:
            body["message"] = "The tokens are deleted here, but Tapis did not revoke them."
            body["detail"] = problem.detail
        return Response(body)

    delete = post


#: Patterns for root mounts: they start with ``^`` and end with ``$``.
ROUTES = (
    (r"^api/oauth2/tapis/?$", index),
    (r"^api/oauth2/tapis/authorize/(?P<client_id>[A-Za-z0-9._@-]+)/?$", authorize),
    (r"^api/oauth2/tapis/callback/?$", callback),
    (r"^api/oauth2/tapis/link/?$", link),
    (r"^api/oauth2/tapis/disconnect/?$", disconnect),
    (r"^api/oauth2/tapis/status/?$", StatusView.as_view()),
    (r"^api/oauth2/tapis/refresh/(?P<client_id>[A-Za-z0-9._@-]+)/?$", RefreshView.as_view()),
    (r"^api/oauth2/tapis/revoke/(?P<client_id>[A-Za-z0-9._@-]+)/?$", RevokeView.as_view()),
)
