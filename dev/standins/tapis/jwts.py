"""The tokens of the stand-in: real ones as Tapis signs them, and every kind of false one that a test needs."""
import base64
import hashlib
import hmac
import json
import time
import uuid
from pathlib import Path
from typing import Any, Optional

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


class SigningKey:
    """A tenant's RSA key pair, kept in a file so that tokens outlive a restart."""

    def __init__(self, path: Optional[Path] = None) -> None:
        """:param path: the private key's PEM file; made if missing; None: a key that is kept nowhere"""
        if path is not None and path.exists():
            self._private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        else:
            self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            if path is not None:
                path.touch(mode=0o600)
                path.write_bytes(self._private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        pem = self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()
        lines = pem.strip().splitlines()
        #: As Tapis gives it: header, the whole body on one line, footer.
        self.public_pem = "\n".join([lines[0], "".join(lines[1:-1]), lines[-1]])

    def sign(self, claims: dict[str, Any]) -> str:
        """An RS256 JWT of these claims."""
        return jwt.encode(claims, self._private, algorithm="RS256").decode()  # to read the key from its PEM takes 40 ms


def claims_for(
    issuer: str, tenant: str, username: str, *, token_type: str = "access", account_type: str = "user",
    client_id: str = "", lifetime: float = 14400, now: Optional[float] = None,
) -> dict[str, Any]:
    """The claims of a Tapis token; ``lifetime`` in seconds, may be negative for one that has ended."""
    issued = time.time() if now is None else now
    return {
        "jti": str(uuid.uuid4()),
        "iss": issuer,
        "sub": f"{username}@{tenant}",
        "iat": int(issued),
        "exp": int(issued + lifetime),
        "tapis/tenant_id": tenant,
        "tapis/token_type": token_type,
        "tapis/delegation": False,
        "tapis/delegation_sub": None,
        "tapis/username": username,
        "tapis/account_type": account_type,
        "tapis/client_id": client_id,
        "tapis/grant_type": "authorization_code",
    }


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(claims: dict[str, Any]) -> str:
    """A token with ``alg=none`` and no signature."""
    return _part({"typ": "JWT", "alg": "none"}) + "." + _part(claims) + "."


def confused(claims: dict[str, Any], public_pem: str) -> str:
    """A token signed with HS256, the public key's text being the secret."""
    signed = _part({"typ": "JWT", "alg": "HS256"}) + "." + _part(claims)
    mac = hmac.new(public_pem.encode(), signed.encode(), hashlib.sha256).digest()
    return signed + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def tampered(token: str, **changes: Any) -> str:
    """A really signed token whose claims were changed afterwards."""
    header, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims.update(changes)
    return ".".join([header, _part(claims), signature])
