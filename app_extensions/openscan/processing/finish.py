"""Handles the end of a scan's WebODM task, whether a signal or a periodic look reports it.

``finish`` compares the task with the scan's row and brings the row up to date. It may be called at any time and any number of
times; a second call changes nothing.
"""
import logging
import shutil
from datetime import timedelta
from typing import Any, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.host.faults import PHOTOS_AT_FAULT
from app_extensions.openscan import lifecycle, part_files
from app_extensions.openscan.locks import scan_lock
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import failover
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import publish, records

logger = logging.getLogger("app.logger")

WAITS_MINUTES = (1, 5, 15, 60)
_LOST_TASK = ("Its task was deleted in WebODM before there was a model, by its owner or because the storage quota was used up. The credit "
              "is refunded; send the set again, or ask the site's support.")
_LOST_RESULT = "Its task was deleted in WebODM, by its owner or because the storage quota was used up."


def finish(scan_id: int) -> None:
    """Bring a scan up to date with its WebODM task."""
    with scan_lock(scan_id) as mine:
        if not mine:
            return
        scan = Scan.objects.select_related("token").filter(pk=scan_id, state__in=lifecycle.HANDED_OVER).first()
        if scan is None or (scan.state == Scan.FAILED and scan.released_at is None) or _is_put_off(scan):
            return
        task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
        if task is None:
            _lose_task(scan)
            return
        state = host_tasks.task_state(task)
        if state.status == "completed":
            _complete(scan, task, state)
        elif state.status == "canceled" or (state.status == "failed" and not failover.take_elsewhere(scan, task)):
            _fail(scan, state)


def _is_put_off(scan: Scan) -> bool:
    return scan.retry_at is not None and scan.retry_at > timezone.now()


def _complete(scan: Scan, task: Any, state: Any) -> None:
    source = packing.source_of(task)
    if packing.is_current(scan, task):
        return
    try:
        path, size = packing.pack(packing.model_files(assets.assets_dir(task)), packing.new_file_name(scan))
    except packing.NoModel:
        _fail(scan, state, "The processing node finished without a model; ask the site's support.", source)
        return
    except OSError as problem:
        _put_off(scan, problem)
        return
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state not in lifecycle.HANDED_OVER:  # reset while we packed
            transaction.on_commit(lambda: packing.remove_file(path.name))
            return
        records.let_go(row)
        now = timezone.now()
        row = lifecycle.apply(
            row.pk, lifecycle.COMPLETE, result_object=row.result_object, result_bytes=size, result_file=path.name,
            result_source=source, result_link=packing.new_link(), result_expires_at=packing.expiry(),
            processing_seconds=state.processing_seconds, released_at=row.released_at or now)
    logger.info("OpenScan: scan %s done, its result has %d bytes", scan.pk, size)
    publish.publish_file(scan.pk)


def _put_off(scan: Scan, problem: OSError) -> None:
    """Packing failed, for example because the disk is full. The model is safe in WebODM, so retry for as long as it takes."""
    minutes = WAITS_MINUTES[min(scan.finish_attempts, len(WAITS_MINUTES) - 1)]
    Scan.objects.filter(pk=scan.pk).update(
        finish_attempts=scan.finish_attempts + 1, retry_at=timezone.now() + timedelta(minutes=minutes))
    logger.error("OpenScan: the result of scan %s could not be packed, next attempt in %d min: %s", scan.pk, minutes, problem)


def _fail(scan: Scan, state: Any, sentence: str = "", source: str = "") -> None:
    """Record that processing failed or was canceled. The owner is notified once per run; `restarted` marks where a new run begins."""
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state not in lifecycle.HANDED_OVER or (row.state == Scan.FAILED and row.error == (sentence or _sentence(state))):
            return
        lifecycle.apply(
            row.pk, _failure(state), why=sentence or _sentence(state), error=sentence or _sentence(state), result_source=source,
            node_notes=failover.noted_error(row, state), released_at=row.released_at or timezone.now())
    logger.info("OpenScan: scan %s failed in processing", scan.pk)


def _failure(state: Any) -> str:
    """The event for a task that did not complete. Only failures that may be ours refund the credit."""
    if state.status == "canceled":
        return lifecycle.CANCEL
    return lifecycle.FAIL_BY_PHOTOS if PHOTOS_AT_FAULT.search(state.node_error) else lifecycle.FAIL


def restarted(task_id: Any) -> None:
    """The owner restarted a task in WebODM: its failed scan is in processing again, and the end of this run is reported as well."""
    with transaction.atomic():
        failed = Scan.objects.select_for_update().filter(webodm_task_id=task_id, state=Scan.FAILED, released_at__isnull=False)
        for row in failed:
            lifecycle.apply(row.pk, lifecycle.RESTART)
            logger.info("OpenScan: scan %s is processed again, its task was restarted in WebODM", row.pk)


def _sentence(state: Any) -> str:
    if state.status == "canceled":
        return "Processing was canceled in WebODM; restart the task there, or reset the project and send it again."
    return f"Processing failed: {state.error}"


def _lose_task(scan: Scan) -> None:
    """Handle a scan with a task that is gone from WebODM: its owner deleted it, or WebODM's quota job did."""
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state == Scan.EXPIRED and not row.result_file and not row.result_object and not row.webodm_task_id:
            return
        if row.state in (Scan.APPROVED, Scan.RELEASED):
            lifecycle.apply(row.pk, lifecycle.LOSE_TASK, error=_LOST_TASK)
        elif row.state == Scan.DONE:
            lifecycle.apply(row.pk, lifecycle.LOSE_RESULT, error=row.error or _LOST_RESULT)
        else:
            lifecycle.apply(row.pk, lifecycle.FORGET_TASK, error=row.error or _LOST_RESULT)
    logger.info("OpenScan: scan %s expired, its task is gone", scan.pk)


def expire_results() -> int:
    """Expire results that are past their time. :return: how many"""
    expired = 0
    due = Scan.objects.filter(state=Scan.DONE, result_expires_at__lte=timezone.now()).values_list("pk", flat=True)
    for scan_id in list(due):
        with transaction.atomic():
            row = Scan.objects.select_for_update().filter(pk=scan_id, state=Scan.DONE).first()
            if row is None or row.result_expires_at > timezone.now():
                continue
            lifecycle.apply(row.pk, lifecycle.EXPIRE)
            expired += 1
    return expired


def discard(scan_id: int) -> None:
    """Remove what a reset or refused scan left in WebODM and among the results.

    A finished model stays in WebODM, for its owner or for research. An unfinished task is removed.
    """
    with scan_lock(scan_id) as mine:
        if not mine:
            return  # an ingest is still ending; a periodic job comes back
        with transaction.atomic():
            # The row lock keeps an administrator's retry before or after this: a retry does not reuse a task that is being removed.
            scan = Scan.objects.select_for_update().filter(pk=scan_id).first()
            if scan is None or not is_discardable(scan):
                return
            _discard(scan)


def _discard(scan: Scan) -> None:
    packing.remove_file(scan.result_file)
    records.let_go(scan)
    task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
    state = host_tasks.task_state(task) if task is not None else None
    fields: dict[str, Any] = {"result_file": "", "result_object": "", "result_bytes": 0}
    if state is None:
        fields["webodm_task_id"] = None
    elif state.status == "completed":
        fields["finished_at"] = scan.finished_at or timezone.now()
        fields["discarded_at"] = timezone.now()
    elif state.pending_action != "remove":
        host_tasks.remove_task(task)
    if scan.webodm_task_id:
        for leftover in _incoming_of(scan):
            shutil.rmtree(leftover, ignore_errors=True)
    Scan.objects.filter(pk=scan.pk).update(**fields)


def _incoming_of(scan: Scan) -> "list[Any]":
    incoming = host_tasks.incoming_path(scan.webodm_task_id)
    return [incoming, incoming.with_name(incoming.name + ".inner")]


def is_discardable(scan: Scan) -> bool:
    """Whether nothing of the scan should stay: it was reset, or refused before WebODM processed it."""
    return scan.state == Scan.RESET or (scan.state == Scan.FAILED and scan.released_at is None)


def drop_old_parts(hours: int) -> int:
    """Remove parts that were kept for another ingest attempt that nobody asked for. :return: of how many scans"""
    before = timezone.now() - timedelta(hours=hours)
    dropped = 0
    for scan in Scan.objects.filter(state=Scan.FAILED, finished_at__lt=before, parts__isnull=False).distinct():
        with transaction.atomic():
            row: Optional[Scan] = Scan.objects.select_for_update().filter(pk=scan.pk, state=Scan.FAILED).first()
            if row is not None:
                part_files.drop_parts(row)
                dropped += 1
    return dropped
