"""The page below ``/plugins/tapis_storage/``: systems, flights, syncs, preferences. All of its actions use the REST API."""
import re
from urllib.parse import urlsplit

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from app_extensions.host import nodes as host_nodes
from app_extensions.host import page_policy
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
    response = render(request, TEMPLATES + "flights.html", {
        "title": "Tapis flights", "tokens": tokens, "clients": TapisOAuth2Client.objects.filter(is_active=True).exists(),
        "system_prefix": conf.system_prefix, "presets": host_presets.preset_names(request.user),
        "nodes": host_nodes.nodes_for(request.user), "tiles": conf.map_tiles, "attribution": conf.map_attribution,
    })
    response["Content-Security-Policy"] = page_policy.policy(images_from=_origin(conf.map_tiles))
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _origin(tiles: str) -> str:
    """The origin of the map's pictures, for the Content-Security-Policy. Empty if there are none."""
    if not tiles:
        return ""
    address = urlsplit(tiles)
    return f"{address.scheme}://{re.sub('{.}', '*', address.netloc)}"


ROUTES = [("$", flights)]
