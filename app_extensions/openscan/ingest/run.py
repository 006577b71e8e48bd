"""Ingests a started scan: turns its parts into a waiting WebODM task with its photos.

Every step can be interrupted and repeated. The task's row and the scan's pointer to it are written together. Photos in the
task's directory are complete and are not written again. One transaction changes the scan's state, charges it and drops its parts.
"""
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional

from django.db import connection, transaction
from django.utils import timezone

from app_extensions.host import media, quota
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import lifecycle, part_files
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.ingest.archives import Limits, PhotoSet
from app_extensions.openscan.ingest.refusal import Refused
from app_extensions.openscan.ingest.write import Written, write_set
from app_extensions.openscan.intake import browser
from app_extensions.openscan.locks import scan_lock
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import projects
from app_extensions.shared.formatting import format_bytes

logger = logging.getLogger("app.logger")

#: Minutes until the next attempt after a failure of ours (a full disk, an unreachable database). The last value repeats.
WAITS_MINUTES = (1, 2, 5, 15, 60)
LONGEST_SET_ASIDE = 20_000
_REMOVED = ("Its task was deleted in WebODM while the photos were being put into it; nothing was charged. Reset the project and send "
            "it again if that was a mistake.")


class Stopped(Exception):
    """The scan was reset or its task removed meanwhile. The job that was queued then discards what was written."""


def ingest(scan_id: int) -> None:
    """Ingest a scan. Does nothing if another worker is ingesting it or there is nothing to do. Safe to call at any time."""
    with scan_lock(scan_id) as mine:
        if not mine:
            return
        scan = _begin(scan_id)
        if scan is None:
            return
        try:
            written = _write(scan)
            _approve(scan, written)
        except Stopped:
            logger.info("OpenScan: scan %s was reset, or its task removed, while it was taken in", scan_id)
        except (Refused, projects.NoOwner) as reason:
            refuse(scan_id, str(reason))
        except OSError as problem:
            _put_off(scan, problem)


def _begin(scan_id: int) -> Optional[Scan]:
    """Count the attempt, so that a set which kills its worker every time is given up in the end."""
    with transaction.atomic():
        scan = Scan.objects.select_for_update().filter(pk=scan_id, state=Scan.INITIALIZED).first()
        if scan is None or (scan.retry_at and scan.retry_at > timezone.now()):
            return None
        if scan.ingest_attempts < conf.ingest_attempts:
            scan.ingest_attempts += 1
            scan.save(update_fields=["ingest_attempts"])
            return scan
    _give_up(scan_id)
    return None


def _write(scan: Scan) -> Written:
    owner = tokens.token_owner(scan.token)
    if owner is not None and quota.quota_exceeded(owner, scan.received_bytes):
        raise Refused(
            f"The set's {format_bytes(scan.received_bytes)} do not fit into the storage quota of this token's WebODM user; "
            "delete old tasks there, or ask the site's administrator."
        )
    task = projects.make_waiting_task(scan)
    with _placing(scan):
        target = host_tasks.task_dir(task)
    incoming = host_tasks.incoming_dir(task)
    scratch = incoming.with_name(incoming.name + ".inner")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        with PhotoSet(part_files.part_paths(scan), scratch, Limits(total_bytes=conf.unpacked_bytes), browser.part_names(scan)) as photo_set:
            _check_room(photo_set, target)
            written = write_set(
                photo_set, target, incoming, limit_photos=scan.token.limit_photos, least_photos=conf.least_photos,
                before_each=lambda: _check_wanted(scan), placing=lambda: _placing(scan),
                merge_seconds=60 * conf.merge_minutes if conf.merge_focus_stacks else 0,
            )
    except OSError:
        _check_wanted(scan)  # not a failure if a reset removed the parts, or a removal of the task its directory, while we worked
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    incoming.rmdir()
    return written


def _check_room(photo_set: PhotoSet, target: Path) -> None:
    lying = sum(entry.stat().st_size for entry in os.scandir(target) if entry.is_file())
    wanted = sum(member.size_bytes for member in (*photo_set.photos, *photo_set.masks)) - lying
    if media.free_bytes(target) - wanted < conf.free_reserve_bytes:
        raise OSError(28, f"{format_bytes(max(wanted, 0))} are needed beyond the reserve, but the disk has no room")


def _check_wanted(scan: Scan) -> None:
    """:raises Stopped: the scan was reset, or its task is being removed"""
    if not Scan.objects.filter(pk=scan.pk, state=Scan.INITIALIZED).exists():
        raise Stopped


@contextmanager
def _placing(scan: Scan) -> Iterator[None]:
    """Lock the scan's row while a file is placed in the task's directory, so that no removal of the task runs at the same time.

    Before WebODM deletes the directory, `task_removed` ends the scan, and waits for this lock to do so. Without it, the deletion
    would fail if a file arrived in the middle.

    :raises Stopped: the scan was reset, or its task is being removed
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit TO OFF")  # only a lock, nothing is written, so do not wait for the disk
        if Scan.objects.select_for_update().filter(pk=scan.pk, state=Scan.INITIALIZED).first() is None:
            raise Stopped
        yield


def task_removed(task_id: Any) -> None:
    """End the ingest into a task that WebODM is about to remove: the scan fails and costs nothing, and no more files are written."""
    for scan_id in Scan.objects.filter(webodm_task_id=task_id, state=Scan.INITIALIZED).values_list("pk", flat=True):
        refuse(scan_id, _REMOVED)


def _approve(scan: Scan, written: Written) -> None:
    """All photos are safely on the disk, not only in the system's cache: charge the scan, drop its parts, and enter the queue."""
    with transaction.atomic():
        row = Scan.objects.select_for_update().filter(pk=scan.pk, state=Scan.INITIALIZED).first()
        if row is None:
            raise Stopped
        task = host_tasks.get_task(row.webodm_task_id)
        if task is None:
            raise Refused(_REMOVED)  # deleted without a signal, together with its project
        host_tasks.update_counts(task)
        lifecycle.apply(row.pk, lifecycle.APPROVE, images_count=written.photos,
                        set_aside="\n".join(written.set_aside)[:LONGEST_SET_ASIDE])
    logger.info("OpenScan: scan %s taken in: %d photos, %d bytes, %d members left out", row.pk, written.photos,
                written.photo_bytes, len(written.set_aside))


def refuse(scan_id: int, sentence: str, *, keep_parts: bool = False) -> None:
    """End a started scan before it reached WebODM: it fails with a sentence for its owner and costs nothing.

    :param keep_parts: the fault is ours, so keep the upload for an admin to try again
    """
    event = lifecycle.GIVE_UP if keep_parts else lifecycle.REFUSE
    row = lifecycle.apply(scan_id, event, why=sentence, error=sentence)
    if row is None:
        return
    logger.info("OpenScan: scan %s refused", scan_id)


def _put_off(scan: Scan, problem: OSError) -> None:
    """A failure of ours: try again later, a few times."""
    logger.warning("OpenScan: scan %s could not be taken in (attempt %d): %s", scan.pk, scan.ingest_attempts, problem)
    if scan.ingest_attempts >= conf.ingest_attempts:
        _give_up(scan.pk)
        return
    minutes = WAITS_MINUTES[min(scan.ingest_attempts, len(WAITS_MINUTES)) - 1]
    Scan.objects.filter(pk=scan.pk, state=Scan.INITIALIZED).update(retry_at=timezone.now() + timedelta(minutes=minutes))


def _give_up(scan_id: int) -> None:
    logger.error("OpenScan: scan %s is given up after %d attempts", scan_id, conf.ingest_attempts)
    refuse(
        scan_id, "The server could not read the set. This was not your fault. The site's administrator can try again, or you can send "
        "it again later.", keep_parts=True,
    )
