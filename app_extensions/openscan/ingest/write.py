"""Writes the photos of an uploaded set into a WebODM task's directory, each byte once.

A photo is copied to a file beside the directory (WebODM counts every file in it), examined, flushed to the disk and renamed into
place. So every file in the directory is complete, and an interrupted run continues where it stopped.
"""
import logging
import os
import time
import uuid
import zlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, Callable, NamedTuple, Optional

from app_extensions.openscan.ingest import gcp
from app_extensions.openscan.ingest.archives import Member, PhotoSet
from app_extensions.openscan.ingest.names import Names
from app_extensions.openscan.ingest.refusal import Refused
from app_extensions.openscan.ingest.zips import DAMAGE
from app_extensions.shared import focus_stacks, photo_files
from app_extensions.shared.photo_files import LeftOut, NotUsable, PhotoFile, quoted, summarize
from app_extensions.shared.photo_headers import JPEG_END

logger = logging.getLogger("app.logger")

#: Larger buffers come from the system as fresh memory each time, and the page faults double the time of copying.
CHUNK_BYTES = 1 << 17
#: CPU time that a set may cost beyond copying: converting a phone's photo takes about a second.
SECONDS_PER_SET = 60.0
SECONDS_PER_BYTE = 3e-6
#: Larger photos are not read into memory to look for focus stacks.
LARGEST_FRAME_BYTES = 100_000_000
#: Returns the context that is entered around each renaming into place.
Placing = Callable[[], AbstractContextManager]


class Written(NamedTuple):
    """The outcome of a set: photos in the directory, their bytes, and sentences on what was left out or changed."""

    photos: int
    photo_bytes: int
    set_aside: tuple[str, ...]


def write_set(
    photo_set: PhotoSet, target: Path, incoming: Path, *, limit_photos: int, least_photos: int,
    before_each: Callable[[], None] = lambda: None, placing: Placing = nullcontext, merge_seconds: float = 0,
) -> Written:
    """Write a set's photos, masks and control points. A focus stack becomes one merged photo per position.

    :param target: the task's directory
    :param incoming: a directory used only for this set, on the same file system; files of an earlier run are removed
    :param limit_photos: most photos that the token allows; masks do not count
    :param least_photos: fewest usable photos for a set
    :param before_each: called before each photo; an exception from it ends the work
    :param placing: entered around each renaming into ``target``; an exception from it ends the work as well
    :param merge_seconds: CPU time for merging focus stacks; 0 leaves their frames as they are
    :raises Refused: too many photos, too few that are whole, or most of them unusable
    :raises OSError: the disk is full or failing; calling again continues from there
    """
    different = len({(member.size_bytes, member.crc) if member.crc is not None else member.path for member in photo_set.photos})
    if different > limit_photos:
        raise Refused(f"The archive holds {different} photos; this token allows {limit_photos} per set. Send fewer.")
    for left_over in incoming.iterdir():
        left_over.unlink()
    writer = _Writer(photo_set, target, incoming, before_each, placing)
    for frames in _stacks(photo_set.photos) if merge_seconds else ((member,) for member in photo_set.photos):
        before_each()
        if len(frames) > 1:
            writer.take_stack(frames, merge_seconds)
        else:
            writer.take_photo(frames[0])
    _check_enough(len(writer.written), least_photos, writer.left_out)
    for member in photo_set.masks:
        before_each()
        writer.take_mask(member)
    remarks = _write_texts(photo_set, writer)
    _sync(target)
    return Written(len(writer.written), writer.photo_bytes, (*summarize(writer.left_out), *writer.remarks(), *remarks))


def _stacks(photos: "list[Member]") -> "list[tuple[Member, ...]]":
    """The photos in their order, the frames of one focus stack together."""
    names = [member.path for member in photos]
    stacks = focus_stacks.stacks_by_name(names) or focus_stacks.stacks_by_content(names, lambda index: _whole(photos[index]))
    following = {index: stack for stack in stacks for index in stack.frames}
    groups: list[tuple[Member, ...]] = []
    done: set[str] = set()
    for index, member in enumerate(photos):
        stack = following.get(index)
        if stack is None:
            groups.append((member,))
        elif stack.name not in done:
            done.add(stack.name)
            groups.append(tuple(photos[frame] for frame in stack.frames))
    return groups


def _whole(member: Member) -> bytes:
    """A photo's bytes. Empty if it is too large, cannot be read or is not a JPEG."""
    if member.size_bytes > LARGEST_FRAME_BYTES:
        return b""
    try:
        with member.open() as source:
            data = source.read()
    except DAMAGE:
        return b""
    return data if photo_files.kind_of(data[:photo_files.HEAD_BYTES]) == photo_files.JPEG else b""


def _check_enough(photos: int, least: int, left_out: "list[LeftOut]") -> None:
    """:raises Refused: too few photos for a set, or more photos lost than usable"""
    lost = [item for item in left_out if item.code in photo_files.LOST]
    if photos >= least and len(lost) <= photos:
        return
    sentences = summarize(lost or left_out)
    if photos < least:
        reason = (
            (f"Only {photos} usable photo{'s were' if photos > 1 else ' was'}" if photos else "No usable photo was")
            + f" found, at least {least} are needed."
            + ("" if sentences else f" The archive holds no photos ({photo_files.ACCEPTED}).")
        )
    else:
        reason = (f"{len(lost)} of {len(lost) + photos} photos cannot be used. A model of the rest would not be what you sent, "
                  "so the set was not processed and costs nothing.")
    if sum(item.code == "damaged" for item in lost) > len(lost) // 2:
        sentences.append("Parts in the wrong order look like this: send them in the order of their links.")
    raise Refused(" ".join([reason, *sentences[:4]]))


class _Writer:
    """Writes one set's members; keeps what was written and what was left out."""

    def __init__(self, photo_set: PhotoSet, target: Path, incoming: Path, before_each: Callable[[], None], placing: Placing) -> None:
        self.target = target
        self.names = Names()
        #: path in the set → name in the task, of the photos that were written
        self.written: dict[str, str] = {}
        self.photo_bytes = 0
        self.left_out = list(photo_set.left_out)
        self._incoming, self._placing, self._before_each = incoming, placing, before_each
        self._by_size: dict[int, list[Member]] = {}
        self._crcs: dict[str, int] = {}
        self._converted: list[str] = []
        self._mended: list[str] = []
        self._stacks: list[focus_stacks.Merged] = []
        self._merger: Optional[focus_stacks.Merger] = None
        self._seconds_left = SECONDS_PER_SET + photo_set.size_bytes * SECONDS_PER_BYTE

    def take_photo(self, member: Member) -> None:
        """Write a photo, or note why not. :raises Refused: the set takes too long; :raises OSError: see ``write_set``"""
        try:
            head = _head(member)
            kind = photo_files.usable_kind(head)
            if kind not in photo_files.READ_EVERYWHERE:
                raise NotUsable(kind or ("not_photo" if photo_files.ending_of(member.path) in photo_files.PHOTO_ENDINGS else "other"))
            twin = self._twin_of(member)
            # Give the name before anything can go wrong, so that a repeated run gives every photo the same name.
            name = self.names.give(member.path, PhotoFile(kind, 0, 0).ending(member.path)) if twin is None else ""
            if twin is not None:
                raise NotUsable("double", f"is the same photo as {quoted(twin.path)}")
            self.photo_bytes += self._write(member, photo_files.kind_of(head), name)
        except NotUsable as reason:
            self.left_out.append(LeftOut(member.path, reason.code, str(reason)))
        except DAMAGE:
            self.left_out.append(LeftOut(member.path, "damaged"))
        else:
            self.written[member.path] = name
            self._by_size.setdefault(member.size_bytes, []).append(member)

    def take_stack(self, frames: "tuple[Member, ...]", merge_seconds: float) -> None:
        """Merge the frames of one position into one photo. Frames that cannot be merged are written one by one.

        :raises OSError: see ``write_set``
        """
        if self._merger is None:
            self._merger = focus_stacks.Merger(merge_seconds)
        named = focus_stacks.stacks_by_name([member.path for member in frames])
        stem = named[0].name if named else frames[0].path.rpartition(".")[0]
        name = self.names.give(f"{stem}.jpg", ".jpg")
        size = sum(member.size_bytes for member in frames)
        if (self.target / name).exists():  # from an interrupted run: placed files are complete
            self._keep_stack(frames, name, size, focus_stacks.Merged(0, 0, len(frames)))
            return
        copies: list[Path] = []
        try:
            whole = self._copy_frames(frames, copies)
            if len(whole) < 2:
                raise focus_stacks.NotMerged("fewer than two frames are whole")
            merged = self.temporary()
            copies.append(merged)
            made = self._merger.merge(whole, merged)
            self.place(merged, name)
            self._keep_stack(frames, name, size, made)
        except focus_stacks.NotMerged as reason:
            logger.info("OpenScan: frames of %s are not merged: %s", stem, reason)
            for member in frames:
                self._before_each()
                self.take_photo(member)
        finally:
            for path in copies:
                path.unlink(missing_ok=True)

    def _copy_frames(self, frames: "tuple[Member, ...]", copies: "list[Path]") -> "list[Path]":
        """Copy the frames to files beside the task. :return: the complete ones; :raises NotMerged: one is not a JPEG"""
        whole = []
        for member in frames:
            self._before_each()
            path = self.temporary()
            copies.append(path)
            try:
                with member.open() as source:
                    if _copy(source, path) != member.size_bytes:
                        raise NotUsable("damaged")
                if photo_files.examine(path).kind != photo_files.JPEG:
                    raise focus_stacks.NotMerged("a frame is not a JPEG")
            except NotUsable as reason:
                self.left_out.append(LeftOut(member.path, "bad_frame", str(reason)))
            except DAMAGE:
                self.left_out.append(LeftOut(member.path, "bad_frame", "is damaged"))
            else:
                whole.append(path)
        return whole

    def _keep_stack(self, frames: "tuple[Member, ...]", name: str, size: int, made: focus_stacks.Merged) -> None:
        self._stacks.append(made)
        self.written[frames[0].path] = name
        self.photo_bytes += size

    def take_mask(self, member: Member) -> None:
        """Write a mask under its photo's name, or note why not. :raises OSError: see ``write_set``"""
        photo = self._photo_of(member.path)
        try:
            if photo is None:
                raise NotUsable("mask_alone")
            kind = photo_files.usable_kind(_head(member))
            if kind not in photo_files.READ_EVERYWHERE:
                raise NotUsable(kind or "not_photo")
            name = f"{photo.rpartition('.')[0]}_mask{PhotoFile(kind, 0, 0).ending(member.path)}"
            if not self.names.give_exactly(name):
                raise NotUsable("double", "is a second mask of its photo")
            self._write(member, photo_files.kind_of(_head(member)), name)
        except NotUsable as reason:
            self.left_out.append(LeftOut(member.path, reason.code, str(reason)))
        except DAMAGE:
            self.left_out.append(LeftOut(member.path, "damaged"))

    def place(self, temporary: Path, name: str) -> None:
        """Flush a finished file to the disk and rename it into the task. :raises OSError: the disk is full or failing"""
        _sync(temporary)
        with self._placing():
            os.replace(temporary, self.target / name)

    def temporary(self) -> Path:
        """A new file name beside the task's directory."""
        return self._incoming / f"{uuid.uuid4().hex}.part"

    def remarks(self) -> "list[str]":
        """Sentences on photos that were changed."""
        found = focus_stacks.report(self._stacks)
        if self._converted:
            found.append(_counted(self._converted, "was converted to JPEG", "were converted to JPEG"))
        if self._mended:
            found.append(_counted(self._mended, "lacked only its end mark, which was added",
                                  "lacked only their end marks, which were added"))
        return found

    def _write(self, member: Member, kind: str, name: str) -> int:
        """Copy, examine and place a member. :return: bytes of the photo as sent; :raises NotUsable: it is not a complete photo"""
        final, convert = self.target / name, kind not in photo_files.READ_EVERYWHERE
        if final.exists():  # from an interrupted run: placed files are complete
            size = final.stat().st_size
            if size == member.size_bytes or (size and (convert or size == member.size_bytes + 2)):
                self._note(member, convert, size == member.size_bytes + 2)
                return member.size_bytes
        temporary, converted = self.temporary(), self.temporary()
        try:
            with member.open() as source:
                written = _copy(source, temporary)
            if written != member.size_bytes:
                raise NotUsable("damaged", f"has {written} bytes where the archive says {member.size_bytes}")
            started = time.thread_time()
            photo = photo_files.examine(temporary)
            if convert:
                photo_files.write_usable(temporary, photo, converted)
                os.replace(converted, temporary)
            elif photo.without_end:
                with open(temporary, "ab") as out:
                    out.write(JPEG_END)
            self._spend(time.thread_time() - started)
            self.place(temporary, name)
        finally:
            temporary.unlink(missing_ok=True)
            converted.unlink(missing_ok=True)
        self._note(member, convert, photo.without_end)
        return member.size_bytes

    def _note(self, member: Member, converted: bool, mended: bool) -> None:
        if converted:
            self._converted.append(member.path)
        elif mended:
            self._mended.append(member.path)

    def _spend(self, seconds: float) -> None:
        self._seconds_left -= seconds
        if self._seconds_left < 0:
            raise Refused("Reading this set's photos takes too long. Export them as ordinary JPEG and send the set again.")

    def _twin_of(self, member: Member) -> Optional[Member]:
        """A photo with the same bytes that was already written."""
        for other in self._by_size.get(member.size_bytes, ()):
            if self._crc(other) == self._crc(member) and _same_bytes(other, member):
                return other
        return None

    def _crc(self, member: Member) -> int:
        if member.crc is not None:
            return member.crc
        if member.path not in self._crcs:
            crc = 0
            with member.open() as source:
                for chunk in iter(lambda: source.read(CHUNK_BYTES), b""):
                    crc = zlib.crc32(chunk, crc)
            self._crcs[member.path] = crc
        return self._crcs[member.path]

    def _photo_of(self, mask: str) -> Optional[str]:
        """The name in the task of a mask's photo: the one in the mask's folder, else the only one with that name."""
        stem, folder = (photo_files.mask_stem(mask) or "").lower(), mask.rpartition("/")[0]
        fitting = [(path, name) for path, name in self.written.items() if _stem(path) == stem]
        here = [name for path, name in fitting if path.rpartition("/")[0] == folder]
        if len(here) == 1:
            return here[0]
        return fitting[0][1] if len(fitting) == 1 else None


def _stem(path: str) -> str:
    base = path.rpartition("/")[2]
    return (base.rpartition(".")[0] or base).lower()


def _head(member: Member) -> bytes:
    if member.size_bytes == 0:
        raise NotUsable("empty")
    with member.open() as source:
        return source.read(photo_files.HEAD_BYTES)


def _same_bytes(one: Member, other: Member) -> bool:
    with one.open() as first, other.open() as second:
        while True:
            chunk = first.read(CHUNK_BYTES)
            if chunk != second.read(CHUNK_BYTES):
                return False
            if not chunk:
                return True


def _copy(source: BinaryIO, path: Path) -> int:
    written = 0
    with open(path, "wb", buffering=0) as out:
        for chunk in iter(lambda: source.read(CHUNK_BYTES), b""):
            view = memoryview(chunk)
            while view:
                view = view[out.write(view):]
            written += len(chunk)
    return written


def _sync(path: Path) -> None:
    """Flush a file, or a directory's entries, to the disk. :raises OSError: the disk could not store it"""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _counted(paths: "list[str]", one: str, many: str) -> str:
    if len(paths) == 1:
        return f"{quoted(paths[0])} {one}."
    return f"{len(paths)} photos {many} ({', '.join(quoted(path) for path in paths[:3])}{' …' if len(paths) > 3 else ''})."


def _write_texts(photo_set: PhotoSet, writer: _Writer) -> "list[str]":
    """Write the texts that ODM reads. :return: sentences on texts and lines that were left out"""
    sentences, taken = [], set()
    for member in photo_set.texts:
        try:
            with member.open() as source:
                text = gcp.decode(source.read())
        except DAMAGE:
            sentences.append(f"{quoted(member.path)} is damaged and was left out.")
            continue
        read = gcp.read(member.path, text, writer.names.by_base)
        if read.role and read.role in taken:
            sentences.append(f"{quoted(member.path)} is a second {read.role} and was left out.")
            continue
        sentences.extend(read.remarks)
        if read.role:
            taken.add(read.role)
            temporary = writer.temporary()
            temporary.write_text(read.text, encoding="utf-8")
            writer.place(temporary, read.role)
    return sentences
