"""Tapis tokens that this WebODM stores for its users, encrypted."""
from django.conf import settings
from django.db import models
from django.utils import timezone

from app_extensions.shared.crypto import EncryptedTextField


class TapisOAuth2Token(models.Model):
    """A user's tokens from one client. Read them with ``login.tokens.access_token_for``, which refreshes them."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_tokens"
    )
    client = models.ForeignKey("tapis.TapisOAuth2Client", on_delete=models.CASCADE, related_name="tokens")
    identity = models.ForeignKey("tapis.TapisIdentity", on_delete=models.CASCADE, related_name="tokens")
    access_token = EncryptedTextField()
    refresh_token = EncryptedTextField(blank=True, default="")
    expires_at = models.DateTimeField(help_text="When the access token expires.")
    refresh_expires_at = models.DateTimeField(null=True, blank=True, help_text="When the refresh token expires.")
    is_valid = models.BooleanField(default=True, help_text="Off: Tapis or an administrator refused it.")
    invalid_reason = models.CharField(max_length=255, blank=True, default="")
    refreshed_at = models.DateTimeField(null=True, blank=True)
    refresh_failed_at = models.DateTimeField(null=True, blank=True, help_text="The last refresh that Tapis refused.")
    refresh_problem = models.CharField(max_length=255, blank=True, default="", help_text="Why the last refresh failed.")
    refresher = models.CharField(max_length=36, blank=True, default="", help_text="The process that is refreshing it now.")
    refreshing_until = models.DateTimeField(null=True, blank=True, help_text="When that process counts as dead.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis OAuth2 token"
        ordering = ("-updated_at",)
        unique_together = [("user", "client")]

    def __str__(self) -> str:
        return f"{self.identity} through {self.client}"

    @property
    def is_expired(self) -> bool:
        """Whether the access token has expired. A refresh may still give a new one."""
        return self.expires_at <= timezone.now()

    @property
    def seconds_left(self) -> float:
        """Seconds until the access token expires; 0 once it has."""
        return max(0.0, (self.expires_at - timezone.now()).total_seconds())

    @property
    def can_refresh(self) -> bool:
        """Whether there is a refresh token that has not expired."""
        return bool(self.refresh_token) and (
            self.refresh_expires_at is None or self.refresh_expires_at > timezone.now()
        )
