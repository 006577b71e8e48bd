"""A published result handed out: looked at, then a presigned link to it."""
from typing import NamedTuple

from django.utils import timezone

from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.results.object_storage import client

#: Downloads are begun at the storage at least this long before a link ends, however near the result's own end is.
_LEAST_SECONDS = 60


class Offered(NamedTuple):
    """A result that can be had from the storage now."""

    url: str
    etag: str
    size_bytes: int
    stored_at: float


def stored_object(scan: Scan) -> StoredObject:
    """The row of the object that a scan names. :raises client.ObjectMissing: there is none"""
    entry = StoredObject.objects.filter(key=scan.result_object, scan_id=scan.pk, state=StoredObject.STORED).first()
    if entry is None:
        raise client.ObjectMissing("no row names this object")
    return entry


def look(entry: StoredObject, patient: bool) -> client.Bucket:
    """The bucket in which an object lies as it was published.

    :raises client.ObjectMissing: it is gone, or another one lies there
    :raises client.StorageError: nobody can tell now
    """
    if entry.place != client.place():
        raise client.StorageError(f"the object lies in {entry.place}, which is not what the settings name now")
    bucket = client.required()
    found = bucket.find(entry.key, patient)
    if found.size_bytes != entry.size_bytes or (found.etag and entry.etag and found.etag != entry.etag):
        raise client.ObjectMissing("another object lies under its key")
    return bucket


def offer(scan: Scan, file_name: str) -> Offered:
    """A presigned link to a scan's published result, after a look whether it is there: a link that leads to an error page of the
    storage would help nobody.

    :param file_name: what the download is to be called: letters, digits and `._-`
    :raises client.StorageError: it cannot be had from there now; `ObjectMissing`: nor later
    """
    entry = stored_object(scan)
    bucket = look(entry, patient=False)
    left = int((scan.result_expires_at - timezone.now()).total_seconds())
    seconds = max(_LEAST_SECONDS, min(conf.s3_presign_seconds, left))
    url = bucket.link(entry.key, file_name, seconds)
    return Offered(url, f'"{entry.etag or entry.sha256[:32]}"', entry.size_bytes, entry.stored_at.timestamp())
