"""What happens once, when the first process imports the URLconf: groups, presets, settings, plugins."""
import logging
import os

import kombu
from django.contrib.auth.models import Group, Permission
from django.db.utils import ProgrammingError
from webodm import settings
from webodm.wsgi import booted
from worker import tasks as worker_tasks

from app.models import Preset, Setting
from app.plugins import init_plugins

from . import signals  # noqa: F401 (connects the receivers)

logger = logging.getLogger("app.logger")

# Names and options of WebODM's system presets.
SYSTEM_PRESETS = {
    "Multispectral": {"auto-boundary": True, "radiometric-calibration": "camera"},
    "Volume Analysis": {"auto-boundary": True, "dsm": True, "dem-resolution": "2", "pc-quality": "high"},
    "3D Model": {
        "auto-boundary": True,
        "mesh-octree-depth": "12",
        "use-3dmesh": True,
        "pc-quality": "high",
        "mesh-size": "300000",
    },
    "Buildings": {"auto-boundary": True, "mesh-size": "300000", "feature-quality": "high", "pc-quality": "high"},
    "Forest": {
        "auto-boundary": True,
        "min-num-features": "18000",
        "use-3dmesh": True,
        "feature-quality": "medium",
    },
    "DSM + DTM": {"auto-boundary": True, "dsm": True, "dtm": True},
    "Field": {"sfm-algorithm": "planar", "fast-orthophoto": True, "matcher-neighbors": 4},
    "Fast Orthophoto": {"auto-boundary": True, "fast-orthophoto": True},
    "High Resolution": {
        "auto-boundary": True,
        "dsm": True,
        "dem-resolution": "1.0",
        "orthophoto-resolution": "1.0",
    },
    "Default": {"auto-boundary": True, "dsm": True},
}


def boot() -> None:
    """Fills the database with what every WebODM has and loads the plugins; only the first of gunicorn's workers does it."""
    if (not settings.DEBUG and booted.value) or settings.MIGRATING or settings.FLUSHING:
        return
    booted.value = True
    logger.info("Booting WebODM sandbox %s", settings.VERSION)
    os.makedirs(settings.MEDIA_TMP, exist_ok=True)
    try:
        fill_database()
        init_plugins()
        if not settings.TESTING:
            try:
                worker_tasks.update_nodes_info.delay()
            except kombu.exceptions.OperationalError as error:
                logger.error("Cannot reach the broker: %s", error)
    except ProgrammingError:
        logger.warning("The database is not ready. This is expected before the first migration.")


def fill_database() -> None:
    """Makes what every WebODM has: the default group, the system presets, the row of settings. Repeatable."""
    _prepare_default_group()
    for name, options in SYSTEM_PRESETS.items():
        Preset.objects.update_or_create(
            name=name,
            system=True,
            defaults={"options": [{"name": key, "value": value} for key, value in options.items()]},
        )
    if not Setting.objects.exists():
        Setting.objects.create(app_name=settings.APP_NAME)


def _prepare_default_group() -> None:
    """The group "Default" may work with projects, tasks and presets; which nodes it may use is decided a node."""
    group, created = Group.objects.get_or_create(name="Default")
    if created:
        logger.info("Made the default group")
    for suffix in ("_project", "_task", "_preset"):
        group.permissions.add(*Permission.objects.filter(codename__endswith=suffix))
    group.permissions.add(Permission.objects.get(codename="view_processingnode"))
