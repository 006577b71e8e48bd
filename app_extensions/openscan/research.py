"""Public sets for research: those whose senders agreed, copied out of WebODM (or the archive) with what is known of them and no
person.

A set that its sender reset is left out. Names, addresses and tokens are not exported; what cameras wrote into the
photos (EXIF, perhaps a place) is, as the photos are copied byte for byte.
"""
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from django.db.models import QuerySet

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import results
from app_extensions.openscan.ingest.images import EXTENSIONS
from app_extensions.openscan.models import Scan, Token

CONSENT = "Sent under a public token, whose terms say that photos are kept and may be used for research."
MANIFEST = "scan.json"


class PhotosGone(Exception):
    """A set's photos are not there any more: its task was compacted in WebODM, or its files were removed."""


class Exported(NamedTuple):
    """One set of an export: where it lies, and whether it was there before; or why it could not be exported."""

    scan_id: int
    path: Path
    is_new: bool
    problem: str = ""


def agreed() -> QuerySet:
    """The scans whose senders agreed: public, not reset, photos once in WebODM."""
    return Scan.objects.filter(
        research_consent=True, token__kind=Token.PUBLIC, approved_at__isnull=False,
        state__in=(Scan.APPROVED, Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED),
    )


def consented(since: Optional[datetime] = None) -> QuerySet:
    """The scans that may be exported: public, not reset, photos in WebODM.

    :param since: only those started at or after this time
    """
    scans = agreed().filter(webodm_task_id__isnull=False)
    return (scans.filter(started_at__gte=since) if since else scans).order_by("pk")


def export(directory: Path, since: Optional[datetime] = None) -> Iterator[Exported]:
    """Copy each set into a directory of its own, complete or not at all; what is there already is left alone. Sets whose task was
    deleted in WebODM come from the object storage, where they were archived. A set without its photos does not stop the others.

    :param directory: made if missing
    :raises OSError: the disk is full, or the directory cannot be written
    :raises StorageError: the object storage does not answer; what WebODM has was copied before
    """
    directory.mkdir(parents=True, exist_ok=True)
    for scan, task in in_webodm(since):
        yield _exported(directory, scan.pk, partial(_fill, scan=scan, task=task))
    from app_extensions.openscan.objects import archive

    for entry in only_archived(since):
        yield _exported(directory, entry.scan_id, partial(archive.fetch, entry))


def in_webodm(since: Optional[datetime] = None) -> "Iterator[tuple[Scan, Any]]":
    """The consented scans whose task is there, and their tasks.

    :param since: only those started at or after this time
    """
    for scan in consented(since).iterator():
        task = host_tasks.get_task(scan.webodm_task_id)
        if task is not None:
            yield scan, task


def only_archived(since: Optional[datetime] = None) -> "list[Any]":
    """Archived sets whose task is gone from WebODM.

    :param since: only those started at or after this time
    """
    from app_extensions.openscan.objects import archive

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
    photos = [_copy(path, directory / "photos") for path in photo_files(task)]
    if not photos:
        raise PhotosGone("its photos are gone from WebODM (was its task compacted?)")
    model, status = [], host_tasks.task_state(task).status
    if status == "completed":
        (directory / "model").mkdir()
        model = [_copy(path, directory / "model") for path in model_files(task)]
    text = json.dumps(manifest(scan, status, photos, model), indent=2) + "\n"
    (directory / MANIFEST).write_text(text, encoding="utf-8")


def photo_files(task: Any) -> "list[Path]":
    """A set's photos as WebODM keeps them, sorted; none of a task whose directory is gone."""
    try:
        return sorted(path for path in host_tasks.task_path(task).iterdir()
                      if path.is_file() and path.suffix.lower() in EXTENSIONS)
    except FileNotFoundError:
        return []


def model_files(task: Any) -> "list[Path]":
    """The files of a completed task's model; none before."""
    return results.model_files(assets.assets_dir(task)) if host_tasks.task_state(task).status == "completed" else []


def manifest(scan: Scan, status: str, photos: "list[dict]", model: "list[dict]") -> "dict[str, Any]":
    """What `scan.json` says of a set: the consent, times, and each file with its size and SHA-256; nobody's name.

    :param status: its task's, in our words
    :param photos: `name`, `bytes` and `sha256` of each
    :param model: the same
    """
    return {
        "scan": scan.pk, "consent": CONSENT, "sent_at": scan.started_at.isoformat() if scan.started_at else None,
        "state": status, "processing_seconds": scan.processing_seconds, "photos": photos, "model": model,
    }


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
