"""``/api/tapis-preferences/``."""
from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.tapis import preferences
from app_extensions.tapis.problems import BadInput

from .common import TapisAPIView


class PreferencesView(TapisAPIView):
    """The caller's preferences; each key can be set alone."""

    def get(self, request: Request) -> Response:
        """``GET``: all of them, defaults included"""
        return Response({"success": True, "preferences": preferences.as_dict(preferences.preferences_of(request.user))})

    def post(self, request: Request) -> Response:
        """``POST``: any of them, as a JSON object"""
        if hasattr(request.data, "getlist"):
            raise BadInput("body", "must be a JSON object (Content-Type: application/json)")
        changed = preferences.change(request.user, request.data)
        return Response({"success": True, "preferences": preferences.as_dict(changed)})


ROUTES = [(r"^api/tapis-preferences/?$", PreferencesView.as_view())]
