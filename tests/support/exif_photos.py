"""Photos with any EXIF, also such as no camera writes. The EXIF is built by hand, as libraries refuse to write what is wrong."""
import io
import struct
from typing import Any, Optional

from PIL import Image

BYTE_, ASCII, SHORT, LONG, RATIONAL = 1, 2, 3, 4, 5


def jpeg(size: "tuple[int, int]" = (64, 48), *, noise: bool = False, color: str = "seagreen") -> bytes:
    """A JPEG without EXIF. :param noise: of pixels that do not compress"""
    picture = Image.effect_noise(size, 80).convert("RGB") if noise else Image.new("RGB", size, color)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def with_exif(picture: bytes, block: bytes) -> bytes:
    """The JPEG with an EXIF segment of these bytes behind its start."""
    content = b"Exif\x00\x00" + block
    return picture[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + picture[2:]


def place(latitude: float, longitude: float) -> "dict[int, Any]":
    """The GPS directory of a place."""
    return {1: "S" if latitude < 0 else "N", 2: _thirds(abs(latitude)), 3: "W" if longitude < 0 else "E", 4: _thirds(abs(longitude))}


def _thirds(degrees: float) -> "tuple[tuple[int, int], ...]":
    whole, rest = divmod(degrees, 1)
    minutes, rest = divmod(rest * 60, 1)
    return (int(whole), 1), (int(minutes), 1), (round(rest * 60 * 10_000), 10_000)


def exif(*, make: str = "", model: str = "", taken: str = "", orientation: Optional[int] = None, gps: "Optional[dict[int, Any]]" = None,
         thumbnail: bytes = b"", thumbnail_at: "Optional[tuple[int, int]]" = None, size: "Optional[tuple[int, int]]" = None) -> bytes:
    """The bytes of an EXIF block.

    :param gps: GPS tag → text, number, or fractions; a fraction of NaN becomes 0/0
    :param size: width and height of the photo, in pixels
    :param thumbnail_at: where the thumbnail is said to lie and how long it is, in place of the truth
    """
    first: dict[int, Any] = {tag: value for tag, value in ((0x010F, make), (0x0110, model)) if value}
    if orientation is not None:
        first[0x0112] = orientation
    detail: dict[int, Any] = {0x9003: taken} if taken else {}
    if size is not None:
        detail.update({0xA002: size[:1], 0xA003: size[1:]})
    if detail:
        first[0x8769] = 0
    if gps is not None:
        first[0x8825] = 0
    places = {}
    for _ in range(2):  # the second time, with the places that the first run found
        out = bytearray(b"II*\x00" + struct.pack("<I", 8))
        for tag in (0x8769, 0x8825):
            if tag in first:
                first[tag] = places.get(tag, 0)
        next_at = _directory(out, first)
        for tag, content in ((0x8769, detail), (0x8825, gps or {})):
            if tag in first:
                places[tag] = len(out)
                _directory(out, content)
        if thumbnail:
            struct.pack_into("<I", out, next_at, len(out))
            start, length = thumbnail_at or (places.get("thumbnail", 0), len(thumbnail))
            _directory(out, {0x0103: 6, 0x0201: (start,), 0x0202: (length,)})
            places["thumbnail"] = len(out)
            out += thumbnail
    return bytes(out)


def _directory(out: bytearray, tags: "dict[int, Any]") -> int:
    """Append a directory with its values. :returns: where the place of the next directory is written"""
    start = len(out)
    out += struct.pack("<H", len(tags)) + bytes(12 * len(tags) + 4)
    for number, (tag, value) in enumerate(sorted(tags.items())):
        kind, count, data = _encoded(tag, value)
        if len(data) > 4:
            where = len(out)
            out += data + (b"\x00" if len(data) % 2 else b"")
            data = struct.pack("<I", where)
        struct.pack_into("<HHI4s", out, start + 2 + 12 * number, tag, kind, count, data.ljust(4, b"\x00"))
    return start + 2 + 12 * len(tags)


def _encoded(tag: int, value: Any) -> "tuple[int, int, bytes]":
    if isinstance(value, str):
        data = value.encode() + b"\x00"
        return ASCII, len(data), data
    if isinstance(value, int):
        return (LONG, 1, struct.pack("<I", value)) if tag in (0x8769, 0x8825) else (SHORT, 1, struct.pack("<H", value))
    if isinstance(value[0], tuple):
        parts = [(0, 0) if number != number else (int(number), below) for number, below in value]
        return RATIONAL, len(parts), b"".join(struct.pack("<II", *part) for part in parts)
    return LONG, len(value), struct.pack(f"<{len(value)}I", *value)
