"""The Django application `openscan`."""
from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.db.models.signals import post_migrate


class OpenScanConfig(AppConfig):
    """Registers the system checks, listens to WebODM's tasks and joins its beat; nothing is touched before the forks."""

    name = "app_extensions.openscan"
    label = "openscan"
    verbose_name = "OpenScan Cloud"

    def ready(self) -> None:
        from app_extensions.openscan import signals
        from app_extensions.openscan.upkeep import checks, metrics, periodic

        register(checks.check_settings)
        signals.connect()
        periodic.schedule()
        metrics.connect()
        post_migrate.connect(_write_tags_by_spaces, sender=self, dispatch_uid="openscan.tags")


def _write_tags_by_spaces(**_: Any) -> None:
    """After each ``migrate``: tags with commas are of an earlier version. Here and not in a migration, as the rows are WebODM's."""
    from app_extensions.openscan.processing.projects import write_tags_by_spaces

    write_tags_by_spaces()
