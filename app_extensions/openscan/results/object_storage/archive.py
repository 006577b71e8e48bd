"""Public sets kept for research in the bucket: photos, model, and `scan.json` with the consent, independent of the WebODM task.

    <prefix>research/scan-<id>-<random>/photos/…  model/…  scan.json

`scan.json` is written last: a set without it is not complete. Files that are already there (by size and tag) are not sent again. So
archiving can be interrupted anywhere and repeated at any time, and runs again once the model is made. `research.agreed` decides which
sets may be archived. Consent is checked before the first byte, and again before a set counts as kept.
"""
import hashlib
import json
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.conf import conf
from app_extensions.openscan.locks import job_lock
from app_extensions.openscan.models import ArchivedSet, Scan
from app_extensions.openscan.results import research
from app_extensions.openscan.results.object_storage import client, held, records, upload
from app_extensions.openscan.results.object_storage.client import Bucket, StorageError

logger = logging.getLogger("app.logger")

_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".tif": "image/tiff", ".tiff": "image/tiff"}
_ANY = "application/octet-stream"


def lock_name(scan_id: int) -> str:
    """The name of a set's job lock, which whoever archives or removes the set holds."""
    return f"openscan.archive.{scan_id}"


def sets_to_archive(most: int) -> "list[int]":
    """Public scans that are not archived yet, or not with their present model; oldest first."""
    if not client.is_configured() or not conf.s3_research:
        return []
    put_off = ArchivedSet.objects.filter(retry_at__gt=timezone.now()).values("scan_id")
    due = _wanted().filter(Q(webodm_task_id__isnull=False) | Q(pk__in=held.scan_ids())).exclude(pk__in=put_off)
    return list(due.order_by("pk").values_list("pk", flat=True)[:most])


def _wanted() -> QuerySet:
    """The scans that may be used for research and are not archived, or not in their present state."""
    known = ArchivedSet.objects.filter(state=ArchivedSet.STORED, place=client.place())
    current = known.filter(Q(scan__result_source="") | Q(source=F("scan__result_source"))).values("scan_id")
    return research.agreed().exclude(pk__in=current)


def hold_back(task_id: Any) -> None:
    """Keep the files of a task that is about to leave WebODM, if they are for research and not archived yet."""
    if not client.is_configured() or not conf.s3_research:
        return
    for scan in _wanted().filter(webodm_task_id=task_id):
        try:
            task = host_tasks.get_task(task_id)
            if task is not None:
                held.hold(scan.pk, task)
        except OSError as problem:
            logger.error("OpenScan: the public set %s cannot be held for its archive, and its task is being removed: %s", scan.pk, problem)


def let_go_of_held() -> None:
    """Remove the held files of sets that were reset or are archived. While no bucket is set, they wait for one."""
    there = held.scan_ids()  # before reading the rows, so that sets held in the meantime are not dropped
    wanted = set(_wanted().filter(pk__in=there).values_list("pk", flat=True))
    for scan_id in there:
        if scan_id not in wanted:
            held.drop(scan_id)
    held.drop_unfinished()


def archive_set(scan_id: int) -> None:
    """Bring a public set's archive up to date. Does nothing for a set without consent."""
    with job_lock(lock_name(scan_id)) as mine:
        scan = research.agreed().filter(pk=scan_id).first() if mine and conf.s3_research else None
        if scan is None:
            return
        contents = _contents(scan)
        if contents is None or not client.is_configured() or records.is_pausing():
            return
        entry, _ = ArchivedSet.objects.get_or_create(scan=scan, defaults={"place": client.place(), "prefix": _new_prefix(scan)})
        if entry.place != client.place():  # another bucket is set now; the old one keeps what it has
            entry.place, entry.prefix, entry.state = client.place(), _new_prefix(scan), entry.WRITING
            entry.save(update_fields=["place", "prefix", "state"])
        try:
            copied = _Copy(client.required(), entry).everything(scan, contents)
        except StorageError as problem:
            records.note_failure(entry, str(problem), problem.sent_bytes)
            logger.warning("OpenScan: the public set %s could not be archived yet: %s", scan_id, problem)
            return
        except FileNotFoundError as problem:
            # Its task is being deleted or processed again; the next attempt sees which.
            logger.info("OpenScan: %s of the public set %s vanished from WebODM", Path(problem.filename or "").name, scan_id)
            return
        _keep(entry, scan, copied)
        held.drop(scan_id)


def _contents(scan: Scan) -> "Optional[held.Contents]":
    task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
    return held.of_task(task) if task is not None else held.contents(scan.pk)


def _new_prefix(scan: Scan) -> str:
    """A prefix that no other set ever had. The scan's id is not enough: a new database counts its scans from 1 again."""
    return f"{conf.s3_prefix}research/scan-{scan.pk}-{secrets.token_hex(4)}/"


def _keep(entry: ArchivedSet, scan: Scan, copied: "_Copy") -> None:
    with transaction.atomic():
        row = Scan.objects.select_for_update().get(pk=scan.pk)
        withdrawn = row.state == Scan.RESET or not row.research_consent
        ArchivedSet.objects.filter(pk=entry.pk).update(
            state=ArchivedSet.LEAVING if withdrawn else ArchivedSet.STORED, source=scan.result_source, files=copied.files,
            size_bytes=copied.size_bytes, sent_bytes=F("sent_bytes") + copied.sent_bytes, attempts=0, problem="", retry_at=None,
            stored_at=timezone.now())
    logger.info("OpenScan: the public set %s is archived, %d files, %d bytes", scan.pk, copied.files, copied.size_bytes)


class _Copy:
    """One set on its way into the bucket."""

    def __init__(self, bucket: Bucket, entry: ArchivedSet):
        self.files = self.size_bytes = self.sent_bytes = 0
        self._bucket, self._prefix = bucket, entry.prefix
        self._there = dict(bucket.listed(entry.prefix))
        self._named: set[str] = set()

    def everything(self, scan: Scan, contents: held.Contents) -> "_Copy":
        """Copy photos and model, then write the manifest, then remove the files of an earlier model."""
        if not contents.photos or not contents.is_there():  # WebODM deletes the row first: while it exists, the list is complete
            raise StorageError("its task is being deleted in WebODM")
        photos = [self._file(path, "photos") for path in contents.photos]
        model = [self._file(path, "model") for path in contents.model]
        text = json.dumps(research.manifest(scan, contents.status, photos, model), indent=2) + "\n"
        key = self._prefix + research.MANIFEST
        self._bucket.put(key, text.encode("utf-8"), {"ContentType": "application/json"})
        self._bucket.delete(sorted(set(self._there) - self._named - {key}))
        with suppress(StorageError):  # started by a killed worker; if this fails, they go with the set
            self._bucket.give_up_uploads(self._prefix)
        return self

    def _file(self, path: Path, folder: str) -> "dict[str, Any]":
        key = f"{self._prefix}{folder}/{path.name}"
        self._named.add(key)
        written = upload.send(self._bucket, path, key, {"ContentType": _TYPES.get(path.suffix.lower(), _ANY)}, self._there.get(key))
        self.files += 1
        self.size_bytes += written.size_bytes
        self.sent_bytes += written.sent_bytes
        return {"name": path.name, "bytes": written.size_bytes, "sha256": written.sha256}


def archived() -> QuerySet:
    """The complete sets in the bucket of the present settings, without those that were reset."""
    kept = ArchivedSet.objects.filter(state=ArchivedSet.STORED, place=client.place()).exclude(scan__state=Scan.RESET)
    return kept.select_related("scan").order_by("scan_id")


def fetch(entry: ArchivedSet, directory: Path) -> None:
    """Copy an archived set out of the bucket, each file checked against the manifest's SHA-256.

    :param directory: a new directory; complete when this returns
    :raises StorageError: the set is missing or damaged, or the storage does not answer
    """
    bucket = client.required()
    text = b"".join(bucket.chunks(entry.prefix + research.MANIFEST))
    manifest = json.loads(text)
    for folder in ("photos", "model"):
        if manifest[folder] or folder == "photos":
            (directory / folder).mkdir(parents=True)
        for listed in manifest[folder]:
            name, digest = os.path.basename(listed["name"]), hashlib.sha256()
            with open(directory / folder / name, "wb") as target:
                for chunk in bucket.chunks(f"{entry.prefix}{folder}/{name}"):
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != listed["sha256"]:
                raise StorageError(f"{folder}/{name} of set {entry.scan_id} is not what was archived (its SHA-256 differs)")
    (directory / research.MANIFEST).write_bytes(text)
