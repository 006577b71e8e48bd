"""The systems that a user can reach, and those that a request asks for."""
from collections.abc import Iterable
from typing import Optional

from app_extensions.tapis.catalog.listing import TapisListing
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.problems import SystemNotAccessible

MISSING = " (it does not exist, is disabled, or is not shared with you)"


def project_systems(access: TapisAccess) -> list[dict[str, str]]:
    """The user's enabled ``ptdatax.project.*`` systems, each with ``id, host, systemType, description, created``.

    :raises TapisProblem: the systems cannot be listed
    """
    return TapisListing(access).systems()


def chosen(reachable: Iterable[dict[str, str]], wanted: Optional[list[str]]) -> tuple[list[str], list[str]]:
    """The ids to scan, and one error for each wanted system that cannot be reached.

    :param wanted: the requested ids; None or empty: all systems
    """
    ids = [system["id"] for system in reachable]
    if not wanted:
        return ids, []
    missing = [name for name in wanted if name not in ids]
    return ([name for name in wanted if name in ids],
            [f"{name}: {SystemNotAccessible.error}{MISSING}" for name in missing])
