"""Modules of ours that appear inside WebODM's ``app`` package under their documented names.

What lies in ``overlay/services``, ``overlay/tasks`` and ``overlay/models`` is imported as ``app.services.…``, ``app.tasks.…``
and ``app.models.…``. The modules are thin: they name what ``app_extensions.tapis`` has.
"""
import importlib
import sys
from collections.abc import MutableSequence
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent


def extend_app() -> None:
    """Makes ``app.services`` and ``app.tasks`` importable; from the settings on, before any application is loaded."""
    import app

    _append(app.__path__, DIRECTORY)


def extend_models() -> None:
    """Makes ``app.models.<ours>`` importable. ``app.models`` is a regular package and needs the registry: once apps load."""
    _append(importlib.import_module("app.models").__path__, DIRECTORY / "models")


def _append(path: MutableSequence[str], directory: Path) -> None:
    if str(directory) not in path:
        path.append(str(directory))
        importlib.invalidate_caches()
        sys.path_importer_cache.pop(str(directory), None)
