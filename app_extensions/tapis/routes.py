"""Every address of the Tapis plugin, for ``plugins/tapis_storage/plugin.py`` to mount."""
from typing import Any, Callable

from .views import oauth2

Route = tuple[str, Callable[..., Any]]


def root_routes() -> list[Route]:
    """(pattern, view) below ``/``: each pattern starts with ``^`` and ends with ``$``."""
    return [*oauth2.ROUTES]


def app_routes() -> list[Route]:
    """(pattern, view) below ``/plugins/tapis_storage/``."""
    return []
