"""What follows when a scan's WebODM task comes to its end, however we learn of it: by signal, or by looking.

``finish`` compares the task as it is now with what the scan's row says and brings the row up to date, once. It may be
called at any time and any number of times.
"""
import logging
import shutil
from datetime import timedelta
from typing import Any, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import ledger
from app_extensions.openscan.dispatch import dispatch_on_commit
from app_extensions.openscan.locks import scan_lock
from app_extensions.openscan.models import Scan
from app_extensions.openscan.notices import messages
from app_extensions.openscan.processing import failover
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import publish, records

logger = logging.getLogger("app.logger")

#: States of a scan whose task WebODM has had in hand.
_HANDED_OVER = (Scan.APPROVED, Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED)
WAITS_MINUTES = (1, 5, 15, 60)


def finish(scan_id: int) -> None:
    """Bring a scan up to date with its WebODM task."""
    with scan_lock(scan_id) as mine:
        if not mine:
            return
        scan = Scan.objects.select_related("token").filter(pk=scan_id, state__in=_HANDED_OVER).first()
        if scan is None or (scan.state == Scan.FAILED and scan.released_at is None) or _is_put_off(scan):
            return
        task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
        if task is None:
            _expire(scan, "Its task was deleted in WebODM.")
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
    name, size = "", 0
    try:
        files = packing.model_files(assets.assets_dir(task))
        published = publish.publish_model(scan, files, source) if files else None
        if published is None:
            path, size = packing.pack(files, packing.new_file_name(scan))
            name = path.name
    except packing.NoModel:
        _fail(scan, state, "The processing node finished and delivered no model; ask the site's support.", source)
        return
    except OSError as problem:
        _put_off(scan, problem)
        return
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state not in _HANDED_OVER or (published and not records.keep(row, *published)):  # reset while we packed
            if published:
                records.abandon(published.entry)
            transaction.on_commit(lambda: packing.remove_file(name))
            return
        if published is None:
            records.let_go(row)
            row.result_bytes = size
        before, row.state, row.error = row.result_file, Scan.DONE, ""
        row.released_at = row.released_at or timezone.now()
        row.finished_at, row.expired_at, row.processing_seconds = timezone.now(), None, state.processing_seconds
        row.result_file, row.result_source = name, source
        row.result_link, row.result_expires_at = packing.new_link(), packing.expiry()
        row.finish_attempts, row.retry_at = 0, None
        row.save()
        messages.scan_done(row, packing.result_url(row))
        dispatch_on_commit("release_queue")
        transaction.on_commit(lambda: packing.remove_file(before))
    logger.info("OpenScan: scan %s done, its result has %d bytes", scan.pk, row.result_bytes)


def _put_off(scan: Scan, problem: OSError) -> None:
    """Packing failed through a full disk or the like: the model is safe in WebODM, so try for as long as it takes."""
    minutes = WAITS_MINUTES[min(scan.finish_attempts, len(WAITS_MINUTES) - 1)]
    Scan.objects.filter(pk=scan.pk).update(
        finish_attempts=scan.finish_attempts + 1, retry_at=timezone.now() + timedelta(minutes=minutes))
    logger.error("OpenScan: the result of scan %s could not be packed, next attempt in %d min: %s", scan.pk, minutes, problem)


def _fail(scan: Scan, state: Any, sentence: str = "", source: str = "") -> None:
    """The scan's processing failed or was canceled; told once for each run that ends so, as `restarted` marks where one begins."""
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state not in _HANDED_OVER or (row.state == Scan.FAILED and row.error == (sentence or _sentence(state))):
            return
        before, row.state, row.error = row.result_file, Scan.FAILED, sentence or _sentence(state)
        row.released_at = row.released_at or timezone.now()
        row.finished_at, row.result_file, row.result_bytes, row.result_source = timezone.now(), "", 0, source
        records.let_go(row)
        row.save()
        if state.status != "canceled" and not failover.PHOTOS_AT_FAULT.search(state.error):
            ledger.refund(row, note="processing failed")
        messages.scan_failed(row)
        dispatch_on_commit("release_queue")
        transaction.on_commit(lambda: packing.remove_file(before))
    logger.info("OpenScan: scan %s failed in processing", scan.pk)


def restarted(task_id: Any) -> None:
    """A task is processed again at its owner's wish: a scan that had failed is under way, and how this run ends is told as well."""
    with transaction.atomic():
        failed = Scan.objects.select_for_update().filter(webodm_task_id=task_id, state=Scan.FAILED, released_at__isnull=False)
        for row in failed:
            row.state, row.error, row.finished_at, row.retry_at, row.moves, row.tried_nodes = Scan.RELEASED, "", None, None, 0, ""
            row.save(update_fields=["state", "error", "finished_at", "retry_at", "moves", "tried_nodes"])
            logger.info("OpenScan: scan %s is processed again, its task was restarted in WebODM", row.pk)


def _sentence(state: Any) -> str:
    if state.status == "canceled":
        return "Processing was canceled in WebODM; restart the task there, or reset the project and send it again."
    return f"Processing failed: {state.error or 'the processing node gave no reason'}"


def _expire(scan: Scan, sentence: str) -> None:
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state == Scan.EXPIRED and not row.result_file and not row.webodm_task_id:
            return
        if row.state not in _HANDED_OVER:
            return
        before, row.state, row.expired_at, row.webodm_task_id = row.result_file, Scan.EXPIRED, timezone.now(), None
        row.error = row.error or sentence
        row.result_file, row.result_bytes = "", 0
        records.let_go(row)
        row.save()
        dispatch_on_commit("release_queue")
        transaction.on_commit(lambda: packing.remove_file(before))
    logger.info("OpenScan: scan %s expired, its task is gone", scan.pk)


def expire_results() -> int:
    """End results whose time is over. :return: how many"""
    expired = 0
    due = Scan.objects.filter(state=Scan.DONE, result_expires_at__lte=timezone.now()).values_list("pk", flat=True)
    for scan_id in list(due):
        with transaction.atomic():
            row = Scan.objects.select_for_update().filter(pk=scan_id, state=Scan.DONE).first()
            if row is None or row.result_expires_at > timezone.now():
                continue
            name, row.state, row.expired_at = row.result_file, Scan.EXPIRED, timezone.now()
            row.result_file, row.result_bytes = "", 0
            records.let_go(row)
            row.save(update_fields=["state", "expired_at", "result_file", "result_object", "result_bytes"])
            transaction.on_commit(lambda name=name: packing.remove_file(name))
            expired += 1
    return expired


def discard(scan_id: int) -> None:
    """Remove what a reset or refused scan left in WebODM and among the results.

    A model that was finished stays in WebODM, with its owner or for research; an unfinished task goes.
    """
    with scan_lock(scan_id) as mine:
        if not mine:
            return  # an ingest is on its way out; a periodic job comes back
        with transaction.atomic():
            # An administrator's retry comes before this or after it, never in between: it leaves a task that is being removed alone.
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
    """Whether nothing of the scan is to stay: reset, or refused before WebODM had it."""
    return scan.state == Scan.RESET or (scan.state == Scan.FAILED and scan.released_at is None)


def drop_old_parts(hours: int) -> int:
    """Remove parts that were kept for another attempt at ingest and that nobody asked for. :return: of how many scans"""
    before = timezone.now() - timedelta(hours=hours)
    dropped = 0
    for scan in Scan.objects.filter(state=Scan.FAILED, finished_at__lt=before, parts__isnull=False).distinct():
        with transaction.atomic():
            row: Optional[Scan] = Scan.objects.select_for_update().filter(pk=scan.pk, state=Scan.FAILED).first()
            if row is not None:
                part_files.drop_parts(row)
                dropped += 1
    return dropped
