"""Decodes the names of archive members, and makes photo names that WebODM and ODM can use."""
import re

from app_extensions.openscan.file_names import plain
from app_extensions.openscan.ingest.refusal import Refused
from app_extensions.shared import photo_files
from app_extensions.shared.photo_files import quoted

_DRIVE = re.compile(r"^[A-Za-z]:")
MAX_NAME_LENGTH = 100


def member_path(name: str, flagged_utf8: bool) -> str:
    """A member's path with forward slashes and correctly decoded letters.

    :param name: the name from ``zipfile``, which decodes UTF-8 if the zip says so, else CP437 (APPNOTE 6.3.9, appendix D)
    :param flagged_utf8: whether the zip says UTF-8; names without the flag are tried as UTF-8 too, as many tools do not set it
    :raises Refused: the path is absolute or leaves its folder
    """
    if not flagged_utf8:
        try:
            raw = name.encode("cp437")
        except UnicodeEncodeError:
            raw = None
        if raw is not None:
            name = _decode(raw)
    path = name.replace("\\", "/")
    if path.startswith("/") or _DRIVE.match(path):
        raise Refused(f"The archive's member {quoted(name)} has an absolute path; pack the photos with relative names.")
    if ".." in path.split("/"):
        raise Refused(f"The archive's member {quoted(name)} leads out of its folder; pack the photos without “..”.")
    return path


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        # Windows Explorer writes the OEM code page, 850 in Europe. Its Latin-1 letters mostly agree with CP437.
        return raw.decode("cp850")


class Names:
    """Hands out file names, each only once regardless of case. The same sequence of calls always gives the same names."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        #: base name in the archive, in lower case → name handed out, ``""`` if two members share the base name
        self.by_base: dict[str, str] = {}

    def give(self, path: str, extension: str) -> str:
        """A free name for a photo.

        :param path: the member's path; if base names repeat, its folders are put in front of the name
        :param extension: with the dot, chosen by the photo's content
        """
        pieces = [piece for piece in path.split("/") if piece not in ("", ".")]
        base = pieces[-1]
        name = ""
        for depth in range(len(pieces)):
            name = self._shape("_".join(pieces[len(pieces) - 1 - depth:]), extension)
            if name.lower() not in self._taken:
                break
        number = 2
        while name.lower() in self._taken:
            name = self._shape(base, "-%d%s" % (number, extension))
            number += 1
        self._taken.add(name.lower())
        self.by_base[base.lower()] = "" if base.lower() in self.by_base else name
        return name

    def give_exactly(self, name: str) -> bool:
        """Hand out exactly this name; False if it is taken."""
        free = name.lower() not in self._taken
        self._taken.add(name.lower())
        return free

    @staticmethod
    def _shape(text: str, ending: str) -> str:
        known = photo_files.ending_of(text) in photo_files.PHOTO_ENDINGS  # "scan.001" keeps its number
        stem = plain(text.rpartition(".")[0] if known else text).strip(".-") or "photo"
        return stem[-(MAX_NAME_LENGTH - len(ending)):].lstrip(".-") + ending
