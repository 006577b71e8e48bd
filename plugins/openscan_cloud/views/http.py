"""Code that all calls of the rig API share: JSON for every outcome, parameters from query and body, the check for the plugin."""
import functools
import io
import json
import logging
import re
from cgi import parse_header
from typing import Any, Callable, Optional
from urllib.parse import parse_qsl

from django.core.exceptions import DisallowedHost, RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from django.views.decorators.csrf import csrf_exempt

from app_extensions.host.log_fields import REQUEST_HEADER, request_fields
from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan.accounts.addresses import client_address
from app_extensions.openscan.errors import OpenScanError

from .body import RequestBody

logger = logging.getLogger("app.logger")

PLUGIN_NAME = "openscan_cloud"
LARGEST_COMMAND_BODY_BYTES = 1_000_000
_DRAIN_MORE_BYTES = 16_000_000
_INTEGER = re.compile(r"\s*\+?([0-9]{1,18})\s*\Z", re.ASCII)


def answer(content: dict, status: int = 200) -> HttpResponse:
    """`content` as JSON that must not be cached, because answers contain links that work as keys."""
    response = JsonResponse(content, status=status)
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def refusal(sentence: str, status: int) -> HttpResponse:
    """An error in the form that clients expect: one sentence under `error`."""
    response = answer({"error": sentence}, status)
    if status in (503, 507):
        response["Retry-After"] = "60"
    return response


def rig_view(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A `json_view` for clients other than browsers, without a CSRF cookie."""
    return csrf_exempt(json_view(view))


def json_view(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a view: it answers every error in JSON, and 404 while the plugin is disabled, because root mounts stay active."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with request_fields(request) as request_id:
            response = answered(request, *args, **kwargs)
        response[REQUEST_HEADER] = request_id
        return response

    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            if not plugin_enabled(PLUGIN_NAME):
                return refusal("The OpenScan Cloud is switched off on this server; its administrator can enable the plugin.", 404)
            return view(request, *args, **kwargs)
        except OpenScanError as error:
            return refusal(error.sentence, error.status)
        except DisallowedHost:
            return refusal("The Host header is not a host name; use the server's address as it is.", 400)
        except (RequestDataTooBig, SuspiciousOperation, UnreadablePostError):
            return refusal("The request's body could not be read; send the parameters as a short form or JSON object.", 400)
        except (OperationalError, InterfaceError):
            logger.exception("OpenScan: the database did not answer")
            return refusal("The server's database does not answer just now; try again in a minute.", 503)
        except Exception:
            logger.exception("OpenScan: %s failed", view.__name__)
            return refusal("Something went wrong on the server. Its log has details for the administrator.", 500)

    return guarded


def method_not_allowed(allowed: list[str]) -> HttpResponse:
    """405 in JSON, with its Allow header."""
    response = refusal(f"This address accepts only {' and '.join(allowed)}.", 405)
    response["Allow"] = ", ".join(allowed)
    return response


def address_of(request: HttpRequest) -> str:
    """The client's address. Only trusted proxies may report it."""
    return client_address(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR", ""))


class Parameters:
    """A call's parameters, from the body (form or JSON), then from the query. If one is repeated, the first value counts."""

    def __init__(self, request: HttpRequest):
        self._values: dict[str, str] = {}
        if request.method == "POST":
            self._add(_body_pairs(request))
        self._add((key, value) for key in request.GET for value in request.GET.getlist(key)[:1])

    def _add(self, pairs: Any) -> None:
        for key, value in pairs:
            self._values.setdefault(key, value)

    def text(self, name: str) -> str:
        """The parameter as it was sent; empty if it is missing."""
        return self._values.get(name, "")

    def required(self, name: str) -> str:
        """The parameter. Raises OpenScanError (400) if it is missing or blank."""
        value = self.text(name)
        if not value.strip():
            raise OpenScanError(f"The parameter {name} is missing; send {name}=….")
        return value

    def integer(self, name: str) -> int:
        """The parameter as a whole number ≥ 0. Raises OpenScanError (400) if it is missing or not such a number."""
        match = _INTEGER.match(self.required(name))
        if not match:
            raise OpenScanError(f"The parameter {name} must be a whole number of at most 18 digits, like {name}=1.")
        return int(match.group(1))


def _body_pairs(request: HttpRequest) -> list[tuple[str, str]]:
    """The parameters in a body of any supported type. Also reads chunked bodies, which Django treats as empty."""
    kind = request.META.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
    sent = RequestBody(request.environ)
    try:
        body = sent.read_small(LARGEST_COMMAND_BODY_BYTES)
    except OpenScanError:
        sent.drain(_DRAIN_MORE_BYTES)
        raise
    if kind == "multipart/form-data":
        return _multipart_pairs(request, body)
    if kind == "application/json":
        return _json_pairs(body)
    if kind in ("application/x-www-form-urlencoded", ""):
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return []


class _NoFiles(FileUploadHandler):
    """Skips files in a form. Django's and WebODM's own handlers would write anybody's files to the disk."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        raise SkipFile

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Never called, because all files are skipped."""

    def file_complete(self, file_size: int) -> None:
        """Never called, because all files are skipped."""


def _multipart_pairs(request: HttpRequest, body: bytes) -> list[tuple[str, str]]:
    """The fields of a form, as sent by curl's `-F`, without files."""
    if not body:
        return []
    boundary = parse_header(request.META["CONTENT_TYPE"])[1].get("boundary")
    if not boundary:
        raise OpenScanError("The request's multipart form names no boundary; let your program set the Content-Type itself.")
    meta = {"CONTENT_TYPE": f'multipart/form-data; boundary="{boundary}"', "CONTENT_LENGTH": str(len(body))}
    try:
        fields, _ = MultiPartParser(meta, io.BytesIO(body), [_NoFiles()]).parse()
    except (MultiPartParserError, ValueError) as error:
        raise OpenScanError("The request's multipart form is broken; send a short form or a JSON object.") from error
    return [(key, fields.getlist(key)[0]) for key in fields]


def _json_pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        content = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise OpenScanError("The request's body is not JSON; send an object like {\"token\": \"…\"}.") from error
    if not isinstance(content, dict):
        raise OpenScanError("The request's JSON must be an object like {\"token\": \"…\"}.")
    return [(key, text) for key, text in ((key, _json_text(value)) for key, value in content.items()) if text is not None]


def _json_text(value: Any) -> Optional[str]:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    return None
