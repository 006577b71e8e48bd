"""Authentication of rigs and programs: HTTP Basic with every rig's built-in pair, or a token as Bearer. WebODM's users do not count."""
import base64
import binascii
import hmac
from typing import Optional

from django.http import HttpRequest

from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import names
from app_extensions.openscan.models import Token

from .http import Parameters, address_of

UNAUTHORIZED = 401


class Caller:
    """An admitted client: its address and, on request, its token and the owner of the scans that it may use."""

    def __init__(self, request: HttpRequest, parameters: Parameters):
        """Admit a client. Raises OpenScanError (401) if it has neither the right Basic pair nor a valid Bearer token."""
        self.address = address_of(request)
        self._parameters = parameters
        self._bearer: Optional[Token] = None
        scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        if scheme.lower() == "bearer":
            self._bearer = _bearer_token(value)
        elif scheme.lower() != "basic" or not _is_rigs_pair(value):
            raise OpenScanError(
                "Wrong or missing credentials; use HTTP Basic with the user and password set on this server "
                "(rigs come with openscan and free), or send your token as Authorization: Bearer.", UNAUTHORIZED)

    def token(self) -> Token:
        """The Bearer token, else the one in the parameters. Raises OpenScanError (400) if there is none or it is invalid."""
        return self._bearer or tokens.require_token(self._parameters.text("token"))

    def client(self, token: Token) -> str:
        """Who owns the scan names under this token: the client's address, or the identity from its secret or upload link."""
        if not names.needs_secret(token):
            return self.address
        return names.identify(self._parameters.text("secret"), self._parameters.text("ulink"))

    def known_token(self) -> Optional[Token]:
        """Like `token`, for calls that also work without one: None if there is no token or it is invalid."""
        if self._bearer:
            return self._bearer
        token = tokens.find_token(self._parameters.text("token").strip())
        return token if token is not None and token.revoked_at is None else None


def _bearer_token(value: str) -> Token:
    try:
        return tokens.require_token(value)
    except OpenScanError as error:
        raise OpenScanError(error.sentence, UNAUTHORIZED) from error


def _is_rigs_pair(value: str) -> bool:
    try:
        sent = base64.b64decode(value.strip().encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError, ValueError):
        return False
    expected = f"{conf.basic_user}:{conf.basic_password}".encode()
    return hmac.compare_digest(sent, expected)
