"""Exports public sets for research, from WebODM or from the archive."""
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Optional

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.models import Scan
from app_extensions.openscan.results import research
from app_extensions.openscan.results.object_storage import archive


class PhotosGone(Exception):
    """A set's photos are gone: its task was compacted in WebODM, or its files were removed."""


class Exported(NamedTuple):
    """One set of an export: its path and whether this export created it, or why it could not be exported."""

    scan_id: int
    path: Path
    is_new: bool
    problem: str = ""


def export(directory: Path, since: Optional[datetime] = None) -> Iterator[Exported]:
    """Copy each set into its own directory, either completely or not at all. Existing directories are left alone.

    Sets whose task was deleted in WebODM come from the archive in object storage. A set without photos does not stop the others.

    :param directory: created if missing
    :raises OSError: the disk is full, or the directory cannot be written
    :raises StorageError: the object storage does not answer; sets in WebODM have been copied by then
    """
    directory.mkdir(parents=True, exist_ok=True)
    for scan, task in research.in_webodm(since):
        yield _exported(directory, scan.pk, partial(_fill, scan=scan, task=task))
    for entry in only_archived(since):
        yield _exported(directory, entry.scan_id, partial(archive.fetch, entry))


def only_archived(since: Optional[datetime] = None) -> "list[Any]":
    """Archived sets whose task is gone from WebODM.

    :param since: only those started at or after this time
    """
    sets = archive.archived()
    sets = sets.filter(scan__started_at__gte=since) if since else sets
    return [entry for entry in sets if host_tasks.get_task(entry.scan.webodm_task_id) is None]


def _exported(directory: Path, scan_id: int, fill: "Callable[[Path], None]") -> Exported:
    final = directory / f"scan-{scan_id}"
    if final.exists():
        return Exported(scan_id, final, False)
    temporary = directory / f".scan-{scan_id}.part"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        fill(temporary)
    except PhotosGone as problem:
        shutil.rmtree(temporary)
        return Exported(scan_id, final, False, str(problem))
    os.replace(temporary, final)
    return Exported(scan_id, final, True)


def _fill(directory: Path, scan: Scan, task: Any) -> None:
    (directory / "photos").mkdir(parents=True)
    photos = [_copy(path, directory / "photos") for path in research.photo_files(task)]
    if not photos:
        raise PhotosGone("its photos are gone from WebODM (was its task compacted?)")
    model, status = [], host_tasks.task_state(task).status
    if status == "completed":
        (directory / "model").mkdir()
        model = [_copy(path, directory / "model") for path in research.model_files(task)]
    text = json.dumps(research.manifest(scan, status, photos, model), indent=2) + "\n"
    (directory / research.MANIFEST).write_text(text, encoding="utf-8")


def _copy(path: Path, directory: Path) -> "dict[str, Any]":
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as source, open(directory / path.name, "wb") as target:
        while True:
            chunk = source.read(1 << 20)
            if not chunk:
                break
            target.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return {"name": path.name, "bytes": size, "sha256": digest.hexdigest()}
