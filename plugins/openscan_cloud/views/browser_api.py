"""The API for our pages' scripts: uploads, scans, tokens. For browsers only: with a session or the visitor's cookie, and a CSRF check."""
import functools
import json
import re
from pathlib import Path
from typing import Any, Callable

from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseNotModified
from django.utils import timezone

from app_extensions.openscan import links, page_links
from app_extensions.openscan.accounts import ledger, self_service, tokens, visitors
from app_extensions.openscan.accounts.visitors import Visitor
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import browser, scans
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.processing import again, status
from app_extensions.openscan.results import model_view
from app_extensions.openscan.upkeep import scan_list, scan_page

from .http import answer, json_view, method_not_allowed
from .visitor import sign_in, visitor_of

_READ = ["GET", "HEAD"]
_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_MOST_TASKS = 100


def api_view(*methods: str) -> "Callable[[Callable[..., dict]], Callable[..., HttpResponse]]":
    """Decorate a view of the pages' API: `view(request, visitor, …)` returns the content of the JSON answer."""

    def decorate(view: Callable[..., dict]) -> Callable[..., HttpResponse]:
        @json_view
        @functools.wraps(view)
        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method not in methods:
                return method_not_allowed(list(methods))
            return answer(view(request, visitor_of(request), *args, **kwargs))

        return answered

    return decorate


def body_of(request: HttpRequest) -> "dict[str, Any]":
    """The request's JSON object. Raises OpenScanError (400) if the body is something else."""
    try:
        content = json.loads(request.body or b"{}")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise OpenScanError("The request's body is not a JSON object; reload the page and try again.")
    return content


def _text_of(content: "dict[str, Any]", name: str) -> str:
    """A text field of a JSON object; empty if it is missing. Raises OpenScanError (400) for a value of another type."""
    value = content.get(name, "")
    if not isinstance(value, str):
        raise OpenScanError(f"The field {name} must be text.")
    return value


def token_row(token: Token) -> "dict[str, Any]":
    """A token's credit and limits, so that pages can check uploads in advance. The token's text is not included."""
    ledger.refill(token)
    return {
        "id": token.pk, "prefix": token.prefix, "kind": token.kind, "name": token.person or token.prefix,
        "credit": token.credit_bytes, "daily": token.daily_bytes, "limit_filesize": token.limit_filesize_bytes,
        "limit_photos": token.limit_photos, "limit_part": token.limit_part_bytes, "project": token.webodm_project_id,
    }


@api_view("GET")
def me_view(request: HttpRequest, visitor: Visitor) -> dict:
    """The visitor's usable tokens, and the limits that a page can check before it sends anything."""
    if visitor.user is None and visitor.token is None:
        raise OpenScanError(visitors.SIGN_IN_SENTENCE, visitors.SIGN_IN)
    usable = visitor.tokens().filter(revoked_at=None).order_by("-last_used_at", "pk")
    return {"tokens": [token_row(token) for token in usable[:100]], "least_photos": conf.least_photos,
            "slice_bytes": browser.SLICE_BYTES}


@api_view("GET", "POST")
def uploads_view(request: HttpRequest, visitor: Visitor) -> dict:
    """GET: unfinished uploads. POST: begin an upload, or continue the one with the same name and files."""
    if request.method == "GET":
        return {"uploads": [_upload_row(scan) for scan in browser.unfinished(visitor.tokens())[:20]]}
    content = body_of(request)
    token_id = content.get("token")
    if token_id is not None and (not isinstance(token_id, int) or isinstance(token_id, bool)):
        raise OpenScanError("The token has to be the number of one of your tokens; reload the page and choose it again.")
    token = visitor.usable_token(token_id)
    name = content.get("name")
    if not isinstance(name, str):
        raise OpenScanError("The scan has no name; give it one.")
    base_url = links.base_url(request)
    if "archive" in content:
        scan = browser.create_archive_upload(
            token, name, content["archive"], content.get("size"), content.get("photos"), address=visitor.address, base_url=base_url)
    else:
        scan = browser.create_upload(token, name, content.get("files"), address=visitor.address, base_url=base_url)
    return _upload(scan)


@api_view("GET", "POST")
def upload_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """GET: what has arrived of an upload. POST: the same, but first renew the links for their full time."""
    scan = visitors.require_own(visitor, key)
    if request.method == "POST":
        scan = browser.renew_links(scan, base_url=links.base_url(request))
    return _upload(scan)


@api_view("POST")
def start_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """Start processing when all files are there. Calling it again does nothing and is no error."""
    scan = visitors.require_own(visitor, key)
    scans.start_scan(scan.token, scan.name, scan.client_address)
    return {"key": page_links.page_key(scan)}


def _upload_row(scan: Scan) -> "dict[str, Any]":
    received = scan.parts.exclude(size_bytes=None).count()
    return {"key": page_links.page_key(scan), "name": scan.name, "token": scan.token_id, "files": scan.parts_count,
            "received": received, "bytes": scan.declared_bytes, "received_bytes": scan.received_bytes,
            "created_at": scan.created_at.isoformat(), "archive": scan.browser_upload.archive}


def _upload(scan: Scan) -> "dict[str, Any]":
    states = browser.file_states(scan)
    return {**_upload_row(scan), "state": scan.state, "links": [[state.path, state.size_bytes, state.link] for state in states]}


@api_view("POST")
def reset_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """Delete a scan: its photos, its model, and its hold on the credit."""
    scan = visitors.require_own(visitor, key)
    scans.reset_scan_row(scan, why="Its owner reset it on the page.")
    return {}


@api_view("GET")
def scan_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """A scan, as its page shows it."""
    return scan_page.for_page(visitor, visitors.find_access(visitor, key))


@api_view("GET")
def output_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """The processing node's output, for the scan's owner."""
    return {"text": scan_page.output_of(visitors.require_own(visitor, key))}


@api_view("POST")
def share_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """Make a link for sharing the scan for some days."""
    return scan_page.share(visitors.require_own(visitor, key), body_of(request).get("days"), links.base_url(request))


@api_view("POST")
def retry_view(request: HttpRequest, visitor: Visitor, key: str) -> dict:
    """Process a scan again, free of charge."""
    actor = visitor.user.get_username() if visitor.user is not None else ""
    again.run_again(visitors.require_own(visitor, key), body_of(request).get("preset", ""), actor)
    return {}


@json_view
def model_file_view(request: HttpRequest, key: str) -> HttpResponse:
    """The model as a GLB file, for the viewer on the page."""
    if request.method not in _READ:
        return method_not_allowed(_READ)
    model = scan_page.model_for(visitors.find_access(visitor_of(request), key))
    return _file(request, model.path, "model/gltf-binary", model.version)


@json_view
def picture_view(request: HttpRequest, key: str) -> HttpResponse:
    """A small picture of the scan. Raises OpenScanError (404) if there is none."""
    if request.method not in _READ:
        return method_not_allowed(_READ)
    found = model_view.picture(visitors.find_access(visitor_of(request), key).scan)
    if found is None:
        raise OpenScanError("There is no picture of this scan.", 404)
    return _file(request, found, "image/jpeg", found.stem)


def _file(request: HttpRequest, path: Path, kind: str, version: str) -> HttpResponse:
    """One of our files for a page. The browser caches it, and asks each time whether it has changed."""
    tag = f'"{version}"'
    if request.META.get("HTTP_IF_NONE_MATCH", "") == tag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = FileResponse(path.open("rb"), content_type=kind)  # closes it
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    response["X-Content-Type-Options"] = "nosniff"
    return response


@api_view("GET")
def scans_view(request: HttpRequest, visitor: Visitor) -> dict:
    """A page of the visitor's scans."""
    if visitor.user is None and visitor.token is None:
        raise OpenScanError(visitors.SIGN_IN_SENTENCE, visitors.SIGN_IN)
    asked = request.GET
    return scan_list.page_of_scans(
        visitor, search=asked.get("q", ""), group=asked.get("group", ""), sort=asked.get("sort") or "newest",
        token_id=asked.get("token", ""), page=asked.get("page") or "1")


@api_view("GET", "POST")
def tokens_view(request: HttpRequest, visitor: Visitor) -> dict:
    """GET: the visitor's tokens. POST: make a token if the site allows it. Only this answer has the token's text."""
    if request.method == "POST":
        if visitor.user is None:
            raise OpenScanError("Sign in to WebODM to make a token, or ask for one.", visitors.FORBIDDEN)
        content = body_of(request)
        forename, surname, mail = (_text_of(content, name) for name in ("forename", "surname", "mail"))
        token, text = self_service.create_own(visitor.user, forename, surname, mail)
        return {"id": token.pk, "text": text}
    if visitor.user is None and visitor.token is None:
        raise OpenScanError(visitors.SIGN_IN_SENTENCE, visitors.SIGN_IN)
    mine = visitor.tokens().order_by("revoked_at", "-pk")[:200]
    return {"tokens": [_token_card(token, visitor) for token in mine],
            "may_create": visitor.user is not None and self_service.may_create(visitor.user)}


@api_view("GET")
def ledger_view(request: HttpRequest, visitor: Visitor, token_id: str) -> dict:
    """One page of a token's ledger, as readable entries."""
    before = request.GET.get("before", "")
    entries = self_service.entries_in_words(_own_token(visitor, token_id), int(before) if before.isdecimal() and len(before) < 10 else 0)
    return {"entries": entries, "more": len(entries) == self_service.MOST_ENTRIES}


@api_view("GET")
def seen_view(request: HttpRequest, visitor: Visitor, token_id: str) -> dict:
    """When a program or rig last used a token. The page polls this while it waits for a rig's first contact."""
    at = _own_token(visitor, token_id).last_used_at
    return {"seen_at": at.isoformat() if at else "", "now": timezone.now().isoformat()}


@json_view
def rotate_view(request: HttpRequest, token_id: str) -> HttpResponse:
    """Give a token a new text, which is shown once. A visitor who signed in with the token stays signed in."""
    if request.method != "POST":
        return method_not_allowed(["POST"])
    visitor = visitor_of(request)
    token = _changeable_token(visitor, token_id)
    response = answer({"id": token.pk, "text": self_service.rotate(token)})
    if visitor.token is not None:
        sign_in(response, token, request)
    return response


@api_view("POST")
def revoke_view(request: HttpRequest, visitor: Visitor, token_id: str) -> dict:
    """End a token."""
    tokens.revoke(_changeable_token(visitor, token_id))
    return {}


@api_view("POST")
def credit_view(request: HttpRequest, visitor: Visitor, token_id: str) -> dict:
    """Ask for more credit."""
    content = body_of(request)
    self_service.ask_for_more(_changeable_token(visitor, token_id), content.get("bytes"), content.get("reason", ""))
    return {}


def _own_token(visitor: Visitor, token_id: str) -> Token:
    found = visitor.tokens().filter(pk=int(token_id)).first()
    if found is None:
        raise OpenScanError("This is not one of your tokens.", visitors.NOT_FOUND)
    return found


def _changeable_token(visitor: Visitor, token_id: str) -> Token:
    """One of the visitor's tokens, for changing it. Everybody has a public token, so only its WebODM owner may change that one."""
    token = _own_token(visitor, token_id)
    if token.is_public and visitor.user is None:
        raise OpenScanError("A public token belongs to everybody; only its WebODM user can change it.", visitors.FORBIDDEN)
    return token


def _token_card(token: Token, visitor: Visitor) -> "dict[str, Any]":
    return {**token_row(token), "use": self_service.use_of_credit(token), "revoked": token.revoked_at is not None,
            "person": token.person, "created_at": token.created_at.isoformat(),
            "seen_at": token.last_used_at.isoformat() if token.last_used_at else "",
            "may_change": token.revoked_at is None and (not token.is_public or visitor.user is not None),
            "asked": token.credit_requests.filter(decided_at=None).exists()}


@api_view("GET")
def task_view(request: HttpRequest, visitor: Visitor, task_id: str) -> dict:
    """The scan of a WebODM task, for the dashboard. `scan` is null if the task has none that is the user's."""
    return {"scan": _scans_of(visitor, [task_id]).get(task_id)}


@api_view("GET")
def tasks_view(request: HttpRequest, visitor: Visitor) -> dict:
    """The scans of the WebODM tasks in `ids` (separated by commas), by task. Tasks that have no scan of the user's are missing."""
    ids = request.GET.get("ids", "").split(",")
    if len(ids) > _MOST_TASKS:
        raise OpenScanError(f"Ask for at most {_MOST_TASKS} tasks at a time.")
    return {"scans": _scans_of(visitor, ids)}


def _scans_of(visitor: Visitor, task_ids: "list[str]") -> "dict[str, dict]":
    """The scans of these tasks that the user may list.

    `waiting`: the scan is not released to WebODM yet; `place`: in the queue, 0 if it is not there; `told`: what it waits for.
    """
    if visitor.user is None:
        return {}
    ids = [task_id for task_id in task_ids if _TASK_ID.match(task_id)]
    scans_found = list(visitor.scans().filter(webodm_task_id__in=ids))
    known = status.Known(scans_found)
    details = {str(scan.webodm_task_id): (scan, status.scan_details(scan, known=known)) for scan in scans_found}
    return {task_id: {"key": page_links.page_key(scan), "status": found["status"], "told": found["message"],
                      "place": found["queue_position"], "waiting": scan.state in (Scan.INITIALIZED, Scan.APPROVED)}
            for task_id, (scan, found) in details.items()}
