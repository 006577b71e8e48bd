"""Which systems a user can reach, and which of them a request asks for."""
from collections.abc import Iterable
from typing import Any, Optional

from .access import TapisAccess
from .conf import conf
from .listing import TapisListing
from .problems import BadInput


def project_systems(access: TapisAccess) -> list[dict[str, str]]:
    """The user's enabled ``ptdatax.project.*`` systems: ``id, host, systemType, description, created`` each.

    :raises TapisProblem: the list cannot be had
    """
    return TapisListing(access).systems()


def check_system_ids(value: Any, field: str = "systems") -> Optional[list[str]]:
    """A list of system ids as a client sent it, without doubles; None where none was sent.

    :raises BadInput: not a list of ids that start with the prefix
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise BadInput(field, "must be a list of system ids")
    return list(dict.fromkeys(check_system_id(item, f"{field}[{number}]") for number, item in enumerate(value)))


def check_system_id(value: Any, field: str) -> str:
    """:raises BadInput: not the id of a system that belongs to the prefix"""
    prefix = conf.system_prefix
    if not isinstance(value, str) or not value.startswith(prefix) or len(value) == len(prefix) or len(value) > 255:
        raise BadInput(field, f"must be a system id that starts with {prefix}")
    if set(value) & set("/\\\0") or not value.isprintable():
        raise BadInput(field, "holds a character that no system id has")
    return value


def chosen(reachable: Iterable[dict[str, str]], wanted: Optional[list[str]]) -> tuple[list[str], list[str]]:
    """The ids to scan, and an error each for the wanted ones that cannot be reached.

    :param wanted: ids asked for; None or empty: all of them
    """
    ids = [system["id"] for system in reachable]
    if not wanted:
        return ids, []
    missing = [name for name in wanted if name not in ids]
    return ([name for name in wanted if name in ids],
            [f"{name}: System not accessible (it does not exist, is disabled, or is not shared with you)" for name in missing])
