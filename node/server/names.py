"""File names from clients, made safe: a plain name that stays inside its directory."""
import re
import unicodedata
from pathlib import Path, PurePosixPath

# Most file systems allow names of 255 bytes; this leaves room for endings such as ".part".
MAX_NAME_BYTES = 200
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/]')


def safe_name(name: str) -> str:
    """The last part of a path sent by a client, without characters that could trouble a file system or a shell.

    Letters of all scripts and spaces stay as they are, so that users recognize their photos. Raises ValueError when nothing is left.
    """
    base = PurePosixPath(name.replace("\\", "/")).name
    base = "".join(character for character in base if unicodedata.category(character) not in ("Cc", "Cs", "Co", "Cn"))
    base = _UNSAFE.sub("_", base).strip().lstrip(".")
    if not base:
        raise ValueError(f"{name!r} is not a usable file name")
    stem, dot, ending = base.rpartition(".")
    if not dot:
        stem, ending = base, ""
    ending = dot + ending
    if len(ending.encode()) > 20:
        stem, ending = base, ""
    room = MAX_NAME_BYTES - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore") + ending


def unused_name(directory: Path, name: str) -> str:
    """The name itself, or with underscores before its ending (as in NodeODM) until no file in the directory has it."""
    while (directory / name).exists():
        stem, dot, ending = name.rpartition(".")
        name = f"{stem}_{dot}{ending}" if dot else f"{name}_"
    return name
