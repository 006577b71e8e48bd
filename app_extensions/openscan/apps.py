"""The Django application `openscan`."""
from django.apps import AppConfig
from django.core.checks import register


class OpenScanConfig(AppConfig):
    """Registers the system checks; WebODM's database and workers are not touched before the forks."""

    name = "app_extensions.openscan"
    label = "openscan"
    verbose_name = "OpenScan Cloud"

    def ready(self) -> None:
        from app_extensions.openscan import checks

        register(checks.check_settings)
