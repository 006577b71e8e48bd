"""Photos and archives that tests upload, made on the spot; hostile ones are built byte by byte."""
import io
import random
import struct
import zipfile
from pathlib import Path
from typing import Optional, Union

import piexif
from PIL import Image

PHOTOS = Path(__file__).resolve().parent.parent / "data" / "photos"


def jpeg(seed: int = 0, size: int = 48, exif: bool = True) -> bytes:
    """A small JPEG of noise, different for each seed, with camera data as a rig writes it."""
    image = Image.frombytes("RGB", (size, size), random.Random(seed).randbytes(size * size * 3))
    out = io.BytesIO()
    data = piexif.dump({"0th": {piexif.ImageIFD.Make: b"OpenScan", piexif.ImageIFD.Model: b"Mini %d" % seed}})
    image.save(out, "JPEG", quality=80, **({"exif": data} if exif else {}))
    return out.getvalue()


def png(seed: int = 0, size: int = 32) -> bytes:
    """A small PNG of noise."""
    out = io.BytesIO()
    Image.frombytes("RGB", (size, size), random.Random(seed).randbytes(size * size * 3)).save(out, "PNG")
    return out.getvalue()


def tiff(seed: int = 0, size: int = 32) -> bytes:
    """A small uncompressed TIFF."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), (seed % 256, 5, 9)).save(out, "TIFF")
    return out.getvalue()


def photos(count: int, prefix: str = "scan01_") -> dict[str, bytes]:
    """A set as a rig names it: scan01_001.jpg …"""
    return {f"{prefix}{number:03d}.jpg": jpeg(number) for number in range(1, count + 1)}


def make_zip(members: dict[str, Union[bytes, str]], method: int = zipfile.ZIP_STORED, force_zip64: bool = False) -> bytes:
    """A zip of name → content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
            info.compress_type = method
            data = content.encode() if isinstance(content, str) else content
            with archive.open(info, "w", force_zip64=force_zip64) as member:
                member.write(data)
    return out.getvalue()


def cut(data: bytes, parts: int) -> list[bytes]:
    """The data in so many consecutive ranges, as `split -b` cuts it."""
    size = -(-len(data) // parts)
    return [data[start:start + size] for start in range(0, len(data), size)]


def lay_out(directory: Path, parts: list[bytes]) -> list[Path]:
    """Write parts as files; their paths in order."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, data in enumerate(parts, 1):
        paths.append(directory / f"{number:04d}")
        paths[-1].write_bytes(data)
    return paths


def raw_zip(entries: list[dict], zip64_end: bool = False) -> bytes:
    """A zip written field by field, so that it can lie.

    An entry holds `name` (bytes), `data` (packed bytes) and as it likes `method`, `flags`, `mode`, `size` (claimed), `crc`,
    `offset` (claimed place of its local header).
    """
    import zlib

    out, directory = io.BytesIO(), io.BytesIO()
    for entry in entries:
        name, data = entry["name"], entry["data"]
        method, flags = entry.get("method", 0), entry.get("flags", 0)
        size = entry.get("size", len(data))
        crc = entry.get("crc", zlib.crc32(data))
        offset = out.tell()
        out.write(struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, flags, method, 0, 33, crc, len(data), size, len(name), 0))
        out.write(name + data)
        directory.write(struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 0x0314, 20, flags, method, 0, 33, crc, len(data), size, len(name), 0, 0, 0, 0,
            entry.get("mode", 0o100644) << 16, entry.get("offset", offset)))
        directory.write(name)
    start, body = out.tell(), directory.getvalue()
    out.write(body)
    if zip64_end:
        place = out.tell()
        out.write(struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, len(entries), len(entries), len(body), start))
        out.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1))
        out.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    else:
        out.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, len(entries), len(entries), len(body), start, 0))
    return out.getvalue()


def real_photos(name: str = "banana", limit: Optional[int] = None) -> dict[str, bytes]:
    """The repository's real photos: file name → bytes."""
    files = sorted((PHOTOS / name).glob("*.JPG"))[:limit]
    return {path.name: path.read_bytes() for path in files}
