"""Pages below ``/plugins/tapis_storage/``: systems, flights, syncs, preferences. What they do goes through the REST API."""
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from app_extensions.host import presets as host_presets
from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token

from .common import TEMPLATES, page


@page
@login_required
def flights(request: HttpRequest) -> HttpResponse:
    """The flights page."""
    tokens = TapisOAuth2Token.objects.filter(user_id=request.user.pk, client__is_active=True).select_related(
        "client", "identity")
    return render(request, TEMPLATES + "flights.html", {
        "title": "Tapis flights", "tokens": tokens, "clients": TapisOAuth2Client.objects.filter(is_active=True).exists(),
        "system_prefix": conf.system_prefix, "presets": host_presets.preset_names(request.user),
    })


ROUTES = [("$", flights)]
