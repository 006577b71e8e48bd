"""Reads the texts that come with photos: ground control points, ``geo.txt`` and ``image_groups.txt`` (see ODM's documentation).

WebODM takes any other text in a task's directory for ground control points, so no other text may be written there.
"""
import codecs
import math
import re
from typing import NamedTuple, Optional

from app_extensions.shared.photo_files import quoted

#: What ODM reads as a coordinate system in the first line: EPSG:32633, WGS84 UTM 33N, +proj=…
_SYSTEM = re.compile(r"\s*(\+proj\S*|EPSG:\d+|WGS84\s+UTM\s+\d{1,2}\s?[NS]?)", re.IGNORECASE)
_DEGREES = re.compile(r"\s*WGS\s?84\s*\Z", re.IGNORECASE)
_SYSTEMS = "EPSG:32633, WGS84 UTM 33N or a +proj string"
_GCP = "gcp_list.txt"
#: The column of the photo's name in a line, counted from 0.
_NAME_COLUMN = {_GCP: 5, "geo.txt": 0, "image_groups.txt": 0}
_VALUES = ("east or longitude", "north or latitude", "height", "pixel column", "pixel row")
_LINES_SHOWN = 5


class Read(NamedTuple):
    """The outcome for a text: its file name for ODM ("" if it is of no use), the text to write, and sentences for its owner."""

    role: str
    text: str
    remarks: "tuple[str, ...]"


def decode(raw: bytes) -> str:
    """Decode a file, without its byte order mark: UTF-8 or UTF-16 if it has a mark, else UTF-8, else Latin-1."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read(path: str, text: str, names: "dict[str, str]") -> Read:
    """Judge a text and bring it into the form that ODM reads.

    Lines that are not control points are left out and reported by number. Photos are renamed to their names in the task.

    :param path: the member's path; ``geo.txt`` and ``image_groups.txt`` are known by name, control points by name or content
    :param names: base name in the archive, in lower case → name in the task, ``""`` if several photos share the base name
    """
    base = path.rpartition("/")[2].lower()
    if base in ("geo.txt", "image_groups.txt"):
        return Read(base, "".join(_renamed(line, base, names) + "\n" for line in text.splitlines()), ())
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not lines or not (_SYSTEM.match(lines[0][1]) or _DEGREES.match(lines[0][1]) or "gcp" in base):
        return Read("", "", (f"{quoted(path)} is a text file but not a list of ground control points, and was left out.",))
    return _read_points(path, lines, names)


def _read_points(path: str, lines: "list[tuple[int, str]]", names: "dict[str, str]") -> Read:
    (first, system), points = lines[0], [(number, _spaced(line)) for number, line in lines[1:]]
    in_degrees = bool(_DEGREES.match(system))
    if in_degrees:
        system = "EPSG:4326"
    elif not _SYSTEM.match(system):
        return _useless(path, f"line {first} must name the coordinate system ({_SYSTEMS}), but it says {quoted(system)}")
    good, bad, unknown = [], [], []
    for number, line in points:
        fault = _fault(line)
        if fault:
            bad.append(f"line {number} was left out: {fault}")
            continue
        words = line.split()
        if in_degrees and not (abs(float(words[0])) <= 180 and abs(float(words[1])) <= 90):
            return _useless(path, f"line {first} says WGS84, which means degrees, but line {number} gives {words[0]} {words[1]}. "
                                  "For meters, name the zone (WGS84 UTM 33N or EPSG:32633)")
        if names.get(words[5].lower()) is None:
            unknown.append(number)
        good.append(_renamed(line, _GCP, names))
    remarks = []
    if bad:
        more = f" And {len(bad) - _LINES_SHOWN} more lines." if len(bad) > _LINES_SHOWN else ""
        shown = ". ".join(_capital(sentence, index) for index, sentence in enumerate(bad[:_LINES_SHOWN]))
        remarks.append(f"{quoted(path)}: {shown}.{more}")
    if not good:
        remarks.append(f"{quoted(path)} holds no control points and was left out.")
        return Read("", "", tuple(remarks))
    if len(unknown) == len(good):
        remarks.append(f"{quoted(path)} was left out: none of its lines names a photo of this set.")
        return Read("", "", tuple(remarks))
    if unknown:
        shown = ", ".join(map(str, unknown[:_LINES_SHOWN])) + (" …" if len(unknown) > _LINES_SHOWN else "")
        remarks.append(f"{quoted(path)}: {'line' if len(unknown) == 1 else 'lines'} {shown} "
                       f"{'names a photo that is' if len(unknown) == 1 else 'name photos that are'} not in this set.")
    return Read(_GCP, "\n".join([system, *good]) + "\n", tuple(remarks))


def _spaced(line: str) -> str:
    """Replace the commas or semicolons between a line's values with spaces."""
    return line if len(line.split()) >= 6 else re.sub(r"\s*[,;]\s*", " ", line)


def _useless(path: str, reason: str) -> Read:
    return Read("", "", (f"{quoted(path)} was left out: {reason}.",))


def _capital(sentence: str, index: int) -> str:
    return sentence if index == 0 else sentence[0].upper() + sentence[1:]


def _fault(line: str) -> Optional[str]:
    """What is wrong with a control point's line, or None."""
    words = line.split()
    if len(words) < 6:
        return f"it has {len(words)} values, and a point needs 6 (east, north, height, pixel column, pixel row, photo)"
    for word, meaning in zip(words, _VALUES):
        try:
            usable = math.isfinite(float(word))
        except ValueError:
            usable = False
        if not usable:
            return f"{quoted(word)} is not a number ({meaning})"
    return None


def _renamed(line: str, role: str, names: "dict[str, str]") -> str:
    """A line with its photo's name in the task. The name stays as it is if it is unknown or ambiguous."""
    pieces = re.split(r"(\s+)", line)
    words = [index for index, piece in enumerate(pieces) if piece and not piece.isspace()]
    if len(words) > _NAME_COLUMN[role]:
        index = words[_NAME_COLUMN[role]]
        pieces[index] = names.get(pieces[index].lower()) or pieces[index]
    return "".join(pieces)
