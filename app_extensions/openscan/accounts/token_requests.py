"""Requests for a private token: made by anybody, decided by an administrator."""
import datetime
from typing import Optional

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.locks import wait_in_line
from app_extensions.openscan.models import RequestAttempt, Token, TokenRequest
from app_extensions.openscan.notices import messages


def request_token(mail: str, forename: str, surname: str, client_address: str) -> None:
    """Notes the wish for a private token. The same for every address, known or not; an address has one row for ever.

    Raises OpenScanError (400) for missing or unusable fields, and for too many requests from one client address.
    """
    mail, forename, surname = mail.strip().lower(), forename.strip(), surname.strip()
    tokens.check_person(forename, surname, mail)
    _count_attempt(client_address)
    with transaction.atomic():
        request, is_new = TokenRequest.objects.get_or_create(mail=mail, defaults={"forename": forename, "surname": surname})
        if is_new:
            messages.token_requested(request)
        else:
            TokenRequest.objects.filter(pk=request.pk).update(
                times_asked=F("times_asked") + 1, last_asked_at=timezone.now())


def approve(request: TokenRequest, *, owner: Optional[object] = None, credit_bytes: Optional[int] = None,
            actor: str = "", base_url: str = "") -> tuple[Token, str]:
    """Gives the person behind `request` a private token and mails it, once. Returns it with its text.

    `base_url` is where this WebODM is reached, for the mail, if no setting says it.
    A refused request may be approved later. Raises OpenScanError for one that was approved before.
    """
    with transaction.atomic():
        row = TokenRequest.objects.select_for_update().get(pk=request.pk)
        if row.state == TokenRequest.APPROVED:
            raise OpenScanError("This request was approved before, and its token was mailed; a token is mailed only once.")
        token, text = tokens.create_token(owner=owner, forename=row.forename, surname=row.surname, mail=row.mail,
                                   credit_bytes=credit_bytes, actor=actor)
        row.state, row.token, row.decided_at, row.decided_by = TokenRequest.APPROVED, token, timezone.now(), actor
        row.save()
        messages.send_token(token, text, base_url)
    request.refresh_from_db()
    return token, text


def refuse(request: TokenRequest, actor: str = "") -> bool:
    """Refuses `request`; nobody is mailed. Returns False if it was decided before."""
    changed = TokenRequest.objects.filter(pk=request.pk, state=TokenRequest.PENDING).update(
        state=TokenRequest.REFUSED, decided_at=timezone.now(), decided_by=actor)
    request.refresh_from_db()
    return bool(changed)


def _count_attempt(client_address: str) -> None:
    """Lets one client address ask a few times an hour. Counted in the database: WebODM's cache may be a dummy."""
    now = timezone.now()
    an_hour_ago = now - datetime.timedelta(hours=1)
    RequestAttempt.objects.filter(created_at__lt=an_hour_ago).delete()
    with transaction.atomic():
        wait_in_line(f"openscan.token-request.{client_address}")  # else calls at the same time would not count each other
        if RequestAttempt.objects.filter(client_address=client_address).count() >= conf.token_requests_per_hour:
            raise OpenScanError(
                f"Too many token requests from your address: {conf.token_requests_per_hour} an hour are allowed; try again later."
            )
        RequestAttempt.objects.create(client_address=client_address, created_at=now)
