"""The bytes to send, read from the photos on disk while they are sent.

A source is a row of pieces: bytes that we make (a zip's headers) and files. A part is a range of a source. Reading a part again gives the
same bytes, so a part can be sent twice. Nothing needs more memory than one block.
"""
import bisect
import os
import struct
import time
import zipfile
import zlib
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from openscan_uploader.errors import ChangedPhotos, NotPossible
from openscan_uploader.photos import Photo, photos_in_zip

BLOCK_BYTES = 1 << 18
_32 = 0xFFFFFFFF
_16 = 0xFFFF


class File(NamedTuple):
    """A file within a source, with the size and time that it had at first. `crc` is its CRC-32, if known."""

    path: str
    size_bytes: int
    modified_ns: int
    crc: Optional[int] = None


Piece = Union[bytes, File]


class Part(NamedTuple):
    """A range of a source."""

    number: int
    start: int
    size_bytes: int


class Source:
    """Pieces in a row."""

    def __init__(self, pieces: "Sequence[Piece]") -> None:
        self._pieces = list(pieces)
        self._starts: List[int] = []
        self.size_bytes = 0
        for piece in self._pieces:
            self._starts.append(self.size_bytes)
            self.size_bytes += _length(piece)

    def parts_of(self, part_bytes: int) -> "List[Part]":
        """Cut the source into parts of at most `part_bytes`."""
        return [Part(number, start, min(part_bytes, self.size_bytes - start))
                for number, start in enumerate(range(0, self.size_bytes, part_bytes), 1)]

    def part_per_piece(self) -> "List[Part]":
        """One part for each piece."""
        return [Part(number, start, _length(piece)) for number, (start, piece) in enumerate(zip(self._starts, self._pieces), 1)]

    def blocks(self, part: Part) -> "Iterator[memoryview]":
        """The bytes of a part. Each block is valid until the next one is asked for.

        Raises:
            ChangedPhotos: a file is gone, or has changed since the source was made.
        """
        position, end = part.start, part.start + part.size_bytes
        buffer = memoryview(bytearray(BLOCK_BYTES))
        index = bisect.bisect_right(self._starts, position) - 1
        while position < end:
            piece, offset = self._pieces[index], position - self._starts[index]
            wanted = min(_length(piece) - offset, end - position)
            if isinstance(piece, bytes):
                yield memoryview(piece)[offset:offset + wanted]
            else:
                yield from _file_blocks(piece, offset, wanted, buffer)
            position += wanted
            index += 1


def _length(piece: Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.size_bytes


def _file_blocks(piece: File, offset: int, wanted: int, buffer: memoryview) -> "Iterator[memoryview]":
    whole = wanted == piece.size_bytes and piece.crc is not None
    crc = 0
    try:
        with open(piece.path, "rb", buffering=0) as file:
            _require_same(piece, file.fileno())
            file.seek(offset)
            while wanted:
                count = file.readinto(buffer[:min(wanted, len(buffer))])
                if not count:
                    raise _changed(piece.path)
                if whole:
                    crc = zlib.crc32(buffer[:count], crc)
                wanted -= count
                if not wanted:
                    # Check before the last block is sent, so that a file that was changed meanwhile never becomes a complete part.
                    _require_same(piece, file.fileno())
                    if whole and crc != piece.crc:
                        raise _changed(piece.path)
                yield buffer[:count]
    except FileNotFoundError as error:
        raise _changed(piece.path, "is gone") from error
    except OSError as error:  # otherwise it would look like a network error
        raise _changed(piece.path, f"cannot be read any more ({error.strerror})") from error


def _require_same(piece: File, descriptor: int) -> None:
    about = os.fstat(descriptor)
    if (about.st_size, about.st_mtime_ns) != (piece.size_bytes, piece.modified_ns):
        raise _changed(piece.path)


def _changed(path: str, what: str = "was changed") -> ChangedPhotos:
    return ChangedPhotos(f"{path} {what} while the set was being sent, so nothing was started. Wait until your camera or program "
                         "has finished writing, then send the set again.")


def bare_photos(photos: "Sequence[Photo]") -> Source:
    """The photos as they are, one piece each."""
    return Source([File(photo.path, photo.size_bytes, photo.modified_ns) for photo in photos])


def existing_zip(path: str) -> "Tuple[Source, int]":
    """An existing zip, and how many photos it contains, by their names.

    Raises:
        NotPossible: it is not a complete zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            count = photos_in_zip(archive.namelist())
        about = os.stat(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise NotPossible(f"{path} is not a zip that can be read ({error}). Choose the folder with the photos instead.") from error
    return Source([File(path, about.st_size, about.st_mtime_ns)]), count


Crcs = Dict[str, int]


def crc_of(photo: Photo, check: "Callable[[int], None]") -> int:
    """The CRC-32 of a file. `check` is called with the number of bytes read each time, and may raise to stop.

    Raises:
        ChangedPhotos: the file has changed since it was found.
    """
    crc = 0
    for block in _file_blocks(File(photo.path, photo.size_bytes, photo.modified_ns), 0, photo.size_bytes,
                              memoryview(bytearray(BLOCK_BYTES))):
        crc = zlib.crc32(block, crc)
        check(len(block))
    return crc


def stored_zip(photos: "Sequence[Photo]", crcs: Crcs) -> Source:
    """A zip of the photos without compression (APPNOTE 6.3.9), laid out before any photo is read for it.

    It depends only on names, sizes, times and checksums, so it is the same after a restart, in another time zone, and on
    another system. A zip of more than 4 GB or 65,535 files is a zip64.

    Args:
        photos: files of less than 4 GB each.
        crcs: the CRC-32 of each, by name.
    """
    pieces: List[Piece] = []
    directory: List[bytes] = []
    position = 0
    for photo in photos:
        if photo.size_bytes >= _32:
            raise NotPossible(f"{photo.name} has more than 4 GB, and no server accepts such a photo. Leave it out.")
        name, crc = photo.name.encode("utf-8"), crcs[photo.name]
        date, clock = _dos_time(photo.modified_ns)
        about = struct.pack("<HHHHIII", 0x800, 0, clock, date, crc, photo.size_bytes, photo.size_bytes)
        header = b"PK\x03\x04" + struct.pack("<H", 20) + about + struct.pack("<HH", len(name), 0) + name
        extra = struct.pack("<HHQ", 1, 8, position) if position >= _32 else b""
        directory.append(b"PK\x01\x02" + struct.pack("<HH", 0x0300 | 45, 45 if extra else 20) + about + struct.pack(
            "<HHHHHII", len(name), len(extra), 0, 0, 0, 0o100644 << 16, min(position, _32)) + name + extra)
        pieces += [header, File(photo.path, photo.size_bytes, photo.modified_ns, crc)]
        position += len(header) + photo.size_bytes
    pieces.append(b"".join(directory) + _end(len(photos), sum(map(len, directory)), position))
    return Source(pieces)


def _end(entries: int, directory_bytes: int, position: int) -> bytes:
    large = b""
    if entries >= _16 or position >= _32 or directory_bytes >= _32:
        large = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, entries, entries, directory_bytes, position)
        large += b"PK\x06\x07" + struct.pack("<IQI", 0, position + directory_bytes, 1)
    return large + b"PK\x05\x06" + struct.pack(
        "<HHHHIIH", 0, 0, min(entries, _16), min(entries, _16), min(directory_bytes, _32), min(position, _32), 0)


def _dos_time(modified_ns: int) -> "Tuple[int, int]":
    """Date and time in the form that zips use, in UTC, so that they do not depend on this computer's time zone."""
    year, month, day, hour, minute, second = time.gmtime(modified_ns // 10**9)[:6]
    if not 1980 <= year <= 2107:
        return 33, 0
    return (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2
