"""Removes objects from the bucket that expired, were reset, replaced or withdrawn, or were never completed.

A row is set to `leaving` in the transaction that removes the last reference to it. The bytes are removed later, and that is retried
until it works. A storage that does not answer only delays it.
"""
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

from django.db.models import Count, Q, Sum
from django.utils import timezone

from app_extensions.openscan.conf import conf
from app_extensions.openscan.locks import job_lock, scan_lock
from app_extensions.openscan.models import ArchivedSet, Scan, StoredObject
from app_extensions.openscan.models.objects import Stored
from app_extensions.openscan.results.object_storage import archive, client, held, records
from app_extensions.openscan.results.object_storage.client import Bucket, Found, ObjectMissing, StorageError

logger = logging.getLogger("app.logger")

MOST_A_RUN = 500


def tidy() -> int:
    """Let go of objects without further use, and remove those that leave. :return: how many objects and sets were removed"""
    if not client.is_configured():
        return 0
    for entry in records.unfinished(timezone.now() - timedelta(hours=conf.s3_abort_hours)):
        records.abandon(entry)
    ArchivedSet.objects.filter(_withdrawn(), state__in=(ArchivedSet.WRITING, ArchivedSet.STORED)).update(
        state=ArchivedSet.LEAVING)
    archive.let_go_of_held()
    return remove_leaving()


def _withdrawn() -> Q:
    """Sets that were reset, and incomplete sets that lost their task without their files being held."""
    return Q(scan__state=Scan.RESET) | (Q(scan__webodm_task_id=None, state=ArchivedSet.WRITING) & ~Q(scan_id__in=held.scan_ids()))


def remove_leaving() -> int:
    """Remove leaving objects from the bucket of the present settings. :return: how many; those that fail stay for the next run"""
    gone = 0
    try:
        bucket = client.current()
        if bucket is None:
            return 0
        for entry in StoredObject.objects.filter(state=StoredObject.LEAVING, place=client.place()).order_by("pk")[:MOST_A_RUN]:
            with scan_lock(entry.scan_id) as mine:  # somebody may still be writing it
                if mine:
                    bucket.give_up_uploads(entry.key)
                    bucket.delete([entry.key])
                    gone += _is_gone(entry)
        for entry in ArchivedSet.objects.filter(state=ArchivedSet.LEAVING, place=client.place()).order_by("pk")[:MOST_A_RUN]:
            with job_lock(archive.lock_name(entry.scan_id)) as mine:
                if mine:
                    _remove_set(bucket, entry)
                    gone += _is_gone(entry)
    except StorageError as problem:
        logger.warning("OpenScan: object storage is not tidied up now: %s", problem)
    return gone


def _is_gone(entry: Stored) -> int:
    return type(entry).objects.filter(pk=entry.pk, state=entry.LEAVING).update(state=entry.GONE, gone_at=timezone.now())


def _remove_set(bucket: Bucket, entry: ArchivedSet) -> None:
    bucket.give_up_uploads(entry.prefix)
    bucket.delete([key for key, _ in bucket.listed(entry.prefix)])


def discrepancies() -> "list[str]":
    """One sentence for each object that differs from its row or is missing, and for each result in the bucket without a row.

    :raises StorageError: the storage does not answer
    """
    bucket = client.current()
    if bucket is None:
        return []
    place = client.place()
    there = dict(bucket.listed(bucket.key("results/")))
    found = list(_missing(bucket, there))
    known = set(StoredObject.objects.filter(place=place).exclude(state=StoredObject.GONE).values_list("key", flat=True))
    found += [f"The object {key} belongs to no scan." for key in sorted(set(there) - known)]
    for entry in archive.archived():
        if not any(key.endswith("/scan.json") for key, _ in bucket.listed(entry.prefix + "scan.json")):
            found.append(f"The archived set {entry.prefix} has no scan.json, so it is no longer complete.")
    elsewhere = StoredObject.objects.exclude(place=place).exclude(state=StoredObject.GONE).values("place")
    found += [f"{row['number']} objects are in {row['place']}, which is no longer in the settings."
              for row in elsewhere.annotate(number=Count("pk")).order_by("place")]
    return found


def _missing(bucket: Bucket, there: "dict[str, Found]") -> Iterator[str]:
    for entry in StoredObject.objects.filter(state=StoredObject.STORED, place=client.place()).order_by("pk").iterator():
        found = there.get(entry.key)
        if found is None and not entry.key.startswith(bucket.prefix):  # written under another prefix
            with suppress(ObjectMissing):
                found = bucket.find(entry.key)
        if found is None:
            yield f"The object {entry.key} of scan {entry.scan_id} is gone from the bucket."
        elif found.size_bytes != entry.size_bytes:
            yield (f"The object {entry.key} of scan {entry.scan_id} should have {entry.size_bytes} bytes, "
                   f"it has {found.size_bytes}.")


def summary() -> "dict[str, object]":
    """Data for pages and figures: place, counts by state, bytes, and the last failure that is not resolved, if there is one."""
    objects, sets = StoredObject.objects, ArchivedSet.objects
    failed = [entry for model in (objects, sets) for entry in
              model.exclude(problem="").filter(state=StoredObject.WRITING).order_by("-failed_at")[:1]]
    return {
        "place": client.place(),
        "objects": dict(objects.values_list("state").annotate(number=Count("pk")).order_by()),
        "sets": dict(sets.values_list("state").annotate(number=Count("pk")).order_by()),
        "object_bytes": objects.filter(state=StoredObject.STORED).aggregate(at=Sum("size_bytes"))["at"] or 0,
        "set_bytes": sets.filter(state=ArchivedSet.STORED).aggregate(at=Sum("size_bytes"))["at"] or 0,
        "waiting": Scan.objects.filter(state=Scan.DONE).exclude(result_file="").count() if client.is_configured() else 0,
        "problem": max(failed, key=lambda entry: entry.failed_at).problem if failed else "",
    }
