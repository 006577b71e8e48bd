"""Names for images in a task's directory: safe for WebODM's tools, and unique even if case is ignored."""
import hashlib
import re
import unicodedata
from typing import Callable

MAX_BYTES = 200
_EXTENSION = re.compile(r"\.jpe?g\Z", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A name of only ASCII letters, digits, dots, dashes and underscores. Other characters become underscores.

    ``a#1?.jpg`` → ``a_1_.jpg``. The extension stays as it is. No name starts with a dot or a dash. Long names are shortened.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    found = _EXTENSION.search(plain)
    stem, extension = (plain[:found.start()], found.group()) if found else (plain, ".jpg")
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", stem).lstrip(".-") or "image"
    if len(stem) > MAX_BYTES:
        stem = stem[:MAX_BYTES - 9] + "_" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return stem + extension


def unique_name(name: str, taken: set[str], exists: Callable[[str], bool]) -> str:
    """A safe name that no other image has, even if case is ignored.

    :param taken: lower-case names in use; the new name is added
    :param exists: returns whether the task already has another file with a name
    """
    safe = safe_name(name)
    stem, dot, extension = safe.rpartition(".")
    result, number = safe, 1
    while result.lower() in taken or exists(result):
        number += 1
        result = f"{stem}_{number}{dot}{extension}"
    taken.add(result.lower())
    return result
