"""Moves results to the bucket: sends a packed result, then removes it from the file system.

A result can be downloaded as soon as it is packed. If the storage fails, downloads come from the file system until a later attempt
succeeds.
"""
import logging
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Optional

from django.db import transaction

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import part_files
from app_extensions.openscan.locks import scan_lock
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import client, offer, records, upload

logger = logging.getLogger("app.logger")

ZIP = "application/zip"


class Published(NamedTuple):
    """A complete object that no scan refers to yet."""

    entry: StoredObject
    written: upload.Written


def publish_file(scan_id: int) -> None:
    """Move a result from the file system to the bucket.

    A result can be in both places after the storage did not answer for a while. Its file is removed once the storage answers again.
    """
    with scan_lock(scan_id) as mine:
        scan = Scan.objects.filter(pk=scan_id, state=Scan.DONE).exclude(result_file="").first() if mine else None
        if scan is None or packing.is_expired(scan) or not client.is_configured() or records.is_pausing():
            return
        if scan.result_object and _is_still_there(scan):
            return
        path, source = part_files.results_dir() / scan.result_file, f"file:{scan.result_file}"
        try:
            published = _send(scan, source, path)
        except OSError as problem:
            logger.error("OpenScan: the result %s of scan %s cannot be read: %s", path.name, scan.pk, problem)
            records.note_failure(records.begin(scan, source)[0], "its file in the file system cannot be read", storage_failed=False)
            return
        if published is None:
            return
        with transaction.atomic():
            row = Scan.objects.select_for_update().get(pk=scan_id)
            if row.state != Scan.DONE or row.result_file != scan.result_file or not records.keep(row, *published):
                records.abandon(published.entry)
                return
            _drop_file(row)
    logger.info("OpenScan: the result of scan %s was moved to object storage, %d bytes", scan_id, published.written.size_bytes)


def restore(scan_id: int) -> None:
    """Pack a published result into the file system again, because the storage does not answer or the object is gone."""
    with scan_lock(scan_id) as mine:
        scan = Scan.objects.filter(pk=scan_id, state=Scan.DONE, result_file="").exclude(result_object="").first() if mine else None
        if scan is None or packing.is_expired(scan):
            return
        gone = False
        why: client.StorageError
        try:
            offer.look(offer.stored_object(scan), patient=False)
            return
        except client.ObjectMissing as problem:
            gone, why = True, problem
        except client.StorageError as problem:
            why = problem
        task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
        if task is None or host_tasks.task_state(task).status != "completed" or not packing.is_current(scan, task):
            return  # a new run brings a new result; a task that is gone ends the scan
        path, size = packing.pack(packing.model_files(assets.assets_dir(task)), packing.new_file_name(scan))
        with transaction.atomic():
            row = Scan.objects.select_for_update().get(pk=scan_id)
            if row.state != Scan.DONE or row.result_object != scan.result_object or row.result_file:
                transaction.on_commit(lambda: packing.remove_file(path.name))
                return
            row.result_file, row.result_bytes = path.name, size
            if gone:
                records.lost(row)
            row.save(update_fields=["result_file", "result_bytes", "result_object"])
    logger.warning("OpenScan: the result of scan %s was packed again, it could not be had from object storage: %s", scan_id, why)


def _send(scan: Scan, source: str, path: Path) -> Optional[Published]:
    """Send a result's file. :return: None if the storage did not take it; the failure is then recorded"""
    entry, begun = records.begin(scan, source)
    try:
        bucket = client.current()
        if bucket is None:
            return None
        existing = None
        if begun:
            with suppress(client.ObjectMissing):
                existing = bucket.find(entry.key)  # complete if a worker was killed between sending and the row's update
        # The presigned link sets the file name too, but not every storage respects that.
        headers = {"ContentType": ZIP, "ContentDisposition": client.disposition(packing.download_name(scan))}
        written = upload.send(bucket, path, entry.key, headers, existing)
        if begun:
            with suppress(client.StorageError):  # retried when the object is removed
                bucket.give_up_uploads(entry.key)
        return Published(entry, written)
    except upload.Differs as problem:
        records.note_failure(entry, str(problem), problem.sent_bytes)
        records.abandon(entry)
        logger.error("OpenScan: the result of scan %s arrived damaged in object storage and is sent again: %s", scan.pk, problem)
    except client.StorageError as problem:
        records.note_failure(entry, str(problem), problem.sent_bytes)
        logger.warning("OpenScan: the result of scan %s could not be published and stays in the file system for now: %s",
                       scan.pk, problem)
    return None


def _is_still_there(scan: Scan) -> bool:
    """Whether nothing must be sent: the object is there (its file is removed now), or the storage still does not answer."""
    try:
        entry = offer.stored_object(scan)
        offer.look(entry, patient=True)
    except client.ObjectMissing:
        with transaction.atomic():
            row = Scan.objects.select_for_update().get(pk=scan.pk)
            records.lost(row)
            row.save(update_fields=["result_object"])
        return False
    except client.StorageError as problem:
        if entry.place != client.place():
            return False  # another bucket is set now: the result moves there, and nothing refers to the old object
        records.note_failure(entry, str(problem))
        return True
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        if row.state == Scan.DONE and row.result_object == scan.result_object:
            StoredObject.objects.filter(pk=entry.pk).update(attempts=0, problem="", retry_at=None)
            row.result_bytes = entry.size_bytes
            _drop_file(row)
    return True


def _drop_file(row: Scan) -> None:
    """Remove a locked scan's file once the transaction is committed. Running downloads can still read it to the end."""
    name, row.result_file = row.result_file, ""
    row.save(update_fields=["result_file", "result_object", "result_bytes"])
    transaction.on_commit(lambda: packing.remove_file(name))
