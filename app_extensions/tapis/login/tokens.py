"""Store, refresh and revoke the tokens that this WebODM keeps. Concurrent requests share one refresh."""
import logging
import time
from datetime import timedelta
from typing import Any, Optional
from uuid import uuid4

from django.db import transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q
from django.db.models.functions import Now
from django.utils import timezone

from app_extensions.shared.crypto import Unreadable
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login import authenticator, verification
from app_extensions.tapis.login.authenticator import TokenAnswer
from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.problems import NoToken, TapisProblem, TapisUnreachable, TokenExpired

logger = logging.getLogger("app.logger")

#: After a failed refresh, a token that is still valid is used for this long before the next attempt.
REFRESH_AGAIN_AFTER = timedelta(seconds=60)
#: Polling interval while another process refreshes the token.
LOOK_SECONDS = 0.1


def store_tokens(identity: TapisIdentity, client: TapisOAuth2Client, answer: TokenAnswer) -> TapisOAuth2Token:
    """Store the tokens of a verified login. They replace the user's former tokens from this client."""
    token, _ = TapisOAuth2Token.objects.update_or_create(
        user_id=identity.user_id, client=client,
        defaults={
            "identity": identity, "access_token": answer.access_token, "expires_at": answer.expires_at,
            "refresh_token": answer.refresh_token, "refresh_expires_at": answer.refresh_expires_at,
            "is_valid": True, "invalid_reason": "", "refreshed_at": None, "refresh_failed_at": None, "refresh_problem": "",
            "refresher": "", "refreshing_until": None,
        },
    )
    return token


def access_token_for(user: Any, client: TapisOAuth2Client, *, refused: str = "", force: bool = False) -> str:
    """A usable access token of a user. It is refreshed if it has less than ``TAPIS_REFRESH_BELOW`` seconds left.

    If several processes ask at once, only one refreshes. It holds no row lock during the call to Tapis. The others poll the row until the
    refresh is done, and share its outcome, good or bad.

    :param refused: an access token that Tapis just answered with 401; refreshed if it is still the stored one
    :param force: refresh in any case (a person asked for it)
    :raises NoToken: the user has no token, or its client is switched off
    :raises TokenExpired: the token ended, was revoked or switched off, and the user must log in again
    :raises TapisUnreachable: a refresh is needed, but it failed or another process takes too long
    """
    asked_at = timezone.now()
    give_up = time.monotonic() + 2 * _refresh_lease()
    seen: Optional[str] = None
    while True:
        token = (TapisOAuth2Token.objects.select_related("client", "identity")
                 .filter(user_id=user.pk, client_id=client.pk).first())
        if token is None:
            raise NoToken("Log in to Tapis first.")
        seen = token.access_token if seen is None else seen
        if _usable(token, refused, force and token.access_token == seen):
            return token.access_token
        failed = token.refresh_failed_at
        if failed is not None and failed >= asked_at:
            return _after_failure(token, refused, token.refresh_problem)
        mine = _take_refresh(token)
        if mine:
            return _refresh(token, refused, mine)
        if time.monotonic() > give_up:
            raise TapisUnreachable("Another process has been refreshing the token for too long.")
        time.sleep(LOOK_SECONDS)


def _refresh_lease() -> float:
    """Seconds after which a process that refreshes counts as dead. Longer than its calls can take."""
    return 2 * (conf.connect_timeout + conf.timeout) + 5


def _take_refresh(token: TapisOAuth2Token) -> str:
    """Claim the refresh of the token. :returns: the claim's id; empty if another process is refreshing it or has just changed it"""
    mine = uuid4().hex
    unchanged = TapisOAuth2Token.objects.filter(pk=token.pk, updated_at=token.updated_at)
    free = unchanged.filter(Q(refreshing_until__isnull=True) | Q(refreshing_until__lt=Now()))
    until = ExpressionWrapper(Now() + timedelta(seconds=_refresh_lease()), output_field=DateTimeField())
    return mine if free.update(refresher=mine, refreshing_until=until, updated_at=timezone.now()) else ""


def _usable(token: TapisOAuth2Token, refused: str = "", force: bool = False) -> bool:
    """Whether the access token can be sent as it is. :raises NoToken: the client is switched off; :raises TokenExpired: log in again"""
    if not token.client.is_active:
        raise NoToken("The Tapis client of this login is switched off.")
    if not token.is_valid:
        raise TokenExpired("Log in to Tapis again: " + (token.invalid_reason or "the login is no longer valid."))
    if not token.access_token:
        raise TokenExpired("Log in to Tapis again: the stored token cannot be decrypted with this WebODM's keys.")
    if force or token.access_token == refused:
        return False
    return token.seconds_left > conf.refresh_below or (token.seconds_left > 0 and _failed_lately(token))


def _failed_lately(token: TapisOAuth2Token) -> bool:
    """Whether a refresh just failed. A token that is still valid is then used as it is, instead of asking Tapis at every call."""
    failed = token.refresh_failed_at
    return failed is not None and timezone.now() - failed < REFRESH_AGAIN_AFTER


def _refresh(token: TapisOAuth2Token, refused: str, mine: str) -> str:
    """Refresh a token that this process has claimed, and write the outcome for the processes that wait. :returns: the token to send

    :raises TokenExpired, TapisUnreachable: as ``access_token_for``
    """
    if not token.can_refresh:
        if token.access_token != refused and not token.is_expired:
            _write(token, mine)
            return token.access_token
        raise _end(token, mine, "it has expired and cannot be refreshed.")
    try:
        answer = authenticator.refresh(token.client, token.refresh_token)
        claims = verification.verify(answer.access_token, token.client)
    except TapisProblem as problem:
        refusal = not isinstance(problem, TapisUnreachable)
        if refusal:
            logger.warning("Tapis: the token of user %s could not be refreshed (%s)", token.user_id, type(problem).__name__)
        still_good = token.access_token != refused and not token.is_expired
        if refusal and not still_good:
            raise _end(token, mine, "Tapis refused to refresh the token.") from None
        # The client's secret may be at fault, so keep the token as long as it is valid.
        _write(token, mine, refresh_failed_at=timezone.now(), refresh_problem=problem.detail[:255])
        return _after_failure(token, refused, problem.detail)
    except Exception:
        _write(token, mine)  # release the claim, or the other processes would wait for the end of the lease
        raise
    if (claims.issuer, claims.subject) != (token.identity.issuer, token.identity.subject):
        raise _end(token, mine, "the refreshed token belongs to another user.")
    more = {}
    if answer.refresh_token:
        more = {"refresh_token": answer.refresh_token, "refresh_expires_at": answer.refresh_expires_at}
    _write(token, mine, access_token=answer.access_token, expires_at=answer.expires_at, refreshed_at=timezone.now(),
           refresh_failed_at=None, refresh_problem="", **more)
    return answer.access_token


def _after_failure(token: TapisOAuth2Token, refused: str, problem: str) -> str:
    """After a failed refresh: the old token, if it is still valid. :raises TapisUnreachable: it is not"""
    if token.access_token != refused and not token.is_expired:
        return token.access_token
    raise TapisUnreachable(problem)


def _write(token: TapisOAuth2Token, mine: str, **values: Any) -> None:
    """Write the outcome of a refresh and release the claim. Do nothing if a login or another process replaced the claim meanwhile."""
    with transaction.atomic():
        row = TapisOAuth2Token.objects.select_for_update().filter(pk=token.pk, refresher=mine).first()
        if row is None:
            return
        for name, value in {**values, "refresher": "", "refreshing_until": None}.items():
            setattr(row, name, value)
        row.save(update_fields=[*values, "refresher", "refreshing_until", "updated_at"])


def _end(token: TapisOAuth2Token, mine: str, reason: str) -> TokenExpired:
    _write(token, mine, is_valid=False, invalid_reason=reason)
    return TokenExpired("Log in to Tapis again: " + reason)


def revoke_tokens(user: Any, client: TapisOAuth2Client) -> Optional[TapisProblem]:
    """Revoke a user's tokens at Tapis, with one call each, and delete them here even if that fails.

    :return: the problem if a token could not be revoked, else None
    :raises NoToken: the user has no tokens
    """
    with transaction.atomic():
        token = (
            TapisOAuth2Token.objects.select_for_update(of=("self",)).select_related("client")
            .filter(user_id=user.pk, client_id=client.pk).first()
        )
        if token is None:
            raise NoToken("There is no Tapis login to revoke.")
        problem: Optional[TapisProblem] = None
        # The refresh token comes first: it is valid for a year, the access token for four hours.
        ended = token.refresh_expires_at is not None and token.refresh_expires_at <= timezone.now()
        for text in ("" if ended else token.refresh_token, "" if token.is_expired else token.access_token):
            if isinstance(text, Unreadable):
                problem = TapisProblem("a stored token cannot be decrypted with this WebODM's keys; it expires on its own.")
            elif text:
                try:
                    authenticator.revoke(token.client, text)
                except TapisProblem as error:
                    problem = error
        token.delete()
    return problem
