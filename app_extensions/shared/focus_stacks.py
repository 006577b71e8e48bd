"""Find focus stacks (photos of the same view with different focus) and merge each into one photo that is sharp throughout.

No Django here. Needs OpenCV, numpy and Pillow, in any version that WebODM or the engine uses. Without OpenCV,
``AVAILABLE`` is False and nothing is merged.

- ``stacks_by_name(names)`` recognizes frames by their names: ``scan01_001_fs00.jpg``, ``scan01_001_fs01.jpg`` …
- ``stacks_by_content(names, read)`` recognizes them under any name: every k photos in a row show the same view.
- ``Merger`` merges one stack after the other. It holds two frames at a time, so a set may have any length.

A frame with a nearer focus shows a little more or less of the scene ("focus breathing"). ``Merger`` measures this in the
first stacks and uses the result for the others, because a rig repeats its focus settings at every position.
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

#: Loaded at the first use: OpenCV and numpy take 100 MB of memory that a web server's process does not need.
cv2: Any = None
np: Any = None
#: Whether stacks can be merged here. If not, frames stay as they are.
AVAILABLE = all(importlib.util.find_spec(name) is not None for name in ("cv2", "numpy"))
JPEG_QUALITY = 95
#: A view with more frames than this is not a focus stack.
MOST_FRAMES = 64
#: The focus breathing is measured in this many stacks, and then used for the others.
MEASURED_STACKS = 3
#: Two measurements count as equal if they differ by at most this many pixels at a frame's corners.
SAME_PIXELS = 1.0
#: Frames are aligned at this width. A larger one takes more time but is not more precise.
_ALIGN_WIDTH = 640
_NAMED = re.compile(r"(?P<stem>.+?)[ _-]?(?:fs|focus|stack|fstack)[ _-]?(?P<frame>\d{1,3})\Z", re.IGNORECASE)
#: The search by content looks at this many photos before it gives up.
_LOOKED_AT = 40
_LOOK = (64, 48)
_MOST_PERIOD = 16
_SAME_BRIGHTNESS = 0.1


class Stack(NamedTuple):
    """One view: the name for its merged photo without an ending, and the indices of its frames in the order of their focus."""

    name: str
    frames: tuple[int, ...]


class Merged(NamedTuple):
    """A merged photo: its size in pixels, and how many frames it was made from (1: only the sharpest was used)."""

    width: int
    height: int
    frames: int


def _load() -> None:
    global cv2, np
    if cv2 is None:
        cv2, np = importlib.import_module("cv2"), importlib.import_module("numpy")


def stacks_by_name(names: Sequence[str]) -> "list[Stack]":
    """Find stacks of two or more frames with names that only differ in a focus number (``_fs00``, ``-focus2``, ``_stack03``).

    :param names: paths with ``/``; frames in different folders belong to different views
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
    """Indices of names in natural order: ``photo2`` before ``photo10``."""
    def key(index: int) -> "list[Any]":
        return [(0, int(piece), "") if piece.isdigit() else (1, 0, piece.lower()) for piece in re.split(r"(\d+)", names[index]) if piece]
    return sorted(range(len(names)), key=key)


def stacks_by_content(names: Sequence[str], read: Callable[[int], bytes]) -> "list[Stack]":
    """Find views that were photographed k times in a row, whatever their names are.

    Photos of one view differ only in their focus. Shrunk and blurred, they look far more alike than photos of different
    views. The whole set must follow this rhythm, or nothing is found. Duplicates and exposure brackets do not count as
    focus stacks. Reads only 40 photos of a set without stacks.

    :param names: in any order
    :param read: returns the bytes of a photo, given its index in ``names``
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
    """How much two photos differ. A different brightness counts as a large difference."""
    brighter = abs(one[1] - other[1]) / max(one[1], other[1], 1.0)
    return float(np.abs(one[0] - other[0]).mean()) if brighter < _SAME_BRIGHTNESS else 10.0


def _look(data: bytes) -> "Optional[tuple[Any, float]]":
    """A photo as a small blurred picture with normalized brightness, and its brightness. None if it cannot be read."""
    if not data:
        return None
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    if picture is None or min(picture.shape) < 8:
        return None
    small = cv2.resize(picture, _LOOK, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), 3.0)
    return (small - small.mean()) / max(float(small.std()), 1.0), float(small.mean())


def _period(steps: Any) -> int:
    """The smallest k such that every k photos look alike; 0 if there is none."""
    return next((period for period in range(2, _MOST_PERIOD + 1) if len(steps) + 1 >= 2 * period and _fits(steps, period)), 0)


def _fits(steps: Any, period: int) -> bool:
    at_border = np.arange(1, len(steps) + 1) % period == 0
    inside, borders = steps[~at_border], steps[at_border]
    return bool(len(inside) and len(borders) and float(inside.min()) > 0.0 and float(inside.max()) * 3 < float(borders.min()))


class NotMerged(ValueError):
    """These frames cannot be merged. The text says why."""


class Merger:
    """Merges stacks one after the other, and reuses the focus breathing that it measured in the first ones.

    :param seconds: CPU time for all stacks together; after that, only the sharpest frame of each stack is used
    """

    def __init__(self, seconds: float = float("inf")) -> None:
        if AVAILABLE:
            _load()
        self.seconds_left = seconds
        self._warps: dict[tuple, list[Any]] = {}

    def merge(self, frames: Sequence[Path], target: Path) -> Merged:
        """Merge the frames of one view. The merged photo gets the EXIF of the middle frame.

        :param frames: complete photos of one size, in the order of their focus
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
            # Where both are about equally sharp, mix them, which also reduces noise.
            share = np.clip(0.5 + 1.5 * np.log2((sharp + 1.0) / (best + 1.0)), 0.0, 1.0)
            share = cv2.resize(cv2.GaussianBlur(share, (0, 0), 1.5), (width, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
            for top in range(0, height, 512):  # in strips, because another whole frame of floats would double the memory
                rows = slice(top, top + 512)
                picture[rows] += share[rows] * (frame[rows].astype(np.float32) - picture[rows])
            best = np.maximum(best, sharp)
        data = cv2.imencode(".jpg", np.clip(picture + 0.5, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        target.write_bytes(_with_exif(data, frames[middle]))
        return Merged(width, height, len(frames))

    def _warps_of(self, frames: Sequence[Path], reference: Any) -> "list[Any]":
        """For each frame, the transform from the reference's pixels to its own: measured, or known from earlier stacks."""
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
    """How much fine detail there is around each pixel, at half the resolution."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
    detail = np.abs(cv2.Laplacian(small, cv2.CV_32F, ksize=3))
    return cv2.GaussianBlur(detail, (0, 0), 4.0)


def _measure(frames: Sequence[Path], reference: Any) -> "list[Any]":
    """Align each frame with its neighbor towards the middle frame, because neighbors differ little in blur."""
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
    """The transform from ``fixed`` to ``moving``; the identity if it cannot be found, or is too large for focus breathing."""
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)
    try:
        _, warp = cv2.findTransformECC(fixed, moving, warp, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # the search did not converge, for example on a plain picture
        return np.eye(3)
    if np.abs(warp[:, :2] - np.eye(2)).max() > 0.05 or np.abs(warp[:, 2]).max() > 0.05 * max(fixed.shape):
        return np.eye(3)
    return np.vstack([warp.astype(np.float64), [0, 0, 1]])


def _agree(known: "list[Any]", shape: "tuple[int, ...]") -> bool:
    """Whether all measured stacks show the same focus breathing at the corners of the frames."""
    height, width = shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], dtype=np.float64).T
    places = np.array([[warp @ corners for warp in warps] for warps in known])
    return float(np.abs(places - np.median(places, axis=0)).max()) <= SAME_PIXELS * max(1.0, max(shape) / 2000)


def _with_exif(data: bytes, source: Path) -> bytes:
    """A JPEG with the EXIF of another photo, which has the same pixel orientation."""
    try:
        with Image.open(io.BytesIO(source.read_bytes())) as image:
            exif = image.info.get("exif") or b""
    except (OSError, ValueError, SyntaxError):
        exif = b""
    if not exif or len(exif) > 65_533:
        return data
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def report(stacks: "Iterable[Merged]") -> "list[str]":
    """Sentences that say what was merged."""
    merged = [stack for stack in stacks if stack.frames > 1]
    taken = [stack for stack in stacks if stack.frames == 1]
    found = []
    if merged:
        frames = sum(stack.frames for stack in merged)
        found.append(f"{frames} frames of focus stacks were merged into {len(merged)} photos, one per position.")
    if taken:
        found.append(f"The sharpest frame was taken at {len(taken)} positions, as merging all of them would have taken too long.")
    return found
