"""Decide what counts as a photo. Rigs' uploads, the Tapis sync and the engine all use this definition.

No Django here, only the standard library and Pillow, and ``pillow-heif`` if it is installed. Works on Python 3.9 and later.

- ``role_of(path)`` judges by the name alone: a photo, a mask, a file manager's clutter, a backup, a file from a camera's
  card, a text, or an archive.
- ``rig_extras(paths)`` finds extra files that an OpenScan rig sends: its preview, our texture, and frames that it merged.
- ``examine(path)`` judges by the content alone: the kind of picture, its size in pixels, and whether it is complete. For
  other files it raises ``NotUsable`` with the reason; ``PROBLEMS`` has the remedy.
- ``summarize(left_out)`` turns many such results into a few sentences, one per reason.
- ``write_usable`` converts a photo to a format that every processing node reads: HEIC, WebP and BMP become JPEG (PNG if
  they are transparent) with their EXIF, and a JPEG without its end mark gets one.
"""
import io
import mmap
import os
import re
import struct
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Optional, Union

from PIL import ExifTags, Image

from . import photo_headers
from .photo_headers import Broken, Header

try:
    import pillow_heif
except ImportError:  # no wheel for this platform: HEIC photos are then reported as unreadable, with advice
    pillow_heif = None

#: Larger pictures are refused, because decoding them could exhaust the memory. The largest cameras take a quarter of this.
MAX_PIXELS = 400_000_000
#: Bytes from the start of a file that ``kind_of`` needs.
HEAD_BYTES = 512

JPEG, PNG, TIFF, WEBP, BMP, HEIC = "jpeg", "png", "tiff", "webp", "bmp", "heic"
#: Kinds of photos, and the name endings that fit them. A file with another ending gets the first one.
ENDINGS = {
    JPEG: (".jpg", ".jpeg"), PNG: (".png",), TIFF: (".tif", ".tiff"),
    WEBP: (".webp",), BMP: (".bmp",), HEIC: (".heic", ".heif", ".hif"),
}
#: Kinds that all of ODM's nodes read. ``write_usable`` converts the others.
READ_EVERYWHERE = frozenset([JPEG, PNG, TIFF])
#: Usual endings of photos. Other names, and names without an ending, are judged by content as well.
PHOTO_ENDINGS = frozenset([".jfif", ".jpe", *(ending for endings in ENDINGS.values() for ending in endings)])
#: The kinds of photos, for sentences to users.
ACCEPTED = "JPEG, PNG, TIFF, WebP, HEIC or BMP"
JPEG_QUALITY = 95
#: Largest JPEG without an end mark to decode in memory. Cameras' files are far smaller.
LARGEST_DECODED_BYTES = 300_000_000

# --- names -----------------------------------------------------------------------------------------------------------

PHOTO, MASK, CLUTTER, BACKUP, CARD, TEXT, ARCHIVE, OTHER = (
    "photo", "mask", "clutter", "backup", "card", "text", "archive", "other")
_CLUTTER_NAMES = frozenset(["thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "picasa.ini"])
_CLUTTER_FOLDERS = frozenset(["__macosx", "@eadir", ".appledouble", "$recycle.bin", "system volume information"])
_BACKUP_ENDINGS = ("_original", ".bak", ".old", ".orig", ".tmp", "~", ".part", ".crdownload")
_RAW_ENDINGS = frozenset([
    ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".dng", ".raw", ".orf", ".rw2", ".raf", ".pef", ".srw",
    ".x3f", ".3fr", ".iiq", ".rwl", ".gpr", ".insp",
])
_FILM_ENDINGS = frozenset([".mov", ".mp4", ".m4v", ".avi", ".mkv", ".mts", ".m2ts", ".3gp", ".insv", ".wmv", ".webm"])
_CARD_ENDINGS = frozenset([
    ".thm", ".lrv", ".lrf", ".xmp", ".aae", ".mrk", ".srt", ".ctg", ".dat", ".bin", ".nav", ".obs", ".rtk", ".log", ".dpof",
    ".wav", ".mp3", ".jpr", ".ind", ".bdm", ".cpi", ".mpl", ".gis", ".pp3", ".dop", ".on1", ".cos", ".ndf", ".nksc", ".mie",
])
_OTHER_ENDINGS = frozenset([
    ".json", ".csv", ".xml", ".html", ".htm", ".md", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ini", ".yml", ".yaml",
    ".obj", ".mtl", ".glb", ".gltf", ".ply", ".stl", ".las", ".laz", ".gif", ".svg", ".psd", ".exe", ".py", ".js", ".css",
])
_ARCHIVE_ENDINGS = frozenset([".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst"])


def ending_of(path: str) -> str:
    """The ending of a name in lower case with its dot; ``""`` if there is none."""
    base = path.replace("\\", "/").rpartition("/")[2]
    stem, dot, ending = base.rpartition(".")
    return f".{ending.lower()}" if dot and stem.strip(".") else ""


def role_of(path: str) -> str:
    """Judge a file by its name: PHOTO (its content decides later), MASK, CLUTTER, BACKUP, CARD, TEXT, ARCHIVE or OTHER.

    A name without an ending, or with an unknown one, is a PHOTO as well, because rigs and browsers' downloads have such names.

    :param path: a path with ``/`` or ``\\``; folders only matter for clutter (``__MACOSX``)
    """
    *folders, base = path.replace("\\", "/").split("/")
    low, ending = base.lower(), ending_of(path)
    if low in _CLUTTER_NAMES or _CLUTTER_FOLDERS.intersection(folder.lower() for folder in folders):
        return CLUTTER
    if base.startswith(".") and not base.startswith(".."):  # ._* (AppleDouble), .DS_Store, .trashed-*.jpg
        return CLUTTER
    if low.endswith(_BACKUP_ENDINGS):
        return BACKUP
    if ending == ".txt":
        return TEXT
    for role, endings in ((CARD, _RAW_ENDINGS), (CARD, _FILM_ENDINGS), (CARD, _CARD_ENDINGS), (ARCHIVE, _ARCHIVE_ENDINGS),
                          (OTHER, _OTHER_ENDINGS)):
        if ending in endings:
            return role
    return MASK if mask_stem(path) is not None else PHOTO


def is_raw_name(path: str) -> bool:
    """Whether the name is that of a camera's raw file (.NEF, .DNG …)."""
    return ending_of(path) in _RAW_ENDINGS


def mask_stem(path: str) -> Optional[str]:
    """The stem of the photo that a mask belongs to (``NAME_mask.png`` masks ``NAME.jpg``). None for other names."""
    base = path.replace("\\", "/").rpartition("/")[2]
    stem, dot, _ = base.rpartition(".")
    return stem[:-len("_mask")] if dot and stem.lower().endswith("_mask") and len(stem) > len("_mask") else None


_SCAN_FOLDER = re.compile(r"scan\d+", re.IGNORECASE)
_SCAN_FRAME = re.compile(r"(?:scan\d+_)?(\d+)(?:_fs\d+)?\.jpe?g", re.IGNORECASE)
_SCAN_NAME = re.compile(r"scan\d+_\d+(_fs\d+)?\.jpe?g", re.IGNORECASE)
_STACKED_NAME = re.compile(r"(?:stacked|scan\d+)_(\d+)\.jpe?g", re.IGNORECASE)
_TEXTURE = re.compile(r"(odm_)?textured_model.*_map_k[ad].*", re.IGNORECASE)


def rig_extras(paths: Iterable[str]) -> "dict[str, str]":
    """Find the files in an OpenScan3 rig's set that are not photos for the model: a rig sends every ``.jpg`` in its project folder.

    A project folder has ``scanNN/`` folders, or photos named ``scanNN_NNN.jpg``. There, ``thumbnail.jpg`` is the project's
    preview, ``model/`` has the texture of a downloaded model, and a photo in ``scanNN/stacked/`` replaces the focus frames
    of its position, because the rig merged them itself. If a name there shows no position, all frames of that scan are replaced. A
    texture of ODM is recognized by its name in any folder. Nothing is found in other sets.

    :param paths: all files of a set, with ``/`` between folders
    :return: path → ``rig_thumbnail``, ``model_texture`` or ``stacked_frame`` (keys of ``PROBLEMS``)
    """
    split = {path: tuple(piece for piece in path.split("/") if piece not in ("", ".")) for path in paths}
    projects: set[tuple[str, ...]] = set()
    stacked: dict[tuple[str, ...], set[Optional[int]]] = {}  # scan folder → positions that the rig merged (None: unknown, so all)
    for pieces in split.values():
        for depth, folder in enumerate(pieces[:-1]):
            if _SCAN_FOLDER.fullmatch(folder):
                projects.update((pieces[:depth], pieces[:depth + 1]))
                if [piece.lower() for piece in pieces[depth + 1:-1]] == ["stacked"] and ending_of(pieces[-1]) in PHOTO_ENDINGS:
                    found = _STACKED_NAME.fullmatch(pieces[-1])
                    stacked.setdefault(pieces[:depth + 1], set()).add(int(found.group(1)) if found else None)
        if pieces and _SCAN_NAME.fullmatch(pieces[-1]):
            projects.add(pieces[:-1])
    extras = {}
    for path, pieces in split.items():
        if not pieces or ending_of(pieces[-1]) not in PHOTO_ENDINGS:
            continue
        above, base = pieces[:-1], pieces[-1].lower()
        if above in projects and base.rpartition(".")[0] == "thumbnail":
            extras[path] = "rig_thumbnail"
        elif (above and above[-1].lower() == "model" and above[:-1] in projects) or _TEXTURE.fullmatch(base):
            extras[path] = "model_texture"
        elif above in stacked:
            frame = _SCAN_FRAME.fullmatch(base)
            if None in stacked[above] or (frame and int(frame.group(1)) in stacked[above]):
                extras[path] = "stacked_frame"
    return extras


# --- content ---------------------------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """Why files are left out: the reason for one file and for several (to follow "it" and "they"), and what to do."""

    one: str
    many: str
    remedy: str = ""


_AGAIN = "Copy {them} from the camera again and send the set again."
#: Reasons by code.
PROBLEMS = {
    "empty": Problem("is empty", "are empty", _AGAIN),
    "not_photo": Problem("is not a photo", "are not photos", f"Photos are {ACCEPTED}."),
    "damaged": Problem("is damaged", "are damaged", _AGAIN),
    "broken_off": Problem("breaks off before its end", "break off before their end", _AGAIN),
    "no_picture": Problem("holds no picture", "hold no picture", _AGAIN),
    "rare_jpeg": Problem("is a JPEG of a rare kind (lossless or 12 bits)", "are JPEGs of a rare kind (lossless or 12 bits)",
                         "Export {them} as ordinary JPEG."),
    "too_large": Problem(f"claims more than the {MAX_PIXELS // 1_000_000} megapixels allowed",
                         f"claim more than the {MAX_PIXELS // 1_000_000} megapixels allowed", "Send smaller photos."),
    "heic": Problem("is a HEIC photo that this server cannot read", "are HEIC photos that this server cannot read",
                    "Set the phone to “Most Compatible”, or export the photos as JPEG."),
    "avif": Problem("is an AVIF or JPEG XL picture", "are AVIF or JPEG XL pictures", "Export {them} as JPEG."),
    "gif": Problem("is a GIF", "are GIFs", "Export {them} as JPEG."),
    "raw": Problem("is a camera's raw file", "are cameras' raw files", "Export {them} as JPEG, or let the camera save JPEG as well."),
    "film": Problem("is a video or an animation", "are videos or animations", "Take photos, or export sharp single pictures as JPEG."),
    "document": Problem("is a drawing or a document", "are drawings or documents", "Export {them} as JPEG."),
    "undecodable": Problem("cannot be decoded", "cannot be decoded", "Export {them} as JPEG."),
    "rig_thumbnail": Problem("is the rig's own preview picture", "are the rig's own preview pictures"),
    "model_texture": Problem("is the texture of a finished model", "are textures of a finished model"),
    "stacked_frame": Problem("is a focus frame that the rig merged itself", "are focus frames that the rig merged itself"),
    "encrypted": Problem("is encrypted", "are encrypted", "Pack the photos without a password."),
    "packing": Problem("is packed in a way that cannot be read", "are packed in a way that cannot be read",
                       "Pack the photos as an ordinary zip (stored or deflated)."),
    "link": Problem("is a link or a device, not a file", "are links or devices, not files", "Pack the files themselves."),
    "unnamed": Problem("has no name", "have no name"),
    "bad_frame": Problem("is an incomplete frame of a focus stack", "are incomplete frames of focus stacks"),
    "double": Problem("is the same photo as another one", "are the same photos as others"),
    "mask_alone": Problem("is a mask without its photo", "are masks without their photos", "A mask of a.jpg is named a_mask.png."),
    "card": Problem("comes from a camera card and is not a photo", "from a camera card"),
    "backup": Problem("is a backup copy", "are backup copies"),
    "other": Problem("is not a photo", "are not photos", f"Photos are {ACCEPTED}."),
}


#: Reasons that cost the set a photo. Files with other reasons never were photos of the set.
LOST = frozenset([
    "empty", "not_photo", "damaged", "broken_off", "no_picture", "rare_jpeg", "too_large", "heic", "avif", "raw", "undecodable",
    "encrypted", "packing",
])


class NotUsable(ValueError):
    """The file is not a usable photo. ``code`` is a key of ``PROBLEMS``; ``str()`` gives a text to follow the file's name."""

    def __init__(self, code: str, detail: str = "") -> None:
        """:param detail: replaces the reason's general wording, for example "is a PNG that breaks off before its end" """
        super().__init__(detail or PROBLEMS[code].one)
        self.code = code


class PhotoFile(NamedTuple):
    """A usable photo: its kind, and its size in pixels as stored (before any EXIF rotation).

    ``without_end``: it is a JPEG that lacks only its end mark; all of its pixels are there.
    ``transparent``: it has an alpha channel.
    """

    kind: str
    width: int
    height: int
    without_end: bool = False
    transparent: bool = False

    @property
    def pixels(self) -> int:
        """Width × height."""
        return self.width * self.height

    def ending(self, name: str) -> str:
        """The ending that fits the content: the name's own in lower case if it fits, else the kind's usual one."""
        given = ending_of(name)
        return given if given in ENDINGS[self.kind] else ENDINGS[self.kind][0]


def kind_of(head: bytes) -> str:
    """The kind of file that begins with these bytes.

    :param head: at least the first 12 bytes, better ``HEAD_BYTES``
    :return: a key of ``ENDINGS`` for photos, a key of ``PROBLEMS`` for known kinds that are not usable, ``""`` for anything else
    """
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")):
        return "raw" if head[8:10] == b"CR" else TIFF
    if head.startswith(b"RIFF"):
        return {b"WEBP": WEBP, b"AVI ": "film"}.get(head[8:12], "")
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return BMP
    brands = photo_headers.brands(head)
    if brands:
        if brands[0] == b"crx ":
            return "raw"
        if {b"avif", b"avis"} & set(brands):
            return "avif"
        if brands[0] in (b"hevc", b"hevx", b"msf1", b"qt  "):
            return "film"
        return HEIC if {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2"} & set(brands) else "film"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith((b"\x00\x00\x00\x0cJXL ", b"\xff\x0a")):
        return "avif"
    if head.startswith((b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00", b"FOVb")):
        return "raw"
    if head.startswith((b"\x1aE\xdf\xa3", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3")) or head[4:8] in (b"moov", b"mdat"):
        return "film"
    if head.startswith((b"8BPS", b"%PDF", b"<svg")):
        return "document"
    return ""


def usable_kind(head: bytes) -> str:
    """The kind that a photo with these first bytes will have after ``write_usable``. Kinds that all nodes read stay as they are.

    :param head: as for ``kind_of``
    """
    kind = kind_of(head)
    if kind in READ_EVERYWHERE or kind not in ENDINGS:
        return kind
    return PNG if kind == WEBP and photo_headers.is_transparent_webp(head) else JPEG


_WALKS = {JPEG: photo_headers.jpeg, PNG: photo_headers.png, TIFF: photo_headers.tiff, WEBP: photo_headers.webp,
          BMP: photo_headers.bmp, HEIC: photo_headers.heif}
_LABELS = {JPEG: "JPEG", PNG: "PNG", TIFF: "TIFF", WEBP: "WebP", BMP: "BMP", HEIC: "HEIC"}


def examine(path: Union[str, Path]) -> PhotoFile:
    """Judge a file by its content in a few milliseconds. Data after a JPEG's end mark is ignored.

    Nothing is decoded, with one exception: a JPEG without an end mark, to see whether pixels are missing.

    :raises NotUsable: not a photo, not complete, absurdly large, or of a kind that cannot be decoded here
    :raises OSError: the file cannot be read
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise NotUsable("empty")
        kind = kind_of(file.read(HEAD_BYTES))
        if kind not in ENDINGS:
            raise NotUsable(kind or "not_photo")
        if kind == HEIC and pillow_heif is None:
            raise NotUsable("heic")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                header = _WALKS[kind](data)
            except Broken as reason:
                raise _named(reason.code, kind) from None
            except struct.error:
                raise _named("broken_off", kind) from None
            if header.width < 1 or header.height < 1:
                raise _named("no_picture", kind)
            if header.width * header.height > MAX_PIXELS:
                raise NotUsable("too_large", f"claims {header.width} × {header.height} pixels, more than the "
                                             f"{MAX_PIXELS // 1_000_000} megapixels allowed")
            if not header.ends and not _has_all_pixels(data, header):
                raise _named("broken_off", kind)
    return PhotoFile(kind, header.width, header.height, not header.ends, header.transparent)


def _named(code: str, kind: str) -> NotUsable:
    """The reason, with the kind of picture if that is useful."""
    sentence = {"damaged": "is a damaged {}", "broken_off": "is a {} that breaks off before its end",
                "no_picture": "is a {} without a picture"}
    return NotUsable(code, sentence[code].format(_LABELS[kind]) if code in sentence else "")


def _has_all_pixels(data: Any, header: Header) -> bool:
    """Whether a JPEG without an end mark has all of its pixels, except perhaps a few blocks in the last corner.

    libjpeg silently fills missing pixels with gray. But if the data ends without any mark, it stops and Pillow reports it.
    It reads up to eight bytes ahead, so eight zeros are added after the data. Zeros at the file's end are cut first: a card
    leaves them in place of missing data, and they would decode as plain gray. A progressive picture cannot be decoded
    without its end mark, so it counts as broken off.
    """
    end = len(data)
    if header.progressive or end > LARGEST_DECODED_BYTES:
        return False
    while end > header.data_start and not data[end - 1]:  # in steps, because most of a file may be zeros
        block = data[max(header.data_start, end - 65_536):end].rstrip(b"\x00")
        end = max(header.data_start, end - 65_536) + len(block)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data[:end] + bytes(8)), formats=["JPEG"]) as image:
                image.load()
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return False
    return True


# --- reading and converting ------------------------------------------------------------------------------------------


def open_picture(file: Union[str, Path, BinaryIO], kind: str = "") -> Image.Image:
    """Open a photo with Pillow, including HEIC, without registering a Pillow plugin for the rest of the process.

    A HEIC picture comes upright with an EXIF orientation of 1. Others come as stored.

    :param kind: the kind that ``examine`` found; read from the file if it is not given
    :raises OSError, ValueError, SyntaxError: it cannot be decoded
    """
    if not kind:
        if isinstance(file, (str, Path)):
            with open(file, "rb") as opened:
                kind = kind_of(opened.read(HEAD_BYTES))
        else:
            kind = kind_of(file.read(HEAD_BYTES))
            file.seek(0)
    if kind == HEIC:
        if pillow_heif is None:
            raise NotUsable("heic")
        return pillow_heif.open_heif(file).to_pillow()
    return Image.open(file)


def write_usable(path: Union[str, Path], photo: PhotoFile, target: Union[str, Path]) -> PhotoFile:
    """Write a photo as a file that every processing node reads.

    :param path: the photo
    :param photo: the result of ``examine`` for it
    :param target: a file, overwritten; its name does not matter
    :return: the photo that was written
    :raises NotUsable: it cannot be decoded; :raises OSError: the target cannot be written
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with open_picture(path, photo.kind) as image:
                image.load()
                exif, profile = _exif_of(image), image.info.get("icc_profile")
                picture = image.convert("RGBA" if photo.transparent else "RGB")
    except NotUsable:
        raise
    except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, struct.error, MemoryError, Image.DecompressionBombError):
        raise NotUsable("undecodable") from None
    kind = PNG if photo.transparent else JPEG
    extra = {"icc_profile": profile} if profile else {}
    if exif:
        extra["exif"] = exif
    with open(target, "wb") as out:
        picture.save(out, _LABELS[kind], **({"quality": JPEG_QUALITY} if kind == JPEG else {"compress_level": 1}), **extra)
    return PhotoFile(kind, picture.width, picture.height, transparent=photo.transparent)


def _exif_of(image: Image.Image) -> bytes:
    """A picture's EXIF for a JPEG, which can hold 64 kB. If it is longer, drop the maker's notes and preview; empty if still too long."""
    raw = image.info.get("exif") or b""
    if raw and not raw.startswith(b"Exif\x00\x00"):
        raw = b"Exif\x00\x00" + raw
    if len(raw) <= 65_000:
        return raw
    try:
        exif = image.getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        details.pop(0x927C, None)  # MakerNote
        short = exif.tobytes()
    except (struct.error, TypeError, ValueError, KeyError, OSError):
        return b""
    return short if len(short) <= 65_000 else b""


# --- sentences -------------------------------------------------------------------------------------------------------


class LeftOut(NamedTuple):
    """A file that was left out: its name, a key of ``PROBLEMS``, and its own wording (used if no other file has this code)."""

    name: str
    code: str
    detail: str = ""


def quoted(name: str) -> str:
    """A file's name for use in a sentence: printable, at most 120 characters, in quotation marks."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    if len(shown) > 120:
        shown = shown[:60] + "…" + shown[-59:]
    return f"“{shown}”"


def summarize(left_out: Iterable[LeftOut], named: int = 3) -> "list[str]":
    """Sentences about the files that were left out, one per reason, in the order in which the reasons first appear.

    One file gets a sentence with its name. Several files become a count with examples: "50 files from a camera card were left
    out (.MOV, .THM).", "3 files break off before their end and were left out (“a.jpg”, “b.jpg” and “c.jpg”). Copy …".

    :param named: most names in one sentence
    """
    groups: dict[str, list[LeftOut]] = {}
    for item in left_out:
        groups.setdefault(item.code, []).append(item)
    return [_sentence(code, items, named) for code, items in groups.items()]


def _sentence(code: str, items: "list[LeftOut]", named: int) -> str:
    problem = PROBLEMS[code]
    names = [quoted(item.name) for item in items[:named]]
    if len(items) == 1:
        sentence = f"{names[0]} {items[0].detail or problem.one} and was left out."
    elif code in ("card", "backup", "other"):
        kinds = sorted({ending_of(item.name).upper() or "no ending" for item in items})
        shown = ", ".join(kinds[:8]) + (" …" if len(kinds) > 8 else "")
        link = "" if problem.many.startswith("from") else " and"
        sentence = f"{len(items)} files {problem.many}{link} were left out ({shown})."
    else:
        more = len(items) - len(names)
        listed = (", ".join(names) + f" and {more} more") if more else ", ".join(names[:-1]) + f" and {names[-1]}"
        sentence = f"{len(items)} files {problem.many} and were left out ({listed})."
    remedy = problem.remedy.format(them="it" if len(items) == 1 else "them")
    return f"{sentence} {remedy}" if remedy else sentence
