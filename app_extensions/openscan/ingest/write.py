"""Photos out of an uploaded set into a WebODM task's directory, each byte written once.

A photo is copied to a file beside the directory (WebODM counts whatever lies in it), looked at, and renamed into place.
So whatever lies there is whole, and a run that was cut goes on where it stopped.
"""
import os
import uuid
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, Callable, NamedTuple

from app_extensions.openscan.ingest import gcp, images
from app_extensions.openscan.ingest.archives import DAMAGE, Member, PhotoSet
from app_extensions.openscan.ingest.names import Names
from app_extensions.openscan.ingest.refusal import Refused, SetAside, quoted

#: Larger ones are fresh memory from the system each time, whose page faults double the time of copying.
CHUNK_BYTES = 1 << 17
#: Makes what is entered around each renaming into place.
Placing = Callable[[], AbstractContextManager]


class Written(NamedTuple):
    """What a set came to: photos in the directory, their bytes, and sentences on what was left out."""

    photos: int
    photo_bytes: int
    set_aside: tuple[str, ...]


def write_set(
    photo_set: PhotoSet, target: Path, incoming: Path, *, limit_photos: int, least_photos: int,
    before_each: Callable[[], None] = lambda: None, placing: Placing = nullcontext,
) -> Written:
    """Write a set's photos and control points.

    :param target: the task's directory
    :param incoming: a directory of this set alone, on the same file system; files of an earlier run are removed
    :param limit_photos: most photos that the token allows
    :param least_photos: fewer usable ones than this are no set
    :param before_each: called before each photo; what it raises ends the work
    :param placing: entered around each renaming into ``target``; what it raises ends the work as well
    :raises Refused: too many photos, or too few that are whole
    :raises OSError: the disk is full or failing; calling again goes on from there
    """
    if len(photo_set.photos) > limit_photos:
        raise Refused(
            f"The archive holds {len(photo_set.photos)} photos; this token allows {limit_photos} a set. Send fewer."
        )
    for left_over in incoming.iterdir():
        left_over.unlink()
    names, set_aside, photos, photo_bytes = Names(), list(photo_set.set_aside), 0, 0
    for member in photo_set.photos:
        before_each()
        try:
            photo_bytes += _write_photo(member, names, target, incoming, placing)
            photos += 1
        except SetAside as reason:
            set_aside.append(f"{quoted(member.path)} {reason} and was left out.")
    if photos < least_photos:
        raise Refused(_too_few(photos, least_photos, set_aside))
    set_aside.extend(_write_texts(photo_set, names, target, incoming, placing))
    return Written(photos, photo_bytes, tuple(set_aside))


def _too_few(photos: int, least: int, set_aside: "list[str]") -> str:
    reasons = " ".join(set_aside[:3])
    more = len(set_aside) - 3
    return (
        (f"Only {photos} usable photo{'s were' if photos > 1 else ' was'}" if photos else "No usable photo was")
        + f" found, at least {least} are needed."
        + (f" {reasons}" if reasons else " The archive holds no JPEG, PNG or TIFF.")
        + (f" And {more} more were left out." if more > 0 else "")
    )


def _write_photo(member: Member, names: Names, target: Path, incoming: Path, placing: Placing) -> int:
    """:return: its bytes; :raises SetAside: it is no whole photo"""
    if member.size_bytes == 0:
        raise SetAside("is empty")
    try:
        with member.open() as source:
            head = source.read(CHUNK_BYTES)
            kind = images.kind_of(head)
            if kind is None:
                raise SetAside("is not a JPEG, PNG or TIFF, whatever its name says")
            # The name is given before anything can go wrong, so that a repeated run gives every photo the same one.
            extension = images.Photo(kind, 0, 0).extension(member.path)
            final = target / names.give(member.path, extension)
            if final.exists() and final.stat().st_size == member.size_bytes:
                return member.size_bytes
            temporary = incoming / f"{uuid.uuid4().hex}.part"
            try:
                written = _copy(head, source, temporary)
                if written != member.size_bytes:
                    raise SetAside(f"has {written} bytes where the archive says {member.size_bytes}")
                images.inspect(temporary)
                with placing():
                    os.replace(temporary, final)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except DAMAGE as problem:
        raise SetAside(f"is damaged ({type(problem).__name__})") from None
    return member.size_bytes


def _copy(head: bytes, source: BinaryIO, path: Path) -> int:
    written = 0
    with open(path, "wb", buffering=0) as out:
        chunk = head
        while chunk:
            view = memoryview(chunk)
            while view:
                view = view[out.write(view):]
            written += len(chunk)
            chunk = source.read(CHUNK_BYTES)
    return written


def _write_texts(photo_set: PhotoSet, names: Names, target: Path, incoming: Path, placing: Placing) -> "list[str]":
    """Write what ODM reads. :return: sentences on the other texts"""
    left_out, taken = [], set()
    for member in photo_set.texts:
        shown = quoted(member.path)
        try:
            with member.open() as source:
                raw = source.read()
        except DAMAGE as problem:
            left_out.append(f"{shown} is damaged ({type(problem).__name__}) and was left out.")
            continue
        text = gcp.decode(raw)
        role = gcp.role_of(member.path, text)
        if role is None:
            left_out.append(f"{shown} is a text but no list of ground control points and was left out.")
        elif role in taken:
            left_out.append(f"{shown} is a second {role} and was left out.")
        else:
            taken.add(role)
            renamed = gcp.with_new_names(role, text, names.by_base)
            temporary = incoming / f"{uuid.uuid4().hex}.part"
            temporary.write_bytes(raw if renamed == text else renamed.encode("utf-8"))
            with placing():
                os.replace(temporary, target / role)
    return left_out
