"""System checks of the app's settings (`manage.py check`), numbered openscan.E… and openscan.W…."""
import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from app_extensions.openscan.conf import Conf, conf, public_url_problem
from app_extensions.openscan.objects.checks import check_object_storage

TASKS_MODULE = "app_extensions.openscan.tasks"


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What is wrong with the settings, each with a hint that says what to write instead."""
    found: list[CheckMessage] = []
    for name in [key for key, value in vars(Conf).items() if isinstance(value, property)]:
        try:
            getattr(conf, name)
        except ImproperlyConfigured as error:
            found.append(Error(str(error), hint="See docs/settings.md for what the setting takes.",
                               id="openscan.E001"))
    if found:
        return found
    if not conf.basic_user or not conf.basic_password or ":" in conf.basic_user:
        found.append(Error(
            "WO_OPENSCAN_BASIC_USER and WO_OPENSCAN_BASIC_PASSWORD must not be empty, and the user has no colon.",
            hint="Leave both unset for openscan:free, which the rigs use.", id="openscan.E002"))
    problem = public_url_problem(conf.public_url)
    if problem:
        found.append(Error(f"WO_OPENSCAN_PUBLIC_URL cannot be used: {problem}.",
                           hint="Write it like https://scan.example.org", id="openscan.E003"))
    for name in ("limit_filesize_bytes", "limit_photos", "limit_part_bytes", "upload_link_seconds",
                 "upload_idle_seconds", "unstarted_hours", "result_days", "token_requests_per_hour", "tasks_per_node",
                 "tasks_per_cluster", "node_attempts", "silent_minutes"):
        if getattr(conf, name) <= 0:
            found.append(Error(f"The OpenScan setting {name} must be above zero.", id="openscan.E004"))
    if TASKS_MODULE not in getattr(settings, "CELERY_INCLUDE", []):
        # No error: WebODM itself must still start.
        found.append(Warning(f"{TASKS_MODULE} is not in CELERY_INCLUDE: started scans would wait for ever.",
                             hint="Let app_extensions/settings_override.py be WebODM's settings override.",
                             id="openscan.W003"))
    if os.environ.get("WO_SSL", "NO") == "YES" and not conf.public_url:
        found.append(Warning("WebODM runs with TLS, but WO_OPENSCAN_PUBLIC_URL is not set: links would begin with http://.",
                             hint="Set it to the address that the rigs use.", id="openscan.W001"))
    found += check_object_storage()
    if conf.limit_part_bytes < 200_000_000:
        found.append(Warning("Parts below 200,000,000 bytes turn away OpenScan2, OpenScan3 and uploader.py as shipped.",
                             id="openscan.W002"))
    return found
