"""Decides whom a name under a public token belongs to: a client address, or the holder of a secret if addresses say nothing.

Behind a TLS proxy that is declared but not trusted, everybody has the proxy's address. A name then belongs to whoever sends the
secret that createProject returned, or one of the scan's upload links, which `uploader.py` sends with every call.
"""
import hashlib
import secrets

from app_extensions.openscan import links
from app_extensions.openscan.accounts import addresses
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import Scan, Token


def needs_secret(token: Token) -> bool:
    """Whether names under this token are bound to secrets instead of addresses."""
    return token.is_public and conf.bind_public_names and addresses.is_blind()


def identify(secret: str, upload_link: str) -> str:
    """Identify the client by the secret or the upload link that it sent. Empty, which owns nothing, if neither is valid."""
    if secret:
        return f"key:{hashlib.sha256(secret.encode('utf-8', 'replace')).hexdigest()[:40]}"
    link = links.read_upload_link(upload_link.rpartition("/")[2])
    scan = Scan.objects.filter(pk=link.scan_id).first() if link else None
    return scan.client_address if link is not None and scan is not None and link.is_signed_for(scan) else ""


def new_secret() -> str:
    """A secret for a new scan; the client sends it with every later call about it."""
    return secrets.token_hex(16)
