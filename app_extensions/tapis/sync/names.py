"""Names under which images lie in a task's directory: safe for WebODM's tools, unique even without case."""
import hashlib
import re
import unicodedata
from typing import Callable

MAX_BYTES = 200
_EXTENSION = re.compile(r"\.jpe?g\Z", re.IGNORECASE)


def safe_name(name: str) -> str:
    """Letters, digits, dot, dash and underscore of ASCII; anything else becomes an underscore.

    ``a#1?.jpg`` → ``a_1_.jpg``. The extension stays as it is; no name starts with a dot or a dash.
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
    """A safe name that no other image has, not even in other case.

    :param taken: lower-case names in use; the new one is added
    :param exists: whether a foreign file of that name lies in the task already
    """
    safe = safe_name(name)
    stem, dot, extension = safe.rpartition(".")
    result, number = safe, 1
    while result.lower() in taken or exists(result):
        number += 1
        result = f"{stem}_{number}{dot}{extension}"
    taken.add(result.lower())
    return result
