"""Check the ids of Tapis systems that clients send."""
from typing import Any, Optional

from app_extensions.tapis.conf import conf
from app_extensions.tapis.problems import BadInput


def check_system_ids(value: Any, field: str = "systems") -> Optional[list[str]]:
    """Check a list of system ids from a client. :returns: the ids without duplicates; None if none were sent

    :raises BadInput: not a list of ids that start with the configured prefix
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)):
        raise BadInput(field, "must be a list of system ids")
    return list(dict.fromkeys(check_system_id(item, f"{field}[{number}]") for number, item in enumerate(value)))


def check_system_id(value: Any, field: str) -> str:
    """The id, checked. :raises BadInput: not a system id that starts with the configured prefix"""
    prefix = conf.system_prefix
    if not isinstance(value, str) or not value.startswith(prefix) or len(value) == len(prefix) or len(value) > 255:
        raise BadInput(field, f"must be a system id that starts with {prefix}")
    if set(value) & set("/\\\0") or not value.isprintable():
        raise BadInput(field, "has a character that is not allowed in system ids")
    return value
