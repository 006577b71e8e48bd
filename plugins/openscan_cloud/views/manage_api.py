"""The API for the administrators' page. For WebODM's superusers only."""
from typing import Callable

from django.http import HttpRequest

from app_extensions.openscan import links
from app_extensions.openscan.accounts import self_service, token_requests, visitors
from app_extensions.openscan.accounts.visitors import Visitor
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import CreditRequest, Scan, Token, TokenRequest
from app_extensions.openscan.processing import queue
from app_extensions.openscan.upkeep import site

from .browser_api import api_view, body_of


def _require_admin(visitor: Visitor) -> str:
    """The administrator's name. Raises OpenScanError: 401 if nobody is signed in, 403 if the user is not a superuser."""
    if visitor.user is None:
        raise OpenScanError(visitors.SIGN_IN_SENTENCE, visitors.SIGN_IN)
    if not visitor.is_admin:
        raise OpenScanError("Only WebODM's administrators may do this.", visitors.FORBIDDEN)
    return visitor.user.get_username()


@api_view("GET")
def manage_view(request: HttpRequest, visitor: Visitor) -> dict:
    """Everything that the page shows, except the plots."""
    _require_admin(visitor)
    return site.for_admin(visitor.user)


@api_view("GET")
def figures_view(request: HttpRequest, visitor: Visitor) -> dict:
    """The plots' numbers: per hour of the last day, or per day of the last month."""
    _require_admin(visitor)
    return site.figures(request.GET.get("by") == "day")


@api_view("POST")
def request_view(request: HttpRequest, visitor: Visitor, number: str, what: str) -> dict:
    """Approve or refuse a request for a token."""
    actor = _require_admin(visitor)
    row = TokenRequest.objects.filter(pk=int(number)).first()
    if row is None:
        raise OpenScanError("This request no longer exists.", visitors.NOT_FOUND)
    if what == "approve":
        token_requests.approve(row, actor=actor, base_url=links.base_url(request))
    else:
        token_requests.refuse(row, actor)
    return {}


@api_view("POST")
def credit_request_view(request: HttpRequest, visitor: Visitor, number: str) -> dict:
    """Decide on a request for credit: `bytes` is the amount to grant; without it, the request is refused."""
    actor = _require_admin(visitor)
    row = CreditRequest.objects.filter(pk=int(number)).first()
    granted = body_of(request).get("bytes")
    if row is None:
        raise OpenScanError("This request no longer exists.", visitors.NOT_FOUND)
    if granted is not None and (not isinstance(granted, int) or isinstance(granted, bool) or granted <= 0):
        raise OpenScanError("The credit to grant must be a number of bytes above zero.")
    self_service.decide(row, granted, actor)
    return {}


@api_view("POST")
def mail_anew_view(request: HttpRequest, visitor: Visitor, number: str) -> dict:
    """Mail a new text of a token to its owner, because the first mail was lost."""
    _require_admin(visitor)
    token = Token.objects.filter(pk=int(number)).first()
    if token is None:
        raise OpenScanError("This token no longer exists.", visitors.NOT_FOUND)
    self_service.mail_anew(token, links.base_url(request))
    return {}


#: What an administrator can do with a waiting scan.
_QUEUE: "dict[str, Callable[[Scan], bool]]" = {"hold": queue.hold, "release": queue.let_go, "front": queue.move_to_front}


@api_view("POST")
def queue_view(request: HttpRequest, visitor: Visitor, key: str, what: str) -> dict:
    """Hold a waiting scan back, release it, or move it to the front of the queue."""
    _require_admin(visitor)
    if not _QUEUE[what](visitors.require_own(visitor, key)):
        raise OpenScanError("This scan is no longer waiting in the queue.", self_service.CONFLICT)
    return {}
