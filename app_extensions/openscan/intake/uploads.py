"""Receives one part of a scan's archive: checks it, streams it to disk and syncs it; one transaction renames and records it.

A part is kept only if all of it arrived. Until then it has a name in `.incoming` that no row refers to, and any error removes
it. See `part_files` for what a killed process may leave behind and how that is removed.
"""
import errno
import fcntl
import logging
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.host.log_fields import note_fields
from app_extensions.openscan import links, part_files, traffic
from app_extensions.openscan.accounts import limits
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Part, Scan
from app_extensions.shared.formatting import format_exact_bytes

logger = logging.getLogger("app.logger")

TOO_LARGE, GONE, CONFLICT, NOT_FOUND = 413, 410, 409, 404
_NO_ROOM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CHECK_ROOM_EVERY_BYTES = 32_000_000
_ZIP = b"PK\x03\x04"


class Upload:
    """A valid upload link: which part of which scan it is for, and how large that part may be."""

    def __init__(self, scan: Scan, number: int):
        self.scan = scan
        self.number = number
        #: By how much a zip may exceed the declared size. Set to 0 once the first bytes show that it is not a zip.
        self.packing_bytes = limits.packing_bytes(scan.parts_count, scan.photos)
        #: The CRC-32 of the received bytes, so that clients can check that they arrived intact.
        self.crc32 = 0

    @property
    def most_bytes(self) -> int:
        """The largest body that can become this part."""
        return min(self.scan.token.limit_part_bytes, self.scan.declared_bytes + self.packing_bytes)

    def note_beginning(self, first: bytes) -> None:
        """Look at the body's first bytes: only a zip may exceed the declared size."""
        if not first.startswith(_ZIP[:len(first)]):
            self.packing_bytes = 0

    def check_length(self, length: Optional[int]) -> None:
        """Raises OpenScanError if a part cannot have the announced length (None: not announced)."""
        if length is None:
            return
        if length <= 0:
            raise OpenScanError(f"Part {self.number} is empty; send its bytes as the body of the request.")
        if length > self.scan.token.limit_part_bytes:
            raise OpenScanError(
                f"Part {self.number} is too large: {format_exact_bytes(length)} sent, "
                f"{format_exact_bytes(self.scan.token.limit_part_bytes)} allowed; cut the archive into smaller parts.", TOO_LARGE)
        self.check_total(length, self.scan, self._other_bytes())

    def check_total(self, size_bytes: int, scan: Scan, other_bytes: int) -> None:
        """Raises OpenScanError if this part and the others together exceed the declared size."""
        if size_bytes + other_bytes > scan.declared_bytes + self.packing_bytes:
            raise OpenScanError(
                f"The parts are larger than declared: {format_exact_bytes(size_bytes + other_bytes)} with part "
                f"{self.number}, filesize={scan.declared_bytes:,} bytes; create the project again with the right filesize.",
                TOO_LARGE)

    def _other_bytes(self) -> int:
        own = self.scan.parts.filter(number=self.number).values_list("size_bytes", flat=True).first()
        return self.scan.received_bytes - (own or 0)


def open_upload(link_text: str) -> Upload:
    """Check an upload link.

    Raises OpenScanError: 404 if the link is not ours, 410 if it, its token or its scan has ended, 409 if the scan was started.
    """
    link = links.read_upload_link(link_text)
    scan = Scan.objects.select_related("token").filter(pk=link.scan_id).first() if link else None
    if link is None or scan is None or not link.is_signed_for(scan):
        raise OpenScanError("This upload link is not valid; call createProject for new links.", NOT_FOUND)
    if link.is_expired(timezone.now()):
        raise OpenScanError("This upload link has expired; call createProject again for new links, received parts stay.", GONE)
    if scan.token.revoked_at:
        raise OpenScanError("The token of this upload was revoked; ask the site's administrator for a new one.", GONE)
    note_fields(scan=scan.pk)
    _check_created(scan)
    return Upload(scan, link.number)


def receive(upload: Upload, chunks: Iterable[bytes], length: Optional[int]) -> Part:
    """Writes the body in `chunks` (`length` bytes; None: until it ends) and stores it as the part of `upload`.

    Uses as much memory as one chunk. Raises OpenScanError and keeps nothing if the body is empty, too large or too short, if the
    disk is full (507), or if the scan was started or reset meanwhile.
    """
    upload.check_length(length)
    scans.check_disk(length or 0)
    name = f"{upload.scan.pk}-{upload.number}-{secrets.token_hex(8)}{part_files.PART_SUFFIX}"
    path = part_files.incoming_dir() / name
    with _full_disk_is_a_refusal():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = _write(upload, descriptor, chunks, length)
            os.fsync(descriptor)
            return _keep(upload, path, size)
        finally:
            path.unlink(missing_ok=True)  # already gone if the part was renamed
            os.close(descriptor)


def _write(upload: Upload, descriptor: int, chunks: Iterable[bytes], length: Optional[int]) -> int:
    size = checked = 0
    for chunk in chunks:
        if not size:
            upload.note_beginning(chunk[:len(_ZIP)])
            upload.check_length(length)
            _note_first_byte(upload)
        size += len(chunk)
        if size > upload.most_bytes:
            upload.check_length(size)
            upload.check_total(size, upload.scan, 0)
        if size - checked > _CHECK_ROOM_EVERY_BYTES:
            scans.check_disk(0)
            checked = size
        upload.crc32 = zlib.crc32(chunk, upload.crc32)
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view):]
    if length is not None and size != length:
        raise OpenScanError(f"Part {upload.number} broke off: {format_exact_bytes(size)} of "
                            f"{format_exact_bytes(length)} arrived; send it again.")
    upload.check_length(size)
    return size


def _note_first_byte(upload: Upload) -> None:
    """Record that the upload has begun: the scan's credit no longer lapses. If it has lapsed, hold it again.

    :raises OpenScanError: the hold has lapsed, and too little credit is left
    """
    if upload.scan.first_byte_at is not None and upload.scan.held_bytes:
        return  # true for most parts, which need no lock then
    with transaction.atomic():
        scan = Scan.objects.select_for_update().get(pk=upload.scan.pk)
        _check_created(scan)
        if scan.first_byte_at is None:
            scan.first_byte_at = timezone.now()
            scan.save(update_fields=["first_byte_at"])
        scans.hold_again(scan)


def _keep(upload: Upload, received: Path, size: int) -> Part:
    """Stores the received file as this part if the scan still accepts parts. If the part was sent before, its old file goes last."""
    file_name = f"{upload.number}-{secrets.token_hex(8)}{part_files.PART_SUFFIX}"
    with transaction.atomic():
        scan = Scan.objects.select_for_update().get(pk=upload.scan.pk)
        _check_created(scan)
        if scan.upload_nonce != upload.scan.upload_nonce:
            raise OpenScanError("The project was created again with other parts; use its new links.", CONFLICT)
        part = Part.objects.filter(scan=scan, number=upload.number).first()
        replaced = part_files.part_path(part) if part is not None else None
        others = scan.received_bytes - (part.size_bytes if part is not None else 0)
        upload.check_total(size, scan, others)
        scan.received_bytes = others + size
        part = part or Part(scan=scan, number=upload.number)
        part.size_bytes, part.file_name, part.received_at = size, file_name, timezone.now()
        part.save()
        scan.save(update_fields=["received_bytes"])
        _place(received, part, file_name)
        if replaced:
            transaction.on_commit(lambda: replaced.unlink(missing_ok=True))
        transaction.on_commit(lambda: traffic.note_received(size))
    logger.info("OpenScan: part %d of scan %s received: %d bytes", part.number, scan.pk, size)
    return part


def _place(received: Path, part: Part, file_name: str) -> None:
    """Moves the file. Last step before the commit, so that only a failing commit can leave a file for the sweep."""
    try:
        part_files.place(received, part, file_name)
    except OSError:
        (part_files.scan_dir(part.scan_id) / file_name).unlink(missing_ok=True)
        raise


def _check_created(scan: Scan) -> None:
    if scan.state in (Scan.RESET, Scan.EXPIRED):
        raise OpenScanError("This upload's project was reset or has expired; create it again for new links.", GONE)
    if scan.state != Scan.CREATED:
        raise OpenScanError("This upload's project was started before; nothing can be added to it.", CONFLICT)


@contextmanager
def _full_disk_is_a_refusal() -> Iterator[None]:
    """Turns errors of a full disk or quota into a refusal for the client. Other errors pass through."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM_ERRORS:
            raise
        raise OpenScanError("The server's disk is full; nothing of this part was kept, try again later.",
                            scans.NO_ROOM_STATUS) from error
