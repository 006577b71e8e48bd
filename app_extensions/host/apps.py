"""The Django application that ties the door to WebODM: overlay, masked logs, heartbeat. It has no models."""
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks

from app_extensions import overlay


class HostConfig(AppConfig):
    """Runs in web, worker, beat and manage.py before they fork: no database, no threads."""

    name = "app_extensions.host"
    label = "webodm_extensions"
    verbose_name = "WebODM extensions"

    def ready(self) -> None:
        """Makes ``app.models.<ours>`` importable, masks secrets in logs and has beat show that it is alive."""
        from app_extensions.host import heartbeat, logs

        overlay.extend_models()
        logs.install()
        heartbeat.schedule()
        checks.register(check_override)


def check_override(app_configs: Any, **kwargs: Any) -> "list[checks.Warning]":
    """What the settings override could not do, as warnings of every ``manage.py`` command."""
    return [
        checks.Warning(problem, hint="Run `webodm.sh doctor`.", id="webodm_extensions.W001")
        for problem in getattr(settings, "APP_EXTENSIONS_PROBLEMS", [])
    ]
