"""Calls to a tenant's authenticator: get tokens for codes and refresh tokens, revoke tokens, and fetch the tenant's key.

The authenticator's error messages echo the client's secret (contracts: 400). So its answers are never logged, raised or shown.
"""
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Optional
from urllib.parse import quote

import requests
from django.utils import timezone

from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import TapisOAuth2Client
from app_extensions.tapis.problems import TapisProblem, TapisUnreachable

logger = logging.getLogger("app.logger")

REVOKED = "Token is revoked."


class Refused(TapisProblem):
    """The authenticator refused: a used or late code, a revoked or unknown token, or an unknown client."""

    status = 400
    error = "Tapis refused the request"


@dataclass(frozen=True)
class TokenAnswer:
    """Tokens from the authenticator. The ``repr`` shows no token."""

    access_token: str
    expires_at: datetime
    refresh_token: str
    refresh_expires_at: Optional[datetime]

    def __repr__(self) -> str:
        return f"<TokenAnswer until {self.expires_at}>"


def _call(method: str, url: str, what: str, **options: Any) -> requests.Response:
    try:
        # Tapis never redirects here, and following a redirect would send the credentials elsewhere.
        return requests.request(
            method, url, timeout=(conf.connect_timeout, conf.timeout), allow_redirects=False, **options
        )
    except requests.RequestException as error:
        logger.warning("Tapis: %s failed: %s", what, type(error).__name__)
        raise TapisUnreachable(f"Tapis could not be reached to {what}.") from None


def _result(response: requests.Response, what: str) -> Any:
    """The ``result`` of a good answer. :raises Refused: 4xx, or a revoked token; :raises TapisUnreachable: 429 or 5xx"""
    try:
        body = response.json()
    except ValueError:
        body = None
    message = body.get("message") if isinstance(body, dict) else None
    if response.status_code in (200, 201) and isinstance(body, dict):
        return body.get("result")
    logger.warning("Tapis: %s: answered %d", what, response.status_code)
    if message == REVOKED:
        raise Refused("Tapis says that the token was revoked.")
    if response.status_code >= 500 or response.status_code == 429:
        raise TapisUnreachable(f"Tapis answered {response.status_code} when asked to {what}.")
    raise Refused(f"Tapis answered {response.status_code} when asked to {what}.")


def _post_tokens(client: TapisOAuth2Client, what: str, form: dict[str, str]) -> TokenAnswer:
    if not client.client_secret:
        raise Refused("The client's secret is missing or cannot be decrypted here; an administrator has to enter it again.")
    # HTTP Basic, because every version of the authenticator accepts it. Only newer ones accept credentials in the body.
    basic = requests.auth.HTTPBasicAuth(client.client_id.encode(), client.client_secret.encode())
    response = _call("POST", client.token_url, what, data=form, auth=basic, headers={"Accept": "application/json"})
    result = _result(response, what)
    try:
        access, refresh = result["access_token"], result.get("refresh_token") or {}
        return TokenAnswer(
            access_token=_text(access["access_token"]),
            expires_at=_ends(access),
            refresh_token=_text(refresh.get("refresh_token", "")),
            refresh_expires_at=_ends(refresh) if refresh.get("expires_in") else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise TapisProblem(f"Tapis' answer held no tokens when asked to {what}.") from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _ends(token: dict[str, Any]) -> datetime:
    # expires_in rather than expires_at, because the clocks may differ.
    return timezone.now() + timedelta(seconds=float(token["expires_in"]))


def exchange_code(client: TapisOAuth2Client, code: str) -> TokenAnswer:
    """Get tokens for an authorization code. :raises Refused, TapisUnreachable, TapisProblem:"""
    return _post_tokens(client, "exchange the code", {
        "grant_type": "authorization_code", "code": code, "redirect_uri": client.callback_url,
    })


def refresh(client: TapisOAuth2Client, refresh_token: str) -> TokenAnswer:
    """Get new tokens for a refresh token. :raises Refused, TapisUnreachable, TapisProblem:"""
    return _post_tokens(client, "refresh the token", {"grant_type": "refresh_token", "refresh_token": refresh_token})


def revoke(client: TapisOAuth2Client, token: str) -> None:
    """Revoke one token at Tapis. A token that is already revoked is no error. :raises Refused, TapisUnreachable:"""
    response = _call("POST", client.revoke_url, "revoke a token", json={"token": token})
    try:
        _result(response, "revoke a token")
    except Refused as refused:
        if "revoked" not in refused.detail:
            raise


def tenant_key(base_url: str, tenant_id: str) -> str:
    """The tenant's public key in PEM format. :raises TapisProblem: the answer holds no key; :raises TapisUnreachable:"""
    response = _call("GET", f"{base_url}/v3/tenants/{quote(tenant_id, safe='')}", "fetch the tenant's key")
    result = _result(response, "fetch the tenant's key")
    key = result.get("public_key") if isinstance(result, dict) else None
    if not isinstance(key, str) or not key.lstrip().startswith("-----BEGIN PUBLIC KEY-----"):
        raise TapisProblem("The tenant has no public key.")
    return key
