"""Make some of our modules importable from WebODM's ``app`` package, under their documented names.

The modules in ``overlay/services``, ``overlay/tasks`` and ``overlay/models`` are imported as ``app.services.…``, ``app.tasks.…``
and ``app.models.…``. They only re-export names from ``app_extensions.tapis``.
"""
import importlib
import sys
from collections.abc import MutableSequence
from pathlib import Path

DIRECTORY = Path(__file__).resolve().parent


def extend_app() -> None:
    """Make ``app.services`` and ``app.tasks`` importable. The settings call this, before any application is loaded."""
    import app

    _append(app.__path__, DIRECTORY)


def extend_models() -> None:
    """Make our modules under ``app.models`` importable. Call this once apps load: importing ``app.models`` needs the app registry."""
    _append(importlib.import_module("app.models").__path__, DIRECTORY / "models")


def _append(path: MutableSequence[str], directory: Path) -> None:
    if str(directory) not in path:
        path.append(str(directory))
        importlib.invalidate_caches()
        sys.path_importer_cache.pop(str(directory), None)
