"""What the system checks of both applications ask of their settings: numbers within bounds, names that exist, queues.

A `Conf` is a class with one property a setting; `names` tells how a property's environment variable is called.
"""
import difflib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any, Union

Number = Union[int, float]

_QUEUE = re.compile(r"[A-Za-z0-9_.-]{0,100}", re.ASCII)


def properties(conf_class: type) -> "list[str]":
    """The settings of a `Conf`, by property."""
    return [name for name, value in vars(conf_class).items() if isinstance(value, property)]


def out_of_bounds(conf: Any, bounds: "dict[str, tuple[Number, Number]]") -> "Iterator[tuple[str, str]]":
    """The properties whose value lies outside, each with what it must be. What is no number at all (nan) lies outside, too.

    :param bounds: each property's least and most sensible value
    """
    for name, (least, most) in bounds.items():
        if not least <= getattr(conf, name) <= most:
            yield name, f"must be between {least} and {most}"


def unknown_names(prefix: str, known: Iterable[str]) -> "Iterator[tuple[str, str]]":
    """Environment variables that begin as our settings do and are none, each with the setting that it may be meant for (or "")."""
    endings = [name[len(prefix):] for name in known]
    for name in sorted(os.environ):
        if name.startswith(prefix) and name[len(prefix):] not in endings:
            close = difflib.get_close_matches(name[len(prefix):], endings, 1, 0.7)
            yield name, prefix + close[0] if close else ""


def queue_problem(queue: str) -> str:
    """Why a Celery queue cannot be called so; empty where it can."""
    return "" if _QUEUE.fullmatch(queue) else "only letters, digits, . _ and - may be in it, at most 100"
