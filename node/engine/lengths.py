"""Parses the option ``scale-distance``: the family of the printed tags, their edge, and distances between tags."""
import math
import re
from dataclasses import dataclass
from typing import NamedTuple, Optional

from .errors import EngineError

#: Tags in each family; their numbers begin with 0. ``aruco`` stands for any of the others.
TAGS_IN = {"aruco": 587, "4x4": 250, "5x5": 250, "6x6": 250, "apriltag": 587}

_DISTANCE = re.compile(r"([0-9]+)\s*-\s*([0-9]+)\s*=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Distance:
    """A measured distance between the centres of two tags."""

    first: int
    second: int
    millimetres: float

    def __str__(self) -> str:
        return f"{self.first}-{self.second}"


class Lengths(NamedTuple):
    """The known lengths in a scene, in millimetres."""

    family: str
    edge: Optional[float]
    distances: tuple[Distance, ...]


def _refused(text: str, why: str) -> EngineError:
    return EngineError(f"Option scale-distance: {text!r} is not allowed: {why}. Give the tags' family and, in millimetres, either the "
                       "length of their edge, as in aruco:30.0, or distances between the centres of two tags, as in "
                       f"aruco:3-17=250,3-20=180.5. The families are {', '.join(TAGS_IN)}.")


def _millimetres(text: str) -> float:
    """A length, or 0 for anything else. ``float`` alone would also accept 1_000 and the digits of other scripts."""
    try:
        length = float(text) if text.isascii() and "_" not in text else 0.0
    except ValueError:
        return 0.0
    return length if math.isfinite(length) and length > 0 else 0.0


def parse(text: str) -> Optional[Lengths]:
    """The lengths in an option's text, ``FAMILY:LENGTH[,LENGTH…]``; None for an empty text.

    Raises EngineError, which names the wrong part and says what is allowed.
    """
    if not text.strip():
        return None
    family, _, rest = text.partition(":")
    family = family.strip().lower()
    if family not in TAGS_IN:
        raise _refused(text, f"there is no family {family!r}")
    edge, distances = None, []
    pairs: set[frozenset[int]] = set()
    for part in (part.strip() for part in rest.split(",")):
        match = _DISTANCE.fullmatch(part)
        length = _millimetres(match[3] if match else part)
        if not length:
            raise _refused(text, f"{part!r} is not a length above 0 mm")
        if match is None:
            if edge is not None:
                raise _refused(text, "the edge is given twice (in decimals, use a point instead of a comma)")
            edge = length
            continue
        distance = Distance(int(match[1]), int(match[2]), length)
        pair = frozenset((distance.first, distance.second))
        if len(pair) == 1:
            raise _refused(text, f"{part!r} names the same tag twice")
        if pair in pairs:
            raise _refused(text, f"the distance of tags {distance.first} and {distance.second} is given twice")
        if max(pair) >= TAGS_IN[family]:
            raise _refused(text, f"there is no tag {max(pair)} in family {family}; its numbers are 0 to {TAGS_IN[family] - 1}")
        pairs.add(pair)
        distances.append(distance)
    return Lengths(family, edge, tuple(distances))
