"""Requests for a private token: anybody makes them, an administrator decides."""
import datetime
from typing import Optional

from django.db import connection, transaction
from django.utils import timezone

from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.locks import wait_in_line
from app_extensions.openscan.models import OutgoingMail, RequestAttempt, Token, TokenRequest
from app_extensions.openscan.notices import messages

#: One statement for known and unknown addresses, so that the response time does not reveal which one it was. The only difference,
#: the email to the admins, is left to a periodic job.
_NOTE = """
    INSERT INTO openscan_tokenrequest (mail, forename, surname, state, times_asked, created_at, last_asked_at, decided_by)
    VALUES (%s, %s, %s, %s, 1, %s, %s, '')
    ON CONFLICT (mail) DO UPDATE SET times_asked = openscan_tokenrequest.times_asked + 1, last_asked_at = EXCLUDED.last_asked_at
"""


def request_token(address: str, forename: str, surname: str, client: str) -> None:
    """Note that somebody wants a private token. The answer is the same for known and unknown email addresses.

    :param address: email address of the person
    :param client: network of the client, as limits count it
    :raises OpenScanError: 400 for unusable fields, and for too many requests from this client or from everybody
    """
    address, forename, surname = address.strip().lower(), forename.strip(), surname.strip()
    tokens.check_person(forename, surname, address)
    _count_attempt(client)
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, [address, forename, surname, TokenRequest.PENDING, now, now])


def approve(request: TokenRequest, *, owner: Optional[object] = None, credit_bytes: Optional[int] = None,
            actor: str = "", base_url: str = "") -> tuple[Token, str]:
    """Give the person behind a request a private token and mail it, once.

    A refused request may be approved later. If a token never arrived because its email was given up, approving the request again
    makes a new token and revokes the lost one.

    :param base_url: this WebODM's address for the email, if no setting gives it
    :return: the token and its text; show the text to nobody but an administrator on a site whose mail does not work
    :raises OpenScanError: the request was approved before, and its token was mailed
    """
    with transaction.atomic():
        row = TokenRequest.objects.select_for_update().get(pk=request.pk)
        if row.state == TokenRequest.APPROVED:
            _revoke_lost(row)
        token, text = tokens.create_token(owner=owner, forename=row.forename, surname=row.surname, mail=row.mail,
                                          credit_bytes=credit_bytes, actor=actor)
        row.state, row.token, row.decided_at, row.decided_by = TokenRequest.APPROVED, token, timezone.now(), actor
        row.token_mail = messages.send_token(token, text, base_url)
        row.save()
    request.refresh_from_db()
    return token, text


def is_lost(request: TokenRequest) -> bool:
    """Whether a request's token was made and never arrived: its email was given up and nobody has used it."""
    return (request.state == TokenRequest.APPROVED and request.token_mail is not None
            and request.token_mail.state == OutgoingMail.GIVEN_UP
            and request.token is not None and request.token.last_used_at is None)


def refuse(request: TokenRequest, actor: str = "") -> bool:
    """Refuse a request; nobody is mailed. :return: False if it was decided before"""
    changed = TokenRequest.objects.filter(pk=request.pk, state=TokenRequest.PENDING).update(
        state=TokenRequest.REFUSED, decided_at=timezone.now(), decided_by=actor)
    request.refresh_from_db()
    return bool(changed)


def _revoke_lost(row: TokenRequest) -> None:
    if not is_lost(row):
        raise OpenScanError("This request was approved before, and its token was mailed; a token is mailed only once.")
    tokens.revoke(row.token)


def _count_attempt(client: str) -> None:
    """Limit requests per hour, per client and in total. Counted in the database, because WebODM's cache may be a dummy."""
    now = timezone.now()
    an_hour_ago = now - datetime.timedelta(hours=1)
    RequestAttempt.objects.filter(created_at__lt=an_hour_ago).delete()
    with transaction.atomic():
        wait_in_line("openscan.token-request")  # else concurrent calls would not count each other
        if RequestAttempt.objects.filter(client_address=client).count() >= conf.token_requests_per_hour:
            raise OpenScanError(
                f"Too many token requests from your address: {conf.token_requests_per_hour} an hour are allowed; try again later.")
        if RequestAttempt.objects.count() >= conf.token_requests_total_per_hour:
            raise OpenScanError(f"Too many people asked this site for a token: {conf.token_requests_total_per_hour} requests an hour are "
                                "allowed; try again in an hour.")
        RequestAttempt.objects.create(client_address=client, created_at=now)
