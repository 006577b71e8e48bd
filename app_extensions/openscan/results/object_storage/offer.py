"""Offers a published result for download: checks that it is there, then makes a presigned link to it."""
from typing import NamedTuple

from django.utils import timezone

from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.results.object_storage import client

#: A link is valid at least this long, even if the result itself expires sooner.
_LEAST_SECONDS = 60


class Offered(NamedTuple):
    """A result that the storage can deliver now."""

    url: str
    etag: str
    size_bytes: int
    stored_at: float


def stored_object(scan: Scan) -> StoredObject:
    """The row of a scan's object. :raises client.ObjectMissing: there is none"""
    entry = StoredObject.objects.filter(key=scan.result_object, scan_id=scan.pk, state=StoredObject.STORED).first()
    if entry is None:
        raise client.ObjectMissing("no row names this object")
    return entry


def look(entry: StoredObject, patient: bool) -> client.Bucket:
    """Check that an object is in the bucket as it was published, and return the bucket.

    :raises client.ObjectMissing: the object is gone, or another one has its key
    :raises client.StorageError: this cannot be determined now
    """
    if entry.place != client.place():
        raise client.StorageError(f"the object is in {entry.place}, which is no longer in the settings")
    bucket = client.required()
    found = bucket.find(entry.key, patient)
    if found.size_bytes != entry.size_bytes or (found.etag and entry.etag and found.etag != entry.etag):
        raise client.ObjectMissing("another object has its key")
    return bucket


def offer(scan: Scan, file_name: str) -> Offered:
    """A presigned link to a scan's published result.

    Checks first that the result is there, because a link to an error page of the storage would help nobody.

    :param file_name: the download's file name: letters, digits and `._-`
    :raises client.StorageError: the storage cannot deliver it now; `ObjectMissing`: nor later
    """
    entry = stored_object(scan)
    bucket = look(entry, patient=False)
    left = int((scan.result_expires_at - timezone.now()).total_seconds())
    seconds = max(_LEAST_SECONDS, min(conf.s3_presign_seconds, left))
    url = bucket.link(entry.key, file_name, seconds)
    return Offered(url, f'"{entry.etag or entry.sha256[:32]}"', entry.size_bytes, entry.stored_at.timestamp())
