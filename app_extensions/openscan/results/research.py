"""Public sets for research: which sets their senders gave to research, their files, and what is said of them.

A set that its sender reset is left out. Names, addresses and tokens of people are left out too. What cameras wrote into the
photos (EXIF, perhaps a place) stays, as photos are kept byte for byte.
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


def in_webodm(since: Optional[datetime] = None) -> "Iterator[tuple[Scan, Any]]":
    """The consented scans whose task is there, and their tasks.

    :param since: only those started at or after this time
    """
    for scan in consented(since).iterator():
        task = host_tasks.get_task(scan.webodm_task_id)
        if task is not None:
            yield scan, task


def photo_files(task: Any) -> "list[Path]":
    """A set's photos as WebODM keeps them, sorted; none of a task whose directory is gone."""
    try:
        return sorted(path for path in host_tasks.task_path(task).iterdir()
                      if path.is_file() and path.suffix.lower() in PHOTO_EXTENSIONS)
    except FileNotFoundError:
        return []


def model_files(task: Any) -> "list[Path]":
    """The files of a completed task's model; none before."""
    return packing.model_files(assets.assets_dir(task)) if host_tasks.task_state(task).status == "completed" else []


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
