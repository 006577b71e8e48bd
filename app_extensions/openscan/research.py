"""Public sets for research: those whose senders agreed, copied out of WebODM with what is known of them and no person.

A set that its sender reset is left out. Names, addresses and tokens are not exported; what cameras wrote into the
photos (EXIF, perhaps a place) is, as the photos are copied byte for byte.
"""
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Optional

from django.db.models import QuerySet

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import results
from app_extensions.openscan.ingest.images import EXTENSIONS
from app_extensions.openscan.models import Scan, Token

CONSENT = "Sent under a public token, whose terms say that photos are kept and may be used for research."
MANIFEST = "scan.json"


class Exported(NamedTuple):
    """One set of an export: where it lies, and whether it was there before."""

    scan_id: int
    path: Path
    is_new: bool


def consented(since: Optional[datetime] = None) -> QuerySet:
    """The scans that may be exported: public, not reset, photos in WebODM.

    :param since: only those started at or after this time
    """
    scans = Scan.objects.filter(
        research_consent=True, token__kind=Token.PUBLIC, webodm_task_id__isnull=False,
        state__in=(Scan.APPROVED, Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED), approved_at__isnull=False,
    )
    return (scans.filter(started_at__gte=since) if since else scans).order_by("pk")


def export(directory: Path, since: Optional[datetime] = None) -> Iterator[Exported]:
    """Copy each set into a directory of its own, complete or not at all; what is there already is left alone.

    :param directory: made if missing
    :raises OSError: the disk is full, or the directory cannot be written
    """
    directory.mkdir(parents=True, exist_ok=True)
    for scan in consented(since).iterator():
        task = host_tasks.get_task(scan.webodm_task_id)
        if task is None:
            continue
        final = directory / f"scan-{scan.pk}"
        if final.exists():
            yield Exported(scan.pk, final, False)
            continue
        temporary = directory / f".scan-{scan.pk}.part"
        shutil.rmtree(temporary, ignore_errors=True)
        _fill(temporary, scan, task)
        os.replace(temporary, final)
        yield Exported(scan.pk, final, True)


def _fill(directory: Path, scan: Scan, task: Any) -> None:
    (directory / "photos").mkdir(parents=True)
    photos = sorted(path for path in host_tasks.task_dir(task).iterdir()
                    if path.is_file() and path.suffix.lower() in EXTENSIONS)
    listed = [_copy(path, directory / "photos") for path in photos]
    state = host_tasks.task_state(task)
    model = []
    if state.status == "completed":
        (directory / "model").mkdir()
        model = [_copy(path, directory / "model") for path in results.model_files(assets.assets_dir(task))]
    manifest = {
        "scan": scan.pk, "consent": CONSENT, "sent_at": scan.started_at.isoformat() if scan.started_at else None,
        "state": state.status, "processing_seconds": scan.processing_seconds, "photos": listed, "model": model,
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


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
