"""Public sets for research: which sets may be used, their files, and their description.

Sets that their sender reset are left out, and so are names, addresses and tokens of people. What cameras wrote into the photos
(EXIF, perhaps a location) stays, because photos are kept byte for byte.
"""
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Optional

from django.db.models import QuerySet

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.file_names import PHOTO_EXTENSIONS
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.results import packing

CONSENT = "Sent under a public token, whose terms say that photos are kept and may be used for research."
MANIFEST = "scan.json"


def agreed() -> QuerySet:
    """The scans that may be used for research: sent under a public token, not reset, photos reached WebODM."""
    return Scan.objects.filter(
        research_consent=True, token__kind=Token.PUBLIC, approved_at__isnull=False,
        state__in=(Scan.APPROVED, Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED),
    )


def consented(since: Optional[datetime] = None) -> QuerySet:
    """The scans that may be exported: public, not reset, and with a WebODM task.

    :param since: only those started at or after this time
    """
    scans = agreed().filter(webodm_task_id__isnull=False)
    return (scans.filter(started_at__gte=since) if since else scans).order_by("pk")


def in_webodm(since: Optional[datetime] = None) -> "Iterator[tuple[Scan, Any]]":
    """The consented scans that have a task in WebODM, each with its task.

    :param since: only those started at or after this time
    """
    for scan in consented(since).iterator():
        task = host_tasks.get_task(scan.webodm_task_id)
        if task is not None:
            yield scan, task


def photo_files(task: Any) -> "list[Path]":
    """A set's photos in WebODM, sorted. Empty if the task's directory is gone."""
    try:
        return sorted(path for path in host_tasks.task_path(task).iterdir()
                      if path.is_file() and path.suffix.lower() in PHOTO_EXTENSIONS)
    except FileNotFoundError:
        return []


def model_files(task: Any) -> "list[Path]":
    """The files of a completed task's model. Empty for other tasks."""
    return packing.model_files(assets.assets_dir(task)) if host_tasks.task_state(task).status == "completed" else []


def manifest(scan: Scan, status: str, photos: "list[dict]", model: "list[dict]") -> "dict[str, Any]":
    """The content of `scan.json`: consent, times, and each file with its size and SHA-256, but nobody's name.

    :param status: the task's status, in our words
    :param photos: `name`, `bytes` and `sha256` of each photo
    :param model: `name`, `bytes` and `sha256` of each file of the model
    """
    return {
        "scan": scan.pk, "consent": CONSENT, "sent_at": scan.started_at.isoformat() if scan.started_at else None,
        "state": status, "processing_seconds": scan.processing_seconds, "photos": photos, "model": model,
    }
