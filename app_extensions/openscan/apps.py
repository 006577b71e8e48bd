"""The Django application `openscan`."""
from django.apps import AppConfig
from django.core.checks import register
from django.db.models.signals import post_migrate


class OpenScanConfig(AppConfig):
    """Registers system checks, signal handlers and periodic jobs. It opens no connection, because servers fork after this."""

    name = "app_extensions.openscan"
    label = "openscan"
    verbose_name = "OpenScan Cloud"

    def ready(self) -> None:
        from app_extensions.openscan import signals
        from app_extensions.openscan.processing import object_preset, projects
        from app_extensions.openscan.upkeep import checks, metrics, periodic

        register(checks.check_settings)
        post_migrate.connect(object_preset.ensure_preset, sender=self, dispatch_uid="openscan-object-preset")
        signals.connect()
        periodic.schedule()
        metrics.connect()
        post_migrate.connect(projects.rewrite_old_tags, sender=self, dispatch_uid="openscan.tags")
