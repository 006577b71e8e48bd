"""Holds public sets that are not archived yet when their task leaves WebODM. Hard links keep the files without a copy.

    <media>/openscan/held/<scan>/photos/…  model/…  status

The links are made when WebODM announces that it will remove the task. So no set is lost while the storage does not answer, or in
the minute before the next archiving run. They are always in the media directory, whatever the setting for our own storage says,
because hard links cannot leave their file system.
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
    """A set's files and its last processing status in WebODM. `is_there` says whether the list of files is still valid."""

    photos: "list[Path]"
    model: "list[Path]"
    status: str
    is_there: "Callable[[], bool]"


def of_task(task: Any) -> Contents:
    """What WebODM has of a set."""
    return Contents(research.photo_files(task), research.model_files(task), host_tasks.task_state(task).status,
                    lambda: host_tasks.get_task(task.pk) is not None)


def hold(scan_id: int, task: Any) -> None:
    """Hard-link a set's files to a place where WebODM does not remove them.

    :raises OSError: the media directory's file system does not support hard links, or is full
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
    drop(scan_id)  # left by an interrupted removal: the task may have got a model since
    os.replace(unfinished, final)
    logger.info("OpenScan: the files of the public set %s are held until they are archived, its task is being removed", scan_id)


def contents(scan_id: int) -> Optional[Contents]:
    """What is held of a set, None if nothing is."""
    directory = _directory(scan_id)
    try:
        return Contents(sorted((directory / "photos").iterdir()), sorted((directory / "model").iterdir()),
                        (directory / "status").read_text(), directory.exists)
    except FileNotFoundError:
        return None


def scan_ids() -> "list[int]":
    """The ids of scans that have held files."""
    return sorted(int(path.name) for path in _entries() if path.name.isdigit())


def drop(scan_id: int) -> None:
    """Remove a set's held files, if there are any."""
    shutil.rmtree(_directory(scan_id), ignore_errors=True)


def drop_unfinished() -> None:
    """Remove half-made directories of killed processes."""
    for path in _entries():
        try:
            if path.name.endswith(_UNFINISHED) and time.time() - path.stat().st_ctime > _UNFINISHED_SECONDS:
                shutil.rmtree(path)
        except FileNotFoundError:
            continue  # another process removed it at the same time


def _directory(scan_id: int) -> Path:
    return _root() / str(scan_id)


def _root() -> Path:
    return media.media_root() / "openscan" / "held"


def _entries() -> "list[Path]":
    try:
        return list(_root().iterdir())
    except FileNotFoundError:
        return []
