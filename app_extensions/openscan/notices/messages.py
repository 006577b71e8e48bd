"""Writes the mail that people get: results and failures to owners of private tokens, requests to admins, new tokens to their persons.

Call these functions in the transaction of the event. A job sends the mail once that is committed. Public tokens have no person to
write to.
"""
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Max
from django.template.loader import render_to_string
from django.utils import timezone

from app_extensions.openscan import links, page_links
from app_extensions.openscan.conf import conf
from app_extensions.openscan.dispatch import dispatch_on_commit
from app_extensions.openscan.locks import wait_in_line
from app_extensions.openscan.models import CreditRequest, OutgoingMail, Scan, Token, TokenRequest
from app_extensions.shared.formatting import format_bytes
from app_extensions.shared.mail import deliver_due, enqueue

LONGEST_NAME = 80
MOST_SET_ASIDE = 10
MOST_REQUESTS = 20


def scan_done(scan: Scan, link: str) -> None:
    """Tell a private token's person that the model is there.

    :param link: the signed address of the result
    """
    _to_person(scan, "done", f"Your 3D model “{_short(scan.name)}” is ready", {
        "link": link,
        "size": format_bytes(scan.result_bytes),
        "expires_at": scan.result_expires_at.astimezone(timezone.utc),
    })


def scan_failed(scan: Scan) -> None:
    """Tell a private token's person that there will be no model, why, and what happened to the credit."""
    _to_person(scan, "failed", f"Your 3D model “{_short(scan.name)}” could not be made", {
        "error": scan.error,
        "credit_is_back": scan.charge in (Scan.VOIDED, Scan.REFUNDED, Scan.NOT_CHARGED),
    })


def scan_gone(scan: Scan) -> None:
    """Tell a private token's person that a finished model was deleted in WebODM before its time."""
    _to_person(scan, "gone", f"Your 3D model “{_short(scan.name)}” was deleted", {"error": scan.error})


def tell_of_requests() -> int:
    """Tell the admins in one email who has asked for a private token since the last such email.

    At most one is sent per ``conf.token_request_mail_minutes``, so that requests in bulk cannot fill mailboxes.

    :return: how many new requests there were
    """
    to = _admins()
    now = timezone.now()
    with transaction.atomic():
        wait_in_line("openscan.token-request-mail")
        new = list(TokenRequest.objects.filter(state=TokenRequest.PENDING, told_at=None).order_by("pk"))
        told_last = TokenRequest.objects.aggregate(at=Max("told_at"))["at"]
        if not to or not new or (told_last and now - told_last < timedelta(minutes=conf.token_request_mail_minutes)):
            return 0
        first = new[0]
        _send(
            "token-request", to, f"OpenScan token requested by {first.forename} {first.surname}" if len(new) == 1
            else f"{len(new)} OpenScan tokens requested", {
                "requests": new[:MOST_REQUESTS], "more": max(0, len(new) - MOST_REQUESTS),
                # Not the address that the request was sent to: the sender chooses that, and admins would log in there.
                "admin_url": f"{links.base_url()}/admin/openscan/tokenrequest/" if links.base_url() else "",
            }, reply_to=first.mail if len(new) == 1 else "")
        TokenRequest.objects.filter(pk__in=[request.pk for request in new]).update(told_at=now)
    return len(new)


def credit_requested(request: CreditRequest) -> None:
    """Tell the admins that somebody wants more credit. A reply to the mail goes to that person."""
    to = _admins()
    if to:
        base = links.base_url()
        _send("credit-request", to, f"OpenScan: {request.token.person} asks for {format_bytes(request.wanted_bytes)} of credit", {
            "request": request, "token": request.token, "wanted": format_bytes(request.wanted_bytes),
            "left": format_bytes(request.token.credit_bytes), "admin_url": f"{base}/plugins/openscan_cloud/manage/" if base else "",
        }, reply_to=request.token.mail)


def credit_granted(token: Token, amount: str) -> None:
    """Tell a private token's person that there is more credit.

    :param amount: how much, as text
    """
    if token.mail and not token.is_public:
        _send("credit", [token.mail], "You have more OpenScan credit", {
            "token": token, "amount": amount, "support_mail": conf.support_mail}, reply_to=conf.support_mail)


def send_token(token: Token, text: str, base_url: str = "") -> OutgoingMail:
    """Mail a new token to its person. It is sent only this once.

    :param text: the token; it is encrypted while it waits and wiped on delivery
    :param base_url: this WebODM's address, if no setting gives it
    """
    base_url = links.base_url() or base_url
    return _send("token", [token.mail], "Your OpenScan token", {
        "token": token, "text": text, "credit": format_bytes(token.credit_bytes),
        "limit_filesize": format_bytes(token.limit_filesize_bytes),
        "base_url": f"{base_url}/api/openscan" if base_url else "",
    }, reply_to=conf.support_mail)


def deliver() -> int:
    """Send the mail that is due. :return: how many"""
    return deliver_due(OutgoingMail)


def _to_person(scan: Scan, kind: str, subject: str, context: "dict[str, Any]") -> None:
    token = scan.token
    if token.is_public or not token.mail:
        return
    left_out = scan.set_aside.splitlines()
    context.update(
        scan=scan, person=token.person, page=_page(scan), left_out=left_out[:MOST_SET_ASIDE],
        left_out_more=max(0, len(left_out) - MOST_SET_ASIDE), support_mail=conf.support_mail,
    )
    _send(kind, [token.mail], subject, context, reply_to=conf.support_mail)


def _send(kind: str, to: "list[str]", subject: str, context: "dict[str, Any]", reply_to: str) -> OutgoingMail:
    row = enqueue(
        OutgoingMail, kind=kind, to=to, subject=" ".join(subject.split()),
        text=render_to_string(f"openscan/mail/{kind}.txt", context),
        html=render_to_string(f"openscan/mail/{kind}.html", {**context, "subject": subject}), reply_to=reply_to,
    )
    dispatch_on_commit("deliver_mails")
    return row


def _admins() -> "list[str]":
    """The addresses that requests go to."""
    return conf.admin_mails or list(
        get_user_model().objects.filter(is_superuser=True, is_active=True).exclude(email="").values_list("email", flat=True))


def _page(scan: Scan) -> str:
    """The address of a scan's page; empty if our own address is not known."""
    base = links.base_url() or scan.base_url
    return page_links.page_url(scan, base) if base else ""


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
