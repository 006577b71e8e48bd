"""Whose token a call to Tapis carries, and what happens when Tapis refuses it.

A request that came with a Tapis token is served with that very token; everything else with the stored one, which
``tokens.access_token_for`` refreshes under a row lock. Thread-safe: many downloads share one ``TapisAccess``.
"""
import threading
import time
from typing import Any, Optional

from django.db import connections

from app_extensions.tapis.login import tokens
from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.problems import NoClient, NoToken, TokenExpired

#: A token younger than this that Tapis refuses is not refreshed again: it is not the token's fault.
RENEW_AT_MOST_EVERY = 60.0


class TapisAccess:
    """A user's access to one tenant.

    :param given: the access token that came with the request (already verified), or "" for the stored one
    :param fall_back: once the given one has ended, go on with the user's stored login, if there is one
    """

    def __init__(self, user: Any, client: TapisOAuth2Client, given: str = "", *, fall_back: bool = False) -> None:
        self.user = user
        self.client = client
        self.given = given
        self._fall_back = fall_back
        self._token = given
        self._checked_at = time.monotonic() if given else 0.0
        self._renewed_at: Optional[float] = None
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """The tenant's address without a slash at the end."""
        return self.client.base_url.rstrip("/")

    def token(self) -> str:
        """A token to send now; asked of the database at most every 30 seconds.

        :raises NoToken: the user has none
        :raises TokenExpired: it has ended and cannot be refreshed
        """
        with self._lock:
            if self.given:
                return self.given
            if not self._token or time.monotonic() - self._checked_at > 30:
                self._token = self._stored()
                self._checked_at = time.monotonic()
            return self._token

    def renew(self, refused: str) -> str:
        """Another token than the refused one, refreshed at most once a minute for all threads together.

        :returns: a new token, or the refused one where another refresh would not help
        :raises TokenExpired: it came with the request and cannot be refreshed, or the refresh failed
        """
        with self._lock:
            if self._token != refused:
                return self._token
            if self.given:
                return self._stored_instead()
            now = time.monotonic()
            if self._renewed_at is not None and now - self._renewed_at < RENEW_AT_MOST_EVERY:
                return refused
            self._renewed_at = now
            self._token = self._stored(refused)
            self._checked_at = now
            return self._token

    def _stored_instead(self) -> str:
        """The stored login in place of the given token, which has ended. :raises TokenExpired: there is none to fall back to"""
        ended = TokenExpired("Tapis no longer accepts the token of this request. Send a new one.")
        if not self._fall_back:
            raise ended
        try:
            self._token = self._stored(self.given)
        except NoToken:
            raise ended from None
        self.given, self._checked_at = "", time.monotonic()
        return self._token

    def _stored(self, refused: str = "") -> str:
        try:
            return tokens.access_token_for(self.user, self.client, refused=refused)
        finally:
            if getattr(_thread, "of_a_pool", False):
                connections.close_all()  # nobody else closes what a pool's thread opened


_thread = threading.local()


def pool_thread() -> None:
    """Marks the calling thread as one of a pool of ours (an executor's ``initializer``)."""
    _thread.of_a_pool = True


def client_for(user: Any, client_id: Optional[str] = None) -> TapisOAuth2Client:
    """The client to use: the named one, else the one of the user's latest token, else the first active one.

    :param client_id: a client's ``client_id`` as registered with Tapis, or None
    :raises NoClient: there is none
    """
    active = TapisOAuth2Client.objects.filter(is_active=True)
    if client_id:
        active = active.filter(client_id=client_id)
    latest = TapisOAuth2Token.objects.filter(user_id=user.pk, client__in=active).order_by("-is_valid", "-updated_at").first()
    client = latest.client if latest else active.order_by("pk").first()
    if client is None:
        named = f"No active client has the id {client_id}." if client_id else "No active client is registered."
        raise NoClient(named)
    return client


def require_token(user: Any, client: TapisOAuth2Client) -> None:
    """:raises NoToken: the user has no stored token for the client"""
    if not TapisOAuth2Token.objects.filter(user_id=user.pk, client=client).exists():
        raise NoToken("Log in to Tapis first.")
