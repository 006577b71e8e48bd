"""Every address of the Tapis plugin, for ``plugins/tapis_storage/plugin.py`` to mount."""
from typing import Any, Callable

from .views import jobs, oauth2, pages, preferences, previews, storage

Route = tuple[str, Callable[..., Any]]


def root_routes() -> list[Route]:
    """(pattern, view) below ``/``: each pattern starts with ``^`` and ends with ``$``."""
    return [*oauth2.ROUTES, *storage.ROUTES, *previews.ROUTES, *jobs.ROUTES, *preferences.ROUTES]


def app_routes() -> list[Route]:
    """(pattern, view) below ``/plugins/tapis_storage/``."""
    return [*pages.ROUTES]
