"""A user's preferences for discoveries and syncs."""
from django.conf import settings
from django.contrib.postgres.fields import JSONField
from django.db import models

from app_extensions.tapis.conf import conf


def default_auto_discover() -> bool:
    """``WO_TAPIS_DISCOVER_ON_LOGIN`` when the user's row is made."""
    return conf.discover_on_login


def default_fetch() -> bool:
    """``WO_TAPIS_FETCH`` when the user's row is made."""
    return conf.fetch


def default_process() -> bool:
    """``WO_TAPIS_PROCESS`` when the user's row is made."""
    return conf.process


class TapisPreferences(models.Model):
    """One user's preferences. A user without a row has the defaults."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_preferences"
    )
    auto_discover_on_login = models.BooleanField(default=default_auto_discover)
    max_projects_per_discovery = models.IntegerField(default=50)
    discovery_cooldown_hours = models.IntegerField(default=24)
    notify_on_discovery_complete = models.BooleanField(default=True)
    notify_on_discovery_errors = models.BooleanField(default=True)
    preferred_systems = JSONField(default=list, blank=True)
    last_auto_discovery = models.DateTimeField(null=True, blank=True)
    sync_on_discovery = models.BooleanField(default=default_fetch)
    process_after_sync = models.BooleanField(default=default_process)
    processing_preset = models.CharField(max_length=255, blank=True, default="")

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis preferences"
        verbose_name_plural = "Tapis preferences"

    def __str__(self) -> str:
        return f"Tapis preferences of user {self.user_id}"
