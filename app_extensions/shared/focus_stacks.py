"""Focus stacks: the same view photographed with several focus settings, merged into one photo that is sharp throughout.

No Django here; needs OpenCV, numpy and Pillow, on any of the versions that WebODM and the engine use. Without OpenCV,
``AVAILABLE`` is False and nothing is merged.

- ``stacks_by_name(names)`` finds frames that say so: ``scan01_001_fs00.jpg``, ``scan01_001_fs01.jpg`` …
- ``stacks_by_content(count, read)`` finds them under any name: every k photos in a row show the same view.
- ``Merger`` merges one stack after the other. It holds two frames at a time, so a set may be of any length.

A frame that is focused nearer shows a little more or less of the scene ("focus breathing"). ``Merger`` measures that in
the first stacks and uses it for the others: a rig repeats its focus settings at every position.
"""
import importlib
import importlib.util
import io
import re
import struct
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from PIL import Image

#: Loaded when they are first needed: OpenCV and numpy are 100 MB that a web server's process can do without.
cv2: Any = None
np: Any = None
#: Whether stacks can be merged here; without OpenCV, frames stay as they are.
AVAILABLE = all(importlib.util.find_spec(name) is not None for name in ("cv2", "numpy"))
JPEG_QUALITY = 95
#: More frames than this of one view are no focus stack.
MOST_FRAMES = 64
#: Stacks in which the focus breathing is measured before it is taken as known.
MEASURED_STACKS = 3
#: Pixels at a frame's corners by which two measurements may differ to be taken as the same.
SAME_PIXELS = 1.0
#: Frames are aligned at this width; finer adds time and no precision.
_ALIGN_WIDTH = 640
_NAMED = re.compile(r"(?P<stem>.+?)[ _-]?(?:fs|focus|stack|fstack)[ _-]?(?P<frame>\d{1,3})\Z", re.IGNORECASE)
#: By content: so many photos are looked at before the search is given up.
_LOOKED_AT = 40
_LOOK = (64, 48)
_MOST_PERIOD = 16
_SAME_BRIGHTNESS = 0.1


class Stack(NamedTuple):
    """One view: the name of its merged photo without an ending, and the indices of its frames in the order of their focus."""

    name: str
    frames: tuple[int, ...]


class Merged(NamedTuple):
    """What was written: its size in pixels, and how many frames it was made from (1: the sharpest one was taken)."""

    width: int
    height: int
    frames: int


def _load() -> None:
    global cv2, np
    if cv2 is None:
        cv2, np = importlib.import_module("cv2"), importlib.import_module("numpy")


def stacks_by_name(names: Sequence[str]) -> "list[Stack]":
    """Frames whose names differ only in their focus number (``_fs00``, ``-focus2``, ``_stack03``), two or more per view.

    :param names: paths with ``/``; frames in different folders are different views
    """
    groups: dict[str, list[tuple[int, int]]] = {}
    for index, name in enumerate(names):
        stem, dot, ending = name.rpartition(".")
        found = _NAMED.fullmatch(stem) if dot and ending.lower() in ("jpg", "jpeg", "jpe", "jfif", "png", "tif", "tiff") else None
        if found:
            groups.setdefault(found.group("stem"), []).append((int(found.group("frame")), index))
    return [Stack(stem, tuple(index for _, index in sorted(frames)))
            for stem, frames in groups.items() if 2 <= len(frames) <= MOST_FRAMES]


def natural_order(names: Sequence[str]) -> "list[int]":
    """Indices of names in the order in which people count: ``photo2`` before ``photo10``."""
    def key(index: int) -> "list[Any]":
        return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece.lower()) for piece in re.split(r"(\d+)", names[index]) if piece]
    return sorted(range(len(names)), key=key)


def stacks_by_content(names: Sequence[str], read: Callable[[int], bytes]) -> "list[Stack]":
    """Find views that were photographed k times in a row, under whatever names.

    Photos of one view differ in their focus only: shrunk and blurred they look alike, far more than photos of different
    views do. The whole set has to follow that rhythm; otherwise nothing is found. Doubles and exposure brackets are no
    focus stacks. Reads 40 photos of an ordinary set.

    :param names: in any order
    :param read: gives the bytes of a photo by its index in ``names``
    """
    if not AVAILABLE or len(names) < 6:
        return []
    _load()
    order = natural_order(names)
    looks: list[Any] = []

    def steps(upto: int) -> "Optional[Any]":
        while len(looks) < upto:
            look = _look(read(order[len(looks)]))
            if look is None:
                return None
            looks.append(look)
        return np.array([_step(one, other) for one, other in zip(looks, looks[1:])])

    first = steps(min(len(order), _LOOKED_AT))
    period = _period(first) if first is not None else 0
    if not period or len(order) % period or len(order) < 3 * period:
        return []
    everything = steps(len(order))
    if everything is None or not _fits(everything, period):
        return []
    return [Stack(f"{names[order[start]].rpartition('.')[0]}", tuple(order[start:start + period]))
            for start in range(0, len(order), period)]


def _step(one: "tuple[Any, float]", other: "tuple[Any, float]") -> float:
    """How much two photos differ; a lot where one is brighter."""
    brighter = abs(one[1] - other[1]) / max(one[1], other[1], 1.0)
    return float(np.abs(one[0] - other[0]).mean()) if brighter < _SAME_BRIGHTNESS else 10.0


def _look(data: bytes) -> "Optional[tuple[Any, float]]":
    """A photo as a small blurred picture with its brightness evened out, and its brightness; None if it cannot be read."""
    if not data:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    if picture is None or min(picture.shape) < 8:
        return None
    small = cv2.resize(picture, _LOOK, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), 3.0)
    return (small - small.mean()) / max(float(small.std()), 1.0), float(small.mean())


def _period(steps: Any) -> int:
    """The smallest k so that every k photos look alike, 0 without one."""
    return next((period for period in range(2, _MOST_PERIOD + 1) if len(steps) + 1 >= 2 * period and _fits(steps, period)), 0)


def _fits(steps: Any, period: int) -> bool:
    at_border = np.arange(1, len(steps) + 1) % period == 0
    inside, borders = steps[~at_border], steps[at_border]
    return bool(len(inside) and len(borders) and float(inside.min()) > 0.0 and float(inside.max()) * 3 < float(borders.min()))


class NotMerged(ValueError):
    """These frames cannot be merged; the text says why."""


class Merger:
    """Merges stacks one after the other, with what it learned from the first ones.

    :param seconds: CPU time for all stacks together; once it is used up, the sharpest frame of each further stack is taken
    """

    def __init__(self, seconds: float = float("inf")) -> None:
        if AVAILABLE:
            _load()
        self.seconds_left = seconds
        self._warps: dict[tuple, list[Any]] = {}

    def merge(self, frames: Sequence[Path], target: Path) -> Merged:
        """Merge the frames of one view. The photo has the EXIF of the middle frame.

        :param frames: whole photos of one size, in the order of their focus
        :param target: a JPEG, overwritten
        :raises NotMerged: OpenCV is missing, a frame cannot be decoded, or their sizes differ
        :raises OSError: a file cannot be read or written
        """
        if not AVAILABLE:
            raise NotMerged("OpenCV is not installed")
        started = time.process_time()
        try:
            if self.seconds_left <= 0:
                return self._take_sharpest(frames, target)
            return self._merge(frames, target)
        except cv2.error as problem:
            raise NotMerged(f"OpenCV says: {problem.err}") from None
        finally:
            self.seconds_left -= time.process_time() - started

    def _merge(self, frames: Sequence[Path], target: Path) -> Merged:
        middle = len(frames) // 2
        reference = _decode(frames[middle])
        height, width = reference.shape[:2]
        warps = self._warps_of(frames, reference)
        best, picture = _sharpness(reference), reference.astype(np.float32)
        for index, path in enumerate(frames):
            if index == middle:
                continue
            frame = _decode(path)
            if frame.shape != reference.shape:
                raise NotMerged("the frames differ in size")
            frame = cv2.warpAffine(frame, warps[index], (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                                   borderMode=cv2.BORDER_REPLICATE)
            sharp = _sharpness(frame)
            # Where both are about equally sharp, they are mixed, which also takes away noise.
            share = np.clip(0.5 + 1.5 * np.log2((sharp + 1.0) / (best + 1.0)), 0.0, 1.0)
            share = cv2.resize(cv2.GaussianBlur(share, (0, 0), 1.5), (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
            for top in range(0, height, 512):  # in strips: a whole frame of floats more would double the memory
                rows = slice(top, top + 512)
                picture[rows] += share[rows] * (frame[rows].astype(np.float32) - picture[rows])
            best = np.maximum(best, sharp)
        data = cv2.imencode(".jpg", np.clip(picture + 0.5, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        target.write_bytes(_with_exif(data, frames[middle]))
        return Merged(width, height, len(frames))

    def _warps_of(self, frames: Sequence[Path], reference: Any) -> "list[Any]":
        """Per frame, the transform from the reference's pixels to its own; measured, or as known from earlier stacks."""
        key = (len(frames), reference.shape)
        known = self._warps.setdefault(key, [])
        if len(known) >= MEASURED_STACKS and _agree(known, reference.shape):
            return list(np.median(np.array(known), axis=0))
        warps = _measure(frames, reference)
        if len(known) < MEASURED_STACKS:
            known.append(warps)
        return warps

    @staticmethod
    def _take_sharpest(frames: Sequence[Path], target: Path) -> Merged:
        scores = []
        for path in frames:
            small = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_2)
            if small is None:
                raise NotMerged("a frame cannot be decoded")
            scores.append((float(cv2.Laplacian(small, cv2.CV_32F).var()), small.shape))
        index = max(range(len(frames)), key=lambda number: scores[number][0])
        target.write_bytes(frames[index].read_bytes())
        with Image.open(target) as image:
            return Merged(image.width, image.height, 1)


def _decode(path: Path) -> Any:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise NotMerged("a frame cannot be decoded")
    return picture


def _sharpness(picture: Any) -> Any:
    """How much fine detail there is around each pixel, at half the size."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = np.abs(cv2.Laplacian(small, cv2.CV_32F, ksize=3))
    return cv2.GaussianBlur(detail, (0, 0), 4.0)


def _measure(frames: Sequence[Path], reference: Any) -> "list[Any]":
    """Align each frame with its neighbor on the way to the middle one: neighbors differ little in blur."""
    middle = len(frames) // 2
    height, width = reference.shape[:2]
    scale = min(1.0, _ALIGN_WIDTH / max(width, height))
    smalls = [_small(_decode(path), scale) if index != middle else _small(reference, scale) for index, path in enumerate(frames)]
    if len({small.shape for small in smalls}) > 1:
        raise NotMerged("the frames differ in size")
    warps: list[Any] = [np.eye(3, dtype=np.float64) for _ in frames]
    for direction in (range(middle + 1, len(frames)), range(middle - 1, -1, -1)):
        for index in direction:
            neighbor = index - 1 if index > middle else index + 1
            warps[index] = _align(smalls[neighbor], smalls[index]) @ warps[neighbor]
    grow = np.diag([1 / scale, 1 / scale, 1.0])
    return [(grow @ warp @ np.linalg.inv(grow))[:2] for warp in warps]


def _small(picture: Any, scale: float) -> Any:
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 1.5)


def _align(fixed: Any, moving: Any) -> Any:
    """The transform from ``fixed`` to ``moving``; none where it cannot be found or is more than focus breathing."""
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)
    try:
        _, warp = cv2.findTransformECC(fixed, moving, warp, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # it did not converge, as on a plain picture
        return np.eye(3)
    if np.abs(warp[:, :2] - np.eye(2)).max() > 0.05 or np.abs(warp[:, 2]).max() > 0.05 * max(fixed.shape):
        return np.eye(3)
    return np.vstack([warp.astype(np.float64), [0, 0, 1]])


def _agree(known: "list[Any]", shape: "tuple[int, ...]") -> bool:
    """Whether the measured stacks show the same breathing, at the corners of the frames."""
    height, width = shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], dtype=np.float64).T
    places = np.array([[warp @ corners for warp in warps] for warps in known])
    return float(np.abs(places - np.median(places, axis=0)).max()) <= SAME_PIXELS * max(1.0, max(shape) / 2000)


def _with_exif(data: bytes, source: Path) -> bytes:
    """A JPEG with the EXIF of another photo, whose pixels are stored the same way round."""
    try:
        with Image.open(io.BytesIO(source.read_bytes())) as image:
            exif = image.info.get("exif") or b""
    except (OSError, ValueError, SyntaxError):
        exif = b""
    if not exif or len(exif) > 65_533:
        return data
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def report(stacks: "Iterable[Merged]") -> "list[str]":
    """Sentences on what was merged."""
    merged = [stack for stack in stacks if stack.frames > 1]
    taken = [stack for stack in stacks if stack.frames == 1]
    found = []
    if merged:
        frames = sum(stack.frames for stack in merged)
        found.append(f"{frames} frames of focus stacks were merged into {len(merged)} photos, one per position.")
    if taken:
        found.append(f"The sharpest frame was taken at {len(taken)} positions, as merging all of them would have taken too long.")
    return found
