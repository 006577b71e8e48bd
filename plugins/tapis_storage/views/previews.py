"""Previews of found flights: ask for them, poll them while they are fetched, and load their thumbnails."""
from functools import partial
from typing import Any

from django.http import HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.tapis import jobs
from app_extensions.tapis.catalog import previews
from app_extensions.tapis.catalog.flights import named_flight
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.problems import BadInput, NoClient, TapisProblem

from ..authentication import bearer
from .common import TapisAPIView
from .storage import body, flag

#: Most digits of a row's number.
MOST_DIGITS = 9


class PreviewsView(TapisAPIView):
    """Previews: when, where and with which camera a few images of each flight were taken."""

    def post(self, request: Request) -> Response:
        """``POST flight-previews/``, body ``{"flights": [...]}``, optional ``"again": true`` to fetch again. 202 while some are fetched"""
        data = body(request)
        named = _named(data.get("flights"))
        found = previews.ask(request.user, named, partial(_access, request), again=flag(data, "again"))
        return _answer(found, 202)

    def get(self, request: Request) -> Response:
        """``GET flight-previews/?ids=1,2,3``"""
        texts = [text for text in request.query_params.get("ids", "").split(",") if text]
        if not texts or len(texts) > previews.MOST_FLIGHTS or not all(map(_is_number, texts)):
            raise BadInput("ids", f"must be 1 to {previews.MOST_FLIGHTS} numbers of previews, separated by commas")
        return _answer(previews.read(request.user, map(int, texts)), 200)


class ThumbnailView(TapisAPIView):
    """The thumbnail of one image."""

    def get(self, request: Request, preview_id: str, number: str) -> HttpResponse:
        """``GET flight-previews/<preview_id>/<number>.jpg``"""
        found = previews.thumbnail_of(request.user, int(preview_id), int(number)) if _is_number(preview_id) and _is_number(number) else None
        if not found:
            raise TapisProblem("You have no such thumbnail.", status=404, error="Not found")
        response = HttpResponse(found, content_type="image/jpeg")
        response["X-Content-Type-Options"] = "nosniff"
        return response


def _is_number(text: str) -> bool:
    return text.isdigit() and text.isascii() and len(text) <= MOST_DIGITS


def _answer(found: "list[dict[str, Any]]", unfinished: int) -> Response:
    complete = all(each["state"] != "waiting" for each in found)
    return Response({"success": True, "previews": found, "count": len(found), "complete": complete}, status=200 if complete else unfinished)


def _named(flights: Any) -> "list[tuple[str, str, str]]":
    """Flight, system and tenant of each description. :raises BadInput: one is malformed; the problem has its number and field"""
    if not isinstance(flights, list) or not 0 < len(flights) <= previews.MOST_FLIGHTS:
        raise BadInput("flights", f"must be a list of 1 to {previews.MOST_FLIGHTS} flights")
    found = []
    for number, info in enumerate(flights):
        name, system_id = named_flight(info, f"flights[{number}]")
        tenant_id = info.get("tenant_id") or ""
        if not isinstance(tenant_id, str):
            raise BadInput(f"flights[{number}].tenant_id", "must be the id of a tenant")
        found.append((name, system_id, tenant_id))
    return found


def _access(request: Request, base_url: str, tenant_id: str) -> TapisAccess:
    """The caller's own access to a tenant: with the request's own Tapis token, else with the stored one.

    :raises TapisProblem: the caller has no access to this tenant
    """
    carried = bearer(request)
    if carried is not None:
        if (carried.client.base_url, carried.client.tenant_id) != (base_url, tenant_id):
            raise TapisProblem("The token belongs to another tenant than the flight.", status=403, error="Not allowed")
        return TapisAccess(request.user, carried.client, carried.access_token)
    client = jobs.client_at(request.user.pk, base_url, tenant_id)
    if client is None:
        raise NoClient("No active Tapis client serves this flight's tenant.")
    return TapisAccess(request.user, client)


ROUTES = [
    (r"^api/tapis-storage/flight-previews/?$", PreviewsView.as_view()),
    (r"^api/tapis-storage/flight-previews/(?P<preview_id>[^/]+)/(?P<number>[^/.]+)\.jpg$", ThumbnailView.as_view()),
]
