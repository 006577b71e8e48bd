"""Read size and completeness of a picture from its bytes, without decoding it.

Each function walks one format's structure over a buffer (``bytes`` or ``mmap``). The work is linear in the file's size and
bounded: the number of pieces in a header is limited, so that a hostile file costs no more time than a photo.
Sources: ITU T.81 annex B (JPEG), PNG 1.2 chapter 3, TIFF 6.0 section 2 and the BigTIFF design, Google's "WebP Container
Specification", ISO/IEC 14496-12 and 23008-12 (HEIF), Microsoft's BITMAPINFOHEADER.
"""
import struct
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple, Union

Buffer = Union[bytes, memoryview, mmap]

#: Limits far above real headers: the largest known ones (depth maps in XMP) have a few hundred segments and a few megabytes.
JPEG_SEGMENTS = 5_000
JPEG_FILL_BYTES = 4_096
JPEG_HEADER_BYTES = 64_000_000
PNG_SMALL_CHUNKS = 10_000
PNG_CHUNK_BYTES = 1_024
TIFF_ENTRIES = 4_096
TIFF_PIECES = 2_000_000
BOXES = 10_000

JPEG_END = b"\xff\xd9"
_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD8)])
_FRAMES = frozenset([0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])
#: Frames that libjpeg decodes: baseline, extended and progressive, with Huffman or arithmetic coding.
_DECODABLE = frozenset([0xC0, 0xC1, 0xC2, 0xC9, 0xCA])
_PROGRESSIVE = frozenset([0xC2, 0xCA])
_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
#: Color filter array and linear raw (DNG 1.4): the pixel layouts of cameras' raw files.
_RAW_PHOTOMETRIC = frozenset([32803, 34892])


class Broken(ValueError):
    """The bytes are not a complete picture. ``code`` is a key of ``photo_files.PROBLEMS``."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Header(NamedTuple):
    """A picture's properties: its size in pixels as stored (before any EXIF rotation), and more.

    ``ends``: the picture's end was found. Only a JPEG is accepted without it.
    ``data_start``: offset of a JPEG's image data.
    """

    width: int
    height: int
    ends: bool = True
    progressive: bool = False
    transparent: bool = False
    data_start: int = 0


def jpeg(data: Buffer) -> Header:
    """A JPEG: walk its segments to the first scan, then look for the end mark.

    In a scan, 0xFF is always followed by 0 or a restart mark. So FFD9 after the start of the scan is the picture's end. Data
    after that (a preview, a phone's video, zeros) does not matter.

    :raises Broken: ``damaged``, ``broken_off``, ``no_picture``, ``rare_jpeg``
    """
    end = len(data)
    position, fill, size, frame = 2, 0, None, 0
    for _ in range(JPEG_SEGMENTS):
        while True:  # fill bytes may precede a mark
            if position + 1 >= end:
                raise Broken("broken_off")
            if data[position] != 0xFF:
                raise Broken("damaged")
            if data[position + 1] != 0xFF:
                break
            position, fill = position + 1, fill + 1
            if fill > JPEG_FILL_BYTES:
                raise Broken("damaged")
        marker = data[position + 1]
        if marker in _WITHOUT_LENGTH:
            position += 2
            continue
        if marker == 0xD9:
            raise Broken("no_picture")
        if position + 4 > end:
            raise Broken("broken_off")
        length = int.from_bytes(data[position + 2:position + 4], "big")
        if length < 2 or position > JPEG_HEADER_BYTES:
            raise Broken("damaged")
        if marker in _FRAMES:
            if position + 9 > end:
                raise Broken("broken_off")
            frame, size = marker, struct.unpack(">BHH", data[position + 4:position + 9])
        position += 2 + length
        if marker == 0xDA:
            break
    else:
        raise Broken("damaged")
    if size is None:
        raise Broken("no_picture")
    if frame not in _DECODABLE or size[0] != 8:
        raise Broken("rare_jpeg")
    if position >= end:
        raise Broken("broken_off")
    ends = data.rfind(JPEG_END, position) >= 0  # type: ignore[union-attr] # search backwards, because it is mostly at the end
    return Header(size[2], size[1], ends, frame in _PROGRESSIVE, data_start=position)


def png(data: Buffer) -> Header:
    """A PNG: walk its chunks to IEND. :raises Broken: ``damaged``, ``broken_off``, ``no_picture``"""
    end = len(data)
    position, size, pixels, transparent, chunks = 8, None, False, False, 0
    while True:
        if position + 12 > end:
            raise Broken("broken_off")
        length, name = struct.unpack(">I4s", data[position:position + 8])
        if name == b"IHDR":
            if length < 13 or position + 24 > end:
                raise Broken("damaged")
            size = struct.unpack(">IIBB", data[position + 8:position + 18])
            transparent = size[3] in (4, 6)
        pixels = pixels or name == b"IDAT"
        transparent = transparent or name == b"tRNS"
        position, chunks = position + 12 + length, chunks + 1
        if position > end:
            raise Broken("broken_off")
        if name == b"IEND":
            break
        if chunks > PNG_SMALL_CHUNKS and position < chunks * PNG_CHUNK_BYTES:
            raise Broken("damaged")
    if size is None or not pixels:
        raise Broken("no_picture")
    return Header(size[0], size[1], transparent=transparent)


def tiff(data: Buffer) -> Header:
    """A TIFF or BigTIFF: read its first directory, and check that all of its strips or tiles are within the file.

    :raises Broken: ``damaged``, ``broken_off``, ``no_picture``, ``raw`` (many raw files of cameras are TIFFs)
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\x00", b"\x00+")
    try:
        start = struct.unpack(order + ("Q" if big else "I"), data[8:16] if big else data[4:8])[0]
        head = 8 if big else 2
        count = struct.unpack(order + ("Q" if big else "H"), data[start:start + head])[0]
    except struct.error:
        raise Broken("broken_off") from None
    width_of_entry = 20 if big else 12
    if start < 8 or count > TIFF_ENTRIES:
        raise Broken("damaged")
    if start + head + count * width_of_entry > len(data):
        raise Broken("broken_off")
    tags: dict[int, tuple[int, int, int]] = {}  # number → type, count, position of its value or of the value's offset
    for index in range(count):
        at = start + head + index * width_of_entry
        tag, kind, number = struct.unpack(order + ("HHQ" if big else "HHI"), data[at:at + (12 if big else 8)])
        tags.setdefault(tag, (kind, number, at + (12 if big else 8)))

    def numbers(tag: int) -> "tuple[int, ...]":
        if tag not in tags:
            return ()
        kind, number, at = tags[tag]
        if kind not in _TIFF_INTEGERS or number > TIFF_PIECES:
            raise Broken("damaged")
        length = number * _TIFF_SIZES[kind]
        if length > (8 if big else 4):
            at = struct.unpack(order + ("Q" if big else "I"), data[at:at + (8 if big else 4)])[0]
        if at + length > len(data):
            raise Broken("broken_off")
        return struct.unpack(f"{order}{number}{_TIFF_INTEGERS[kind]}", data[at:at + length])

    width, height = numbers(256)[:1], numbers(257)[:1]
    if 50706 in tags or set(numbers(262)) & _RAW_PHOTOMETRIC or (330 in tags and numbers(254)[:1] == (1,)):
        raise Broken("raw")  # the first directory is a DNG's, a sensor's pattern, or a preview of the raw picture
    starts, lengths = numbers(273) or numbers(324), numbers(279) or numbers(325)
    if not (width and height and starts) or len(starts) != len(lengths):
        raise Broken("no_picture")
    if any(offset + length > len(data) for offset, length in zip(starts, lengths)):
        raise Broken("broken_off")
    return Header(width[0], height[0], transparent=338 in tags)


def webp(data: Buffer) -> Header:
    """A WebP. :raises Broken: ``damaged``, ``broken_off``, ``film`` (an animation)"""
    if len(data) < 30:
        raise Broken("broken_off")
    claimed, first = struct.unpack("<I", data[4:8])[0], bytes(data[12:16])
    if claimed + 8 > len(data):
        raise Broken("broken_off")
    if first == b"VP8X":
        if data[20] & 0x02:
            raise Broken("film")
        width, height = (int.from_bytes(data[at:at + 3], "little") + 1 for at in (24, 27))
        return Header(width, height, transparent=bool(data[20] & 0x10))
    if first == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, transparent=bool(bits >> 28 & 1))
    if first == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", data[26:30])
        return Header(width & 0x3FFF, height & 0x3FFF)
    raise Broken("damaged")


def is_transparent_webp(head: Buffer) -> bool:
    """Whether a WebP has an alpha channel. :param head: at least its first 30 bytes"""
    if head[12:16] == b"VP8X":
        return bool(head[20] & 0x10)
    return head[12:16] == b"VP8L" and bool(head[24] >> 4 & 1)


def bmp(data: Buffer) -> Header:
    """A Windows bitmap. :raises Broken: ``damaged``, ``broken_off``"""
    if len(data) < 26:
        raise Broken("broken_off")
    claimed, pixels, header = struct.unpack("<I4xII", data[2:18])
    if header == 12:
        width, height = struct.unpack("<HH", data[18:22])
    else:
        width, height = struct.unpack("<ii", data[18:26])
    if max(claimed, pixels + 1) > len(data):
        raise Broken("broken_off")
    return Header(width, abs(height))


def heif(data: Buffer) -> Header:
    """A HEIC or HEIF photo: walk its boxes to the size of its largest picture (a phone's photo is a grid of smaller tiles).

    :raises Broken: ``damaged``, ``broken_off``, ``no_picture``
    """
    budget = [BOXES]
    meta, pixels = None, False
    for name, start, end in _boxes(data, 0, len(data), budget):
        if name == b"meta" and meta is None:
            meta = (start + 4, end)  # version and flags precede its boxes
        pixels = pixels or name == b"mdat"
        if meta and pixels:
            break  # phones append data that is not a box
    if meta is None:
        raise Broken("no_picture")
    sizes = []
    for name, start, end in _boxes(data, *meta, budget):
        if name != b"iprp":
            continue
        for inner, inner_start, inner_end in _boxes(data, start, end, budget):
            if inner != b"ipco":
                continue
            for item, item_start, item_end in _boxes(data, inner_start, inner_end, budget):
                if item == b"ispe" and item_end - item_start >= 12:
                    sizes.append(struct.unpack(">II", data[item_start + 4:item_start + 12]))
    if not sizes:
        raise Broken("no_picture")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(width, height)


def brands(head: Buffer) -> "list[bytes]":
    """The brands in the ``ftyp`` box of an ISO base media file, the major brand first. Empty for other files."""
    if len(head) < 16 or bytes(head[4:8]) != b"ftyp":
        return []
    end = min(struct.unpack(">I", head[:4])[0], len(head))
    return [bytes(head[at:at + 4]) for at in (8, *range(16, end - 3, 4))]


def _boxes(data: Buffer, position: int, end: int, budget: "list[int]") -> Iterator["tuple[bytes, int, int]"]:
    """Yield (name, first byte, end) of each box from ``position`` to ``end``. ``budget[0]`` is how many boxes may still be read."""
    while position + 8 <= end:
        budget[0] -= 1
        length, name = struct.unpack(">I4s", data[position:position + 8])
        head = 8
        if length == 1:
            if position + 16 > end:
                raise Broken("broken_off")
            length, head = struct.unpack(">Q", data[position + 8:position + 16])[0], 16
        elif length == 0:
            length = end - position
        if length < head or budget[0] < 0:
            raise Broken("damaged")
        if position + length > end:
            raise Broken("broken_off")
        yield name, position + head, position + length
        position += length
