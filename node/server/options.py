"""Checks a task's options against the list that the engine offers, by NodeODM's rules for types and domains."""
import json
import math
import re
from typing import Any, Callable, Union

_RANGE = re.compile(r"^(?:float|integer): ([-+.\d]+) <= x <= ([-+.\d]+)$")
_BOUND = re.compile(r"^(?:float|integer) (>=|>|<=|<) ([-+.\d]+)$")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda value, bound: value >= bound,
    ">": lambda value, bound: value > bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
}


class OptionsError(ValueError):
    """The options cannot be used; the text is shown to the client."""


def parse_options(options: Any) -> list[dict[str, Any]]:
    """The options of a request as a list of ``{"name", "value"}``. Clients send them as JSON text or as a list.

    Raises OptionsError when they are neither.
    """
    if options is None or options == "":
        return []
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except (ValueError, RecursionError) as error:
            raise OptionsError(f"options is not valid JSON: {error}") from error
    if not isinstance(options, list) or not all(isinstance(option, dict) and "name" in option for option in options):
        raise OptionsError('options must be a list of {"name": …, "value": …}')
    return options


def filter_options(requested: Any, offered: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requested options that the engine offers, converted to their types, in the engine's order.

    Options that the engine does not offer are left out, as in NodeODM: WebODM sends the same preset to every kind of node.
    Raises OptionsError with a JSON list of ``{"name", "error"}`` when values do not fit.
    """
    by_name = {option["name"]: option.get("value") for option in reversed(parse_options(requested))}
    accepted: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    for option in offered:
        name = option["name"]
        if name not in by_name:
            continue
        try:
            value = _convert(option.get("type", "string"), by_name[name])
            _check_domain(option.get("domain", ""), value)
        except ValueError as error:
            errors.append({"name": name, "error": str(error)})
        else:
            accepted.append({"name": name, "value": value})
    if errors:
        raise OptionsError(json.dumps(errors))
    return accepted


def _convert(kind: str, value: Any) -> Union[bool, int, float, str]:
    if kind == "bool":
        if isinstance(value, bool):
            return value
        text = str(value).lower()
        if text in ("true", "1"):
            return True
        if text in ("false", "0"):
            return False
        raise ValueError(f"Cannot convert {value} to boolean")
    if kind in ("int", "float"):
        if isinstance(value, bool):
            raise ValueError(f"Cannot convert {value} to a number")
        try:
            number = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Cannot convert {value} to a number") from error
        if not math.isfinite(number):
            raise ValueError(f"Invalid value {value} (not a finite number)")
        return int(number) if kind == "int" else number
    if value is None or isinstance(value, (dict, list)):
        raise ValueError("Invalid value (must be text)")
    return str(value)


def _check_domain(domain: Any, value: Any) -> None:
    if isinstance(domain, list):
        if value not in domain:
            raise ValueError(f"Invalid value {value} (not in enum)")
    elif domain == "json":
        try:
            json.loads(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError("Invalid value (not JSON)") from error
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and not _in_domain(str(domain), value):
        raise ValueError(f"Invalid value {value} (out of range)")


def _in_domain(domain: str, value: float) -> bool:
    """Whether a number lies in a domain in ODM's wording; a domain that says nothing about numbers allows them all."""
    if domain.startswith("positive "):
        return value >= 0
    if domain.startswith("negative "):
        return value <= 0
    if domain == "percent":
        return 0 <= value <= 100
    between = _RANGE.match(domain)
    if between:
        return float(between.group(1)) <= value <= float(between.group(2))
    bound = _BOUND.match(domain)
    if bound:
        return _COMPARE[bound.group(1)](value, float(bound.group(2)))
    return True
