"""OAuth2 clients of this WebODM at Tapis tenants."""
import ipaddress
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from app_extensions.shared.crypto import EncryptedTextField
from app_extensions.tapis.conf import conf

#: Secrets and tokens are sent to these addresses, or to addresses built from them.
TOKEN_PATH = "/v3/oauth2/tokens"  # noqa: S105 (an address)
ADDRESSES = ("base_url", "token_url")


def default_base_url() -> str:
    """``WO_TAPIS_BASE_URL`` when the client is made."""
    return conf.base_url


def default_tenant_id() -> str:
    """``WO_TAPIS_TENANT_ID`` when the client is made."""
    return conf.tenant_id


def validate_service_url(url: str) -> None:
    """Check an address that receives secrets: HTTPS, or HTTP on this machine or in debug mode. :raises ValidationError:"""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValidationError("Give a plain http(s) address without user, query or fragment.")
    if parts.scheme == "http" and not settings.DEBUG and not _is_loopback(parts.hostname):
        raise ValidationError("Secrets are sent to this address, so it must use https.")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TapisOAuth2Client(models.Model):
    """One client registered with one tenant's authenticator. Two tenants may have clients with the same ``client_id``."""

    name = models.CharField(max_length=255, help_text="What people see on the login page.")
    client_id = models.CharField(
        max_length=255,
        validators=[RegexValidator(r"^[A-Za-z0-9._@-]+\Z", "Letters, digits, dot, dash, underscore and @ only.")],
    )
    client_secret = EncryptedTextField(help_text="Tapis calls it client_key. Stored encrypted, never shown.")
    tenant_id = models.CharField(max_length=100, default=default_tenant_id)
    base_url = models.CharField(
        "Base URL", max_length=255, default=default_base_url, validators=[validate_service_url],
        help_text="The tenant's address, such as https://portals.tapis.io.",
    )
    authorization_url = models.CharField(
        "Authorization URL", max_length=500, blank=True, validators=[validate_service_url],
        help_text="Empty: the base URL followed by /v3/oauth2/authorize.",
    )
    token_url = models.CharField(
        "Token URL", max_length=500, blank=True, validators=[validate_service_url],
        help_text="Empty: the base URL followed by /v3/oauth2/tokens.",
    )
    callback_url = models.CharField(
        "Callback URL", max_length=500, validators=[validate_service_url],
        help_text="Exactly as registered with Tapis: this WebODM's address followed by /api/oauth2/tapis/callback/",
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis OAuth2 client"
        ordering = ("name", "pk")
        unique_together = [("base_url", "tenant_id", "client_id")]

    def __str__(self) -> str:
        return f"{self.name} ({self.tenant_id})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the client. Derive the OAuth2 addresses from the base address if they are empty or were derived from its old value."""
        self.base_url = self.base_url.rstrip("/")
        former = self._former.get("base_url", "")
        moved = self.has_moved()
        for name, path in (("authorization_url", "/v3/oauth2/authorize"), ("token_url", TOKEN_PATH)):
            if getattr(self, name) in ("", former + path):
                setattr(self, name, self.base_url + path)
        super().save(*args, **kwargs)
        if moved:
            # The tokens belong to the old address. Refreshing them would send them to the new one.
            self.tokens.update(is_valid=False, invalid_reason="the client's address was changed.", updated_at=timezone.now())
        self._remember()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._former: dict[str, str] = {}
        #: Set by whoever enters the secret; see ``clean``.
        self.secret_entered = False
        super().__init__(*args, **kwargs)

    def clean(self) -> None:
        """Require the secret again if an address that receives it has changed. :raises ValidationError: the secret was not entered"""
        super().clean()
        if self.has_moved() and not self.secret_entered:
            raise ValidationError({"client_secret": "An address was changed. Enter the client's secret again: it will be sent there."})

    def has_moved(self) -> bool:
        """Whether an address that receives secrets differs from the one in the database."""
        now = {"base_url": self.base_url.rstrip("/"), "token_url": (self.token_url or self.base_url.rstrip("/") + TOKEN_PATH).rstrip("/")}
        return any(self._former.get(name) and self._former[name] != now[name] for name in ADDRESSES)

    def _remember(self) -> None:
        self._former = {name: (self.__dict__.get(name) or "").rstrip("/") for name in ADDRESSES}
        self.secret_entered = False

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any) -> "TapisOAuth2Client":
        """Remember the stored addresses, see ``save`` and ``has_moved``."""
        made = super().from_db(db, field_names, values)
        made._remember()
        return made

    @property
    def revoke_url(self) -> str:
        """The address for revoking tokens."""
        return self.token_url.rstrip("/") + "/revoke"

    @property
    def issuer(self) -> str:
        """The ``iss`` claim of this tenant's tokens."""
        return self.base_url + "/v3/tokens"
