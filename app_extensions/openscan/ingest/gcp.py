"""Texts that travel with photos: ground control points, ``geo.txt`` and ``image_groups.txt`` (ODM's documentation).

WebODM takes any other text in a task's directory for ground control points, so nothing else may be written there.
"""
import re
from typing import Optional

_HEADER = re.compile(r"^\s*(\+proj|EPSG:|WGS84\s+UTM)", re.IGNORECASE)
#: Where the photo's name stands in a line, counted from 0.
_NAME_COLUMN = {"gcp_list.txt": 5, "geo.txt": 0, "image_groups.txt": 0}


def role_of(path: str, text: str) -> Optional[str]:
    """The name under which ODM looks for this text, or None if it is of no use to it.

    :param path: the member's path; ``geo.txt`` and ``image_groups.txt`` go by name, control points by their content
    """
    base = path.rpartition("/")[2].lower()
    if base in ("geo.txt", "image_groups.txt"):
        return base
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) >= 2 and _HEADER.match(lines[0]) and all(_is_point(line) for line in lines[1:]):
        return "gcp_list.txt"
    return None


def decode(raw: bytes) -> str:
    """The text of a file: UTF-8, with or without a byte order mark, else Latin-1."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def with_new_names(role: str, text: str, names: "dict[str, str]") -> str:
    """The text with photos named as they were written; a line whose photo is not clear stays as it is.

    :param names: base name in the archive → name in the task, ``""`` where several members share the base name
    """
    column = _NAME_COLUMN[role]

    def renamed(line: str) -> str:
        pieces = re.split(r"(\s+)", line)
        words = [index for index, piece in enumerate(pieces) if piece and not piece.isspace()]
        if len(words) > column:
            index = words[column]
            pieces[index] = names.get(pieces[index]) or pieces[index]
        return "".join(pieces)

    return "".join(renamed(line) for line in text.splitlines(keepends=True))


def _is_point(line: str) -> bool:
    words = line.split()
    if len(words) < 6:
        return False
    try:
        [float(word) for word in words[:5]]
    except ValueError:
        return False
    return True
