"""Declare settings: each app's ``conf.py`` lists its settings, each with a default, bounds and the sentence for the docs.

A value comes from the Django setting (``OPENSCAN_RESULT_DAYS``), else from the environment (``WO_OPENSCAN_RESULT_DAYS``), else from the
default. An empty value means the default. Values are read at each access. We use no library, because environs and pydantic read the
environment only once and ignore Django's settings.
"""
import difflib
import os
import re
from collections.abc import Iterator
from typing import Any, Callable, Generic, Optional, TypeVar, Union

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
Number = Union[int, float]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_SWITCH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_QUEUE = re.compile(r"[A-Za-z0-9_.-]{0,100}", re.ASCII)


class Setting(Generic[T]):
    """One setting, as a class attribute of a ``Settings`` class. Reading it from an instance gives the current value.

    Reading raises ImproperlyConfigured if the value cannot be parsed.
    """

    def __init__(self, default: Any, parse: Callable[[Any], T], doc: str, *, bounds: Optional["tuple[Number, Number]"] = None) -> None:
        """default: as a user would write it. parse: converts text or a Python value, or raises ValueError. bounds: lowest and highest."""
        self.default, self.parse, self.doc, self.bounds = default, parse, " ".join(doc.split()), bounds
        self.name = self.variable = ""

    def __set_name__(self, owner: "type[Settings]", name: str) -> None:
        #: Names of sizes have no unit: WO_OPENSCAN_LIMIT_PART, not …_BYTES, because a value such as "2GB" has its own.
        short = name[:-len("_bytes")] if self.parse is parse_bytes and not owner.keep_unit else name
        self.name, self.variable = name, f"WO_{owner.prefix}{short.upper()}"

    def __get__(self, instance: Optional["Settings"], owner: Any = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value = getattr(settings, self.variable[len("WO_"):], None)
        if value is None:
            value = os.environ.get(self.variable, "").strip()
        try:
            return self.parse(self.default if value == "" else value)
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(f"{self.variable}: {error}") from error


class Settings:
    """The settings of one app. Subclasses declare them as class attributes."""

    #: Prefix of the Django settings, such as ``OPENSCAN_``.
    prefix = ""
    #: Whether ``_bytes`` is part of the variables' names.
    keep_unit = False

    @classmethod
    def declared(cls) -> "dict[str, Setting[Any]]":
        """The settings by attribute name, in the order of the source."""
        return {name: value for name, value in vars(cls).items() if isinstance(value, Setting)}

    def unreadable(self) -> "Iterator[str]":
        """One sentence for each setting that cannot be parsed."""
        for name in self.declared():
            try:
                getattr(self, name)
            except ImproperlyConfigured as error:
                yield str(error)

    def out_of_bounds(self) -> "Iterator[tuple[str, str]]":
        """The variable, and what it must be, for each number outside its bounds. ``nan`` counts as outside."""
        for name, setting in self.declared().items():
            if setting.bounds is not None and not setting.bounds[0] <= getattr(self, name) <= setting.bounds[1]:
                yield setting.variable, "must be between {} and {}".format(*setting.bounds)

    def unknown_variables(self) -> "Iterator[tuple[str, str]]":
        """Environment variables with our prefix that are not settings, each with the setting that may be meant (or "")."""
        known = [setting.variable for setting in self.declared().values()]
        for variable in sorted(os.environ):
            if variable.startswith(f"WO_{self.prefix}") and variable not in known:
                yield variable, next(iter(difflib.get_close_matches(variable, known, 1, 0.85)), "")


def parse_bytes(value: "Union[str, int]") -> int:
    """A size such as ``2000000000``, ``"200MB"`` or ``"1.5 GB"`` (1 GB is 10⁹ bytes) in bytes. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,6})?)\s*([a-zA-Z]{0,2})\s*", str(value), re.ASCII)
    if not match or match.group(2).lower() not in _UNITS:
        raise ValueError(f"{value!r} is not a number of bytes; write 500000000, 500MB or 10GB")
    number, unit = match.group(1), _UNITS[match.group(2).lower()]
    whole, _, fraction = number.partition(".")
    return int(whole) * unit + (int(fraction.ljust(6, "0")) * unit // 10**6 if fraction else 0)


def parse_switch(value: "Union[str, bool]") -> bool:
    """A switch: YES or NO. Raises ValueError."""
    if isinstance(value, bool):
        return value
    try:
        return _SWITCH[str(value).strip().lower()]
    except KeyError:
        raise ValueError(f"{value!r} is neither YES nor NO") from None


def parse_text(value: str) -> str:
    """Text without surrounding spaces. Raises ValueError for anything that is not text."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value.strip()


def parse_words(value: "Union[str, list[str], tuple[str, ...]]") -> "list[str]":
    """A list of words, from a list or from text with commas or spaces between the words."""
    return value.replace(",", " ").split() if isinstance(value, str) else list(value)


def _parse_number(kind: "type[Any]", value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, kind)):
        raise ValueError(f"{value!r} is not a number")
    return kind(value)


def text(default: str, doc: str) -> "Setting[str]":
    """A setting that is text."""
    return Setting(default, parse_text, doc)


def switch(default: bool, doc: str) -> "Setting[bool]":
    """A setting that is YES or NO."""
    return Setting(default, parse_switch, doc)


def size(default: "Union[str, int]", doc: str, least: int = 0, most: int = 10**15) -> "Setting[int]":
    """A setting that is a number of bytes."""
    return Setting(default, parse_bytes, doc, bounds=(least, most))


def integer(default: int, doc: str, least: int, most: int) -> "Setting[int]":
    """A setting that is a whole number."""
    return Setting(default, lambda value: int(_parse_number(int, value)), doc, bounds=(least, most))


def number(default: float, doc: str, least: Number, most: Number) -> "Setting[float]":
    """A setting that is a number."""
    return Setting(default, lambda value: float(_parse_number(float, value)), doc, bounds=(least, most))


def words(default: str, doc: str) -> "Setting[list[str]]":
    """A setting that is a list of words."""
    return Setting(default, parse_words, doc)


def queue_problem(queue: str) -> str:
    """Why a Celery queue cannot have this name; empty if it can."""
    return "" if _QUEUE.fullmatch(queue) else "it may only have letters, digits, . _ and -, at most 100 in total"
