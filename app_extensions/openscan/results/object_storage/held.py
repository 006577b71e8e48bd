"""Public sets whose task leaves WebODM before they are archived: held as hard links, which cost no copy, until they are.

    <media>/openscan/held/<scan>/photos/…  model/…  status

The links are made while WebODM says that it is about to remove the task, so that neither a storage that is away nor the minute
until the next look at what is to be archived loses a set. They lie in the media directory whatever a setting says of our own
storage, as links reach no further than their file system.
"""
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Optional

from app_extensions.host import media
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.results import research

logger = logging.getLogger("app.logger")

_UNFINISHED = ".part"
_UNFINISHED_SECONDS = 3600


class Contents(NamedTuple):
    """A set's files and what WebODM said last of its processing. `is_there` tells whether the list can be believed still."""

    photos: "list[Path]"
    model: "list[Path]"
    status: str
    is_there: "Callable[[], bool]"


def of_task(task: Any) -> Contents:
    """What WebODM has of a set."""
    return Contents(research.photo_files(task), research.model_files(task), host_tasks.task_state(task).status,
                    lambda: host_tasks.get_task(task.pk) is not None)


def hold(scan_id: int, task: Any) -> None:
    """Link a set's files to where WebODM does not remove them.

    :raises OSError: the file system of the media directory knows no hard links, or is full
    """
    final = _directory(scan_id)
    contents = of_task(task)
    unfinished = final.with_name(final.name + _UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    for folder, paths in (("photos", contents.photos), ("model", contents.model)):
        (unfinished / folder).mkdir(parents=True)
        for path in paths:
            os.link(path, unfinished / folder / path.name)
    (unfinished / "status").write_text(contents.status)
    drop(scan_id)  # of a removal that was cut: the task may have got a model since
    os.replace(unfinished, final)
    logger.info("OpenScan: the files of the public set %s are held until they are archived, its task is being removed", scan_id)


def contents(scan_id: int) -> Optional[Contents]:
    """What is held of a set; None where nothing is."""
    directory = _directory(scan_id)
    try:
        return Contents(sorted((directory / "photos").iterdir()), sorted((directory / "model").iterdir()),
                        (directory / "status").read_text(), directory.exists)
    except FileNotFoundError:
        return None


def scan_ids() -> "list[int]":
    """The scans of which something is held."""
    return sorted(int(path.name) for path in _entries() if path.name.isdigit())


def drop(scan_id: int) -> None:
    """Let go of a set's files; nothing held is fine."""
    shutil.rmtree(_directory(scan_id), ignore_errors=True)


def drop_unfinished() -> None:
    """Remove what a killed process left half."""
    for path in _entries():
        try:
            if path.name.endswith(_UNFINISHED) and time.time() - path.stat().st_ctime > _UNFINISHED_SECONDS:
                shutil.rmtree(path)
        except FileNotFoundError:
            continue  # another process had the same thought


def _directory(scan_id: int) -> Path:
    return _root() / str(scan_id)


def _root() -> Path:
    return media.media_root() / "openscan" / "held"


def _entries() -> "list[Path]":
    try:
        return list(_root().iterdir())
    except FileNotFoundError:
        return []
