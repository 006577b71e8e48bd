"""Absolute links that survive what clients do to them.

OpenScan2 passes an upload link to a shell unquoted, so it may contain only `A-Z a-z 0-9 / _ . : -`, and its secret is part
of the path: `<base>/api/openscan/u/<scan>.<part>.<expiry>.<signature>`. The signature is an HMAC over scan, part, expiry and
the scan's nonce. A new nonce (the archive was cut differently) ends all earlier links. No secret is stored.
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
LONGEST_HOST = 190  # fits into Scan.base_url together with the scheme
_FORM = re.compile(r"(\d{1,18})\.(\d{1,6})\.(\d{1,12})\.([A-Za-z0-9_-]{22})\Z", re.ASCII)


class UploadLink(NamedTuple):
    """The fields of an upload link. Do not trust them before `is_signed_for`."""

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
    """The start of absolute links: the setting, else the address that `request` was sent to, else an empty string.

    Raises DisallowedHost if the Host header is not valid.
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
    """Parse the last segment of an upload link's path; None if it is malformed. Does not check the signature."""
    match = _FORM.match(text)
    if not match:
        return None
    scan_id, number, expires, signature = match.groups()
    if int(scan_id) > 2**31 - 1:
        return None
    return UploadLink(int(scan_id), int(number), int(expires), signature)


def _key() -> bytes:
    """Derive the key of upload links from the site's secret key. Call it once per scan, which may have thousands of links."""
    return salted_hmac("openscan.upload-link", "key").digest()


def _sign(key: bytes, scan_id: int, number: int, expires: int, nonce: str) -> str:
    """128 bits of an HMAC-SHA256, in URL-safe base64."""
    text = f"{scan_id}.{number}.{expires}.{nonce}".encode("ascii")
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")[:16]).rstrip(b"=").decode("ascii")
