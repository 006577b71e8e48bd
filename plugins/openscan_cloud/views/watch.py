"""Views for monitoring: metrics for administrators, and a health check for load balancers and the doctor."""
import base64
import binascii
from typing import Optional

from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse

from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan.upkeep.health import UNAVAILABLE, health
from app_extensions.shared.metrics import render

from .http import PLUGIN_NAME

TEXT = "text/plain; version=0.0.4; charset=utf-8"


def metrics_view(request: HttpRequest) -> HttpResponse:
    """Metrics in Prometheus' text format, for superusers. They log in by session, or by HTTP Basic like Prometheus does."""
    if not plugin_enabled(PLUGIN_NAME):
        return HttpResponse("The OpenScan Cloud is switched off on this server.\n", status=404, content_type=TEXT)
    if request.method not in ("GET", "HEAD"):
        return HttpResponse("GET only\n", status=405, content_type=TEXT)
    user = request.user if request.user.is_authenticated else _basic_user(request)
    if user is None:
        answer = HttpResponse("An administrator's login is needed.\n", status=401, content_type=TEXT)
        answer["WWW-Authenticate"] = 'Basic realm="WebODM"'
        return answer
    if not (user.is_active and user.is_superuser):
        return HttpResponse("Administrators only.\n", status=403, content_type=TEXT)
    return HttpResponse(render(), content_type=TEXT)


def _basic_user(request: HttpRequest) -> Optional[User]:
    """The WebODM user from HTTP Basic, if the password is right. The built-in pair of the rigs does not count here."""
    scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return authenticate(request, username=name, password=password) if colon else None


def health_view(request: HttpRequest) -> JsonResponse:
    """200 while this process can serve, else 503. `problems` lists what is wrong.

    `scheme` is the request's scheme as seen here, which shows whether a TLS proxy sets X-Forwarded-Proto.
    """
    found = health(PLUGIN_NAME)
    answer = JsonResponse({**found, "scheme": request.scheme}, status=503 if found["status"] == UNAVAILABLE else 200)
    answer["Cache-Control"] = "no-store"
    return answer
