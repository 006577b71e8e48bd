"""Leaves out a background that stands still: with a turntable and a fixed camera, the room stays at the same pixels while the object turns.

Its features would place every photo at the same spot, and its depth would appear as a ghost near the axis.
"""
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Callable, Optional

import cv2
import numpy as np
import pycolmap
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .imagefile import write_image
from .masks import read_mask
from .photos import Photo, prepared_name

_OTHERS = 14           # photos with which each photo is compared
_SAMPLE = 8            # photos that are checked first, to find out whether there is such a background
_LEAST_SHARE = 0.06    # of a photo's features; fewer come by chance, from dust on the sensor or a tripod's foot
_REACH = 0.0011        # of the longer side: two features closer than this are at the same pixel
_MOVED = 12.0          # grey levels
_MASK_SIZE = 720       # pixels of the longer side in which backgrounds are compared
_SAME = 8.0             # grey levels within which a pixel shows the same
_LEAST_AREA = 0.003    # of the photo, for a patch of background
_MOST_STACKED = 24     # photos from which one background is worked out


@dataclass
class Still:
    """A still background: its share of all features, and the masks (paths by photo name) that leave it out."""

    share: float
    photos: int
    masks: dict[str, str]


class _Features:
    """Keypoints and unit descriptors of the photos, and whether anything moved between two of them."""

    def __init__(self, db: pycolmap.Database, images: Path, photos: Sequence[Photo], ids: dict[str, int]) -> None:
        self._db, self._images, self._photos, self._ids = db, images, photos, ids
        self.read = lru_cache(maxsize=64)(self._read)
        self._small = lru_cache(maxsize=512)(self._load_small)

    def raw(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints and descriptors as they are stored."""
        image_id = self._ids[prepared_name(self._photos[i].name)]
        return np.asarray(self._db.read_keypoints(image_id)), np.asarray(self._db.read_descriptors(image_id))

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray, cKDTree]:
        keypoints, descriptors = self.raw(i)
        d = descriptors.astype(np.float32)
        return keypoints, d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9), cKDTree(keypoints[:, :2].reshape(-1, 2))

    def _load_small(self, i: int) -> np.ndarray:
        grey = cv2.imread(str(self._images / prepared_name(self._photos[i].name)), cv2.IMREAD_REDUCED_GRAYSCALE_4)
        scale = 200.0 / max(grey.shape)
        return cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)

    def moved(self, i: int, j: int) -> bool:
        """Whether the photos differ. Two from the same position (a burst, a focus stack) do not show what stands still."""
        a, b = self._small(i), self._small(j)
        return a.shape == b.shape and float((np.abs(a - b) > _MOVED).mean()) > 0.005

    def same(self, i: int, j: int) -> np.ndarray:
        """Which features of photo i are at the same pixel in photo j, with the same orientation and appearance."""
        (mine, looks, _), (theirs, others, tree) = self.read(i), self.read(j)
        out = np.zeros(len(mine), bool)
        if not len(mine) or not len(theirs):
            return out
        reach = max(1.2, _REACH * max(self._photos[i].width, self._photos[i].height))
        distance, near = tree.query(mine[:, :2], k=min(3, len(theirs)), distance_upper_bound=reach)
        near, distance = near.reshape(len(mine), -1), distance.reshape(len(mine), -1)
        for k in range(near.shape[1]):
            rows = np.flatnonzero(np.isfinite(distance[:, k]))
            other = near[rows, k]
            turned = np.abs((mine[rows, 3] - theirs[other, 3] + np.pi) % (2 * np.pi) - np.pi)
            size = np.abs(np.log(mine[rows, 2] / theirs[other, 2]))
            alike = np.einsum("nd,nd->n", looks[rows], others[other])
            out[rows] |= (turned < 0.26) & (size < 0.35) & (alike > 0.85)
        return out


def _others(i: int, photos: Sequence[Photo]) -> list[int]:
    """The photos with which to compare a photo: its neighbours in order, and an even choice of all photos of its size."""
    alike = [j for j, p in enumerate(photos) if (p.width, p.height) == (photos[i].width, photos[i].height)]
    place = alike.index(i)
    near = [alike[place + step] for step in (-3, -2, -1, 1, 2, 3) if 0 <= place + step < len(alike)]
    even = [alike[k] for k in np.unique(np.linspace(0, len(alike) - 1, _OTHERS - 6).astype(int))]
    return [j for j in dict.fromkeys(near + even) if j != i]


def _still_in(i: int, photos: Sequence[Photo], features: _Features) -> tuple[np.ndarray, dict[int, int]]:
    """Which features of a photo stand still, and how many of them each differing photo shows at the same pixel."""
    hits = np.zeros(len(features.read(i)[0]), np.int32)
    shared: dict[int, int] = {}
    for j in _others(i, photos):
        if features.moved(i, j):
            same = features.same(i, j)
            hits += same
            shared[j] = int(same.sum())
    return hits >= (3 if len(shared) >= 6 else 2), shared


def leave_out(database: Path, images: Path, target: Path, photos: Sequence[Photo], ids: dict[str, int],
              extract: Callable[[Photo, str], tuple[np.ndarray, np.ndarray]], log: Callable[[str], None]) -> Optional[Still]:
    """Drop the features of a background that stands still from COLMAP's database and write masks that hide it to ``target``.

    ``extract`` searches features (keypoints, descriptors) of a photo within a mask, because the background had taken the object's share.
    Returns None if the background moves with the object, or if there is none.
    """
    count = len(photos)
    if count < 5:
        return None
    db = pycolmap.Database.open(str(database))
    try:
        features = _Features(db, images, photos, ids)
        sample = np.unique(np.linspace(0, count - 1, _SAMPLE).astype(int))
        shares = [float(_still_in(int(i), photos, features)[0].mean()) if len(features.read(int(i))[0]) else 0.0 for i in sample]
        if np.median(shares) < _LEAST_SHARE:
            return None
        rows, columns, still = [], [], []
        for i in range(count):
            mine, shared = _still_in(i, photos, features)
            still.append(mine)
            for j, number in shared.items():
                if number >= max(12, 0.04 * len(mine)):
                    rows.append(i)
                    columns.append(j)
        graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
        station = connected_components(graph, directed=False)[1]
        masks = _masks(images, target, photos, station)
        kept, total, gone = [], 0, 0
        for i, photo in enumerate(photos):
            keypoints, descriptors = features.raw(i)
            total, gone = total + len(keypoints), gone + int(still[i].sum())
            there = keypoints[still[i], :2]
            if photo.name in masks:
                keypoints, descriptors = extract(photo, masks[photo.name])
            moves = np.ones(len(keypoints), bool)
            if len(there) and len(keypoints):
                moves = cKDTree(there).query(keypoints[:, :2])[0] > _REACH * max(photo.width, photo.height)
            kept.append((keypoints[moves], descriptors[moves]))
        db.clear_keypoints()
        db.clear_descriptors()
        for photo, (keypoints, descriptors) in zip(photos, kept):
            image_id = ids[prepared_name(photo.name)]
            db.write_keypoints(image_id, keypoints)
            db.write_descriptors(image_id, descriptors)
    finally:
        db.close()
    seen = sum(bool(mine.mean() >= _LEAST_SHARE) for mine in still if len(mine))
    log(f"The background stands still in {seen} photos. {100 * gone / max(total, 1):.0f} % of all features belong to it and are not used")
    return Still(gone / max(total, 1), seen, masks)


def _masks(images: Path, target: Path, photos: Sequence[Photo], station: np.ndarray) -> dict[str, str]:
    """Masks of the photos that have the same background (the same ``station``), combined with the photos' own masks."""
    target.mkdir(parents=True, exist_ok=True)
    masks: dict[str, str] = {}
    for number in np.unique(station):
        members = np.flatnonzero(station == number)
        if len(members) < 4:
            continue
        chosen = members[np.unique(np.linspace(0, len(members) - 1, _MOST_STACKED).astype(int))]
        background, known = _background(np.stack([_load(images, photos[i]) for i in chosen]))
        for i in members:
            here = _hidden(_load(images, photos[i]), background, known)
            mask = cv2.resize((~here).astype(np.uint8) * 255, (photos[i].width, photos[i].height), interpolation=cv2.INTER_NEAREST)
            if photos[i].mask is not None:
                mask[~read_mask(photos[i].mask)] = 0
            path = target / f"{prepared_name(photos[i].name)}.png"
            write_image(path, mask)
            masks[photos[i].name] = str(path)
    return masks


def _load(images: Path, photo: Photo) -> np.ndarray:
    picture = cv2.imread(str(images / prepared_name(photo.name)), cv2.IMREAD_COLOR)
    scale = min(1.0, _MASK_SIZE / max(photo.width, photo.height))
    small = cv2.resize(picture, (max(1, round(photo.width * scale)), max(1, round(photo.height * scale))), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 1.0)


def _background(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The common background of photos (N, h, w, 3), and where it is known and has texture.

    A pixel's background is the value around which most photos lie closest. The object looks different in each photo.
    """
    count = len(stack)
    window = max(3, int(np.ceil(0.34 * count)))
    brightness = np.sort(stack.mean(axis=3), axis=0)
    width = brightness[window - 1:] - brightness[:count - window + 1]
    start = width.argmin(axis=0)
    low = np.take_along_axis(brightness, start[None], axis=0)[0]
    high = np.take_along_axis(brightness, start[None] + window - 1, axis=0)[0]
    inside = ((stack.mean(axis=3) >= low - 1e-3) & (stack.mean(axis=3) <= high + 1e-3))[..., None]
    background = (stack * inside).sum(axis=0) / np.maximum(inside.sum(axis=0), 1)
    grey = background.mean(axis=2).astype(np.float32)
    slope = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)) / 8.0
    textured = cv2.dilate((slope > 1.0).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return background, (high - low < _SAME) & textured


def _hidden(picture: np.ndarray, background: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where a photo shows the background."""
    same = known & (np.abs(picture.astype(np.float32) - background).max(axis=2) < 1.5 * _SAME)
    # By chance, the object looks like the background here and there. Such specks do not count.
    size = max(5, round(0.012 * max(same.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    opened = cv2.morphologyEx(same.astype(np.uint8), cv2.MORPH_OPEN, kernel)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= _LEAST_AREA * same.size
    large[0] = False  # what is not hidden
    return large[labels]
