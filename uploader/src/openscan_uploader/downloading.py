"""Downloads a model. An interrupted download continues, and the file appears only when it is complete."""
import os
import shutil
import stat
import time
import zipfile
from pathlib import Path
from typing import Callable

import requests

from openscan_uploader.control import Control, OnProgress, Progress
from openscan_uploader.errors import Canceled, NotPossible, Refused
from openscan_uploader.server import Passing, Server, in_blocks, unreachable
from openscan_uploader.waits import wait_seconds
from openscan_uploader.words import size

#: Links of an object storage expire; the server's link leads to a new one.
_TRIES = 5


def fetch(server: Server, link: "Callable[[], str]", target: Path, *, patience_seconds: float, control: Control, progress: OnProgress,
          project: str) -> None:
    """Download to `target`. A file beside it holds what has arrived, and a later call continues it.

    Args:
        link: returns the address to download from; called for each attempt.

    Raises:
        Canceled, Refused, Unreachable, NotPossible (the disk is full or cannot be written).
    """
    unfinished = target.with_name(target.name + ".part")
    failures = refusals = 0
    quiet_since = time.monotonic()
    while True:
        before = unfinished.stat().st_size if unfinished.exists() else 0
        try:
            _attempt(server, link(), unfinished, control, progress, project)
            break
        except Passing as problem:
            if unfinished.exists() and unfinished.stat().st_size > before:
                failures, quiet_since = 0, time.monotonic()
            failures += 1
            if time.monotonic() - quiet_since > patience_seconds:
                raise unreachable(problem) from None
            progress(Progress("downloading", before, message=f"{problem} Trying again.", project=project))
            control.sleep(wait_seconds(failures, problem.wait_seconds))
        except Refused as problem:
            refusals += 1
            if problem.status == 416 and unfinished.exists():
                unfinished.unlink()
            elif refusals >= _TRIES or problem.status == 410:
                raise
            control.sleep(wait_seconds(refusals))
        except OSError as error:
            raise NotPossible(f"{target} cannot be written ({error.strerror}). Make room, or choose another directory.") from error
    _require_whole(unfinished)
    os.replace(str(unfinished), str(target))


def _attempt(server: Server, link: str, unfinished: Path, control: Control, progress: OnProgress, project: str) -> None:
    tag_file = unfinished.with_name(unfinished.name + ".tag")
    start = unfinished.stat().st_size if unfinished.exists() else 0
    tag = tag_file.read_text(encoding="utf-8") if start and tag_file.exists() else ""
    if not tag:
        start = 0  # without a tag, it may be another file by now
    with server.open_download(link, start, tag) as answer:
        if answer.status_code != 206:
            start = 0
        total = _total(answer, start)
        free = shutil.disk_usage(str(unfinished.parent)).free
        if total and total - start > free:
            raise NotPossible(f"The model has {size(total)}, but only {size(free)} are free in {unfinished.parent}. Make room, then try "
                              "again.")
        _remember(tag_file, answer.headers.get("ETag", ""))
        with open(unfinished, "r+b" if start else "wb") as file:
            file.seek(start)
            done = start
            for block in in_blocks(answer):
                file.write(block)
                done += len(block)
                if control.canceled:
                    raise Canceled("Canceled. The next download continues where this one stopped.")
                progress(Progress("downloading", done, total, project=project))
            file.truncate()
        if total and done != total:
            raise Passing("The download was interrupted.")
    if tag_file.exists():
        tag_file.unlink()


def _remember(tag_file: Path, tag: str) -> None:
    """Keep the tag for If-Range, which allows strong tags only."""
    if tag and not tag.startswith("W/"):
        tag_file.write_text(tag, encoding="utf-8")
    elif tag_file.exists():
        tag_file.unlink()


def _total(answer: requests.Response, start: int) -> int:
    """The size of the whole file; 0 if the server does not say."""
    length = answer.headers.get("Content-Length", "")
    return start + int(length) if length.isascii() and length.isdigit() else 0


def _require_whole(path: Path) -> None:
    if not zipfile.is_zipfile(str(path)):
        path.unlink()
        raise Refused("The server did not send a zip. Download it again; if that does not help, tell the server's operator.", 200)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a model into a new folder. Nothing is written outside it, and checksums are verified.

    Returns:
        The folder; if its name is taken, a number is added.

    Raises:
        NotPossible: the zip is damaged, a member would be written elsewhere, or the disk is full.
    """
    temporary = folder.with_name(folder.name + ".unpacking")
    try:
        if temporary.exists():
            shutil.rmtree(str(temporary))
        temporary.mkdir(parents=True)
        with zipfile.ZipFile(archive) as packed:
            for member in packed.infolist():
                name = member.filename.replace("\\", "/")
                if name.startswith("/") or ".." in name.split("/") or ":" in name or stat.S_ISLNK(member.external_attr >> 16):
                    raise NotPossible(f"The model was not unpacked: {name!r} in its zip would be written outside the folder. Tell the "
                                      "server's operator.")
            packed.extractall(temporary)
        made, number = folder, 2
        while made.exists():
            made, number = folder.with_name(f"{folder.name} {number}"), number + 1
        os.replace(str(temporary), str(made))
        return made
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError) as error:
        raise NotPossible(f"{archive} cannot be unpacked into {folder} ({error}). Make room, or unpack it yourself.") from error
    finally:
        shutil.rmtree(str(temporary), ignore_errors=True)
