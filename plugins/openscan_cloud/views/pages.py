"""Pages for people. Makers need no WebODM account, so their pages are at the root. Operators' pages are inside WebODM."""
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan import links
from app_extensions.openscan.accounts import token_requests, tokens, visitors
from app_extensions.openscan.accounts.addresses import network_of
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.upkeep import overview
from app_extensions.shared.formatting import format_bytes, format_duration

from .http import PLUGIN_NAME, address_of
from .visitor import INSIDE, OUTSIDE, show, sign_in, sign_out, visitor_of


@sensitive_post_parameters("token")
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def maker_page(request: HttpRequest) -> HttpResponse:
    """How to connect a rig. With a token in the form (never in the address), also its credit and scans; the token is remembered."""
    if not plugin_enabled(PLUGIN_NAME):
        raise Http404
    base_url = links.base_url(request)
    context = {
        "base_url": base_url, "host": f"{base_url}/api/openscan", "host_classic": f"{base_url}/api/plugins/{PLUGIN_NAME}",
        "basic_user": conf.basic_user, "basic_password": conf.basic_password, "result_days": conf.result_days,
        "limit_filesize": format_bytes(conf.limit_filesize_bytes), "limit_photos": conf.limit_photos,
        "address_days": conf.address_days, "refused_days": conf.refused_days, "mail_days": conf.mail_days,
        "support_mail": conf.support_mail, "upload_hours": conf.upload_link_seconds // 3600,
    }
    status, token = 200, visitor_of(request).token
    if request.method == "POST":
        try:
            token = tokens.require_token(request.POST.get("token"))
        except OpenScanError as error:
            context["error"], status, token = error.sentence, error.status, None
    if token is not None:
        context.update(overview.for_token(token, base_url), visitor_token=token)
    response = show(request, "maker.html", _with_words(context), status=status)
    if token is not None and request.method == "POST":
        sign_in(response, token, request)
    return response


@csrf_protect
@require_POST
def leave_page(request: HttpRequest) -> HttpResponse:
    """Forget the token, for example on a shared computer."""
    response = redirect(OUTSIDE)
    sign_out(response)
    return response


@csrf_protect
@require_http_methods(["GET", "HEAD"])
def upload_page(request: HttpRequest) -> HttpResponse:
    """Upload photos from the browser. Outside WebODM, visitors must give a token first."""
    visitor = visitor_of(request)
    if visitor.user is None and visitor.token is None:
        return redirect(OUTSIDE)
    return show(request, "upload.html", {"title": "Upload", "here": "upload", "visitor_token": visitor.token})


@csrf_protect
@require_http_methods(["GET", "HEAD"])
def scans_page(request: HttpRequest) -> HttpResponse:
    """The visitor's scans, with a picture of each."""
    visitor = visitor_of(request)
    if visitor.user is None and visitor.token is None:
        return redirect(OUTSIDE)
    return show(request, "scans.html", {"title": "Scans", "here": "scans", "visitor_token": visitor.token})


@csrf_protect
@require_http_methods(["GET", "HEAD"])
def tokens_page(request: HttpRequest) -> HttpResponse:
    """The visitor's tokens: their credit, what used it, and how to set up a rig with one."""
    visitor = visitor_of(request)
    if visitor.user is None and visitor.token is None:
        return redirect(OUTSIDE)
    context = {"title": "Tokens", "here": "tokens", "visitor_token": visitor.token, "host": f"{links.base_url(request)}/api/openscan",
               "basic_user": conf.basic_user, "basic_password": conf.basic_password}
    return show(request, "tokens.html", context)


@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def ask_page(request: HttpRequest) -> HttpResponse:
    """Ask for a private token. An administrator decides. The answer does not reveal whether the address is known."""
    mail, forename, lastname = (request.POST.get(name, "") for name in ("mail", "forename", "lastname"))
    context: dict[str, Any] = {
        "title": "Ask for a token", "here": "ask", "visitor_token": visitor_of(request).token, "result_days": conf.result_days,
        "form": {"mail": mail, "forename": forename, "lastname": lastname}}
    status = 200
    if request.method == "POST":
        try:
            token_requests.request_token(mail, forename, lastname, network_of(address_of(request)))
            context["asked"] = True
        except OpenScanError as error:
            context["error"], status = error.sentence, error.status
    return show(request, "ask.html", context, status=status)


@csrf_protect
@require_http_methods(["GET", "HEAD"])
def public_page(request: HttpRequest) -> HttpResponse:
    """The site's public token, its credit left today, what happens to the photos, and the API. 404 unless a setting names the token."""
    token = tokens.find_token(conf.public_token)
    if token is None or not token.is_public or token.revoked_at:
        raise Http404
    context = _with_words(overview.for_token(token, links.base_url(request)))
    return show(request, "public.html", {**context, "title": "The public token", "here": "public", "text": conf.public_token,
                                         "visitor_token": visitor_of(request).token, "result_days": conf.result_days})


@csrf_protect
@require_http_methods(["GET", "HEAD"])
def scan_page(request: HttpRequest, key: str) -> HttpResponse:
    """One scan: its progress, its model, and its actions. The link alone is enough to view it."""
    visitor = visitor_of(request)
    context = {"title": "Scan", "here": "scan", "visitor_token": visitor.token, "key": key}
    try:
        scan = visitors.find_access(visitor, key).scan
    except OpenScanError as error:
        return show(request, "scan.html", {**context, "error": error.sentence}, status=error.status)
    return show(request, "scan.html", {**context, "scan": scan, "title": scan.name})


@login_required
@require_http_methods(["GET", "HEAD"])
def operator_page(request: HttpRequest) -> HttpResponse:
    """Queue, scans and tokens: all of them for superusers, only their own for other users."""
    context = {"here": "overview", "maker_url": OUTSIDE, **overview.for_operator(request.user)}
    return show(request, "operator.html", _with_words(context))


@require_http_methods(["GET", "HEAD"])
def manage_page(request: HttpRequest) -> HttpResponse:
    """For administrators: decide on requests, manage the queue, see failures and statistics."""
    if not request.user.is_superuser:
        return redirect(INSIDE)
    return show(request, "manage.html", {"title": "OpenScan administration", "here": "manage"})


def _with_words(context: dict) -> dict:
    """Add readable texts for the numbers in a page's context."""
    if "estimate_seconds" in context:
        seconds = context["estimate_seconds"]
        context["estimate"] = format_duration(seconds) if seconds > 0 else "none"
    if "token" in context:
        token = context["token"]
        context["credit"], context["daily"] = format_bytes(token.credit_bytes), format_bytes(token.daily_bytes)
        context["limit_filesize"] = format_bytes(token.limit_filesize_bytes)
        context["limit_photos"] = token.limit_photos
    if "tokens" in context:
        context["tokens"] = [(row, format_bytes(row.token.credit_bytes), format_bytes(row.token.daily_bytes))
                             for row in context["tokens"]]
    if context.get("object_storage"):
        kept = context["object_storage"]
        kept["object_size"], kept["set_size"] = format_bytes(kept["object_bytes"]), format_bytes(kept["set_bytes"])
    return context
