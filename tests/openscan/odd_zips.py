"""Zips as tools in the field write them and `zipfile` does not, field by field (APPNOTE 6.3.9)."""
import io
import struct
import zlib
from collections.abc import Iterable
from typing import Callable, Optional

_BIG = 0xFFFFFFFF


def odd_zip(
    members: Iterable[tuple[bytes, bytes]], *, descriptors: bool = False, signature: bool = True, zip64: bool = False,
    in_front: bytes = b"", behind: bytes = b"", method: int = 0, flags: int = 0, extra: bytes = b"", system: int = 3,
    mode: int = 0o100644, pack: Optional[Callable[[bytes], bytes]] = None, modes: Optional[dict[bytes, int]] = None,
) -> bytes:
    """A zip of (name, content).

    `descriptors`: sizes and checksum stand behind the content, as tools write that pack while reading; `signature`: with the
    mark in front of them. `system`: who wrote it (0: DOS, 3: Unix). `pack`: what makes the stored bytes of a content.
    """
    out, directory, count = io.BytesIO(), io.BytesIO(), 0
    out.write(in_front)
    for name, data in members:
        offset, crc = out.tell(), zlib.crc32(data)
        packed = pack(data) if pack else data if method == 0 else zlib.compress(data, 6)[2:-4]
        bits = flags | (8 if descriptors else 0)
        local = extra + (struct.pack("<HHQQ", 1, 16, len(data), len(packed)) if zip64 else b"")
        sizes = (_BIG, _BIG) if zip64 else (0, 0) if descriptors else (len(packed), len(data))
        out.write(struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 45 if zip64 else 20, bits, method, 0, 33, 0 if descriptors else crc,
                              *sizes, len(name), len(local)) + name + local + packed)
        if descriptors:
            out.write((b"PK\x07\x08" if signature else b"") + struct.pack("<III", crc, len(packed), len(data)))
        central = extra + (struct.pack("<HHQQQ", 1, 24, len(data), len(packed), offset) if zip64 else b"")
        sizes = (_BIG, _BIG) if zip64 else (len(packed), len(data))
        attributes = (modes or {}).get(name, mode) << 16 if system == 3 else 0
        directory.write(struct.pack("<4sBBHHHHHIIIHHHHHII", b"PK\x01\x02", 20, system, 45 if zip64 else 20, bits, method, 0, 33, crc,
                                    *sizes, len(name), len(central), 0, 0, 0, attributes, _BIG if zip64 else offset) + name + central)
        count += 1
    start, body = out.tell(), directory.getvalue()
    out.write(body)
    if zip64:
        place = out.tell()
        out.write(struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(body), start))
        out.write(struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1))
        out.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, _BIG, _BIG, 0))
    else:
        out.write(struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, len(body), start, 0))
    return out.getvalue() + behind
