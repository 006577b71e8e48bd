"""Reads photos of every kind (modes, bit depths, rotation, EXIF), and reports broken, duplicate and blurred ones."""
import hashlib
import io
import math
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional
from urllib.parse import unquote

import cv2
import numpy as np
from PIL import ExifTags, Image

from app_extensions.shared import photo_files

from .errors import WriteError
from .imagefile import write_image
from .masks import alpha_mask, prepare_mask, turned_upright

#: Files that are not photos, by their names, and are reported with a reason (keys of photo_files.PROBLEMS). Clutter and texts are not.
_NAMED = {photo_files.CARD: "card", photo_files.BACKUP: "backup", photo_files.ARCHIVE: "other"}
_LEAST_COLOUR = 3  # colour photos beside which bands and thermal frames are left out
_BAND = re.compile(r"(.+)_(red[ _]?edge|red|green|blue|nir|reg|re|rgb|pan|lwir|ms_[a-z]+|[1-9]|1[0-2])", re.IGNORECASE)
_THERMAL = re.compile(r"(.+_)(t|thrm|ir|r)", re.IGNORECASE)
_FOCAL_35MM_WIDTH = 36.0  # mm; width of the film frame to which FocalLengthIn35mmFilm refers (EXIF 2.3, 0xA405)


@dataclass
class Photo:
    """A photo in use: its prepared copy (upright, 8-bit RGB JPEG) and its EXIF data."""

    name: str
    source: str
    width: int
    height: int
    scale: float = 1.0  # prepared width / original width
    make: str = ""
    model: str = ""
    focal_px: Optional[float] = None  # in pixels of the prepared copy
    gps: Optional[tuple[float, float, Optional[float]]] = None  # latitude, longitude (degrees WGS 84), altitude (m) if known
    gps_unsure: bool = False  # the file does not say whether north or south, east or west
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
    code: str = ""    # of photo_files.PROBLEMS
    detail: str = ""  # more specific wording


def list_images(directory: Path) -> tuple[list[Path], dict[str, Path], list[LeftOut]]:
    """The files in a directory, sorted out by their names only.

    Returns the files that may be photos, the masks (``NAME_mask.png``, as in ODM) by photo stem, and the files that are left out.
    """
    images, masks, left_out = [], {}, []
    files = sorted((path for path in directory.iterdir() if path.is_file()), key=lambda path: path.name)
    extras = photo_files.rig_extras(path.name for path in files)
    for path in files:
        role = photo_files.role_of(path.name)
        if role == photo_files.MASK:
            masks[photo_files.mask_stem(path.name).lower()] = path
        elif path.name in extras:
            left_out.append(_left_out(path.name, extras[path.name]))
        elif role == photo_files.PHOTO:
            images.append(path)
        elif role in _NAMED:
            code = _NAMED[role]
            if code == "card":
                code = {"film": "film", "raw": "raw"}.get(_kind(path), code)
            left_out.append(_left_out(path.name, code))
    return images, masks, left_out


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        return photo_files.kind_of(file.read(photo_files.HEAD_BYTES))


def _left_out(name: str, code: str, detail: str = "") -> LeftOut:
    """A file that is not used for a reason from ``photo_files``, with what to do about it."""
    problem = photo_files.PROBLEMS[code]
    return LeftOut(name, f"{detail or problem.one}{'. ' + problem.remedy.format(them='it') if problem.remedy else ''}".rstrip("."),
                   code, detail)


def sentences(left_out: Iterable[LeftOut]) -> list[str]:
    """The files that were left out, in one sentence per reason."""
    items = list(left_out)
    known = [photo_files.LeftOut(item.name, item.code, item.detail) for item in items if item.code]
    return photo_files.summarize(known) + [f"Left out: {item.name} {item.reason}" for item in items if not item.code]


def _to_8bit(array: np.ndarray) -> np.ndarray:
    """16-bit and float samples as 8 bit. The range is the data's own depth (10, 12, 14 or 16 bit)."""
    if array.dtype == np.uint8:
        return array
    top = float(array.max()) if array.size else 1.0
    if array.dtype.kind == "f":
        full = max(top, 1.0)
    else:
        full = float(2 ** max(8, math.ceil(math.log2(top + 1)))) - 1.0
    return np.clip(array.astype(np.float32) * (255.0 / full) + 0.5, 0, 255).astype(np.uint8)


@dataclass
class Picture:
    """A decoded photo: pixels (height, width, 3; 8 bit; upright), EXIF, remarks, and the orientation it was stored in (1 to 8)."""

    rgb: np.ndarray
    exif: Image.Exif
    notes: list[str]
    orientation: int
    xmp: bytes
    grey: bool
    thermal: bool
    transparent: bool


def _read_deep(data: bytes) -> Optional[np.ndarray]:
    """Pixels of a PNG or TIFF with more than 8 bits per sample, as 8-bit RGB; None for others. Pillow truncates or refuses these."""
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype == np.uint8:
        return None
    array = _to_8bit(array)
    return cv2.cvtColor(array, cv2.COLOR_GRAY2RGB) if array.ndim == 2 else cv2.cvtColor(array[:, :, :3], cv2.COLOR_BGR2RGB)


def read_rgb(path: Path) -> Picture:
    """Decode a photo of any kind that ``photo_files`` accepts.

    Raises NotUsable, OSError or ValueError if the file is not a photo or cannot be decoded completely.
    """
    known = photo_files.examine(path)
    data = path.read_bytes()
    if known.without_end:
        data += b"\xff\xd9"
    notes: list[str] = []
    if known.without_end:
        notes.append("its end mark is missing, but all of its pixels are there")
    with photo_files.open_picture(io.BytesIO(data), known.kind) as image:
        exif, mode = image.getexif(), image.mode
        orientation = exif.get(ExifTags.Base.Orientation, 1)  # before the pixels are read: Pillow turns a TIFF, and drops the tag
        xmp = image.info.get("xmp") or b""
        grey = mode in ("1", "L", "LA", "I", "F") or mode.startswith("I;16")
        deep = _read_deep(data) if known.kind in (photo_files.PNG, photo_files.TIFF) else None
        if deep is not None:
            notes.append("16-bit photo converted to 8 bit")
            rgb = Image.fromarray(deep)
        else:
            image.load()
            rgb = image.convert("RGB")
        if mode == "CMYK":
            notes.append("CMYK photo converted to RGB")
        elif grey:
            notes.append("grey photo")
        if orientation not in range(2, 9):
            orientation = 1
        else:
            if known.kind != photo_files.TIFF:  # Pillow and OpenCV both turn a TIFF as they read it
                rgb = turned_upright(rgb, orientation)
            notes.append("turned upright by its EXIF orientation")
        thermal = b"\xff\xe1" in data[:4096] and b"FLIR\x00" in data[:65536] or any(
            word in xmp for word in (b"InfraredCamera", b"ThermalCamera"))
        return Picture(np.ascontiguousarray(np.asarray(rgb)), exif, notes, orientation, xmp, grey, thermal,
                       known.transparent)


def _number(value: Any) -> Optional[float]:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


_DJI_ALTITUDE = re.compile(rb'drone-dji:AbsoluteAltitude(?:="|>)([+-]?[0-9.]+)')


def _gps(exif: Image.Exif, xmp: bytes) -> tuple[Optional[tuple[float, float, Optional[float]]], bool, str]:
    """Position (degrees, degrees, metres or None), whether its hemisphere is a guess, and a remark."""
    tags = exif.get_ifd(ExifTags.IFD.GPSInfo)
    try:
        degrees = []
        for key in (2, 4):
            d, m, s = (float(x) for x in tags[key])
            degrees.append(d + m / 60.0 + s / 3600.0)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None, False, ""
    sides = [str(tags.get(key) or "").strip("\x00 ").upper()[:1] for key in (1, 3)]
    latitude = -degrees[0] if sides[0] == "S" else degrees[0]
    longitude = -degrees[1] if sides[1] == "W" else degrees[1]
    if not (abs(latitude) <= 90 and abs(longitude) <= 360):  # also true for nan
        return None, False, "its GPS position is not a place on Earth and is not used"
    if latitude == 0 and longitude == 0:
        return None, False, "its GPS position is 0, 0 and is not used"
    altitude = _number(tags.get(6))
    if altitude is not None and tags.get(5) in (b"\x01", 1):
        altitude = -altitude
    if not altitude:
        told = _DJI_ALTITUDE.search(xmp)
        altitude = (_number(told[1].decode("ascii")) if told else None) or altitude
    return (latitude, longitude, altitude), not all(sides), ""


def _text(value: Any) -> str:
    return str(value or "").replace("\x00", "").strip()


def _describe(photo: Photo, exif: Image.Exif, xmp: bytes) -> None:
    photo.make, photo.model = _text(exif.get(271)), _text(exif.get(272))
    details = exif.get_ifd(ExifTags.IFD.Exif)
    photo.taken = _text(details.get(36867) or exif.get(306))
    focal_35mm = _number(details.get(41989))
    if focal_35mm and focal_35mm > 5:
        photo.focal_px = focal_35mm / _FOCAL_35MM_WIDTH * max(photo.width, photo.height)
    photo.gps, photo.gps_unsure, remark = _gps(exif, xmp)
    if remark:
        photo.notes.append(remark)


def _sharpness(grey: np.ndarray) -> float:
    """Ratio of fine to coarse detail. It falls with blur, and depends little on what the photo shows.

    Crete et al. 2007 compare a picture with its own blurred copy: a picture that loses little was already blurred.
    """
    small = cv2.resize(grey, None, fx=(s := min(1.0, 800.0 / max(grey.shape))), fy=s, interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    fine = np.abs(small - cv2.GaussianBlur(small, (0, 0), 1.0)).mean()
    coarse = np.abs(cv2.GaussianBlur(small, (0, 0), 2.0) - cv2.GaussianBlur(small, (0, 0), 6.0)).mean()
    return float(fine / (coarse + 0.5))


@dataclass
class _Prepared:
    """A prepared photo, a thumbnail to recognize duplicates, and the kind of picture."""

    photo: Photo
    thumb: np.ndarray
    grey: bool
    thermal: bool


def _prepare_one(path: Path, mask: Optional[Path], target: Path, max_size: int) -> _Prepared:
    picture = read_rgb(path)
    rgb, exif, notes = picture.rgb, picture.exif, picture.notes
    height, width = rgb.shape[:2]
    if min(height, width) < 64:
        raise ValueError(f"only {width}x{height} pixels")
    scale = min(1.0, max_size / max(height, width))
    if scale < 1.0:
        rgb = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    photo = Photo(name=path.name, source=str(path), width=rgb.shape[1], height=rgb.shape[0], scale=scale,
                  notes=notes)
    _describe(photo, exif, picture.xmp)
    prepared = target.parent / "masks" / f"{target.name}.png"
    if mask is None and picture.transparent and alpha_mask(path, photo.width, photo.height, prepared):
        photo.mask = str(prepared)
        photo.notes.append("its transparent parts are left out")
    if mask is not None:
        usable, remark = prepare_mask(mask, picture.orientation, photo.width, photo.height, prepared)
        photo.mask = str(prepared) if usable else None
        if remark:
            photo.notes.append(remark)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    photo.sharpness = _sharpness(grey)
    write_image(target, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 96])
    return _Prepared(photo, cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA), picture.grey, picture.thermal)


def _other_spectra(made: Iterable[_Prepared]) -> dict[str, str]:
    """Bands of multispectral cameras and thermal frames beside colour photos, with the reason why each is not used.

    They show the same places in other light, so their features do not match those of the colour photos.
    """
    made = list(made)
    colour = [m for m in made if not m.grey and not m.thermal]
    if len(colour) < _LEAST_COLOUR:
        return {}
    stems = {Path(m.photo.name).stem.lower() for m in made}
    bands: dict[str, list[str]] = {}
    for m in made:
        band = _BAND.fullmatch(Path(m.photo.name).stem)
        if m.grey and band and photo_files.ending_of(m.photo.name) in photo_files.ENDINGS[photo_files.TIFF]:
            bands.setdefault(band[1].lower(), []).append(m.photo.name)
    out = {name: "is one band of a multispectral camera beside colour photos, and is not used"
           for names in bands.values() if len(names) > 1 for name in names}
    for m in made:
        thermal = _THERMAL.fullmatch(Path(m.photo.name).stem)
        beside = thermal and any(thermal[1].lower() + other in stems for other in ("v", "w", "z", "s", "visl", "rgb", "wide", "zoom"))
        if m.thermal or beside:
            out[m.photo.name] = "is a thermal picture beside colour photos, and is not used"
    return out


def _settle_hemispheres(photos: Iterable[Photo]) -> None:
    """Give photos that lack N, S, E or W the hemisphere of the other photos."""
    located = [p for p in photos if p.gps is not None]
    sure = [p.gps for p in located if not p.gps_unsure]
    for photo in located:
        if photo.gps_unsure and sure:
            signs = [np.sign(np.median([gps[k] for gps in sure])) or 1.0 for k in (0, 1)]
            photo.gps = (signs[0] * abs(photo.gps[0]), signs[1] * abs(photo.gps[1]), photo.gps[2])
            photo.gps_unsure = False
            photo.notes.append("its GPS position lacks N, S, E or W; they were taken from the other photos")


def prepared_name(name: str) -> str:
    """The file name of a photo's prepared copy. It is unique, because photo names are.

    Spaces and # are replaced: COLMAP separates names by spaces in lists of pairs, and takes lines that begin with # as comments.
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

    Broken files and (nearly) exact duplicates are left out and reported. Blurred photos are used, with a note.
    """
    target.mkdir(parents=True, exist_ok=True)
    images = list(images)
    photos: list[Photo] = []
    left_out: list[LeftOut] = []
    digests: dict[str, str] = {}
    thumbs: list[np.ndarray] = []

    def work(path: Path) -> tuple[str, Optional[_Prepared], Optional[LeftOut]]:
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            made = _prepare_one(path, masks.get(path.stem.lower()), target / prepared_name(path.name), max_size)
            return digest, made, None
        except photo_files.NotUsable as error:
            return "", None, _left_out(path.name, error.code, str(error))
        except WriteError:
            raise
        except (OSError, ValueError, SyntaxError, RuntimeError, EOFError, cv2.error, Image.DecompressionBombError) as error:
            return "", None, LeftOut(path.name, f"cannot be read ({str(error) or type(error).__name__})")

    made_all: list[tuple[str, _Prepared]] = []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for done, (digest, made, out) in enumerate(pool.map(work, images), 1):
            on_done(done, len(images))
            if made is None:
                left_out.append(out)
            else:
                made_all.append((digest, made))
    others = _other_spectra(made for _, made in made_all)
    for digest, made in made_all:
        photo, thumb = made.photo, made.thumb
        if photo.name in others:
            left_out.append(LeftOut(photo.name, others[photo.name]))
            continue
        twin = digests.get(digest)
        if twin is None:
            twin = next((p.name for p, t in zip(photos, thumbs) if np.array_equal(t, thumb)
                         and (p.width, p.height, p.taken) == (photo.width, photo.height, photo.taken)), None)
        if twin is not None:
            left_out.append(LeftOut(photo.name, f"is the same photo as {twin}"))
            continue
        digests[digest] = photo.name
        photos.append(photo)
        thumbs.append(thumb)
    _settle_hemispheres(photos)
    if len(photos) >= 4:
        usual = float(np.median([p.sharpness for p in photos]))
        for photo in photos:
            if photo.sharpness < 0.4 * usual:
                photo.notes.append("blurred compared with the other photos")
    return photos, left_out
