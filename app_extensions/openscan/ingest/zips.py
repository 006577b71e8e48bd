"""Reads zips that ``zipfile`` alone would refuse, or that could hurt it: padded ends, odd names, other compression methods.

APPNOTE is PKWARE's .ZIP file format specification 6.3.9.
"""
import bz2
import io
import lzma
import struct
import zipfile
import zlib
from typing import Any, BinaryIO, Callable, NamedTuple, Optional

from app_extensions.openscan.ingest.parts import Patched, Slice

END = b"PK\x05\x06"
START = b"PK\x03\x04"
_DIRECTORY = b"PK\x01\x02"
#: How many bytes from the file's end we search for a zip's end record, and how many candidates we try: some tools pad with zeros.
_TAIL_BYTES = 16_000_000
_CANDIDATES = 1_000
_FLAG_UTF8 = 0x800
#: Largest LZMA dictionary that we accept. 7-Zip's largest preset asks for 64 MB.
LZMA_DICTIONARY_BYTES = 128_000_000
CHUNK_BYTES = 1 << 17
#: Compression methods that we can read.
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
#: What reading a damaged zip can raise, including ``zipfile``'s own error.
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, NotImplementedError, ValueError, OverflowError)


class End(NamedTuple):
    """A zip's end record: its position, and what it says about the directory before it."""

    position: int
    #: Where the directory ends: before the end record, or before zip64's records if there are any.
    directory_end: int
    entries: int
    directory_bytes: int
    directory_start: int
    disks: int

    @property
    def in_front(self) -> int:
        """Bytes before the zip (a self-extractor has some). A negative number means that many bytes of the zip are missing."""
        return self.directory_end - self.directory_bytes - self.directory_start


def find_end(file: Any) -> Optional[End]:
    """The end record of the zip at the end of this file, or zip64's record if there is one (APPNOTE 4.3.14-16). None without a zip.

    The last record that has a directory before it wins, whatever follows it; else the last complete record.
    """
    size = file.seek(0, io.SEEK_END)
    fallback = None
    for depth in (65_557, _TAIL_BYTES):
        start = max(size - depth, 0)
        file.seek(start)
        tail = file.read(size - start)
        found = len(tail)
        for _ in range(_CANDIDATES):
            found = tail.rfind(END, 0, found + 3)
            if found < 0:
                break
            if len(tail) - found < 22:
                continue
            end = _read_end(file, start + found, tail[found:found + 22])
            if end.entries == 0 or _has_directory(file, end):
                return end
            fallback = fallback or end
        if start == 0:
            break
    return fallback


def _read_end(file: Any, position: int, record: bytes) -> End:
    disk, directory_disk, _, entries, length, offset = struct.unpack("<HHHHII", record[4:20])
    if position >= 20:
        file.seek(position - 20)
        signature, _, end64, disks64 = struct.unpack("<4sIQI", file.read(20))
        if signature == b"PK\x06\x07":
            if end64 + 56 <= position:
                file.seek(end64)
                record = file.read(56)
                if record[:4] == b"PK\x06\x06":
                    disk, directory_disk, _, entries, length, offset = struct.unpack("<IIQQQQ", record[16:56])
                    return End(position, end64, entries, length, offset, max(disk, directory_disk, disks64 - 1))
            return End(position, end64, entries, length, offset, max(disk, directory_disk))
    return End(position, position, entries, length, offset, max(disk, directory_disk))


def _has_directory(file: Any, end: End) -> bool:
    start = end.directory_end - end.directory_bytes
    if start < 0:
        return False
    file.seek(start)
    return file.read(4) == _DIRECTORY


def open_zip(file: Any, end: End) -> zipfile.ZipFile:
    """Open the zip in a file. Ignores bytes after the zip, and removes the UTF-8 flag from names that are not UTF-8.

    :param end: the result of ``find_end``; the directory is read into memory
    :raises DAMAGE: the zip cannot be read
    """
    start = end.directory_end - end.directory_bytes
    if start >= 0:
        file.seek(start)
        directory = bytearray(file.read(end.directory_bytes))
        if _correct_flags(directory):
            file = Patched(file, start, bytes(directory))
    return zipfile.ZipFile(Slice(file, 0, end.position + 22))


def _correct_flags(directory: bytearray) -> bool:
    """Remove the UTF-8 flag from names that are not UTF-8: one such name makes ``zipfile`` refuse the zip (APPNOTE 4.3.12)."""
    position, changed = 0, False
    while directory[position:position + 4] == _DIRECTORY and position + 46 <= len(directory):
        flags, = struct.unpack_from("<H", directory, position + 8)
        name, extra, comment = struct.unpack_from("<HHH", directory, position + 28)
        if flags & _FLAG_UTF8:
            try:
                directory[position + 46:position + 46 + name].decode("utf-8")
            except UnicodeDecodeError:
                struct.pack_into("<H", directory, position + 8, flags & ~_FLAG_UTF8)
                changed = True
        position += 46 + name + extra + comment
    return changed


def data_start(file: Any, info: zipfile.ZipInfo) -> int:
    """Where a member's packed bytes begin: after its local header (APPNOTE 4.3.7). :raises BadZipFile: the header is missing"""
    file.seek(info.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != START:
        raise zipfile.BadZipFile("its header is missing")
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name_bytes + extra_bytes


def opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    """A function that opens a member for reading. Its memory is bounded, whatever the member does.

    ``zipfile`` also decodes the name in the member's local header, and fails if that name only claims to be UTF-8.
    """
    odd_name = not info.flag_bits & _FLAG_UTF8 and not info.orig_filename.isascii()
    if odd_name or info.compress_type in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return lambda: _Unpacked(archive.fp, info)  # type: ignore[return-value]
    return lambda: archive.open(info)  # type: ignore[return-value]


class _Unpacked(io.RawIOBase):
    """A member unpacked in small steps. ``zipfile`` unpacks 4 KB of bzip2 or LZMA at once, which can become gigabytes."""

    def __init__(self, file: Any, info: zipfile.ZipInfo) -> None:
        super().__init__()
        packed = Slice(file, data_start(file, info), info.compress_size)
        self._left, self._crc, self._wanted_crc = info.file_size, 0, info.CRC
        self._packed = packed
        self._decompressor: Any = {
            zipfile.ZIP_STORED: _Stored, zipfile.ZIP_DEFLATED: _Inflater, zipfile.ZIP_BZIP2: bz2.BZ2Decompressor,
            zipfile.ZIP_LZMA: lambda: _lzma_decompressor(packed),
        }[info.compress_type]()

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; fewer only at the end. :raises DAMAGE: damaged, or not what the directory says"""
        pieces, wanted = [], self._left if size is None or size < 0 else min(size, self._left)
        while wanted:
            piece = self._some(wanted)
            self._crc = zlib.crc32(piece, self._crc)
            self._left -= len(piece)
            wanted -= len(piece)
            pieces.append(piece)
        if not self._left and self._crc != self._wanted_crc:
            raise zipfile.BadZipFile("its checksum differs")
        return b"".join(pieces)

    def _some(self, most: int) -> bytes:
        while True:
            if self._decompressor.eof:
                raise EOFError("it unpacks to less than it claims")
            packed = self._packed.read(CHUNK_BYTES) if self._decompressor.needs_input else b""
            if not packed and self._decompressor.needs_input:
                raise EOFError("it breaks off")
            piece = self._decompressor.decompress(packed, min(most, CHUNK_BYTES))
            if piece:
                return piece


class _Stored:
    """The interface of ``bz2``'s decompressor for bytes that are not packed."""

    eof = False

    def __init__(self) -> None:
        self._waiting = b""

    @property
    def needs_input(self) -> bool:
        """Whether all bytes have been returned."""
        return not self._waiting

    def decompress(self, data: bytes, most: int) -> bytes:
        """Up to ``most`` of the bytes."""
        whole = self._waiting + data
        self._waiting = whole[most:]
        return whole[:most]


class _Inflater:
    """The interface of ``bz2``'s decompressor for Deflate."""

    def __init__(self) -> None:
        self._inflate, self.needs_input = zlib.decompressobj(-15), True

    @property
    def eof(self) -> bool:
        """Whether the packed stream has ended."""
        return self._inflate.eof

    def decompress(self, data: bytes, most: int) -> bytes:
        """Up to ``most`` unpacked bytes. :raises zlib.error: damaged"""
        piece = self._inflate.decompress(self._inflate.unconsumed_tail + data, most)
        self.needs_input = not self._inflate.unconsumed_tail and len(piece) < most
        return piece


def _lzma_decompressor(packed: Slice) -> "lzma.LZMADecompressor":
    """A decompressor set up by the member's first bytes (APPNOTE 5.8.8): version, size of the properties, properties."""
    head = packed.read(9)
    properties_bytes, = struct.unpack("<H", head[2:4])
    first, dictionary_bytes = struct.unpack("<BI", head[4:9])
    if properties_bytes != 5 or first >= 9 * 5 * 5 or dictionary_bytes > LZMA_DICTIONARY_BYTES:
        raise zipfile.BadZipFile("its LZMA properties are not usable")
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{
        "id": lzma.FILTER_LZMA1, "dict_size": max(dictionary_bytes, 4096), "lc": first % 9, "lp": first // 9 % 5, "pb": first // 45,
    }])
