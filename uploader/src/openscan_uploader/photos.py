"""Finds the photos in a folder. Like a server, it looks at the first bytes of each file; all other files get a reason."""
import os
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, List, NamedTuple, Sequence, Set, Tuple

from openscan_uploader.errors import NotPossible, NoUsablePhotos

_HEAD_BYTES = 64
#: Still pictures. `hevc` and `msf1` are sequences. AVIF may begin like HEIF, but no server accepts it.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2")
_CLUTTER = {"thumbs.db", "desktop.ini"}
#: A folder with one of these holds a model, and its images are the model's textures.
_MODELS = (".obj", ".glb", ".gltf", ".ply", ".stl")
_TEXTS = re.compile(r"(gcp_list|geo|image_groups|gcp.*|ground_control.*)\.txt\Z", re.IGNORECASE)
_MASK = re.compile(r"(.+)_mask\.(png|jpe?g)\Z", re.IGNORECASE)
_RAW = (".nef", ".cr2", ".cr3", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef", ".srw")
_FILM = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mts")


class Photo(NamedTuple):
    """One file of a set. `name` is its path within the set, with `/` between folders."""

    name: str
    path: str
    size_bytes: int
    modified_ns: int
    #: `jpeg`, `png`, `tiff`, `heif`, `webp`, `bmp`; `text` for control points.
    kind: str


class LeftOut(NamedTuple):
    """A file that is not sent, and why."""

    name: str
    why: str


@dataclass
class Found:
    """What is in a folder: photos to send, texts that belong to them, and files that are left out."""

    photos: List[Photo] = field(default_factory=list)
    texts: List[Photo] = field(default_factory=list)
    left_out: List[LeftOut] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """The bytes of all files that are sent."""
        return sum(photo.size_bytes for photo in self.photos + self.texts)

    @property
    def has_masks(self) -> bool:
        """Whether a photo has a mask. Masks are recognized by their names, so these must be sent."""
        return bool(self.masks())

    def masks(self) -> Set[str]:
        """The names of the photos that are masks of other photos."""
        stems = {os.path.splitext(photo.name)[0].lower().rpartition("/")[2] for photo in self.photos}
        found = set()
        for photo in self.photos:
            match = _MASK.match(photo.name.rpartition("/")[2])
            if match and match.group(1).lower() in stems:
                found.add(photo.name)
        return found


def kind_of(head: bytes) -> str:
    """The kind of photo that begins with these bytes; empty for anything else."""
    if head[:3] == b"\xff\xd8\xff":
        return "jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS and not any(brand in head for brand in (b"avif", b"avis")):
        return "heif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return "bmp"
    return ""


def collect(source: "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]") -> Found:
    """Look through a folder with its subfolders, or a list of files.

    Nothing is written, so the folder may be read-only.

    Raises:
        NotPossible: the folder or a listed file does not exist.
    """
    if isinstance(source, (str, os.PathLike)):
        folder = Path(source)
        if not folder.exists():
            raise NotPossible(f"{folder} does not exist. Check the path.")
        entries = list(_walk(folder)) if folder.is_dir() else [(folder.name, str(folder))]
    else:
        entries = _listed([Path(path) for path in source])
    found = Found()
    seen: Set[str] = set()
    for name, path in sorted(entries, key=lambda entry: _in_order(entry[0])):
        shown = _storable(name)
        why = _add(found, shown, path, seen)
        if why:
            found.left_out.append(LeftOut(shown, why))
    return found


def require_enough(found: Found) -> None:
    """Raise NoUsablePhotos with the reasons if there are fewer than two photos."""
    usable = len(found.photos) - len(found.masks())
    if usable >= 2:
        return
    reasons = sorted({left.why for left in found.left_out})
    rest = f" Left out: {'; '.join(reasons[:5])}." if reasons else ""
    what = "There are no photos" if not usable else "There is only one photo"
    raise NoUsablePhotos(f"{what} in what you chose. A model needs at least two, better 20 or more (JPEG, PNG, TIFF or HEIC).{rest}")


def _walk(folder: Path) -> "Iterable[Tuple[str, str]]":
    root = str(folder)
    problems: List[OSError] = []
    for directory, folders, files in os.walk(root, onerror=problems.append):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__MACOSX"]
        if directory != root and any(name.lower().endswith(_MODELS) for name in files):
            folders[:] = []
            continue
        for name in files:
            if not name.startswith(".") and name.lower() not in _CLUTTER:
                path = os.path.join(directory, name)
                yield os.path.relpath(path, root).replace(os.sep, "/"), path
    if problems:
        raise NotPossible(f"{problems[0].filename} cannot be read ({problems[0].strerror}). Change its permissions, or copy the photos.")


def _listed(paths: Sequence[Path]) -> "List[Tuple[str, str]]":
    for path in paths:
        if not path.is_file():
            raise NotPossible(f"{path} is not a file. Choose photos, or one folder.")
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return list(zip(names, map(str, paths)))
    try:
        common = os.path.commonpath([str(path.absolute().parent) for path in paths])
    except ValueError as error:  # several drives of Windows
        raise NotPossible("Some of these files have the same name and are on different drives. Put them into one folder.") from error
    return [(os.path.relpath(str(path.absolute()), common).replace(os.sep, "/"), str(path)) for path in paths]


def _add(found: Found, name: str, path: str, seen: "Set[str]") -> str:
    """Add a file to the photos or texts. Returns why it is left out; empty if it is not."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
            about = os.fstat(file.fileno())
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not about.st_size:
        return "is empty"
    kind = kind_of(head)
    extension = os.path.splitext(name)[1].lower()
    if kind == "tiff" and extension in _RAW:
        kind = ""
    is_text = not kind and bool(_TEXTS.match(name.rpartition("/")[2]))
    if not kind and not is_text:
        return _why_no_photo(extension, head)
    if name in seen:
        return "has the same name as another file"
    seen.add(name)
    photo = Photo(name, path, about.st_size, about.st_mtime_ns, kind or "text")
    (found.texts if is_text else found.photos).append(photo)
    return ""


def _why_no_photo(extension: str, head: bytes) -> str:
    if extension in _RAW:
        return "is a raw file; export it as JPEG"
    if extension in _FILM:
        return "is a video; take photos, or extract frames"
    if head[:4] == b"PK\x03\x04":
        return "is a zip; send it by itself, or unpack it"
    return "is not a photo (JPEG, PNG, TIFF, HEIC, WebP or BMP)"


def _in_order(name: str) -> "List[Tuple[int, int, str]]":
    """A key that sorts photos by their numbers: IMG_9 before IMG_10."""
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", name.lower()) if piece]


def _storable(name: str) -> str:
    """A name that JSON and zips can hold: composed characters (macOS splits umlauts), no broken bytes, no control characters."""
    text = unicodedata.normalize("NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    return "".join(character if character.isprintable() or character in "\u200d\ufe0f" else "_" for character in text)


def photos_in_zip(names: "Iterable[str]") -> int:
    """How many members of a zip are photos, by their names."""
    endings = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".heic", ".heif", ".webp", ".bmp")
    return sum(1 for name in names if name.lower().endswith(endings) and not name.startswith("__MACOSX/")
               and not name.rpartition("/")[2].startswith("."))
