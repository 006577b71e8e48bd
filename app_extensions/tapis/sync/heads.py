"""Read from a photo's first bytes when, where and with which camera it was taken, and a thumbnail. Implausible values are dropped.

No Django here. Every function accepts any bytes, needs bounded time and memory, and raises no exception.
Sources: ITU T.81 annex B (JPEG's segments), TIFF 6.0 section 2 (directories), CIPA DC-008 (EXIF).
"""
import io
import math
import re
import struct
import threading
import unicodedata
import warnings
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Optional, Union

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

Buffer = Union[bytes, bytearray]

#: Bytes to read of an image if its EXIF holds a thumbnail. EXIF comes first in the file, and has at most 64 kB.
HEAD_BYTES = 256_000
#: If the EXIF holds no thumbnail, images up to this size are read whole. Larger ones get no thumbnail.
WHOLE_BYTES = 10_000_000
#: Pixels on the longer side of a thumbnail.
EDGE = 160
#: Larger pictures are not decoded. The limit for progressive ones is lower, because they need all of their pixels in memory.
MOST_PIXELS, MOST_PROGRESSIVE_PIXELS = 120_000_000, 16_000_000
#: A progressive picture has about ten scans. A scan takes only a few bytes in the file, but decoding it touches all pixels.
MOST_SCANS = 40
LEAST_EDGE = 8
QUALITY = 80
#: Longest name of a maker or camera.
MOST_LETTERS = 60
#: Earlier times, and times in the future, come from cameras with a wrong clock.
FIRST_YEAR = 1990
#: Receivers without a position write 0°, 0°. Positions closer to it than this (degrees, about ten metres) do not count.
NULL_ISLAND = 1e-4

#: The exceptions that Pillow raises for broken files.
_UNREADABLE = (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, SyntaxError, ArithmeticError, RuntimeError,
               MemoryError, struct.error, Image.DecompressionBombError)
#: Most tags to read per directory, and most bytes per value. Real ones are far smaller.
MOST_TAGS, MOST_VALUE_BYTES = 500, 1000
_MAKE, _MODEL, _ORIENTATION, _DETAILS, _GPS = 0x010F, 0x0110, 0x0112, 0x8769, 0x8825
_TAKEN, _DIGITIZED, _WIDTH, _HEIGHT = 0x9003, 0x9004, 0xA002, 0xA003
_THUMBNAIL_START, _THUMBNAIL_LENGTH = 0x0201, 0x0202
_FIRST_TAGS, _DETAIL_TAGS = frozenset([_MAKE, _MODEL, _ORIENTATION, _DETAILS, _GPS]), frozenset([_TAKEN, _DIGITIZED, _WIDTH, _HEIGHT])
_GPS_TAGS, _THUMBNAIL_TAGS = frozenset([1, 2, 3, 4]), frozenset([_THUMBNAIL_START, _THUMBNAIL_LENGTH])
#: Type of value → its bytes and its letter for ``struct``: text, 16 bits, 32 bits, unsigned and signed fractions.
_KINDS = {2: (1, ""), 3: (2, "H"), 4: (4, "I"), 5: (8, "I"), 10: (8, "i")}
_START, _EXIF_SEGMENT, _EXIF = b"\xff\xd8", 0xE1, b"Exif\x00\x00"
#: End of the picture, and start of its data. No more metadata follows either of them.
_LAST_MARKERS = frozenset([0xD9, 0xDA])
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_TURNS = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT,), 3: (Image.Transpose.ROTATE_180,), 4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,), 6: (Image.Transpose.ROTATE_270,), 7: (Image.Transpose.TRANSVERSE,), 8: (Image.Transpose.ROTATE_90,),
}
#: Decode one picture at a time, to bound the memory, and because all threads share Python's warning filter.
_lock = threading.Lock()


class Head(NamedTuple):
    """What an image says about itself.

    is_jpeg: if false, the rest is empty. taken_at: ISO 8601 without a zone, from the camera's clock. latitude, longitude: in degrees; both
    or neither. thumbnail: an upright JPEG without metadata, or nothing.
    """

    is_jpeg: bool = True
    taken_at: str = ""
    camera: str = ""
    latitude: Optional[float] = None
    longitude: Optional[float] = None
    thumbnail: bytes = b""


def is_enough(data: Buffer, is_whole_wanted: bool) -> bool:
    """Whether the first bytes of an image hold all that its preview needs.

    :param is_whole_wanted: whether the whole image may be read if its EXIF holds no thumbnail
    """
    if bytes(data[:2]) != _START[:len(data)]:
        return True
    block, more = _exif_block(data)
    if more and len(data) < HEAD_BYTES:
        return False
    return not is_whole_wanted or bool(_embedded(block, _directories(block).thumbnail))


def read_head(data: bytes) -> Head:
    """Read what an image says about itself. :param data: its first bytes, or all of them"""
    if not data.startswith(_START):
        return Head(is_jpeg=False)
    block, _ = _exif_block(data)
    exif = _directories(block)
    latitude, longitude = _place(exif.gps) or (None, None)
    orientation = exif.first.get(_ORIENTATION)
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thumbnail = _small(_embedded(block, exif.thumbnail), orientation, _ratio(exif.details)) or _small(data, orientation)
    return Head(True, _taken_at(exif.details), _camera(exif.first), latitude, longitude, thumbnail)


def _exif_block(data: Buffer) -> "tuple[bytes, bool]":
    """The EXIF block without its segment header. :returns: the block, and whether it may still follow in the rest of the file"""
    place = 2
    while place + 10 <= len(data):
        if data[place] != 0xFF:
            return b"", False
        kind = data[place + 1]
        if kind == 0xFF:  # fill bytes
            place += 1
            continue
        length = int.from_bytes(data[place + 2:place + 4], "big")
        if kind in _LAST_MARKERS or length < 2:
            return b"", False
        end = place + 2 + length
        if kind == _EXIF_SEGMENT and data[place + 4:place + 10] == _EXIF:
            return (bytes(data[place + 10:end]), False) if end <= len(data) else (b"", True)
        place = end
    return b"", True


class _Directories(NamedTuple):
    """The tags of an EXIF block that are used here, by directory."""

    first: "dict[int, Any]"
    details: "dict[int, Any]"
    gps: "dict[int, Any]"
    thumbnail: "dict[int, Any]"


def _directories(block: bytes) -> _Directories:
    """The directories of an EXIF block. Only the wanted tags are read, each up to a bounded length.

    Pillow is not used because it reads every value. A hostile block can refer to the same 64 kB in thousands of them.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return _Directories({}, {}, {}, {})
    first, after = _directory(block, order, struct.unpack_from(order + "I", block, 4)[0], _FIRST_TAGS)
    details = _directory(block, order, first.get(_DETAILS), _DETAIL_TAGS)[0]
    gps = _directory(block, order, first.get(_GPS), _GPS_TAGS)[0]
    return _Directories(first, details, gps, _directory(block, order, after, _THUMBNAIL_TAGS)[0])


def _directory(block: bytes, order: str, place: Any, wanted: "frozenset[int]") -> "tuple[dict[int, Any], int]":
    """The wanted tags of the directory at offset ``place``, and the next directory's offset; {} and 0 if there is no directory."""
    if not isinstance(place, int) or not 8 <= place <= len(block) - 2:
        return {}, 0
    count = struct.unpack_from(order + "H", block, place)[0]
    end = place + 2 + 12 * count
    found = {}
    for entry in range(place + 2, min(end, len(block) - 11, place + 2 + 12 * MOST_TAGS), 12):
        tag, kind, number = struct.unpack_from(order + "HHI", block, entry)
        if tag in wanted and tag not in found:
            found[tag] = _value(block, order, kind, number, entry + 8)
    return found, struct.unpack_from(order + "I", block, end)[0] if end + 4 <= len(block) else 0


def _value(block: bytes, order: str, kind: int, number: int, place: int) -> Any:
    """A tag's value: bytes for text, a number, or a tuple of numbers. None if it is outside the block or of an unused type."""
    size, letter = _KINDS.get(kind, (0, ""))
    if not size or not number:
        return None
    if size * number > 4:
        place = struct.unpack_from(order + "I", block, place)[0]
    number = min(number, MOST_VALUE_BYTES // size)
    data = block[place:place + size * number]
    if len(data) < size * number:
        return None
    if not letter:
        return data
    numbers = struct.unpack(f"{order}{len(data) // struct.calcsize(letter)}{letter}", data)
    if size == 8:
        numbers = tuple(above / below if below else math.nan for above, below in zip(numbers[::2], numbers[1::2]))
    return numbers[0] if len(numbers) == 1 else numbers


def _embedded(block: bytes, directory: "dict[int, Any]") -> bytes:
    """The camera's own thumbnail from the EXIF block; empty if there is none."""
    start, length = directory.get(_THUMBNAIL_START), directory.get(_THUMBNAIL_LENGTH)
    if not (isinstance(start, int) and isinstance(length, int) and 0 < start < len(block) and length > 0):
        return b""
    found = block[start:start + length]
    return found if found.startswith(_START) else b""


def _ratio(details: "dict[int, Any]") -> float:
    """The photo's width divided by its height; 0 if unknown."""
    width, height = details.get(_WIDTH), details.get(_HEIGHT)
    return width / height if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0 else 0.0


def _without_bars(image: Image.Image, ratio: float) -> Image.Image:
    """Crop the black bars that cameras add to a thumbnail to reach 4:3. Leave it as it is if its orientation differs from the photo's."""
    width, height = image.size
    if not ratio or (ratio > 1) != (width > height):
        return image
    wide, high = min(width, round(height * ratio)), min(height, round(width / ratio))
    if min(wide, high) < LEAST_EDGE:
        return image
    left, top = (width - wide) // 2, (height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def _small(data: bytes, orientation: Any, ratio: float = 0.0) -> bytes:
    """A picture as a small upright JPEG; empty if it is incomplete, cannot be decoded, or is too large to decode.

    :param ratio: width divided by height of the photo, to crop black bars from its thumbnail; 0: do not crop
    """
    if not data or data.count(b"\xff\xda") > MOST_SCANS:
        return b""
    try:
        with JpegImageFile(io.BytesIO(data)) as image:
            most = MOST_PROGRESSIVE_PIXELS if image.info.get("progressive") else MOST_PIXELS
            if min(image.size) < LEAST_EDGE or image.width * image.height > most:
                return b""
            image.draft("RGB", (EDGE, EDGE))
            small: Image.Image = image.convert("RGB")
        small = _without_bars(small, ratio)
        small.thumbnail((EDGE, EDGE))
        for turn in _TURNS.get(orientation, ()) if isinstance(orientation, int) else ():
            small = small.transpose(turn)
        out = io.BytesIO()
        Image.frombytes("RGB", small.size, small.tobytes()).save(out, "JPEG", quality=QUALITY)  # drops metadata, such as a profile
        return out.getvalue()
    except _UNREADABLE:
        return b""


def _text(value: Any) -> str:
    """A text to show: one line, shortened, without control characters or characters that change the writing direction."""
    if not isinstance(value, bytes):
        return ""
    try:
        value = value.decode()
    except UnicodeDecodeError:
        value = value.decode("latin-1")
    value = value.partition("\0")[0]
    shown = "".join(" " if letter.isspace() else letter for letter in value if letter.isspace() or unicodedata.category(letter)[0] != "C")
    return " ".join(shown.split())[:MOST_LETTERS].strip()


def _camera(first: "dict[int, Any]") -> str:
    """Maker and model, such as "DJI FC6310". If the model repeats the maker, only the model: not "NIKON CORPORATION NIKON D850"."""
    maker, model = _text(first.get(_MAKE)), _text(first.get(_MODEL))
    word = maker.split(" ", 1)[0].lower()
    return model if model and model.lower().startswith(word) else f"{maker} {model}".strip()


def _taken_at(details: "dict[int, Any]") -> str:
    """When the photo was taken. ``DateTime`` is not used, because it may be the time of an edit."""
    for tag in (_TAKEN, _DIGITIZED):
        match = _TIME.match(_text(details.get(tag)))
        if match is None:
            continue
        try:
            taken = datetime(*map(int, match.groups()))  # type: ignore[arg-type]
        except ValueError:
            continue
        if taken.year >= FIRST_YEAR and taken <= datetime.now() + timedelta(days=2):  # the camera's clock has no zone
            return taken.isoformat()
    return ""


def _place(gps: "dict[int, Any]") -> "Optional[tuple[float, float]]":
    """Latitude and longitude; None if the camera had no position or wrote an impossible one."""
    latitude, longitude = _degrees(gps.get(2), gps.get(1), "NS", 90), _degrees(gps.get(4), gps.get(3), "EW", 180)
    if latitude is None or longitude is None or max(abs(latitude), abs(longitude)) < NULL_ISLAND:
        return None
    return latitude, longitude


def _degrees(value: Any, reference: Any, letters: str, most: float) -> Optional[float]:
    """Degrees from three numbers and a letter. None without the letter, because the hemisphere is then unknown."""
    side = _text(reference).upper()
    if len(side) != 1 or side not in letters:
        return None
    if not isinstance(value, tuple) or len(value) != 3:
        return None
    degrees, minutes, seconds = value
    if not all(math.isfinite(part) for part in (degrees, minutes, seconds)):
        return None
    if not (0 <= degrees <= most and 0 <= minutes <= 60 and 0 <= seconds <= 60):
        return None
    found = degrees + minutes / 60 + seconds / 3600
    if found > most:
        return None
    return round(found if side == letters[0] else -found, 6)
