"""``/api/tapis-preferences/``: the caller's preferences and mail address."""
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.tapis import preferences
from app_extensions.tapis.problems import BadInput

from .common import TapisAPIView, text_of


class PreferencesView(TapisAPIView):
    """The caller's preferences. Each key can be set by itself."""

    def get(self, request: Request) -> Response:
        """``GET``: all of them, defaults included"""
        return Response({"success": True, "preferences": preferences.as_dict(preferences.preferences_of(request.user))})

    def post(self, request: Request) -> Response:
        """``POST``: any of them, as a JSON object"""
        if hasattr(request.data, "getlist"):
            raise BadInput("body", "must be a JSON object (Content-Type: application/json)")
        changed = preferences.change(request.user, request.data)
        return Response({"success": True, "preferences": preferences.as_dict(changed)})


class EmailView(TapisAPIView):
    """The caller's mail address. Users made by a Tapis login have none at first, because Tapis does not give one."""

    def get(self, request: Request) -> Response:
        """``GET``: the address, or an empty text"""
        return Response({"success": True, "email": request.user.email})

    def post(self, request: Request) -> Response:
        """``POST {"email": "…"}``; an empty text means no mail"""
        value = text_of(request.data, "email", "-").strip()
        if value:
            try:
                validate_email(value)
            except ValidationError:
                raise BadInput("email", "must be an address such as ada@example.org, or empty for no mail") from None
        if len(value) > 254:
            raise BadInput("email", "must have at most 254 characters")
        request.user.email = value
        request.user.save(update_fields=["email"])
        return Response({"success": True, "email": value})


ROUTES = [
    (r"^api/tapis-preferences/email/?$", EmailView.as_view()),
    (r"^api/tapis-preferences/?$", PreferencesView.as_view()),
]
