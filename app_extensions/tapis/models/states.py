"""Logins that are under way: the OAuth2 ``state`` between authorize and callback."""
from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from app_extensions.shared.crypto import EncryptedTextField

#: Lifetime of a state, and of a link that waits to be confirmed. Tapis' codes are valid for as long (contracts: ten minutes).
LIFETIME = timedelta(minutes=10)


def default_expiry() -> datetime:
    """The time when a login that begins or changes now expires."""
    return timezone.now() + LIFETIME


class TapisOAuth2State(models.Model):
    """One login under way. Only the SHA-256 of the state and of the session's secret are stored."""

    state = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the state sent to Tapis.")
    session_hash = models.CharField(max_length=64, help_text="SHA-256 of a secret kept in the browser's session.")
    client = models.ForeignKey("tapis.TapisOAuth2Client", on_delete=models.CASCADE, related_name="states")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, db_constraint=False,
        related_name="tapis_states", help_text="The user who was signed in to WebODM when the login began.",
    )
    origin = models.CharField(max_length=64, blank=True, default="", db_index=True, help_text="A keyed hash of the client's address.")
    redirect_after = models.CharField(max_length=2000, blank=True)
    pending_tokens = EncryptedTextField(
        blank=True, default="", help_text="Tokens of a verified login that waits until the person has chosen an account."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(default=default_expiry, db_index=True)
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis login under way"
        verbose_name_plural = "Tapis logins under way"

    def __str__(self) -> str:
        return f"login begun {self.created_at}"

    @property
    def is_expired(self) -> bool:
        """Whether it is older than its lifetime allows."""
        return self.expires_at <= timezone.now()

    @property
    def is_used(self) -> bool:
        """Whether the callback has used it."""
        return self.used_at is not None
