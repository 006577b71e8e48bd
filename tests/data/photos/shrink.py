"""Makes the small copies of the test photos that lie beside this file.

``python shrink.py SOURCE_DIR TARGET_DIR [LONGEST_SIDE] [QUALITY]`` scales every JPEG of a directory and keeps its EXIF and XMP
segments byte for byte (camera, focal length, GPS, gimbal angles). The multi-picture index (MPF) is dropped: it holds byte
offsets into the original file. Needs Pillow.
"""
import io
import struct
import sys
from pathlib import Path

from PIL import Image

KEPT_PREFIXES = (b"Exif\x00\x00", b"http://ns.adobe.com/xap/1.0/\x00")


def kept_segments(jpeg: bytes) -> list[bytes]:
    """The APP1 segments (marker and length included) of a JPEG that hold EXIF or XMP, in file order."""
    segments = []
    at = 2
    while jpeg[at] == 0xFF and jpeg[at + 1] != 0xDA:
        length = struct.unpack(">H", jpeg[at + 2:at + 4])[0]
        if jpeg[at + 1] == 0xE1 and jpeg[at + 4:at + 2 + length].startswith(KEPT_PREFIXES):
            segments.append(jpeg[at:at + 2 + length])
        at += 2 + length
    return segments


def shrink(jpeg: bytes, longest_side: int, quality: int) -> bytes:
    """The photo with its longest side at most ``longest_side`` pixels and its EXIF and XMP untouched."""
    image = Image.open(io.BytesIO(jpeg))
    image.draft("RGB", (longest_side, longest_side))
    image.thumbnail((longest_side, longest_side), Image.LANCZOS)
    encoded = io.BytesIO()
    # Pillow writes no EXIF or XMP unless told to, so ours follow the start marker directly, as the EXIF standard wants.
    image.convert("RGB").save(encoded, "JPEG", quality=quality, optimize=True)
    return b"\xff\xd8" + b"".join(kept_segments(jpeg)) + encoded.getvalue()[2:]


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    longest_side = int(sys.argv[3]) if len(sys.argv) > 3 else 1600
    quality = int(sys.argv[4]) if len(sys.argv) > 4 else 85
    target.mkdir(parents=True, exist_ok=True)
    for photo in sorted(source.glob("*.JPG")):
        (target / photo.name).write_bytes(shrink(photo.read_bytes(), longest_side, quality))


if __name__ == "__main__":
    main()
