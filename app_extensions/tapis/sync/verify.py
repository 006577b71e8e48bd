"""Whether a fetched file is a whole JPEG: its start and its end (ISO/IEC 10918-1, B.1.1.3: SOI, EOI)."""
import os
from pathlib import Path

START = b"\xff\xd8\xff"
END = b"\xff\xd9"
#: Cameras write maker's data after the image; it is looked for the end marker in this many last bytes.
TAIL_BYTES = 1 << 16


class NotAnImage(ValueError):
    """The file is no whole JPEG."""


def check_jpeg(path: Path) -> None:
    """:raises NotAnImage: empty, another start than a JPEG's, or no end marker where it ends"""
    with open(path, "rb") as stream:
        if stream.read(3) != START:
            raise NotAnImage("not a JPEG: it starts with other bytes")
        size = os.fstat(stream.fileno()).st_size
        # Not the first half: an embedded thumbnail has an end marker of its own.
        stream.seek(max(size - TAIL_BYTES, size // 2, 3))
        if END not in stream.read():
            raise NotAnImage("not a whole JPEG: its end marker is missing")
