"""Reading photos of every kind: modes, bit depths, rotation, EXIF; what is broken, doubled or blurred is named."""
import hashlib
import io
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import unquote

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .errors import WriteError
from .imagefile import write_image
from .masks import alpha_mask, prepare_mask, turned_upright

EXTENSIONS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
# Pictures as cameras and phones write them, which nothing here can decode: named, so that nobody misses them.
NOT_READ = {".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".gif", ".psd", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf",
            ".rw2", ".raf", ".pef", ".srw", ".x3f", ".insp"}
FILMS = {".mp4", ".mov", ".avi", ".m4v", ".mkv"}
MASK_SUFFIX = "_mask"
_FOCAL_35MM_WIDTH = 36.0  # mm; width of the film frame to which FocalLengthIn35mmFilm refers (EXIF 2.3, 0xA405)


@dataclass
class Photo:
    """A photo that is used: its prepared copy (upright, 8-bit RGB JPEG) and what its EXIF says."""

    name: str
    source: str
    width: int
    height: int
    scale: float = 1.0  # prepared width / original width
    make: str = ""
    model: str = ""
    focal_px: Optional[float] = None  # in pixels of the prepared copy
    gps: Optional[tuple[float, float, float]] = None  # latitude, longitude (degrees WGS 84), altitude (m)
    taken: str = ""
    mask: Optional[str] = None
    sharpness: float = 0.0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> "Photo":
        """The opposite of as_dict."""
        row = dict(row)
        if row.get("gps") is not None:
            row["gps"] = tuple(row["gps"])
        return cls(**row)

    @property
    def camera_key(self) -> tuple[str, str, int, int, int]:
        """Photos with the same key were taken by the same lens at the same zoom."""
        return (self.make, self.model, self.width, self.height, round(self.focal_px or 0))


@dataclass
class LeftOut:
    """A file that is not used, and why."""

    name: str
    reason: str


def not_read(directory: Path) -> list[LeftOut]:
    """Pictures and films of kinds that cannot be read, among the photos."""
    found = []
    for path in sorted(directory.iterdir(), key=lambda p: p.name):
        if path.is_file() and path.suffix.lower() in NOT_READ:
            found.append(LeftOut(path.name, f"is a {path.suffix[1:].upper()} file, which is not read: export it as JPEG, PNG or TIFF"))
        elif path.is_file() and path.suffix.lower() in FILMS:
            found.append(LeftOut(path.name, "is a film: take photos, or export sharp single pictures of it as JPEG"))
    return found


def list_images(directory: Path) -> tuple[list[Path], dict[str, Path]]:
    """Image files of a directory by name, and the masks (``NAME_mask.png`` as ODM takes them) by photo stem."""
    images, masks = [], {}
    for path in sorted(directory.iterdir(), key=lambda p: p.name):
        if not path.is_file() or path.suffix.lower() not in EXTENSIONS:
            continue
        stem = path.stem
        if stem.lower().endswith(MASK_SUFFIX):
            masks[stem[: -len(MASK_SUFFIX)].lower()] = path
        else:
            images.append(path)
    return images, masks


def _to_8bit(array: np.ndarray) -> np.ndarray:
    """16-bit and float samples to 8 bit; the range is that of the data's own depth (10, 12, 14 or 16 bit)."""
    if array.dtype == np.uint8:
        return array
    top = float(array.max()) if array.size else 1.0
    if array.dtype.kind == "f":
        full = max(top, 1.0)
    else:
        full = float(2 ** max(8, math.ceil(math.log2(top + 1)))) - 1.0
    return np.clip(array.astype(np.float32) * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)


def read_rgb(path: Path) -> tuple[np.ndarray, Image.Exif, list[str]]:
    """Pixels (height, width, 3; 8 bit; upright), EXIF and remarks of a photo.

    Raises OSError or ValueError where the file cannot be decoded to its end.
    """
    data = path.read_bytes()
    if not data:
        raise ValueError("the file is empty")
    notes: list[str] = []
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        mode = image.mode
        if image.format in ("PNG", "TIFF"):
            # Pillow cuts 16-bit RGB to 8 bit or refuses it: OpenCV decodes these.
            array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            if array is not None and array.dtype != np.uint8:
                notes.append(f"{8 * array.dtype.itemsize}-bit photo brought to 8 bit")
                array = _to_8bit(array)
                if array.ndim == 2:
                    notes.append("grey photo")
                    array = cv2.cvtColor(array, cv2.COLOR_GRAY2RGB)
                else:
                    array = cv2.cvtColor(array[:, :, :3], cv2.COLOR_BGR2RGB)
                image = Image.fromarray(array)
        image.load()
        if mode == "CMYK":
            notes.append("CMYK photo converted to RGB")
        elif mode in ("L", "LA", "1") and "grey photo" not in notes:
            notes.append("grey photo")
        rgb = image.convert("RGB")
        if exif.get(ExifTags.Base.Orientation) in range(2, 9):
            rgb = turned_upright(rgb, exif[ExifTags.Base.Orientation])
            notes.append("turned upright by its EXIF orientation")
        return np.ascontiguousarray(np.asarray(rgb)), exif, notes


def _number(value: Any) -> Optional[float]:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


def _gps(exif: Image.Exif) -> Optional[tuple[float, float, float]]:
    tags = exif.get_ifd(ExifTags.IFD.GPSInfo)
    try:
        degrees = []
        for key in (2, 4):
            d, m, s = (float(x) for x in tags[key])
            degrees.append(d + m / 60.0 + s / 3600.0)
        latitude = -degrees[0] if str(tags.get(1, "N")).upper().startswith("S") else degrees[0]
        longitude = -degrees[1] if str(tags.get(3, "E")).upper().startswith("W") else degrees[1]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    altitude = _number(tags.get(6)) or 0.0
    if tags.get(5) in (b"\x01", 1):
        altitude = -altitude
    if not all(map(math.isfinite, (latitude, longitude))) or (latitude == 0 and longitude == 0):
        return None
    return latitude, longitude, altitude


def _text(value: Any) -> str:
    return str(value or "").replace("\x00", "").strip()


def _describe(photo: Photo, exif: Image.Exif) -> None:
    photo.make, photo.model = _text(exif.get(271)), _text(exif.get(272))
    details = exif.get_ifd(ExifTags.IFD.Exif)
    photo.taken = _text(details.get(36867) or exif.get(306))
    focal_35mm = _number(details.get(41989))
    if focal_35mm and focal_35mm > 5:
        photo.focal_px = focal_35mm / _FOCAL_35MM_WIDTH * max(photo.width, photo.height)
    photo.gps = _gps(exif)


def _sharpness(grey: np.ndarray) -> float:
    """Ratio of fine to coarse detail: falls with blur, hardly with what is shown.

    Crete et al. 2007 compare a picture with its own blurred copy: a picture that loses little was blurred already.
    """
    small = cv2.resize(grey, None, fx=(s := min(1.0, 800.0 / max(grey.shape))), fy=s, interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    fine = np.abs(small - cv2.GaussianBlur(small, (0, 0), 1.0)).mean()
    coarse = np.abs(cv2.GaussianBlur(small, (0, 0), 2.0) - cv2.GaussianBlur(small, (0, 0), 6.0)).mean()
    return float(fine / (coarse + 0.5))


def _prepare_one(path: Path, mask: Optional[Path], target: Path, max_size: int) -> tuple[Photo, np.ndarray]:
    rgb, exif, notes = read_rgb(path)
    height, width = rgb.shape[:2]
    if min(height, width) < 64:
        raise ValueError(f"only {width}x{height} pixels")
    scale = min(1.0, max_size / max(height, width))
    if scale < 1.0:
        rgb = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    photo = Photo(name=path.name, source=str(path), width=rgb.shape[1], height=rgb.shape[0], scale=scale,
                  notes=notes)
    _describe(photo, exif)
    prepared = target.parent / "masks" / f"{target.name}.png"
    if mask is None and alpha_mask(path, photo.width, photo.height, prepared):
        photo.mask = str(prepared)
        photo.notes.append("what is transparent is left out")
    if mask is not None:
        usable, remark = prepare_mask(mask, exif.get(ExifTags.Base.Orientation, 1), photo.width, photo.height, prepared)
        photo.mask = str(prepared) if usable else None
        if remark:
            photo.notes.append(remark)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    photo.sharpness = _sharpness(grey)
    write_image(target, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 96])
    return photo, cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)


def prepared_name(name: str) -> str:
    """File name of a photo's prepared copy; unique, as photo names are.

    COLMAP reads lists of pairs as two names with a space between them, and a line that begins with # as a comment.
    """
    for character in "% \t#":
        name = name.replace(character, f"%{ord(character):02X}")
    return name + ".jpg"


def photo_name(prepared: str) -> str:
    """The photo whose prepared copy has this name."""
    return unquote(prepared[: -len(".jpg")])


def prepare(images: Iterable[Path], masks: dict[str, Path], target: Path, max_size: int, threads: int,
            on_done=lambda done, total: None) -> tuple[list[Photo], list[LeftOut]]:
    """Decode all photos once and write upright 8-bit copies to ``target``.

    Broken files and exact or near-exact doubles are left out and named; blurred ones are used and noted.
    """
    target.mkdir(parents=True, exist_ok=True)
    images = list(images)
    photos: list[Photo] = []
    left_out: list[LeftOut] = []
    digests: dict[str, str] = {}
    thumbs: list[np.ndarray] = []

    def work(path: Path):
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            made = _prepare_one(path, masks.get(path.stem.lower()), target / prepared_name(path.name), max_size)
            return path, digest, made, None
        except UnidentifiedImageError:
            return path, "", None, "it holds no picture of a known kind"
        except WriteError:
            raise
        except (OSError, ValueError, SyntaxError, cv2.error, Image.DecompressionBombError) as error:
            return path, "", None, str(error) or type(error).__name__

    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done, (path, digest, made, error) in enumerate(pool.map(work, images), 1):
            on_done(done, len(images))
            if made is None:
                left_out.append(LeftOut(path.name, f"cannot be read ({error})"))
                continue
            photo, thumb = made
            twin = digests.get(digest)
            if twin is None:
                twin = next((p.name for p, t in zip(photos, thumbs) if np.array_equal(t, thumb)
                             and (p.width, p.height, p.taken) == (photo.width, photo.height, photo.taken)), None)
            if twin is not None:
                left_out.append(LeftOut(path.name, f"is the same photo as {twin}"))
                continue
            digests[digest] = path.name
            photos.append(photo)
            thumbs.append(thumb)
    if len(photos) >= 4:
        usual = float(np.median([p.sharpness for p in photos]))
        for photo in photos:
            if photo.sharpness < 0.4 * usual:
                photo.notes.append("blurred compared with the others")
    return photos, left_out
