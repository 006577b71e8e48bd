"""The Django application `openscan`."""
from django.apps import AppConfig
from django.core.checks import register


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
