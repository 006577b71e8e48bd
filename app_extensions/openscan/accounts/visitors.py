"""Who looks at our pages, and what they may see and do there.

A visitor is a WebODM user, or somebody who entered a token. A signed cookie remembers the token: it holds the token's row id and
the beginning of its hash, never its text.
"""
import datetime
from dataclasses import dataclass
from typing import Any, NamedTuple, Optional

from django.core import signing
from django.db.models import QuerySet
from django.utils import timezone

from app_extensions.openscan import page_links
from app_extensions.openscan.accounts import addresses
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan, Token

SIGN_IN = 401
NOT_FOUND = 404
FORBIDDEN = 403
#: How long a browser is trusted after a token was entered.
REMEMBERED_SECONDS = 12 * 3600
_SALT = "openscan.visitor"
_DIGEST_CHARACTERS = 16
SIGN_IN_SENTENCE = "You are no longer signed in. Sign in again in another tab, then continue here."


@dataclass(frozen=True)
class Visitor:
    """Somebody at a page: a WebODM `user`, the holder of a `token`, or neither. `address` is the client's."""

    user: Optional[Any] = None
    token: Optional[Token] = None
    address: str = ""

    @property
    def is_admin(self) -> bool:
        """Whether this is a WebODM superuser."""
        return self.user is not None and self.user.is_superuser

    def tokens(self) -> QuerySet:
        """This visitor's own tokens, including revoked ones."""
        if self.token is not None:
            return Token.objects.filter(pk=self.token.pk)
        return Token.objects.filter(owner_id=self.user.pk) if self.user is not None else Token.objects.none()

    def usable_token(self, token_id: Optional[int] = None) -> Token:
        """One of the visitor's tokens to upload under.

        :param token_id: which one; None means the token that the visitor entered
        :raises OpenScanError: 401 if nobody is signed in, 404 if the token is not theirs, 400 if it is revoked
        """
        if self.token is None and self.user is None:
            raise OpenScanError(SIGN_IN_SENTENCE, SIGN_IN)
        found = self.tokens().filter(pk=token_id).first() if token_id is not None else self.token
        if found is None:
            raise OpenScanError("Choose one of your own tokens.", NOT_FOUND)
        if found.revoked_at:
            raise OpenScanError("This token was revoked; choose another one, or ask the site's administrator for a new one.")
        return found

    def scans(self) -> QuerySet:
        """The scans that this visitor may list. Those of a public token are listed only to its WebODM owner and to admins."""
        if self.is_admin:
            mine = Scan.objects.all()
        elif self.token is not None and self.token.is_public:
            mine = Scan.objects.none()
        else:
            mine = Scan.objects.filter(token__in=self.tokens())
        return mine.exclude(state=Scan.RESET).select_related("token")


class Access(NamedTuple):
    """A scan that somebody may look at. `may_change`: reset, delete and process again; `shared`: through a link to share."""

    scan: Scan
    may_change: bool
    shared: bool = False


def remember(token: Token) -> str:
    """What the cookie of a visitor with this token holds."""
    return signing.dumps({"token": token.pk, "digest": token.digest[:_DIGEST_CHARACTERS]}, salt=_SALT, compress=False)


def remembered(cookie: str) -> Optional[Token]:
    """The token that a cookie stands for. None if the cookie is not ours or too old, or if the token was revoked meanwhile."""
    try:
        found = signing.loads(cookie, salt=_SALT, max_age=datetime.timedelta(seconds=REMEMBERED_SECONDS)) if cookie else None
    except signing.BadSignature:
        return None
    if not isinstance(found, dict):
        return None
    token = Token.objects.filter(pk=found.get("token"), revoked_at=None).first()
    return token if token is not None and token.digest.startswith(str(found.get("digest"))) else None


def find_access(visitor: Visitor, key_text: str) -> Access:
    """The scan behind a page's key, and what the visitor may do with it.

    :raises OpenScanError: 404 if there is none for this visitor, 410 if a link to share has expired
    """
    key = page_links.read_key(key_text)
    scan = Scan.objects.select_related("token").exclude(state=Scan.RESET).filter(pk=key.scan_id).first() if key else None
    if key is None or scan is None:
        raise OpenScanError("There is no such scan. It may have been reset, or the link is incomplete.", NOT_FOUND)
    signed = key.is_signed_for(scan)
    if key.expires:
        if not signed or key.expires <= timezone.now().timestamp():
            raise OpenScanError("This link has expired. Ask the person who shared it for a new one.", 410)
        return Access(scan, may_change=False, shared=True)
    if _is_own(visitor, scan, signed):
        return Access(scan, may_change=True)
    if signed:
        return Access(scan, may_change=False)
    raise OpenScanError("You cannot open this scan. Sign in with the token that it was sent under.", NOT_FOUND)


def require_own(visitor: Visitor, key_text: str) -> Scan:
    """The scan behind a page's key, for changing it. Raises OpenScanError as `find_access`, and 403 if the visitor may only look."""
    access = find_access(visitor, key_text)
    if not access.may_change:
        raise OpenScanError("With this link you can only look at the scan. To change it, sign in with the token that it was "
                            "sent under.", FORBIDDEN)
    return access.scan


def _is_own(visitor: Visitor, scan: Scan, signed: bool) -> bool:
    """Whether the visitor may change the scan.

    A public token is not enough, because everybody has it and scan numbers are easy to guess. Its holder also needs the page's own
    link and, if names are bound, the client address that the scan was sent from.
    """
    if visitor.is_admin or (visitor.user is not None and scan.token.owner_id == visitor.user.pk):
        return True
    if visitor.token is None or visitor.token.pk != scan.token_id:
        return False
    if not scan.token.is_public:
        return True
    return signed and (not conf.bind_public_names or addresses.belongs_to(scan.client_address, scan.pk, visitor.address))
