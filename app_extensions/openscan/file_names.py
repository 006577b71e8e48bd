"""File names that WebODM, ODM and node software can use."""
import re
import unicodedata

from app_extensions.shared.photo_files import ENDINGS, READ_EVERYWHERE

#: Extensions of photos as they are stored in a task.
PHOTO_EXTENSIONS = tuple(ending for kind in sorted(READ_EVERYWHERE) for ending in ENDINGS[kind])
#: ODM and node software pass names through shells and reports: letters, digits and these are safe everywhere.
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def plain(text: str) -> str:
    """Reduce text to ASCII letters, digits, ``.``, ``_`` and ``-``. Umlauts lose their dots; other unsafe characters become ``_``."""
    text = text.replace("ß", "ss")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() or "_"
    return _UNSAFE.sub("_", text)
