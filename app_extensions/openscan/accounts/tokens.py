"""Creates, finds and revokes tokens.

A token is 32 characters from 62, drawn by the system's random source: 190 bits. Nobody can guess or enumerate that,
so a single SHA-256 keeps it as safe as a slow password hash would, and lets one indexed look-up find it; a salt
would only stop tables of precomputed hashes, which 62³² values rule out anyway.
"""
import datetime
import hashlib
import re
import secrets
import string
from typing import Any, Optional

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils import timezone

from app_extensions.openscan.accounts import ledger, limits
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Token

ALPHABET = string.ascii_letters + string.digits
LENGTH = 32
LONGEST_LABEL = 100
_FORM = re.compile(r"[A-Za-z0-9]{32}\Z", re.ASCII)
#: How often a token's use is recorded: often enough for a page that waits for a rig's first contact, rarely enough for polling rigs.
_USE_NOTED_EVERY = datetime.timedelta(seconds=10)


def generate() -> str:
    """A new token's text."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def digest(text: str) -> str:
    """What is stored instead of a token's text."""
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def create_token(*, kind: str = Token.PRIVATE, owner: Optional[object] = None, label: str = "", forename: str = "",
                 surname: str = "", mail: str = "", credit_bytes: Optional[int] = None,
                 daily_bytes: Optional[int] = None, limit_filesize_bytes: Optional[int] = None,
                 limit_photos: Optional[int] = None, actor: str = "") -> tuple[Token, str]:
    """Creates a token and returns it with its text, which cannot be retrieved later.

    `owner` is a WebODM user (default: `default_owner()`). A private token needs a person and starts with
    `credit_bytes`; a public one is topped up to `daily_bytes` a day. Raises OpenScanError if something is missing.
    """
    text = generate()
    token = Token(kind=kind, label=label, forename=forename, surname=surname, mail=mail.lower(),
                  owner=owner or default_owner())
    if limit_filesize_bytes is not None:
        token.limit_filesize_bytes = limit_filesize_bytes
    if limit_photos is not None:
        token.limit_photos = limit_photos
    if kind == Token.PUBLIC:
        token.daily_bytes = conf.public_daily_bytes if daily_bytes is None else daily_bytes
    elif daily_bytes:
        raise OpenScanError("Only public tokens are topped up daily; give a private one credit.")
    save_new_token(token, text, credit_bytes=credit_bytes, actor=actor)
    return token, text


def save_new_token(token: Token, text: str, credit_bytes: Optional[int] = None, actor: str = "") -> None:
    """Stores a new `token` under `text` and books its first credit. Raises OpenScanError if something is missing."""
    if token.kind == Token.PRIVATE:
        token.mail = token.mail.lower()
        check_person(token.forename, token.surname, token.mail)
        first_credit = conf.private_credit_bytes if credit_bytes is None else credit_bytes
    else:
        first_credit = credit_bytes or 0
    check_label(token.label)
    for field in limits.MOST_OF_TOKEN:
        limits.check_token_number(field, getattr(token, field))
    token.prefix, token.digest = text[:6], digest(text)
    with transaction.atomic():
        token.save(force_insert=True)
        if first_credit:
            ledger.grant(token, first_credit, actor=actor, note="first credit")
        ledger.refill(token)


def find_token(text: Optional[str]) -> Optional[Token]:
    """The token with this text, even if it is revoked, or None."""
    if not text or not _FORM.match(text):
        return None
    return Token.objects.filter(digest=digest(text)).first()


def require_token(text: Optional[str]) -> Token:
    """The valid token with this text. Raises OpenScanError (400) with the reason, which never contains the token."""
    text = (text or "").strip()
    if not text:
        raise OpenScanError("The token is missing; send the 32 characters you were given as token.")
    if "*" in text:
        raise OpenScanError("This is a masked token; enter all 32 characters again instead of saving the masked ones.")
    token = find_token(text)
    if token is None:
        raise OpenScanError("This token is not known here; check its 32 characters (A-Z, a-z, 0-9) and the host.")
    if token.revoked_at:
        raise OpenScanError("This token was revoked; ask the site's administrator for a new one.")
    note_use(token)
    return token


def note_use(token: Token) -> None:
    """Records when a token was last used, without a write for every call of a polling rig."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > _USE_NOTED_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)


def revoke(token: Token) -> bool:
    """Ends a token: it can no longer create, upload or query anything. Returns False if it was revoked before."""
    changed = Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
    token.refresh_from_db(fields=["revoked_at"])
    return bool(changed)


def default_owner() -> object:
    """The WebODM user for tokens without a named owner. Raises OpenScanError if there is none."""
    users = get_user_model().objects
    if conf.default_owner:
        owner = users.filter(username=conf.default_owner).first()
        if owner is None:
            raise OpenScanError(f"WO_OPENSCAN_DEFAULT_OWNER is {conf.default_owner}, but WebODM has no such user.")
        return owner
    owner = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
    if owner is None:
        raise OpenScanError("WebODM has no administrator yet; create one, or choose an owner for the token.")
    return owner


def token_owner(token: Token) -> Optional[Any]:
    """The WebODM user behind `token`, or None if that user was deleted (also while this app was not loaded)."""
    return user(token.owner_id)


def user(user_id: Optional[int]) -> Optional[Any]:
    """The WebODM user with this id, or None if there is none."""
    return get_user_model().objects.filter(pk=user_id).first() if user_id else None


def check_label(label: str) -> None:
    """Raises OpenScanError for a label that cannot be shown."""
    if len(label) > LONGEST_LABEL or not limits.is_storable(label):
        raise OpenScanError(f"A token's label must be plain text of at most {LONGEST_LABEL} characters, without control characters.")


def check_person(forename: str, surname: str, mail: str) -> None:
    """Raises OpenScanError if a private token cannot be bound to this person."""
    for value, name, longest in ((forename, "forename", 100), (surname, "lastname", 100), (mail, "mail", 254)):
        if not value.strip():
            raise OpenScanError(f"The field {name} is missing; a private token is bound to mail, forename and lastname.")
        if len(value) > longest or not limits.is_storable(value):
            raise OpenScanError(f"The field {name} must be plain text of at most {longest} characters.")
    try:
        validate_email(mail)
    except ValidationError as error:
        raise OpenScanError("The field mail is not an e-mail address; write it like name@example.org.") from error
