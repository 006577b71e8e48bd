"""Unpacks the two zip files that a task may bring: ``seed.zip`` (an earlier result) and the archive behind ``zipurl``."""
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from .disk import Disk
from .names import safe_name, unused_name

MAX_MEMBERS = 100_000


class ArchiveError(Exception):
    """The archive cannot be used; the text names the member and is shown to the task's owner."""


def unzip_flat(archive: Path, directory: Path, disk: Disk) -> int:
    """Extract all files of an archive into one directory without their folders; returns how many.

    Names that repeat get underscores. Raises ArchiveError, DiskFullError, OSError.
    """
    count = 0
    with _open(archive) as source:
        for member in _files(source, archive, disk):
            base = PurePosixPath(member.filename.replace("\\", "/")).name
            if "__MACOSX" in member.filename or base.startswith("."):
                continue
            try:
                name = safe_name(base)
            except ValueError as error:
                raise ArchiveError(f"{archive.name}: {error}") from error
            _extract(source, member, directory / unused_name(directory, name))
            count += 1
    return count


def unzip_tree(archive: Path, directory: Path, disk: Disk) -> int:
    """Extract an archive with its folders; returns the number of files. Raises what unzip_flat does, also for paths that lead outside."""
    count = 0
    with _open(archive) as source:
        for member in _files(source, archive, disk):
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
                raise ArchiveError(f"{archive.name}: {member.filename!r} would be written outside the task's directory")
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _extract(source, member, target)
            count += 1
    return count


def _open(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, ValueError) as error:
        raise ArchiveError(f"{archive.name} is not a zip file: {error}") from error


def _files(source: zipfile.ZipFile, archive: Path, disk: Disk) -> list[zipfile.ZipInfo]:
    members = [member for member in source.infolist() if not member.is_dir()]
    if len(members) > MAX_MEMBERS:
        raise ArchiveError(f"{archive.name} contains {len(members)} files; at most {MAX_MEMBERS} are allowed")
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ArchiveError(f"{archive.name}: {member.filename!r} is a link, and links are not allowed")
    # Python's reader stops a member at the size that its entry declares, so this sum is the most that can be written.
    disk.check_room(sum(member.file_size for member in members))
    return members


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    try:
        with source.open(member) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: an unknown compression.
        raise ArchiveError(f"{member.filename!r} cannot be unpacked: {error}") from error
