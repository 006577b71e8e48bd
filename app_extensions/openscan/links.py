"""Absolute links that survive what clients do to them.

OpenScan2 hands an upload link to a shell unquoted, so nothing but `A-Z a-z 0-9 / _ . : -` may be in it and the
secret stands in the path: `<base>/api/openscan/u/<scan>.<part>.<expiry>.<signature>`. The signature is an HMAC over
these and the scan's nonce; a new nonce (another cut of the archive) ends all earlier links. Nothing secret is
stored.
"""
import base64
import datetime
import hmac
import re
from typing import NamedTuple, Optional

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import Scan

UPLOAD_PATH = "/api/openscan/u/"
LONGEST_HOST = 190  # with the scheme, what fits into Scan.base_url
_FORM = re.compile(r"(\d{1,18})\.(\d{1,6})\.(\d{1,12})\.([A-Za-z0-9_-]{22})\Z", re.ASCII)


class UploadLink(NamedTuple):
    """What an upload link says; `is_signed_for` tells whether it is true."""

    scan_id: int
    number: int
    expires: int
    signature: str

    def is_signed_for(self, scan: Scan) -> bool:
        expected = _sign(_key(), self.scan_id, self.number, self.expires, scan.upload_nonce)
        return self.scan_id == scan.pk and hmac.compare_digest(self.signature, expected)

    def is_expired(self, now: datetime.datetime) -> bool:
        return now.timestamp() >= self.expires


def base_url(request: Optional[HttpRequest] = None) -> str:
    """What absolute links begin with: the setting, else the address that `request` came to, else nothing.

    Raises DisallowedHost for a Host header that is none.
    """
    if conf.public_url:
        return conf.public_url
    if request is None:
        return ""
    host = request.get_host()
    if len(host) > LONGEST_HOST:
        raise DisallowedHost(f"a Host header of {len(host)} characters")
    return f"{request.scheme}://{host}"


def upload_links(scan: Scan, base: str) -> list[str]:
    """One link for each part of `scan`, in order."""
    expires, key = int(scan.links_expire_at.timestamp()), _key()
    return [
        f"{base}{UPLOAD_PATH}{scan.pk}.{number}.{expires}.{_sign(key, scan.pk, number, expires, scan.upload_nonce)}"
        for number in range(1, scan.parts_count + 1)
    ]


def read_upload_link(text: str) -> Optional[UploadLink]:
    """The last piece of an upload link's path taken apart, or None if it is none. Its signature is not checked yet."""
    match = _FORM.match(text)
    if not match:
        return None
    scan_id, number, expires, signature = match.groups()
    if int(scan_id) > 2**31 - 1:
        return None
    return UploadLink(int(scan_id), int(number), int(expires), signature)


def _key() -> bytes:
    """The key of upload links, made from the site's secret key. Made once for all links of a scan, which may be thousands."""
    return salted_hmac("openscan.upload-link", "key").digest()


def _sign(key: bytes, scan_id: int, number: int, expires: int, nonce: str) -> str:
    """128 bits of an HMAC-SHA256, in URL-safe base64."""
    text = f"{scan_id}.{number}.{expires}.{nonce}".encode("ascii")
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")[:16]).rstrip(b"=").decode("ascii")
