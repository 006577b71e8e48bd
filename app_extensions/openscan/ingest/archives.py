"""Lists and judges what a set of parts holds: one zip in pieces, several zips, zips within a zip, bare photos. Writes no photos.

A zip can lie about itself. Every limit is checked against what its directory claims before anything is unpacked, and reading a
member then never yields more than was claimed.
"""
import contextlib
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Callable, NamedTuple, Optional

from app_extensions.openscan.ingest import zips
from app_extensions.openscan.ingest.names import member_path
from app_extensions.openscan.ingest.parts import JoinedParts, OpenFiles, Slice
from app_extensions.openscan.ingest.refusal import Refused
from app_extensions.shared import photo_files
from app_extensions.shared.photo_files import LeftOut, quoted

#: Archives that we do not accept, by their first bytes.
_OTHER_ARCHIVES = {
    b"Rar!\x1a\x07": "a RAR archive", b"7z\xbc\xaf'\x1c": "a 7z archive", b"\x1f\x8b": "a gzip (.tar.gz) archive",
    b"BZh": "a bzip2 archive", b"\xfd7zXZ\x00": "an xz archive", b"(\xb5/\xfd": "a Zstandard archive",
}


class Limits(NamedTuple):
    """The most that a set may claim. Generous for photos, far too little for a zip bomb."""

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
    """One file of a set. ``crc`` is its checksum in the archive, None for a bare part."""

    path: str
    size_bytes: int
    open: Callable[[], BinaryIO]
    crc: Optional[int] = None


class PhotoSet:
    """The members of an uploaded set, as a context manager that closes what it opened.

    ``photos``, ``masks`` and ``texts`` are in a fixed order: by part, then as in the archive. They are judged by name only, so
    the content of a photo may turn out to be something else. ``left_out`` lists the other members and why they were left out.
    ``clutter`` counts files that file managers left behind.
    """

    def __init__(self, parts: Sequence[Path], scratch: Path, limits: Optional[Limits] = None, names: Sequence[str] = ()) -> None:
        """List the parts' members.

        :param parts: paths in link order
        :param names: the file names of bare photos, in the same order, if they are known
        :param scratch: an existing directory for compressed zips within a zip; its owner empties it
        :raises Refused: the set is damaged, hostile or beyond the limits
        """
        self.photos: list[Member] = []
        self.masks: list[Member] = []
        self.texts: list[Member] = []
        self.left_out: list[LeftOut] = []
        self.clutter = 0
        self.size_bytes = 0
        self._raw: list[str] = []
        self._limits = limits or Limits()
        self._names = names
        self._scratch = scratch
        self._members = self._bytes = self._inner = 0
        self._closing = contextlib.ExitStack()
        self._files = OpenFiles()
        self._closing.callback(self._files.close)
        try:
            self._list([Path(part) for part in parts])
            self._leave_out_rig_extras()
            self._report_raw_files()
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> "PhotoSet":
        return self

    def __exit__(self, *problem: Any) -> None:
        self._closing.close()

    def _join(self, parts: Sequence[Path]) -> JoinedParts:
        return JoinedParts(parts, self._files)

    def _list(self, parts: list[Path]) -> None:
        joined = self._join(parts)
        self.size_bytes = joined.size_bytes
        end = zips.find_end(joined)
        if end is not None and end.in_front == 0:
            self._list_zip(joined, "", nested=False)
            return
        # The directory is not where it should be in the joined file: each part is a file by itself, or the zip is broken.
        kinds = [self._kind_alone(part) for part in parts]
        whole = sum(kind == "zip" or kind in photo_files.ENDINGS for kind in kinds)
        if "zip-start" not in kinds and 2 * whole > len(parts):
            for number, (part, kind) in enumerate(zip(parts, kinds), 1):
                self._list_alone(part, number, kind, len(parts))
        elif end is not None:
            self._list_zip(joined, "", nested=False)  # something precedes the zip; zipfile skips it
        else:
            raise Refused(_no_archive(joined, len(parts), kinds))

    def _kind_alone(self, path: Path) -> str:
        """What a part is by itself: ``zip``, ``zip-start`` (a zip without its end), or a result of ``photo_files.kind_of``."""
        part = self._join([path])
        head = part.read(photo_files.HEAD_BYTES)
        if head[:4] in (zips.START, zips.END):
            end = zips.find_end(part)
            return "zip" if end is not None and end.in_front == 0 else "zip-start"
        return photo_files.kind_of(head)

    def _list_alone(self, path: Path, number: int, kind: str, parts: int) -> None:
        part, shown = self._join([path]), f"part {number}"
        if kind == "zip":
            self._list_zip(part, f"part{number:04d}/" if parts > 1 else "", nested=False)
            return
        self._count(shown, part.size_bytes, part.size_bytes)
        if kind in photo_files.ENDINGS:
            name = self._names[number - 1] if len(self._names) == parts else f"part{number:04d}{photo_files.ENDINGS[kind][0]}"
            self.photos.append(Member(name, part.size_bytes, lambda: Slice(part, 0, part.size_bytes)))  # type: ignore[arg-type,return-value]
        else:
            self.left_out.append(LeftOut(shown, kind or "not_photo"))

    def _list_zip(self, file: Any, prefix: str, nested: bool) -> None:
        label = "inner archive {}".format(quoted(prefix.rstrip("/"))) if nested else "archive"
        end = zips.find_end(file)
        if end is None:
            raise Refused(f"The {label} is damaged: its directory is missing. Pack it again and send all of it.")
        if end.disks:
            raise Refused(
                f"The {label} was split by its packer into volumes (.z01, .z02 …). "
                "Pack one whole zip and cut that into parts, or send each photo as a part."
            )
        if end.in_front < 0:
            raise Refused(f"The {label} is not complete: {-end.in_front} bytes of it are missing. "
                          "Send all parts of one zip, in the order of their links.")
        if end.directory_bytes > self._limits.directory_bytes or self._members + end.entries > self._limits.members:
            raise Refused(f"The {label} lists {end.entries} members; at most {self._limits.members} are allowed.")
        try:
            archive = self._closing.enter_context(zips.open_zip(file, end))
        except zips.DAMAGE:
            raise Refused(f"The {label} is damaged: its directory cannot be read. Pack it again and send all of it, "
                          "with its parts in the order of their links.") from None
        self._refuse_overlaps(archive, label)
        for info in archive.infolist():
            self._list_member(file, archive, info, prefix, nested)

    def _list_member(
        self, file: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo, prefix: str, nested: bool
    ) -> None:
        path = member_path(info.filename, bool(info.flag_bits & 0x800))
        shown, mode = quoted(prefix + path), info.external_attr >> 16
        if path and (path.endswith("/") or stat.S_ISDIR(mode)):
            self._count(shown, 0, 0)
            return
        self._count(shown, info.file_size, info.compress_size)
        role = photo_files.role_of(path)
        if not path:
            self.left_out.append(LeftOut("", "unnamed"))
        elif role == photo_files.CLUTTER:
            self.clutter += 1
        elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            self.left_out.append(LeftOut(prefix + path, "link"))
        elif photo_files.is_raw_name(path):
            self._raw.append(prefix + path)
        elif role in (photo_files.CARD, photo_files.BACKUP, photo_files.OTHER):
            self.left_out.append(LeftOut(prefix + path, role))
        elif role == photo_files.ARCHIVE and not path.lower().endswith(".zip"):
            self.left_out.append(LeftOut(prefix + path, "other"))
        elif info.flag_bits & 0x2041:
            self.left_out.append(LeftOut(prefix + path, "encrypted"))
        elif info.compress_type not in zips.METHODS:
            self.left_out.append(LeftOut(prefix + path, "packing"))
        elif role == photo_files.ARCHIVE:
            self._list_inner(file, archive, info, prefix + path, nested)
        else:
            member = Member(prefix + path, info.file_size, zips.opener(archive, info), info.CRC)
            if role == photo_files.TEXT and info.file_size > self._limits.text_bytes:
                self.left_out.append(LeftOut(member.path, "other", f"is a text of {info.file_size} bytes"))
            else:
                {photo_files.TEXT: self.texts, photo_files.MASK: self.masks}.get(role, self.photos).append(member)

    def _list_inner(self, file: Any, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, nested: bool) -> None:
        if nested:
            raise Refused(f"The archive's member {quoted(path)} is a zip in a zip in a zip; one level is enough.")
        self._inner += 1
        if self._inner > self._limits.inner_zips:
            raise Refused(f"The archive holds more than {self._limits.inner_zips} zips.")
        # Count what the inner zip unpacks to, not the zip itself.
        self._bytes -= info.file_size
        try:
            if info.compress_type == zipfile.ZIP_STORED:
                inner: Any = Slice(file, zips.data_start(file, info), info.compress_size)
            else:
                spilled = self._scratch / f"inner-{self._inner:04d}.zip"
                with zips.opener(archive, info)() as source, open(spilled, "wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                inner = self._join([spilled])
        except zips.DAMAGE:
            raise Refused(f"The archive's member {quoted(path)} is damaged. Pack it again and send all of it.") from None
        self._list_zip(inner, path + "/", nested=True)

    def _leave_out_rig_extras(self) -> None:
        extras = photo_files.rig_extras(member.path for member in self.photos)
        self.left_out.extend(LeftOut(path, code) for path, code in extras.items())
        self.photos = [member for member in self.photos if member.path not in extras]

    def _report_raw_files(self) -> None:
        """Leave out raw files. One beside its JPEG is normal on a camera's card; one without a JPEG is a lost photo."""
        photos = {_stem(member.path) for member in self.photos}
        self.left_out.extend(LeftOut(path, "card" if _stem(path) in photos else "raw") for path in self._raw)

    def _count(self, shown: str, size: int, packed: int) -> None:
        limits = self._limits
        self._members += 1
        self._bytes += size
        if self._members > limits.members:
            raise Refused(f"The archive holds more than {limits.members} members.")
        if size > limits.member_bytes and not shown.endswith(".zip”"):
            raise Refused(
                f"The archive's member {shown} unpacks to {size} bytes; at most {limits.member_bytes} are allowed."
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
        """Refuse members that share packed bytes: that is how a small zip unpacks to petabytes (D. Fifield, WOOT 2019)."""
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


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0].lower()


def _no_archive(joined: JoinedParts, parts: int, kinds: "list[str]") -> str:
    """The refusal for a set that is neither a whole zip nor photos."""
    joined.seek(0)
    head = joined.read(8)
    for start, name in _OTHER_ARCHIVES.items():
        if head.startswith(start):
            return f"What arrived is {name}, whatever its name says. Send one zip, cut into parts, or each photo as a part."
    if "zip-start" in kinds or "zip" in kinds:
        return (f"The archive is not complete: its directory at the end is missing ({joined.size_bytes} bytes arrived). "
                "Pack it again and send all of it, with its parts in the order of their links.")
    return (f"What arrived is neither a zip nor a set of photos ({joined.size_bytes} bytes in {parts} part{'s' if parts != 1 else ''}). "
            f"Send one zip, cut into parts, or photos ({photo_files.ACCEPTED}), each as a part.")
