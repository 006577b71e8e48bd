"""The Django app that connects the project to WebODM: overlay, masked logs, heartbeat. It has no models."""
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from app_extensions import overlay


class HostConfig(AppConfig):
    """Configuration of the app. ``ready`` runs before the processes fork, so it must not use the database or start threads."""

    name = "app_extensions.host"
    label = "webodm_extensions"
    verbose_name = "WebODM extensions"

    def ready(self) -> None:
        """Make our modules under ``app.models`` importable, mask secrets in logs, and schedule the heartbeat."""
        from app_extensions.host import heartbeat, logs

        overlay.extend_models()
        logs.install()
        heartbeat.schedule()
        checks.register(check_override)


def check_override(app_configs: Any, **kwargs: Any) -> "list[checks.Warning]":
    """Problems of the settings override, as warnings of every ``manage.py`` command."""
    return [
        checks.Warning(problem, hint="Run `webodm.sh doctor`.", id="webodm_extensions.W001")
        for problem in getattr(settings, "APP_EXTENSIONS_PROBLEMS", [])
    ]
