"""Keeps the rows of objects in object storage: begins, keeps and lets go of objects, and puts them off after failures."""
import secrets
from datetime import datetime, timedelta

from django.db.models import F, Q
from django.utils import timezone

from app_extensions.openscan.conf import conf
from app_extensions.openscan.dispatch import dispatch_on_commit
from app_extensions.openscan.models import ArchivedSet, Scan, StoredObject
from app_extensions.openscan.models.objects import Stored
from app_extensions.openscan.results.object_storage import client
from app_extensions.openscan.results.object_storage.upload import Written

WAITS_MINUTES = (1, 5, 15, 60)
#: For this long after a failure, results stay in the file system; then one job tries whether the storage is back. Otherwise each result
#: in turn would wait for a storage that does not answer.
PAUSE_SECONDS = 60


def begin(scan: Scan, source: str) -> "tuple[StoredObject, bool]":
    """The row of an object that is about to be written, and whether an earlier attempt may have sent some of it.

    :param source: what the object is made from; the scan's unfinished rows with another source are let go
    """
    unfinished = StoredObject.objects.filter(scan=scan, state=StoredObject.WRITING)
    entry = unfinished.filter(source=source, place=client.place()).order_by("-pk").first()
    unfinished.exclude(pk=entry.pk if entry else None).update(state=StoredObject.LEAVING)
    if entry is not None:
        return entry, True
    key = f"{conf.s3_prefix}results/{scan.pk}-{secrets.token_hex(16)}.zip"
    return StoredObject.objects.create(scan=scan, key=key, source=source, place=client.place()), False


def keep(scan: Scan, entry: StoredObject, written: Written) -> bool:
    """Make a written object the locked scan's object; the earlier one leaves. Call it in a transaction, and save the scan.

    :return: False if the new object was let go meanwhile
    """
    mine = StoredObject.objects.filter(pk=entry.pk, state=StoredObject.WRITING)
    if not mine.select_for_update().exists():
        return False
    StoredObject.objects.filter(scan=scan, state=StoredObject.STORED).update(state=StoredObject.LEAVING)
    mine.update(state=StoredObject.STORED, stored_at=timezone.now(), size_bytes=written.size_bytes, sha256=written.sha256,
                etag=written.etag, sent_bytes=F("sent_bytes") + written.sent_bytes, attempts=0, problem="", retry_at=None)
    scan.result_object, scan.result_bytes = entry.key, written.size_bytes
    dispatch_on_commit("remove_objects")
    return True


def let_go(scan: Scan) -> None:
    """Detach a locked scan from its objects, which are then removed. Call it in a transaction, and save the scan."""
    left = StoredObject.objects.filter(scan=scan, state__in=(StoredObject.WRITING, StoredObject.STORED)).update(
        state=StoredObject.LEAVING)
    scan.result_object = ""
    if left:
        dispatch_on_commit("remove_objects")


def abandon(entry: StoredObject) -> None:
    """Let go of an object that no scan refers to. If another worker has completed it meanwhile, it stays: its scan refers to it."""
    StoredObject.objects.filter(pk=entry.pk, state=StoredObject.WRITING).update(state=StoredObject.LEAVING)


def lost(scan: Scan) -> None:
    """Record that somebody removed or replaced a scan's object. Call it in a transaction with the scan locked, and save the scan."""
    StoredObject.objects.filter(scan=scan, state=StoredObject.STORED).update(
        state=StoredObject.LEAVING, problem="It was removed from the bucket, or replaced there, by somebody else.")
    scan.result_object = ""


def note_failure(entry: Stored, problem: str, sent_bytes: int = 0, storage_failed: bool = True) -> None:
    """Record what went wrong, and when to try again.

    :param sent_bytes: bytes that were sent for nothing
    :param storage_failed: False if it was our own fault, so that other objects need not wait
    """
    now = timezone.now()
    minutes = WAITS_MINUTES[min(entry.attempts, len(WAITS_MINUTES) - 1)]
    type(entry).objects.filter(pk=entry.pk).update(
        attempts=F("attempts") + 1, failures=F("failures") + 1, problem=problem[:300],
        failed_at=now if storage_failed else F("failed_at"), retry_at=now + timedelta(minutes=minutes),
        sent_bytes=F("sent_bytes") + sent_bytes)


def is_pausing() -> bool:
    """Whether the storage failed a moment ago and nothing has succeeded since."""
    since = timezone.now() - timedelta(seconds=PAUSE_SECONDS)
    failed = [at for model in (StoredObject, ArchivedSet) for at in
              model.objects.filter(failed_at__gte=since).order_by("-failed_at").values_list("failed_at", flat=True)[:1]]
    return bool(failed) and not any(
        model.objects.filter(stored_at__gte=max(failed)).exists() for model in (StoredObject, ArchivedSet))


def results_to_publish(most: int) -> "list[int]":
    """Scans with a result in the file system that is due to move to the bucket, oldest first."""
    if not client.is_configured():
        return []
    put_off = StoredObject.objects.filter(
        retry_at__gt=timezone.now(), state__in=(StoredObject.WRITING, StoredObject.STORED)).values("scan_id")
    waiting = Scan.objects.filter(state=Scan.DONE, result_expires_at__gt=timezone.now()).exclude(result_file="")
    return list(waiting.exclude(pk__in=put_off).order_by("finished_at", "pk").values_list("pk", flat=True)[:most])


def unfinished(before: datetime) -> "list[StoredObject]":
    """Incomplete objects that were begun before this time, or that their scan no longer needs."""
    dead = Q(scan__state__in=(Scan.RESET, Scan.EXPIRED, Scan.FAILED))
    return list(StoredObject.objects.filter(Q(created_at__lt=before) | dead, state=StoredObject.WRITING))
