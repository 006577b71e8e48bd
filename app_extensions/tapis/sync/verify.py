"""Whether a fetched file is a whole JPEG: its start, its segments up to the image data, and its end.

ISO/IEC 10918-1, annex B: SOI, segments that tell their length, SOS, entropy-coded data (in which no EOI can occur), EOI.
"""
import os
from pathlib import Path
from typing import BinaryIO

START = b"\xff\xd8"
END = b"\xff\xd9"
SOS = 0xDA
#: Markers without a length: TEM, RST0-7, SOI.
BARE = frozenset([0x01, *range(0xD0, 0xD9)])
#: Cameras write maker's data after the image; the end marker is looked for in this many last bytes.
TAIL_BYTES = 1 << 16


class NotAnImage(ValueError):
    """The file is no whole JPEG."""


def check_jpeg(path: Path) -> None:
    """:raises NotAnImage: empty, another start than a JPEG's, no image data, or no end marker where it ends"""
    with open(path, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        data = _image_data(stream)
        # Only behind the start of the image data: an embedded thumbnail has an end marker of its own.
        stream.seek(max(size - TAIL_BYTES, data))
        if END not in stream.read():
            raise NotAnImage("not a whole JPEG: its end marker is missing")


def _image_data(stream: BinaryIO) -> int:
    """Where the image data begins, in bytes from the start of the file."""
    if stream.read(2) != START:
        raise NotAnImage("not a JPEG: it starts with other bytes")
    while True:
        byte = stream.read(1)
        if byte != b"\xff":
            raise NotAnImage("not a whole JPEG: its header is broken")
        while byte == b"\xff":  # fill bytes may precede a marker
            byte = stream.read(1)
        if not byte:
            raise NotAnImage("not a whole JPEG: it ends in its header")
        marker = byte[0]
        if marker in BARE:
            continue
        length = int.from_bytes(stream.read(2), "big")
        if length < 2:
            raise NotAnImage("not a whole JPEG: its header is broken")
        stream.seek(length - 2, os.SEEK_CUR)
        if marker == SOS:
            return stream.tell()
