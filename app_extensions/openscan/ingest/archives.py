"""What a set of parts holds: zips joined or one by one, a zip within a zip, bare photos. Lists and judges only.

A zip can lie about itself; every limit here is checked on what the directory claims before anything is unpacked, and
``zipfile`` then never yields more than was claimed. APPNOTE is PKWARE's .ZIP file format specification 6.3.9.
"""
import contextlib
import io
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Callable, NamedTuple, Optional

from app_extensions.openscan.file_names import PHOTO_EXTENSIONS
from app_extensions.openscan.ingest import images
from app_extensions.openscan.ingest.names import is_clutter, member_path
from app_extensions.openscan.ingest.parts import JoinedParts, Slice
from app_extensions.openscan.ingest.refusal import Refused, quoted

_END = b"PK\x05\x06"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_METHOD_NAMES = {9: "Deflate64", 12: "BZip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 99: "AES encryption"}
#: What ``zipfile`` raises on damaged bytes, beside its own error.
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, ValueError, OverflowError)


class Limits(NamedTuple):
    """What a set may claim. Generous for photos, far from what a bomb needs."""

    members: int = 20_000
    total_bytes: int = 20_000_000_000
    member_bytes: int = 1_000_000_000
    #: Unpacked to packed size, for members above ``ratio_from_bytes``; photos hardly shrink, GCP texts are small.
    ratio: int = 100
    ratio_from_bytes: int = 10_000_000
    directory_bytes: int = 20_000_000
    text_bytes: int = 10_000_000
    inner_zips: int = 100


class Member(NamedTuple):
    """One photo or text of a set."""

    path: str
    size_bytes: int
    open: Callable[[], BinaryIO]


class _End(NamedTuple):
    position: int
    entries: int
    directory_bytes: int
    directory_start: int
    disks: int


class PhotoSet:
    """The members of an uploaded set, as a context manager that closes what it opened.

    ``photos`` and ``texts`` are in a fixed order: by part, then as in the archive. ``set_aside`` holds sentences on
    members that are neither, ``clutter`` counts what file managers left behind.
    """

    def __init__(self, parts: Sequence[Path], scratch: Path, limits: Optional[Limits] = None, names: Sequence[str] = ()) -> None:
        """List the parts' members.

        :param parts: paths in link order
        :param names: what bare photos are called, in the same order, where that is known
        :param scratch: an existing directory for zips that lie deflated in a zip; emptied by its owner
        :raises Refused: damaged, hostile or beyond the limits
        """
        self.photos: list[Member] = []
        self.texts: list[Member] = []
        self.set_aside: list[str] = []
        self.clutter = 0
        self._limits = limits or Limits()
        self._names = names
        self._scratch = scratch
        self._members = self._bytes = self._inner = 0
        self._closing = contextlib.ExitStack()
        try:
            self._list([Path(part) for part in parts])
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> "PhotoSet":
        return self

    def __exit__(self, *problem: Any) -> None:
        self._closing.close()

    def _list(self, parts: list[Path]) -> None:
        joined = self._closing.enter_context(JoinedParts(parts))
        end = _find_end(joined)
        if end is not None and end.directory_start + end.directory_bytes == _directory_end(joined, end):
            self._list_zip(joined, "", nested=False)
            return
        # The directory does not lie where the joined file's should: the parts are files of their own, or it is broken.
        alone = [self._closing.enter_context(JoinedParts([part])) for part in parts]
        kinds = [_kind_alone(part) for part in alone]
        if all(kinds) and "zip-start" not in kinds:
            for number, (part, kind) in enumerate(zip(alone, kinds)):
                if kind == "zip":
                    self._list_zip(part, "part%04d/" % (number + 1) if len(parts) > 1 else "", nested=False)
                else:
                    self._count("part %d" % (number + 1), part.size_bytes, part.size_bytes)
                    name = "part%04d%s" % (number + 1, {"jpeg": ".jpg", "png": ".png", "tiff": ".tif"}[kind])
                    if len(self._names) == len(parts):
                        name = self._names[number]
                    self.photos.append(Member(name, part.size_bytes, _reopen(part)))
        elif end is not None:
            self._list_zip(joined, "", nested=False)  # something lies in front of the zip; zipfile knows to skip it
        elif any(kinds):
            raise Refused(
                "The archive is not complete: its directory at the end is missing (%d bytes arrived). "
                "Pack it again and send all of it." % joined.size_bytes
            )
        else:
            raise Refused(
                "What arrived is neither a zip nor a photo (%d bytes in %d parts). Send one zip, cut into parts, "
                "or JPEG, PNG or TIFF files." % (joined.size_bytes, len(parts))
            )

    def _list_zip(self, file: Any, prefix: str, nested: bool) -> None:
        label = "inner archive {}".format(quoted(prefix.rstrip("/"))) if nested else "archive"
        end = _find_end(file)
        if end is None:
            raise Refused(f"The {label} is damaged: its directory is missing.")
        if end.disks:
            raise Refused(
                f"The {label} was split by its packer into volumes (.z01, .z02 …); "
                "cut one whole zip into parts instead."
            )
        missing = end.directory_start + end.directory_bytes - _directory_end(file, end)
        if missing > 0:
            raise Refused(f"The {label} is not complete: {missing} bytes of it are missing. Send all parts of one zip.")
        if end.directory_bytes > self._limits.directory_bytes or self._members + end.entries > self._limits.members:
            raise Refused(f"The {label} lists {end.entries} members; at most {self._limits.members} are taken.")
        try:
            archive = self._closing.enter_context(zipfile.ZipFile(file))
        except DAMAGE as problem:
            raise Refused("The {} is damaged: {}.".format(label, str(problem).rstrip("."))) from None
        self._refuse_overlaps(archive, label)
        for info in archive.infolist():
            self._list_member(file, archive, info, prefix, nested)

    def _list_member(
        self, file: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo, prefix: str, nested: bool
    ) -> None:
        path = member_path(info.filename, bool(info.flag_bits & 0x800))
        shown = quoted(prefix + path)
        if not path:
            self._count(shown, info.file_size, info.compress_size)
            self.set_aside.append("A member without a name was left out.")
            return
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused(f"The archive's member {shown} is a link or device, not a file; pack the files themselves.")
        if info.is_dir() or stat.S_ISDIR(mode):
            self._count(shown, 0, 0)
            return
        if info.flag_bits & 0x2041:
            raise Refused(f"The archive's member {shown} is encrypted; pack the photos without a password.")
        self._count(shown, info.file_size, info.compress_size)
        if is_clutter(path):
            self.clutter += 1
            return
        extension = ("." + path.rpartition(".")[2]).lower()
        if extension not in (*PHOTO_EXTENSIONS, ".txt", ".zip"):
            self.set_aside.append(f"{shown} is not a photo (JPEG, PNG or TIFF) and was left out.")
            return
        if info.compress_type not in _METHODS:
            method = _METHOD_NAMES.get(info.compress_type, "method %d" % info.compress_type)
            raise Refused(
                f"The archive's member {shown} is packed with {method}; only stored and deflated ones can be read."
            )
        if extension == ".zip":
            self._list_inner(file, archive, info, prefix + path, nested)
            return
        member = Member(prefix + path, info.file_size, _opener(archive, info))
        if extension != ".txt":
            self.photos.append(member)
        elif info.file_size <= self._limits.text_bytes:
            self.texts.append(member)
        else:
            self.set_aside.append("%s is a text of %d bytes and was left out." % (shown, info.file_size))

    def _list_inner(self, file: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, nested: bool) -> None:
        if nested:
            raise Refused(f"The archive's member {quoted(path)} is a zip in a zip in a zip; one level is enough.")
        self._inner += 1
        if self._inner > self._limits.inner_zips:
            raise Refused(f"The archive holds more than {self._limits.inner_zips} zips.")
        # What the inner zip unpacks to counts, not the zip itself.
        self._bytes -= info.file_size
        if info.compress_type == zipfile.ZIP_STORED:
            inner: Any = Slice(file, _data_start(file, info, path), info.compress_size)
        else:
            spilled = self._scratch / ("inner-%04d.zip" % self._inner)
            try:
                with archive.open(info) as source, open(spilled, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
            except DAMAGE as problem:
                raise Refused(f"The archive's member {quoted(path)} is damaged: {problem}.") from None
            inner = self._closing.enter_context(JoinedParts([spilled]))
        self._list_zip(inner, path + "/", nested=True)

    def _count(self, shown: str, size: int, packed: int) -> None:
        limits = self._limits
        self._members += 1
        self._bytes += size
        if self._members > limits.members:
            raise Refused(f"The archive holds more than {limits.members} members.")
        if size > limits.member_bytes and not shown.endswith(".zip”"):
            raise Refused(
                f"The archive's member {shown} unpacks to {size} bytes; at most {limits.member_bytes} are taken."
            )
        if size > limits.ratio_from_bytes and size > limits.ratio * max(packed, 1):
            raise Refused(
                f"The archive's member {shown} unpacks from {packed} to {size} bytes; photos do not shrink like that."
            )
        if self._bytes > limits.total_bytes:
            raise Refused(
                f"The archive unpacks to more than {limits.total_bytes} bytes (reached at member {shown})."
            )

    @staticmethod
    def _refuse_overlaps(archive: zipfile.ZipFile, label: str) -> None:
        """Members that share their packed bytes are how a small file claims petabytes (D. Fifield, WOOT 2019)."""
        previous = None
        for info in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
            if previous and previous.header_offset + 30 + previous.compress_size > info.header_offset:
                raise Refused(
                    f"The {label}'s members {quoted(previous.filename)} and {quoted(info.filename)} "
                    "share the same bytes."
                )
            previous = info
        if previous and previous.header_offset + 30 + previous.compress_size > archive.start_dir:
            raise Refused(f"The {label}'s member {quoted(previous.filename)} reaches beyond its end.")


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    return lambda: archive.open(info)  # type: ignore[return-value]


def _reopen(part: JoinedParts) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        return Slice(part, 0, part.size_bytes)  # type: ignore[return-value]

    return opened


def _kind_alone(part: JoinedParts) -> Optional[str]:
    """What a part is by itself: ``zip``, ``zip-start`` (a zip without its end), a photo's kind, or None."""
    part.seek(0)
    head = part.read(8)
    if head[:4] in (b"PK\x03\x04", _END):
        end = _find_end(part)
        if end is not None and end.directory_start + end.directory_bytes == _directory_end(part, end):
            return "zip"
        return "zip-start"
    return images.kind_of(head)


def _data_start(file: Any, info: zipfile.ZipInfo, path: str) -> int:
    """Where a member's bytes begin: behind its local header (APPNOTE 4.3.7)."""
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise Refused(f"The archive's member {quoted(path)} is damaged: its header is missing.")
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name_bytes + extra_bytes


def _find_end(file: Any) -> Optional[_End]:
    """The end of central directory record, zip64's where there is one (APPNOTE 4.3.14-16), or None."""
    size = file.seek(0, io.SEEK_END)
    start = max(size - 65_557, 0)
    file.seek(start)
    tail = file.read(size - start)
    found = tail.rfind(_END)
    if found < 0 or len(tail) - found < 22:
        return None
    disk, directory_disk, _, entries, length, offset = struct.unpack("<HHHHII", tail[found + 4:found + 20])
    position = start + found
    if position >= 20:
        file.seek(position - 20)
        signature, _, end64, disks64 = struct.unpack("<4sIQI", file.read(20))
        if signature == b"PK\x06\x07" and end64 + 56 <= position:
            file.seek(end64)
            record = file.read(56)
            if record[:4] == b"PK\x06\x06":
                disk, directory_disk, _, entries, length, offset = struct.unpack("<IIQQQQ", record[16:56])
                return _End(position, entries, length, offset, max(disk, directory_disk, disks64 - 1))
    return _End(position, entries, length, offset, max(disk, directory_disk))


def _directory_end(file: Any, end: _End) -> int:
    """Where the directory must end if the file is one whole zip: right before its end record(s)."""
    if end.position >= 20:
        file.seek(end.position - 20)
        signature, _, end64, _ = struct.unpack("<4sIQI", file.read(20))
        if signature == b"PK\x06\x07":
            return int(end64)
    return end.position
