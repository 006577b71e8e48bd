"""Encryption at rest for secrets that must be read back (OAuth2 tokens, client secrets).

Fernet (AES-128-CBC + HMAC-SHA256) through ``MultiFernet``: the first key encrypts, every key decrypts. Keys are
derived from texts with HKDF-SHA256. The last text is always Django's ``SECRET_KEY``, so a site needs no setting.
``ENCRYPTION_KEYS`` (environment ``WO_ENCRYPTION_KEYS``: texts separated by commas or white space, newest first) puts
others in front of it. To change ``SECRET_KEY``, list the old one there, rotate, and remove it again.
"""
import base64
import logging
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django import forms
from django.conf import settings
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.db import models, transaction
from django.db.models.functions import Cast

logger = logging.getLogger("app.logger")

#: Marks our ciphertexts, so that a dump can be loaded again, and a later format can be distinguished.
PREFIX = "fernet1:"
MINIMUM_KEY_LENGTH = 16


class DecryptionError(ValueError):
    """The text was not encrypted with any of the configured keys."""


class Ciphertext(str):
    """A text that is already encrypted. An ``EncryptedTextField`` stores it as it is."""


class Unreadable(str):
    """The value of a field that no key can decrypt: an empty text. Saving it again does not change the database."""

    ciphertext: str

    def __new__(cls, ciphertext: str) -> "Unreadable":
        """:param ciphertext: the stored value, kept in case its key is configured again"""
        made = super().__new__(cls, "")
        made.ciphertext = ciphertext
        return made


def key_texts() -> tuple[str, ...]:
    """The texts from which keys are derived, newest first, ``SECRET_KEY`` last. :raises ImproperlyConfigured: a text is too short"""
    given = getattr(settings, "ENCRYPTION_KEYS", None)
    if given is None:
        given = os.environ.get("WO_ENCRYPTION_KEYS", "")
    if isinstance(given, str):
        given = [text for text in re.split(r"[\s,]+", given) if text]
    for text in given:
        if len(text) < MINIMUM_KEY_LENGTH:
            raise ImproperlyConfigured(
                "ENCRYPTION_KEYS (WO_ENCRYPTION_KEYS): every key needs at least %d characters" % MINIMUM_KEY_LENGTH
            )
    return tuple(dict.fromkeys([*given, settings.SECRET_KEY]))


@lru_cache(maxsize=8)
def _cipher(texts: tuple[str, ...]) -> MultiFernet:
    def derive(text: str) -> Fernet:
        # No salt: the texts are long random secrets, and every process must derive the same key (RFC 5869, 3.1).
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"app_extensions.shared.crypto field key 1")
        return Fernet(base64.urlsafe_b64encode(hkdf.derive(text.encode())))

    return MultiFernet([derive(text) for text in texts])


def encrypt(text: str) -> str:
    """Encrypt with the newest key. :return: ASCII text that starts with ``fernet1:``"""
    return PREFIX + _cipher(key_texts()).encrypt(text.encode()).decode()


def decrypt(ciphertext: str) -> str:
    """Undo ``encrypt``. :raises DecryptionError: the value is not ours, is damaged, or its key is not configured"""
    try:
        return _cipher(key_texts()).decrypt(_body(ciphertext)).decode()
    except InvalidToken:
        raise DecryptionError("no configured key opens this value") from None


def rotate(ciphertext: str) -> str:
    """The same text encrypted with the newest key. :raises DecryptionError: as ``decrypt``"""
    try:
        return PREFIX + _cipher(key_texts()).rotate(_body(ciphertext)).decode()
    except InvalidToken:
        raise DecryptionError("no configured key opens this value") from None


def _body(ciphertext: str) -> bytes:
    if not ciphertext.startswith(PREFIX):
        raise DecryptionError("the value is not one of our ciphertexts")
    return ciphertext[len(PREFIX):].encode()


class EncryptedTextField(models.TextField):
    """A text that is plain in Python, but encrypted in the database, in dumps and in backups.

    Queries can only compare it with NULL, because each encryption of the same text differs. A value that no key can
    decrypt loads as ``Unreadable`` (empty), so that one lost key does not break whole pages.
    """

    description = "Encrypted text"

    if TYPE_CHECKING:  # the attribute that Django makes of it on a row
        def __get__(self, row: Any, model: Any) -> str: ...
        def __set__(self, row: Any, value: str) -> None: ...

    def from_db_value(self, value: Optional[str], expression: Any, connection: Any) -> Optional[str]:
        """Decrypt the database's value."""
        if value is None or value == "":
            return value
        try:
            return decrypt(value)
        except DecryptionError:
            logger.error("%s cannot be decrypted: its key is not configured any more", self)
            return Unreadable(value)

    def to_python(self, value: Any) -> Any:
        """The value as plain text. A ciphertext from a fixture (``loaddata``) is decrypted."""
        if isinstance(value, str) and value.startswith(PREFIX):
            return self.from_db_value(value, None, None)
        return value if value is None or isinstance(value, str) else str(value)

    def get_prep_value(self, value: Any) -> Optional[str]:
        """Encrypt for the database. NULL and the empty text stay as they are."""
        if isinstance(value, Unreadable):
            return value.ciphertext
        if value is None or value == "" or isinstance(value, Ciphertext):
            return value
        return encrypt(str(value))

    def value_to_string(self, obj: models.Model) -> str:
        """The ciphertext, for ``dumpdata``."""
        return self.get_prep_value(self.value_from_object(obj)) or ""

    def get_lookup(self, lookup_name: str) -> Any:
        """Allow only ``isnull``. :raises FieldError: any other lookup, because it could never match"""
        if lookup_name != "isnull":
            raise FieldError(f"{self} is encrypted and cannot be searched with '{lookup_name}'")
        return super().get_lookup(lookup_name)

    def formfield(self, **kwargs: Any) -> forms.Field:
        """A password box that never shows the stored value."""
        return super().formfield(**{"widget": forms.PasswordInput(render_value=False), **kwargs})


class Rotation(NamedTuple):
    """The result of ``rotate_model``, in numbers of values."""

    rotated: int
    unreadable: int


def encrypted_fields(model: models.base.ModelBase) -> Iterable[EncryptedTextField]:
    """The model's encrypted columns."""
    return [field for field in model._meta.concrete_fields if isinstance(field, EncryptedTextField)]


def rotate_model(model: models.base.ModelBase) -> Rotation:
    """Encrypt every secret of a model with the newest key, row by row under a lock. Unreadable values stay as they are."""
    rotated = unreadable = 0
    for field in encrypted_fields(model):
        for pk in model._base_manager.values_list("pk", flat=True).order_by("pk"):
            with transaction.atomic():
                row = model._base_manager.select_for_update().filter(pk=pk)
                stored = row.values_list(Cast(field.name, models.TextField()), flat=True).first()
                if not stored:
                    continue
                try:
                    row.update(**{field.name: Ciphertext(rotate(stored))})
                    rotated += 1
                except DecryptionError:
                    unreadable += 1
    return Rotation(rotated, unreadable)
