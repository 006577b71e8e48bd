"""Authentication of REST calls: WebODM's session, Basic and ``JWT``, and ``Bearer`` with a Tapis token or WebODM's JWT."""
from dataclasses import dataclass, field
from typing import Any, Optional

import jwt
from rest_framework.authentication import (
    BaseAuthentication,
    BasicAuthentication,
    SessionAuthentication,
    get_authorization_header,
)
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request
from rest_framework_jwt.authentication import BaseJSONWebTokenAuthentication, JSONWebTokenAuthentication

from app_extensions.tapis.conf import conf
from app_extensions.tapis.login import verification
from app_extensions.tapis.login.identity import AccountDisabled, find_identity
from app_extensions.tapis.login.verification import ExpiredToken, InvalidToken
from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client
from app_extensions.tapis.problems import TapisProblem


@dataclass(frozen=True)
class TapisBearer:
    """``request.auth`` of a call that came with a Tapis token. Calls to Tapis use this token, so no stored one is needed."""

    access_token: str = field(repr=False)
    client: TapisOAuth2Client
    identity: TapisIdentity


class Unavailable(APIException):
    """The key for verifying the token could not be fetched from Tapis."""

    status_code = 502
    default_code = "tapis_unreachable"


class EndedToken(AuthenticationFailed):
    """The Tapis token has expired. Its own ``error`` tells programs to send a new one, instead of "Not logged in"."""

    error = ExpiredToken.error


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer <token>``."""

    def authenticate(self, request: Request) -> Optional[tuple[Any, Any]]:
        """The user, and a ``TapisBearer`` or WebODM's JWT. None without a Bearer header. :raises AuthenticationFailed, Unavailable:"""
        header = get_authorization_header(request).split()
        if not header or header[0].lower() != b"bearer":
            return None
        if len(header) != 2:
            raise AuthenticationFailed("The Bearer header must contain one token.")
        try:
            token = header[1].decode("ascii")
            # Not verified yet. This only shows which of the two kinds of token it claims to be.
            claims = jwt.decode(token, verify=False)
        except (jwt.InvalidTokenError, ValueError):
            raise AuthenticationFailed("The Bearer token is not a JWT.") from None
        if "tapis/tenant_id" in claims:
            return self._tapis_user(token, claims)
        return WebODMJWT(token).authenticate(request)

    @staticmethod
    def _tapis_user(token: str, claims: dict[str, Any]) -> tuple[Any, TapisBearer]:
        clients = TapisOAuth2Client.objects.filter(is_active=True, tenant_id=str(claims["tapis/tenant_id"])[:100])
        client = next((each for each in clients.order_by("pk") if each.issuer == claims.get("iss")), None)
        if client is None:
            raise AuthenticationFailed("This WebODM has no client for the tenant of the token.")
        if conf.bearer_clients == "own" and claims.get("tapis/client_id") not in {each.client_id for each in clients}:
            raise AuthenticationFailed("The token was issued to another application. This WebODM accepts only tokens from its own logins.")
        try:
            identity = find_identity(verification.verify(token, client))
        except ExpiredToken as problem:
            raise EndedToken(f"{problem.detail} Send a new one.") from None
        except (InvalidToken, AccountDisabled) as problem:
            raise AuthenticationFailed(str(problem)) from None
        except TapisProblem as problem:
            raise Unavailable(str(problem)) from None
        if identity is None:
            raise AuthenticationFailed("This Tapis user is not linked to a WebODM user. Log in to Tapis here once.")
        return identity.user, TapisBearer(token, client, identity)

    def authenticate_header(self, request: Request) -> str:
        """The value of ``WWW-Authenticate``. Without it, DRF would answer 403 instead of 401."""
        return 'Bearer realm="api"'


class WebODMJWT(BaseJSONWebTokenAuthentication):
    """WebODM's own JWT, sent as a Bearer token."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_jwt_value(self, request: Request) -> str:
        """The token from the Bearer header."""
        return self.token


#: For all our REST views. Bearer comes first, because DRF uses the first class for the header of a 401.
AUTHENTICATION_CLASSES = (
    BearerAuthentication, JSONWebTokenAuthentication, BasicAuthentication, SessionAuthentication,
)


def bearer(request: Request) -> Optional[TapisBearer]:
    """The Tapis token that the request came with, or None."""
    return request.auth if isinstance(request.auth, TapisBearer) else None
