"""Sends a file to an object. boto3 does the sending, in parts if the file is large; checksums show whether it arrived intact."""
import hashlib
from pathlib import Path
from typing import NamedTuple, Optional

from app_extensions.openscan.conf import conf
from app_extensions.openscan.results.object_storage.client import Bucket, Found, StorageError


class Differs(StorageError):
    """The object under the key is not the file that was sent."""


class Written(NamedTuple):
    """A complete object that was compared with its file. `sent_bytes`: bytes that this call sent."""

    size_bytes: int
    sha256: str
    etag: str
    sent_bytes: int


def send(bucket: Bucket, path: Path, key: str, headers: "dict[str, str]", existing: Optional[Found] = None) -> Written:
    """Store a file as an object. If the object is already there, it is not sent again.

    :param headers: as for `Bucket.put`
    :param existing: the object that is under the key now, if any
    :raises OSError: the file cannot be read
    :raises StorageError: it could not be sent; `Differs`: it arrived damaged
    """
    size_bytes, sha256, tags = _checksums(path, conf.s3_part_bytes)

    def is_it(found: Found) -> bool:
        return found.size_bytes == size_bytes and (not found.etag or found.etag in tags)

    if existing is not None and is_it(existing):
        return Written(size_bytes, sha256, existing.etag, 0)
    sent: list[int] = []
    try:
        bucket.upload(path, key, headers, conf.s3_part_bytes, sent.append)
        found = bucket.find(key)
    except StorageError as problem:
        problem.sent_bytes = sum(sent)
        try:
            found = bucket.find(key)  # the answer was lost, or another process sent the same file first
        except StorageError:
            raise problem from None
        if not is_it(found):
            raise problem from None
    if not is_it(found):
        differs = Differs(f"the object has {found.size_bytes} bytes and the tag {found.etag or 'unknown'}, not {size_bytes} and {tags[1]}")
        differs.sent_bytes = sum(sent)
        raise differs
    return Written(size_bytes, sha256, found.etag, sum(sent))


def _checksums(path: Path, part_bytes: int) -> "tuple[int, str, tuple[str, str]]":
    """A file's size, its SHA-256, and the tags that a storage may give it: the MD5 of the file, and that of its parts' MD5 sums."""
    sha256, whole, parts, size_bytes = hashlib.sha256(), hashlib.md5(), [], 0  # noqa: S324 - S3's own checksum
    with open(path, "rb") as file:
        while True:
            part = file.read(part_bytes)
            if not part:
                break
            size_bytes += len(part)
            sha256.update(part)
            whole.update(part)
            parts.append(hashlib.md5(part).digest())  # noqa: S324
    return size_bytes, sha256.hexdigest(), (whole.hexdigest(), f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}")  # noqa: S324
