"""Code that all views of the Tapis plugin share: the check that it is enabled, pages for people, JSON for programs, REST settings."""
import logging
from functools import wraps
from typing import Any, Callable

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from rest_framework import exceptions
from rest_framework.negotiation import BaseContentNegotiation, DefaultContentNegotiation
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from app_extensions.host.log_fields import REQUEST_HEADER, request_fields
from app_extensions.host.plugins import plugin_enabled
from app_extensions.tapis.login.oauth2 import SESSION_KEY
from app_extensions.tapis.problems import BadInput, TapisProblem

from ..authentication import AUTHENTICATION_CLASSES

logger = logging.getLogger("app.logger")

PLUGIN = "tapis_storage"
TEMPLATES = f"plugins/{PLUGIN}/templates/"


def require_enabled() -> None:
    """Check that the plugin is enabled, because root mounts stay active when it is disabled. :raises Http404: it is disabled"""
    if not plugin_enabled(PLUGIN):
        raise Http404("The Tapis plugin is not enabled.")


def wants_page(request: HttpRequest) -> bool:
    """Whether the request comes from a person's browser, as opposed to a program."""
    return "text/html" in request.META.get("HTTP_ACCEPT", "")


def problem_response(request: HttpRequest, problem: TapisProblem, again: str = "") -> HttpResponse:
    """A problem as a page or as JSON. :param again: address of the page's link for starting again"""
    if not wants_page(request):
        return JsonResponse(problem.as_dict(), status=problem.status)
    context = {"title": problem.error, "error": problem.error, "detail": problem.detail, "again": again}
    return render(request, TEMPLATES + "error.html", context, status=problem.status)


NUL = "must not contain a NUL character."


def refuse_nul(request: HttpRequest) -> None:
    """Refuse NUL characters, which PostgreSQL does not accept in text. :raises BadInput: the path or the query has one

    Callers check the body with ``refuse_nul_in`` once it is parsed.
    """
    if "\0" in request.path:
        raise BadInput("address", NUL)
    refuse_nul_in(request.GET, "query")


def refuse_nul_in(data: Any, whole: str) -> None:
    """Check each field of a form or a JSON object.

    :param whole: field name for the error if ``data`` is neither
    :raises BadInput: a field has a NUL character
    """
    if hasattr(data, "lists"):
        data = dict(data.lists())
    if not isinstance(data, dict):
        data = {whole: data}
    for name, value in data.items():
        if holds_nul(name) or holds_nul(value):
            raise BadInput(str(name).replace("\0", ""), NUL)


def holds_nul(value: Any) -> bool:
    """Whether any text in parsed JSON or a form has a NUL character."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(holds_nul(key) or holds_nul(item) for key, item in value.items())
    return isinstance(value, (list, tuple)) and any(map(holds_nul, value))


def is_about_nul(error: Exception) -> bool:
    """Whether the database refused a text with a NUL character, which came from a header that other code looked up."""
    return isinstance(error, ValueError) and "NUL" in str(error)


class LoginCookie:
    """Binds a Tapis login to the browser that began it. It is a signed cookie, so that anonymous requests create no sessions here.

    It behaves like the part of a session that ``login.oauth2`` needs.
    """

    NAME, SALT, PATH = "tapis_login", "tapis.login", "/api/oauth2/tapis/"
    #: Longer than a login may take, including the choice of an account.
    SECONDS = 24 * 3600

    def __init__(self, request: HttpRequest) -> None:
        kept = request.get_signed_cookie(self.NAME, default="", salt=self.SALT, max_age=self.SECONDS)
        self._values = {SESSION_KEY: kept} if kept else {}
        self._secure = request.is_secure()
        self._changed = False

    def get(self, key: str) -> Any:
        """The value, or None."""
        return self._values.get(key)

    def __getitem__(self, key: str) -> str:
        return self._values[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._values[key] = value
        self._changed = True

    def write(self, response: HttpResponse) -> None:
        """Set the cookie in the response if it has changed."""
        if self._changed:
            response.set_signed_cookie(self.NAME, self._values[SESSION_KEY], salt=self.SALT, max_age=self.SECONDS, path=self.PATH,
                                       secure=self._secure, httponly=True, samesite="Lax")


def address_of(request: HttpRequest) -> str:
    """The client's address: the peer, or what the proxy on this machine reports. It may be wrong, so use it only for counting."""
    peer = request.META.get("REMOTE_ADDR", "")
    if peer in ("", "127.0.0.1", "::1"):
        return request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()[:64] or peer
    return peer


def page(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a plain view: it only works while the plugin is enabled, is never cached, and shows problems as a page or as JSON."""

    @wraps(view)
    @never_cache
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        require_enabled()
        with request_fields(request) as request_id:
            try:
                request.tapis_login = LoginCookie(request)
                refuse_nul(request)
                if request.content_type != "application/json" and request.method == "POST":
                    refuse_nul_in(request.POST, "body")
                response = view(request, *args, **kwargs)
            except TapisProblem as problem:
                response = problem_response(request, problem, again="/api/oauth2/tapis/")
            request.tapis_login.write(response)
        response[REQUEST_HEADER] = request_id
        response["X-Frame-Options"] = "DENY"  # otherwise another site could trick users into clicking "Link"
        response["Referrer-Policy"] = "same-origin"  # the callback's address holds a code
        return response

    return guarded


class AlwaysJSON(BaseContentNegotiation):
    """Always answer with JSON, whatever the Accept header says, so that an address also works in a browser."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        """The parser for the body's type. None for an unsupported type (415)."""
        return DefaultContentNegotiation().select_parser(request, parsers)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        """The only renderer."""
        return renderers[0], renderers[0].media_type


class BodyParser(JSONParser):
    """DRF's JSON parser, but brackets that are nested thousands deep are bad input, not an internal error (500)."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Parse the body. :raises ParseError: it is not JSON"""
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise exceptions.ParseError("JSON parse error - nested too deeply") from None


class TapisAPIView(APIView):
    """Base of our REST views: JSON only, WebODM's and Tapis' logins, errors in the documented form."""

    authentication_classes = AUTHENTICATION_CLASSES
    permission_classes = (IsAuthenticated,)
    parser_classes = (BodyParser, FormParser, MultiPartParser)
    renderer_classes = (JSONRenderer,)
    content_negotiation_class = AlwaysJSON

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """Run the view, with the request's id in all log lines and in the answer."""
        with request_fields(request) as request_id:
            response = super().dispatch(request, *args, **kwargs)
        response[REQUEST_HEADER] = request_id
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before anything else, check that the plugin is enabled."""
        require_enabled()
        refuse_nul(request)
        super().initial(request, *args, **kwargs)
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            refuse_nul_in(request.data, "body")

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Forbid caching, because answers contain personal data."""
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        return response

    def handle_exception(self, exc: Exception) -> Response:
        """Answer every error as ``{"success": false, "error", "detail"}``."""
        if is_about_nul(exc):
            exc = BadInput("headers", NUL)
        if isinstance(exc, TapisProblem):
            response = Response(exc.as_dict(), status=exc.status)
            response.exception = True
            return response
        response = super().handle_exception(exc)
        detail = response.data.get("detail") if isinstance(response.data, dict) else None
        response.data = {
            "success": False, "error": getattr(exc, "error", "") or ERRORS.get(response.status_code, "Bad request"),
            "detail": str(detail if detail is not None else response.data),
        }
        if isinstance(exc, exceptions.ParseError):
            response.data.update(field="body", fields={"body": response.data["detail"]})
        return response


ERRORS = {
    401: "Not logged in", 403: "Not allowed", 404: "Not found", 405: "Method not allowed", 415: "Unsupported media type",
    429: "Too many requests", exceptions.APIException.status_code: "Internal error", 502: "Tapis is not reachable",
}


#: Most rows on one page of an answer.
MOST_ROWS = 1000


def paging(query: Any) -> "tuple[int, int]":
    """``page`` (from 1) and ``page_size`` (default 50, at most 1000) of a query. :raises BadInput: one of them is not such a number"""
    found = []
    for name, default, most in (("page", 1, 1_000_000), ("page_size", 50, MOST_ROWS)):
        text = query.get(name, str(default))
        if not (text.isdigit() and text.isascii() and len(text) < 8 and 1 <= int(text) <= most):
            raise BadInput(name, f"must be a whole number from 1 to {most}")
        found.append(int(text))
    return found[0], found[1]


def signed(names: Any) -> "list[str]":
    """The words to sort by: each name, and each with ``-`` in front for the reverse order."""
    return [sign + name for name in names for sign in ("", "-")]


def choice(query: Any, name: str, allowed: Any) -> str:
    """One of the allowed words, or "" if none is given. :raises BadInput: the word is not allowed"""
    text = query.get(name, "")
    if text and text not in allowed:
        raise BadInput(name, "must be one of " + ", ".join(allowed))
    return text


def text_of(data: Any, name: str, default: str = "") -> str:
    """A text field of a request's data. A value of another type counts as missing."""
    value = data.get(name, default) if hasattr(data, "get") else default
    return value if isinstance(value, str) else default
