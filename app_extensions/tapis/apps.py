"""The Tapis app as Django loads it."""
from django.apps import AppConfig


class TapisConfig(AppConfig):
    """Runs in web, worker, beat and manage.py, before they fork: no database and no threads in ``ready``."""

    name = "app_extensions.tapis"
    label = "tapis"
    verbose_name = "Tapis"

    def ready(self) -> None:
        """Register the system checks, our periodic jobs, and what follows WebODM's signals."""
        from app_extensions.tapis import checks, metrics, schedule  # noqa: F401  (the import of checks registers them)

        schedule.schedule()
        schedule.connect()
        metrics.connect()
