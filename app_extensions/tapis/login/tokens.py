"""The tokens this WebODM keeps: storing, refreshing once for all who ask, revoking."""
import logging
from datetime import timedelta
from typing import Any, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.shared.crypto import Unreadable
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login import authenticator, verification
from app_extensions.tapis.login.authenticator import TokenAnswer
from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.problems import NoToken, TapisProblem, TapisUnreachable, TokenExpired

logger = logging.getLogger("app.logger")

#: After a failed refresh, a token that still lives is used for this long before the next attempt.
REFRESH_AGAIN_AFTER = timedelta(seconds=60)


def store_tokens(identity: TapisIdentity, client: TapisOAuth2Client, answer: TokenAnswer) -> TapisOAuth2Token:
    """Keep the tokens of a verified login, in place of the user's former ones from this client."""
    token, _ = TapisOAuth2Token.objects.update_or_create(
        user_id=identity.user_id, client=client,
        defaults={
            "identity": identity, "access_token": answer.access_token, "expires_at": answer.expires_at,
            "refresh_token": answer.refresh_token, "refresh_expires_at": answer.refresh_expires_at,
            "is_valid": True, "invalid_reason": "", "refreshed_at": None, "refresh_failed_at": None,
        },
    )
    return token


def access_token_for(user: Any, client: TapisOAuth2Client, *, refused: str = "", force: bool = False) -> str:
    """A usable access token of a user, refreshed if it has less than ``TAPIS_REFRESH_BELOW`` seconds left.

    However many processes ask at once, one refreshes: the others wait for its row lock and then read what it got.

    :param refused: an access token that Tapis just answered with 401; if it is still the stored one, it is refreshed
    :param force: refresh in any case (a person asked for it)
    :raises NoToken: the user has none; :raises TokenExpired: it ended, was revoked or switched off, and a new login is needed
    :raises TapisUnreachable: a refresh is needed, and Tapis does not answer
    """
    token = TapisOAuth2Token.objects.filter(user_id=user.pk, client_id=client.pk).select_related("client").first()
    seen = token.access_token if token else ""
    if token is not None and not force and _usable(token, refused):
        return token.access_token
    problem: Optional[TapisProblem] = None
    with transaction.atomic():
        token = (
            TapisOAuth2Token.objects.select_for_update(of=("self",)).select_related("client", "identity")
            .filter(user_id=user.pk, client_id=client.pk).first()
        )
        # Read again under the lock: another process may have refreshed meanwhile.
        if token is not None and not _usable(token, refused, force and token.access_token == seen):
            problem = _refresh(token, refused)
    if token is None:
        raise NoToken("Log in to Tapis first.")
    if problem is not None:
        raise problem
    return token.access_token


def _usable(token: TapisOAuth2Token, refused: str = "", force: bool = False) -> bool:
    """Whether the access token can be sent as it is. :raises TokenExpired: a new login is needed"""
    if not token.client.is_active:
        raise NoToken("The Tapis client of this login is switched off.")
    if not token.is_valid:
        raise TokenExpired("Log in to Tapis again: " + (token.invalid_reason or "the login is not valid any more."))
    if not token.access_token:
        raise TokenExpired("Log in to Tapis again: the stored token cannot be decrypted with this WebODM's keys.")
    if force or token.access_token == refused:
        return False
    return token.seconds_left > conf.refresh_below or (token.seconds_left > 0 and _failed_lately(token))


def _failed_lately(token: TapisOAuth2Token) -> bool:
    """Whether a refresh just failed: a token that still lives is used on, instead of asking Tapis at every call."""
    failed = token.refresh_failed_at
    return failed is not None and timezone.now() - failed < REFRESH_AGAIN_AFTER


def _refresh(token: TapisOAuth2Token, refused: str) -> Optional[TapisProblem]:
    """Refresh a locked token and save it.

    :return: what went wrong, for the caller to raise once the row is saved; None also where the old token still serves
    """
    still_good = token.access_token != refused and not token.is_expired
    if not token.can_refresh:
        if still_good:
            return None
        return _end(token, "its time is over and it cannot be refreshed.")
    try:
        answer = authenticator.refresh(token.client, token.refresh_token)
        claims = verification.verify(answer.access_token, token.client)
    except TapisUnreachable as unreachable:
        return _used_on(token) if still_good else unreachable
    except TapisProblem as refusal:
        logger.warning("Tapis: the token of user %s could not be refreshed (%s)", token.user_id, type(refusal).__name__)
        # The client's secret may be at fault as well: as long as the token lives, it is not given up.
        return _used_on(token) if still_good else _end(token, "Tapis refused to refresh the token.")
    if (claims.issuer, claims.subject) != (token.identity.issuer, token.identity.subject):
        return _end(token, "the refreshed token belongs to another user.")
    token.access_token, token.expires_at = answer.access_token, answer.expires_at
    if answer.refresh_token:
        token.refresh_token, token.refresh_expires_at = answer.refresh_token, answer.refresh_expires_at
    token.refreshed_at, token.refresh_failed_at = timezone.now(), None
    token.save()
    return None


def _used_on(token: TapisOAuth2Token) -> None:
    """The refresh failed, but the token still lives: note it, and go on with the token."""
    token.refresh_failed_at = timezone.now()
    token.save(update_fields=["refresh_failed_at", "updated_at"])


def _end(token: TapisOAuth2Token, reason: str) -> TokenExpired:
    token.is_valid, token.invalid_reason = False, reason
    token.save(update_fields=["is_valid", "invalid_reason", "updated_at"])
    return TokenExpired("Log in to Tapis again: " + reason)


def revoke_tokens(user: Any, client: TapisOAuth2Client) -> Optional[TapisProblem]:
    """Revoke a user's tokens at Tapis, one call each, and delete them here whatever Tapis says.

    :return: what Tapis answered if it did not revoke them, else None
    :raises NoToken: there are none
    """
    with transaction.atomic():
        token = (
            TapisOAuth2Token.objects.select_for_update(of=("self",)).select_related("client")
            .filter(user_id=user.pk, client_id=client.pk).first()
        )
        if token is None:
            raise NoToken("There is no Tapis login to revoke.")
        problem: Optional[TapisProblem] = None
        # The refresh token first: it lives a year, the access token four hours.
        ended = token.refresh_expires_at is not None and token.refresh_expires_at <= timezone.now()
        for text in ("" if ended else token.refresh_token, "" if token.is_expired else token.access_token):
            if isinstance(text, Unreadable):
                problem = TapisProblem("a stored token cannot be decrypted with this WebODM's keys; it ends by itself.")
            elif text:
                try:
                    authenticator.revoke(token.client, text)
                except TapisProblem as error:
                    problem = error
        token.delete()
    return problem
