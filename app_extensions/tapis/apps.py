"""The Tapis app as Django loads it."""
from django.apps import AppConfig


class TapisConfig(AppConfig):
    """Configuration of the app. ``ready`` runs before the processes fork, so it must not use the database or start threads."""

    name = "app_extensions.tapis"
    label = "tapis"
    verbose_name = "Tapis"

    def ready(self) -> None:
        """Register the system checks, the periodic jobs, the receivers of WebODM's signals, and the metrics."""
        from app_extensions.tapis import checks, metrics, schedule  # noqa: F401  (the import of checks registers them)

        schedule.schedule()
        schedule.connect()
        metrics.connect()
