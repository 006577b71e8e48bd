"""Telling photos from what only looks like one, without decoding: a set of 1,800 photos must not take minutes."""
import mmap
import struct
import warnings
from pathlib import Path
from typing import Any, NamedTuple, Optional

from PIL import Image

from app_extensions.openscan.ingest.refusal import SetAside

#: Above this a "photo" is a decompression bomb to whatever opens it: 400 megapixels, four times the largest cameras'.
MAX_PIXELS = 400_000_000
#: File name endings of what can be a photo here, as ODM reads them.
_SEGMENTS_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD8)])
_FRAME_HEADERS = frozenset([0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF])


class Photo(NamedTuple):
    """What a file's first and last bytes tell: its kind (``jpeg``, ``png``, ``tiff``) and size in pixels."""

    kind: str
    width: int
    height: int

    def extension(self, name: str) -> str:
        """The ending that fits the content: the name's own (small letters) where it is right."""
        fitting = {"jpeg": (".jpg", ".jpeg"), "png": (".png",), "tiff": (".tif", ".tiff")}[self.kind]
        given = ("." + name.rpartition(".")[2]).lower()
        return given if given in fitting else fitting[0]


def kind_of(head: bytes) -> Optional[str]:
    """The kind of photo that begins with these (at least 8) bytes, or None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith((b"II*\x00", b"MM\x00*")):
        return "tiff"
    return None


def inspect(path: Path) -> Photo:
    """Check that a file is a whole photo.

    :return: its kind and size
    :raises SetAside: it is something else, broken off, or absurdly large; the sentence lacks its subject (the name)
    """
    with open(path, "rb") as file:
        head = file.read(8)
        kind = kind_of(head)
        if not head:
            raise SetAside("is empty")
        if kind is None:
            raise SetAside("is not a JPEG, PNG or TIFF, whatever its name says")
        if kind == "tiff":
            photo = _tiff(path)
        else:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                try:
                    photo = _jpeg(data) if kind == "jpeg" else _png(data)
                except (struct.error, IndexError):
                    raise SetAside("breaks off within its header") from None
    if photo.width < 1 or photo.height < 1:
        raise SetAside("has no pixels")
    if photo.width * photo.height > MAX_PIXELS:
        raise SetAside(
            "claims %d × %d pixels, more than the %d megapixels allowed"
            % (photo.width, photo.height, MAX_PIXELS // 1_000_000)
        )
    return photo


def _jpeg(data: mmap.mmap) -> Photo:
    """Walk the segments to the first scan, then look for the end mark (ITU T.81, annex B)."""
    position, size = 2, None
    while True:
        if data[position] != 0xFF:
            raise SetAside("is not a whole JPEG: its header is damaged")
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _SEGMENTS_WITHOUT_LENGTH:
            position += 2
            continue
        if marker == 0xD9:
            raise SetAside("is a JPEG without a picture")
        length = struct.unpack(">H", data[position + 2:position + 4])[0]
        if marker in _FRAME_HEADERS:
            height, width = struct.unpack(">HH", data[position + 5:position + 9])
            size = (width, height)
        position += 2 + length
        if marker == 0xDA:
            break
    if size is None:
        raise SetAside("is a JPEG without a picture")
    # In a scan 0xFF is always followed by 0 or a restart mark, so FFD9 is the end and nothing else. It is looked for
    # from the back: cameras put previews and notes behind it, but mostly nothing.
    if data.rfind(b"\xff\xd9", position) < 0:
        raise SetAside("is a JPEG that breaks off before its end")
    return Photo("jpeg", *size)


def _png(data: mmap.mmap) -> Photo:
    """Walk the chunks to IEND (PNG 1.2, chapter 3)."""
    position, size, pixels = 8, None, False
    while True:
        length, name = struct.unpack(">I4s", data[position:position + 8])
        if name == b"IHDR":
            size = struct.unpack(">II", data[position + 8:position + 16])
        pixels = pixels or name == b"IDAT"
        position += 12 + length
        if position > len(data):
            raise SetAside("is a PNG that breaks off before its end")
        if name == b"IEND":
            break
        if position == len(data):
            raise SetAside("is a PNG that breaks off before its end")
    if size is None or not pixels:
        raise SetAside("is a PNG without a picture")
    return Photo("png", *size)


def _tiff(path: Path) -> Photo:
    """Read the directory and see that every strip or tile lies within the file (TIFF 6.0)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns above 89 megapixels; our own limit decides
            with Image.open(path, formats=["TIFF"]) as image:
                width, height = image.size
                tags = image.tag_v2
                starts = tags.get(273) or tags.get(324) or ()
                lengths = tags.get(279) or tags.get(325) or ()
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error, Image.DecompressionBombError):
        raise SetAside("is not a whole TIFF: its header is damaged") from None
    if not all(_are_numbers(values) for values in (starts, lengths)):
        raise SetAside("is not a whole TIFF: its header is damaged")
    end = path.stat().st_size
    if not starts or len(starts) != len(lengths):
        raise SetAside("is a TIFF without a picture")
    if any(start + length > end for start, length in zip(starts, lengths)):
        raise SetAside("is a TIFF that breaks off before its end")
    return Photo("tiff", width, height)


def _are_numbers(values: Any) -> bool:
    """A damaged directory may give a text or bytes where places in the file should stand."""
    return isinstance(values, tuple) and all(isinstance(value, int) for value in values)
