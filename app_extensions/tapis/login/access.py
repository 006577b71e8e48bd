"""Choose the token for a call to Tapis, and replace it when Tapis refuses it.

If a request came with a Tapis token, calls use that token. All other calls use the stored one, and ``tokens.access_token_for``
refreshes it. Thread-safe: many downloads share one ``TapisAccess``.
"""
import threading
import time
from typing import Any, Optional

from django.db import connections

from app_extensions.tapis.login import tokens
from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.problems import NoClient, NoToken, TokenExpired

#: If Tapis refuses a token that was renewed less than this many seconds ago, another refresh would not help.
RENEW_AT_MOST_EVERY = 60.0


class TapisAccess:
    """A user's access to one tenant.

    :param given: the verified access token that came with the request, or "" to use the stored one
    :param fall_back: once the given token has ended, continue with the user's stored login if there is one
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
        """The token to send now. It is read from the database at most every 30 seconds.

        :raises NoToken: the user has no token
        :raises TokenExpired: the token has ended and cannot be refreshed
        """
        with self._lock:
            if self.given:
                return self.given
            if not self._token or time.monotonic() - self._checked_at > 30:
                self._token = self._stored()
                self._checked_at = time.monotonic()
            return self._token

    def renew(self, refused: str) -> str:
        """Replace a refused token. All threads together refresh at most once per minute.

        :returns: a new token, or the refused one if another refresh would not help
        :raises TokenExpired: the token came with the request and cannot be refreshed, or the refresh failed
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
        """Switch from the given token, which has ended, to the stored login. :raises TokenExpired: there is none to fall back to"""
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
                connections.close_all()  # nothing else closes the database connections of a pool's thread


_thread = threading.local()


def pool_thread() -> None:
    """Mark the calling thread as part of one of our pools. For use as an executor's ``initializer``."""
    _thread.of_a_pool = True


def client_for(user: Any, client_id: Optional[str] = None) -> TapisOAuth2Client:
    """The active client to use: that of the user's latest token, else the first one.

    :param client_id: choose only among clients with this ``client_id`` (as registered with Tapis); None: among all
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
    """Check that the user has a stored token for the client. :raises NoToken: there is none"""
    if not TapisOAuth2Token.objects.filter(user_id=user.pk, client=client).exists():
        raise NoToken("Log in to Tapis first.")
