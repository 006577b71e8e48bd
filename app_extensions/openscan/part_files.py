"""Where uploaded parts are stored, and how files and rows stay in step.

    <storage>/.incoming/<scan>-<part>-<random>.part    being received; locked (flock) by the process that writes it
    <storage>/scans/<scan>/<part>-<random>.part        received; named by a Part row
    <storage>/results/…                                packed results

A part is renamed into its scan's directory inside the transaction that writes its row. Files are removed only after the
transaction that removed their row. So wherever a process dies, each row has its file; at worst, a file without a row is
left. The kernel drops a dead process's lock, so `sweep` can tell such a file from one that is still being written.
"""
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import transaction

from app_extensions.host import media
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import Part, Scan

PART_SUFFIX = ".part"
#: Names of our files. We leave other files alone, in case an administrator chose a directory that is not ours alone.
_INCOMING = re.compile(r"[0-9]+-[0-9]+-[0-9a-f]{16}\.part")
_RECEIVED = re.compile(r"[0-9]+/[0-9]+-[0-9a-f]{16}\.part")
#: How many files one query looks up.
_NAMES_AT_ONCE = 500


def storage_root() -> Path:
    """The app's directory, on the same file system as WebODM's media unless a setting says otherwise."""
    return Path(conf.storage_dir) if conf.storage_dir else media.media_root() / "openscan"


def incoming_dir() -> Path:
    """Where parts are written while they arrive. Created if missing."""
    return _made(storage_root() / ".incoming")


def scans_dir() -> Path:
    """The parent of all scans' directories."""
    return storage_root() / "scans"


def scan_dir(scan_id: int) -> Path:
    """The directory of a scan's received parts. Not created here."""
    return scans_dir() / str(scan_id)


def results_dir() -> Path:
    """The directory of packed results. Created if missing."""
    return _made(storage_root() / "results")


def part_path(part: Part) -> Path:
    """The file of a received part."""
    return scan_dir(part.scan_id) / part.file_name


def part_paths(scan: Scan) -> list[Path]:
    """The files of a scan's parts in the order of their links, for reading them as one. Missing parts are left out."""
    return [part_path(part) for part in scan.parts.order_by("number")]


def drop_parts(scan: Scan) -> None:
    """Removes a scan's part rows now, and their files once the transaction is committed. Call it inside a transaction."""
    paths = part_paths(scan)
    scan.parts.all().delete()
    transaction.on_commit(lambda: remove_files(paths))


def remove_files(paths: list[Path]) -> None:
    """Removes files, and directories that this leaves empty. Missing files are fine."""
    for path in paths:
        path.unlink(missing_ok=True)
    for directory in {path.parent for path in paths}:
        _remove_if_empty(directory)


def place(received: Path, part: Part, file_name: str) -> None:
    """Moves a received and synced file into its scan's directory as `file_name`, and makes the move durable."""
    directory = scan_dir(part.scan_id)
    for attempt in (1, 2):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(received, directory / file_name)
            break
        except FileNotFoundError:
            # Another request's clean-up may have removed the directory after mkdir, so try once more. If that fails too, the
            # file itself is gone.
            if attempt == 2:
                raise
    for changed in (directory, directory.parent):
        sync_directory(changed)


def sync_directory(directory: Path) -> None:
    """Makes a directory's entries durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(min_age_seconds: float = 60) -> int:
    """Removes what dead processes left: half-received files, and part files without a row.

    Returns how many files were removed. Safe while uploads are running: an upload holds its file's lock until its row is
    committed. `min_age_seconds` covers the moment between creating a file and locking it.
    """
    removed = 0
    for path in _files(incoming_dir(), "*", _INCOMING):
        with _unused(path, min_age_seconds) as unused:
            if unused:
                path.unlink(missing_ok=True)
                removed += 1
    for path in stray_files(min_age_seconds):
        path.unlink(missing_ok=True)
        removed += 1
    if scans_dir().is_dir():
        for directory in list(scans_dir().iterdir()):
            if directory.name.isdigit() and directory.is_dir() and _age_seconds(directory) >= min_age_seconds:
                _remove_if_empty(directory)
    return removed


def stray_files(min_age_seconds: float = 0) -> list[Path]:
    """Files in scans' directories that no row refers to and no process is using."""
    found = []
    paths = list(_files(scans_dir(), "*/*", _RECEIVED))
    for start in range(0, len(paths), _NAMES_AT_ONCE):
        for path in _without_row(paths[start:start + _NAMES_AT_ONCE]):
            with _unused(path, min_age_seconds) as unused:
                # Check again now that we hold the lock: the row may have been committed in between.
                if unused and _without_row([path]):
                    found.append(path)
    return found


def missing_files() -> list[str]:
    """One sentence for each received part whose file is missing or has the wrong size."""
    found = []
    for part in Part.objects.order_by("pk").iterator():
        try:
            size = part_path(part).stat().st_size
        except FileNotFoundError:
            if Part.objects.filter(pk=part.pk, file_name=part.file_name).exists():
                found.append(f"Part {part.number} of scan {part.scan_id} has a row, but its file {part.file_name} is gone.")
            continue
        if size != part.size_bytes and Part.objects.filter(pk=part.pk, file_name=part.file_name).exists():
            found.append(f"Part {part.number} of scan {part.scan_id} should have {part.size_bytes} bytes, "
                         f"its file has {size}.")
    return found


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _files(directory: Path, pattern: str, ours: "re.Pattern[str]") -> Iterator[Path]:
    if directory.is_dir():
        for path in list(directory.glob(pattern)):
            if ours.fullmatch(path.relative_to(directory).as_posix()) and path.is_file():
                yield path


def _without_row(paths: "list[Path]") -> "list[Path]":
    """Those of the received files that no row refers to."""
    names = [(int(path.parent.name), path.name) for path in paths]
    rows = Part.objects.filter(scan_id__in={scan for scan, _ in names}, file_name__in=[name for _, name in names])
    named = set(rows.values_list("scan_id", "file_name"))
    return [path for path, name in zip(paths, names) if name not in named]


def _age_seconds(path: Path) -> float:
    """Seconds since a file was last written or moved; infinite if it is gone."""
    try:
        return time.time() - path.stat().st_ctime
    except FileNotFoundError:
        return float("inf")


@contextmanager
def _unused(path: Path, min_age_seconds: float) -> Iterator[bool]:
    """Try to lock a file. Yields False if it is too new or a living process uses it; else the lock is ours inside the block."""
    try:
        descriptor = os.open(path, os.O_RDWR)  # NFS grants an exclusive lock only on a writable descriptor
    except FileNotFoundError:
        yield False
        return
    try:
        if _age_seconds(path) < min_age_seconds:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _remove_if_empty(directory: Path) -> None:
    try:
        directory.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        if not directory.is_dir() or not any(directory.iterdir()):
            raise error
