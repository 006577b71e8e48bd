"""Verify that a token is an access token of the expected tenant, and find its user. Weaker checks would let anyone log in as anyone."""
import threading
import time
from dataclasses import dataclass
from typing import Any

import jwt

from app_extensions.tapis.conf import conf
from app_extensions.tapis.login import authenticator
from app_extensions.tapis.models import TapisOAuth2Client
from app_extensions.tapis.problems import TapisProblem, TapisUnreachable

MAX_TOKEN_LENGTH = 16384
#: Least seconds between two fetches of a tenant's key, so that forged tokens cannot make us flood the tenant with requests.
REFETCH_SECONDS = 10.0


class InvalidToken(TapisProblem):
    """The token is not a valid access token of a person in the expected tenant."""

    status = 401
    error = "Invalid Tapis token"


class ExpiredToken(InvalidToken):
    """The token was valid, but has expired."""

    error = "Token expired"


@dataclass(frozen=True)
class Claims:
    """The claims of a verified token."""

    issuer: str
    subject: str
    username: str
    tenant_id: str
    expires_at: float
    jti: str


class TenantKeys:
    """Public keys by (base URL, tenant), cached for ``TAPIS_KEY_SECONDS``. One cache per process."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], tuple[str, float]] = {}
        self._attempts: dict[tuple[str, str], float] = {}
        self._fetching: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, client: TapisOAuth2Client, other_than: str = "") -> str:
        """A tenant's key, from the cache if possible.

        :param other_than: a cached key that failed to verify a token; fetch it again, but not more often than every ten seconds
        :raises TapisProblem: Tapis' answer holds no key; :raises TapisUnreachable: Tapis does not answer
        """
        name = (client.base_url, client.tenant_id)
        key = self._young(name)
        if key and key != other_than:
            return key
        with self._lock:
            fetching = self._fetching.setdefault(name, threading.Lock())
        with fetching:  # concurrent callers wait here, and then find the fetched key
            key = self._young(name)
            if key and key != other_than:
                return key
            last = self._attempts.get(name)
            if last is not None and time.monotonic() - last < REFETCH_SECONDS:
                if key:
                    return key
                raise TapisUnreachable("The tenant's key could not be fetched a moment ago.")
            self._attempts[name] = time.monotonic()
            key = authenticator.tenant_key(*name)
            self._keys[name] = (key, time.monotonic())
            return key

    def _young(self, name: tuple[str, str]) -> str:
        key, fetched = self._keys.get(name, ("", 0.0))
        return key if key and time.monotonic() - fetched < conf.key_seconds else ""

    def clear(self) -> None:
        """Empty the cache."""
        with self._lock:
            self._keys.clear()
            self._attempts.clear()


keys = TenantKeys()


def verify(token: str, client: TapisOAuth2Client) -> Claims:
    """Verify a Tapis access token: signature (RS256 only), iss, exp, tenant, token type, account type, sub.

    :param client: gives the expected tenant and issuer
    :raises InvalidToken: the token is not valid (``ExpiredToken``: not any more)
    :raises TapisUnreachable: the tenant's key could not be fetched
    """
    if not token or len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("The token is empty or too long.")
    key = keys.get(client)
    try:
        claims = _decode(token, key, client)
    except jwt.ExpiredSignatureError:
        raise ExpiredToken("The Tapis token has expired.") from None
    except (jwt.DecodeError, jwt.exceptions.InvalidKeyError):
        newer = keys.get(client, other_than=key)
        if newer == key:
            raise InvalidToken("The token's signature is not the tenant's.") from None
        try:
            claims = _decode(token, newer, client)
        except jwt.ExpiredSignatureError:
            raise ExpiredToken("The Tapis token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, TypeError):
            raise InvalidToken("The token's signature is not the tenant's.") from None
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise InvalidToken("The token is not one of this tenant.") from None
    return _checked(claims, client)


def _decode(token: str, key: str, client: TapisOAuth2Client) -> dict[str, Any]:
    # Only one algorithm. Never accept "none", nor HS256 with the public key as its secret.
    return jwt.decode(
        token, key, algorithms=["RS256"], issuer=client.issuer, leeway=conf.leeway, options={"require_exp": True}
    )


def _checked(claims: dict[str, Any], client: TapisOAuth2Client) -> Claims:
    expected = {
        "tapis/tenant_id": client.tenant_id, "tapis/token_type": "access", "tapis/account_type": "user",
    }
    for name, value in expected.items():
        if claims.get(name) != value:
            raise InvalidToken(f"The token's {name} is not '{value}'.")
    username, subject = claims.get("tapis/username"), claims.get("sub")
    if not isinstance(username, str) or not username or len(username) > 200 or not username.isprintable():
        raise InvalidToken("The token names no user.")
    if subject != f"{username}@{client.tenant_id}":
        raise InvalidToken("The token's subject is not its user.")
    return Claims(
        issuer=client.issuer, subject=subject, username=username, tenant_id=client.tenant_id,
        expires_at=float(claims["exp"]), jti=str(claims.get("jti", "")),
    )
