"""All addresses of the Tapis plugin. ``plugins/tapis_storage/plugin.py`` mounts them."""
from typing import Any, Callable

from .views import jobs, oauth2, pages, preferences, previews, storage

Route = tuple[str, Callable[..., Any]]


def root_routes() -> list[Route]:
    """(pattern, view) pairs below ``/``. Each pattern starts with ``^`` and ends with ``$``."""
    return [*oauth2.ROUTES, *storage.ROUTES, *previews.ROUTES, *jobs.ROUTES, *preferences.ROUTES]


def app_routes() -> list[Route]:
    """(pattern, view) pairs below ``/plugins/tapis_storage/``."""
    return [*pages.ROUTES]
