"""Who calls: the check of ``X-Tapis-Token`` that every service of Tapis makes first."""
import jwt

from .http import Handler, plain, tapis_json
from .world import World


def caller(request: Handler) -> str:
    """The user whose valid access token came with a request. :raises Answer: 401 plain text, or 500 for a revoked one"""
    world = request.world
    token = request.headers.get("X-Tapis-Token")
    if not token:
        # A Bearer header alone is worth nothing.
        raise plain(401, "TAPIS_SECURITY_MISSING_JWT No X-Tapis-Token header was found in the request.")
    if request.headers.get("X-Tapis-Tenant") is not None:
        raise plain(401, "TAPIS_SECURITY_INVALID_HEADER User tokens may not come with X-Tapis-Tenant.")
    claims = verified_claims(request, token)
    if claims["tapis/token_type"] != "access":
        raise plain(401, "TAPIS_SECURITY_JWT_INVALID_CLAIM The token is not an access token.")
    if claims["jti"] in world.revoked:
        raise tapis_json(500, "Token is revoked.")
    if claims["jti"] in world.ended:
        raise plain(401, "TAPIS_SECURITY_JWT_EXPIRED The token has expired.")
    return claims["tapis/username"]


def verified_claims(request: Handler, token: str) -> dict:
    """A token's claims, its signature, time and tenant checked. :raises Answer: 401 plain text"""
    world = request.world
    try:
        claims = jwt.decode(token, world.key.public_pem, algorithms=["RS256"])
    except jwt.ExpiredSignatureError:
        raise plain(401, "TAPIS_SECURITY_JWT_EXPIRED The token has expired.") from None
    except jwt.InvalidTokenError:
        raise plain(401, "TAPIS_SECURITY_JWT_PARSE_ERROR The token cannot be decoded.") from None
    if claims.get("tapis/tenant_id") != world.tenant or "tapis/token_type" not in claims:
        raise plain(401, "TAPIS_SECURITY_JWT_INVALID_CLAIM The token belongs to another tenant.")
    return claims


def note_issued(request: Handler, username: str, tokens: dict) -> None:
    """Remember which access tokens a user has, so that they can be ended on request."""
    with request.world.lock:
        request.world.issued.setdefault(username, set()).add(tokens["access_token"]["jti"])


def end_access_tokens(world: World, username: str = "") -> int:
    """Make the access tokens of a user (of everybody) count as expired. :return: how many"""
    with world.lock:
        names = [username] if username else list(world.issued)
        ended = {jti for name in names for jti in world.issued.pop(name, ())}
        world.ended |= ended
    return len(ended)
