"""Keys that identify a scan in the addresses of its pages.

    17                          the bare number: only works for those who may see the scan anyway
    17.<signature>              the scan's own page, linked in getProjectInfo and mails: valid until the scan is reset
    17.<expiry>.<signature>     a link to share, valid for a limited time and for one result

A signature lets its holder look at the scan and download the result, but never change anything.
"""
import base64
import hashlib
import hmac
import re
from typing import NamedTuple, Optional

from django.utils.crypto import salted_hmac

from app_extensions.openscan.models import Scan

PAGE_PATH = "/openscan/scans/"
SHARED_PATH = "/openscan/shared/"
#: What a key looks like in a URL pattern.
KEY_PATTERN = r"[0-9]{1,10}(?:\.[0-9]{1,12})?(?:\.[A-Za-z0-9_-]{22})?"
_FORM = re.compile(r"(\d{1,10})(?:\.(\d{1,12}))?(?:\.([A-Za-z0-9_-]{22}))?\Z", re.ASCII)


class PageKey(NamedTuple):
    """A parsed key. `expires` is in seconds since 1970; 0 means that the key does not expire."""

    scan_id: int
    expires: int
    signature: str

    def is_signed_for(self, scan: Scan) -> bool:
        """Whether the signature is ours. The caller must check `expires`."""
        return bool(self.signature) and hmac.compare_digest(self.signature, _sign(scan, self.expires))


def read_key(text: str) -> Optional[PageKey]:
    """Parse a key; None if it is malformed. Does not check the signature."""
    match = _FORM.match(text)
    if not match or int(match.group(1)) > 2**31 - 1:
        return None
    number, expires, signature = match.groups()
    return PageKey(int(number), int(expires or 0), signature or "")


def page_key(scan: Scan) -> str:
    """The key of a scan's own page."""
    return f"{scan.pk}.{_sign(scan, 0)}"


def page_url(scan: Scan, base: str) -> str:
    """The address of a scan's own page. `base` is its beginning, without a trailing slash."""
    return f"{base}{PAGE_PATH}{page_key(scan)}/"


def shared_url(scan: Scan, base: str, expires: int) -> str:
    """The address of a page to share. It is valid until `expires` (seconds since 1970) or a new result, whichever comes first."""
    return f"{base}{SHARED_PATH}{scan.pk}.{expires}.{_sign(scan, expires)}/"


def _sign(scan: Scan, expires: int) -> str:
    """128 bits of an HMAC-SHA256 keyed by the site's secret key, in URL-safe base64."""
    key = salted_hmac("openscan.page-link", "key").digest()
    what = f"share.{expires}.{scan.result_link}" if expires else "page"
    text = f"{scan.pk}.{scan.token_id}.{scan.created_at.timestamp():.6f}.{what}".encode("ascii")
    return base64.urlsafe_b64encode(hmac.new(key, text, hashlib.sha256).digest()[:16]).rstrip(b"=").decode("ascii")
