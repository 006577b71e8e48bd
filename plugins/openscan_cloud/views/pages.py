"""Pages for people. Makers need no WebODM account, so theirs stands at the root; operators' is inside WebODM."""
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan import links
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.upkeep import overview
from app_extensions.shared.formatting import format_bytes, format_duration

from .http import PLUGIN_NAME

TEMPLATES = f"plugins/{PLUGIN_NAME}/templates/"


@sensitive_post_parameters("token")
@csrf_protect
@require_http_methods(["GET", "HEAD", "POST"])
def maker_page(request: HttpRequest) -> HttpResponse:
    """How to connect a rig, and, with a token in the form (never in the address), its credit and scans."""
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
    status = 200
    if request.method == "POST":
        try:
            context.update(overview.for_token(tokens.require_token(request.POST.get("token")), base_url))
        except OpenScanError as error:
            context["error"], status = error.sentence, error.status
    response = render(request, TEMPLATES + "maker.html", _with_words(context), status=status)
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


@login_required
@require_http_methods(["GET", "HEAD"])
def operator_page(request: HttpRequest) -> HttpResponse:
    """Queue, scans and tokens: all of them for a superuser, one's own for others."""
    context = {"title": "OpenScan Cloud", "maker_url": "/openscan/", **overview.for_operator(request.user)}
    response = render(request, TEMPLATES + "operator.html", _with_words(context))
    response["Cache-Control"] = "no-store"
    return response


def _with_words(context: dict) -> dict:
    """Numbers as people read them, beside the numbers."""
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
