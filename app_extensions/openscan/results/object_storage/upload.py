"""A file's bytes on their way to an object: in parts, each with its checksum, without a copy on a disk here.

The same bytes written again go on where an earlier attempt was cut: parts that arrived are compared by size and MD5 and not sent
a second time. So whoever writes needs no memory of where it was, only to write the same once more.
"""
import hashlib
from contextlib import suppress
from typing import NamedTuple, Optional

from app_extensions.openscan.results.object_storage.client import Bucket, Found, NotOffered, StorageError

MOST_PARTS = 10_000


class Differs(StorageError):
    """Another object lies under the key than the one that was written."""


class Written(NamedTuple):
    """An object that is complete and was compared with what was written. `sent_bytes`: how much of it went over the line now."""

    size_bytes: int
    sha256: str
    etag: str
    sent_bytes: int


class ObjectWriter:
    """A writable, unseekable file; `finish` makes it an object. One that is dropped without it leaves parts to be gone on with."""

    def __init__(self, bucket: Bucket, key: str, headers: "dict[str, str]", part_bytes: int, existing: Optional[Found] = None,
                 resume: bool = False):
        """
        :param headers: as for `Bucket.put`
        :param part_bytes: a part's size, S3's least is 5 MiB; the last may be smaller
        :param existing: what lies there already: nothing is sent, what is written is only compared with it
        :param resume: an earlier attempt may have left an unfinished upload
        """
        self._bucket, self._key, self._headers, self._part_bytes = bucket, key, headers, part_bytes
        self._existing, self._resume = existing, resume
        self._upload = ""
        self._arrived: dict[int, Found] = {}
        self._buffer = bytearray()
        self._tags: list[str] = []
        self._sums: list[bytes] = []
        self._sha256, self._md5 = hashlib.sha256(), hashlib.md5()  # noqa: S324 - S3's own checksum
        self._size = self._sent = 0

    @property
    def sent_bytes(self) -> int:
        """Bytes that went over the line so far."""
        return self._sent

    def write(self, data: bytes) -> int:
        """Takes bytes; sends a part once there are enough. :raises StorageError: it could not be sent"""
        self._buffer += data
        self._sha256.update(data)
        self._md5.update(data)
        self._size += len(data)
        while len(self._buffer) > self._part_bytes:
            part = bytes(self._buffer[:self._part_bytes])
            del self._buffer[:self._part_bytes]
            self._send(part)
        return len(data)

    def flush(self) -> None:
        """Nothing: parts go when they are full."""

    def finish(self) -> Written:
        """Makes the object. :raises StorageError: it is not there, or not what was written"""
        rest, self._buffer = bytes(self._buffer), bytearray()
        if not self._sums:
            etag = self._put(rest)
        else:
            self._send(rest)
            etag = self._complete()
        return Written(self._size, self._sha256.hexdigest(), etag, self._sent)

    def _put(self, data: bytes) -> str:
        if self._existing is not None:
            return self._compare(self._existing, self._md5.hexdigest())
        tag = self._bucket.put(self._key, data, self._headers)
        self._sent += len(data)
        return tag

    def _send(self, data: bytes) -> None:
        digest = hashlib.md5(data)  # noqa: S324 - S3's own checksum
        self._sums.append(digest.digest())
        number = len(self._sums)
        if self._existing is not None:
            return
        if number > MOST_PARTS:
            raise StorageError(f"more than {MOST_PARTS} parts; raise WO_OPENSCAN_S3_PART")
        if not self._upload:
            self._open()
        there = self._arrived.get(number)
        if there == Found(len(data), digest.hexdigest()):
            self._tags.append(there.etag)
            return
        self._tags.append(self._bucket.send_part(self._key, self._upload, number, data))
        self._sent += len(data)

    def _open(self) -> None:
        upload = None
        with suppress(NotOffered):  # a storage that cannot tell what arrived gets it once more
            upload = self._bucket.open_upload(self._key) if self._resume else None
            self._arrived = self._bucket.sent_parts(self._key, upload) if upload else {}
        self._upload = upload or self._bucket.begin_upload(self._key, self._headers)

    def _complete(self) -> str:
        """A multipart object's tag is the MD5 of its parts' MD5 sums, and their number; with some storages that of the whole."""
        expected = f"{hashlib.md5(b''.join(self._sums)).hexdigest()}-{len(self._sums)}"  # noqa: S324
        if self._existing is not None:
            return self._compare(self._existing, expected)
        try:
            self._bucket.complete_upload(self._key, self._upload, self._tags)
        except StorageError as problem:
            # It may be complete all the same: the answer was lost, or another process that writes the same was first.
            try:
                return self._compare(self._bucket.find(self._key), expected)
            except StorageError:
                raise problem from None
        return self._compare(self._bucket.find(self._key), expected)

    def _compare(self, found: Found, expected: str) -> str:
        if found.size_bytes != self._size or (found.etag and found.etag not in (expected, self._md5.hexdigest())):
            raise Differs(f"the object has {found.size_bytes} bytes and the tag {found.etag or 'unknown'}, "
                          f"not {self._size} and {expected}")
        return found.etag
