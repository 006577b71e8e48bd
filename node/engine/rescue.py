"""A second chance for loose photos (those not placed yet): features from stretched copies of them.

SIFT survives about 50 degrees of change in view. A photo taken much lower or higher than its neighbours shows the same
ground foreshortened; stretching it back by a few factors and directions (the idea of ASIFT, Morel and Yu 2009, on one
side only) makes its features look like those of its neighbours again.
"""
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pycolmap

from .matching import Matcher, Pair, largest_features, match_two, unit, verify
from .photos import prepared_name

# (factor, direction in degrees): how much the photo is stretched, along which axis.
STRETCHES = [(1.5, 0.0), (1.5, -25.0), (1.5, 25.0), (2.2, 0.0), (2.2, -25.0), (2.2, 25.0), (1.7, 90.0)]
_FEATURES = 3000
_SIZE = 1200
_MIN_MATCHES = 15
MOST_LOOSE = 12         # photos that are tried again
_CANDIDATES = 6         # placed photos with which each of them is matched
_OTHER_FEATURES = 3000  # features used of each of these placed photos


def _stretched(grey: np.ndarray, factor: float, direction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The stretched picture, its mask, and the 2x3 matrix that made it."""
    height, width = grey.shape
    c, s = np.cos(np.deg2rad(direction)), np.sin(np.deg2rad(direction))
    A = np.diag([factor ** -0.5, factor ** 0.5]) @ np.array([[c, -s], [s, c]])
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ A.T
    low = corners.min(axis=0)
    size = tuple(int(v) for v in np.ceil(corners.max(axis=0) - low))
    M = np.c_[A, -low]
    picture = cv2.warpAffine(grey, M, size, flags=cv2.INTER_LINEAR)
    mask = cv2.erode(cv2.warpAffine(np.full_like(grey, 255), M, size), np.ones((9, 9), np.uint8))
    return picture, mask, M


def _features(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Keypoints (N, 4; COLMAP's) from all stretched copies, in the photo's own pixels, and RootSIFT unit vectors per copy."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    scale = min(1.0, _SIZE / max(grey.shape))
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT_create(nfeatures=_FEATURES, contrastThreshold=0.008, edgeThreshold=12)

    def one(stretch: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
        picture, mask, M = _stretched(small, *stretch)
        keypoints, descriptors = sift.detectAndCompute(picture, mask)
        if not keypoints:
            return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.float32)
        where = (np.array([k.pt for k in keypoints]) - M[:, 2]) @ np.linalg.inv(M[:, :2]).T
        rows = np.c_[(where + 0.5) / scale, [[k.size / scale, np.deg2rad(k.angle)] for k in keypoints]]
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-9))
        return rows.astype(np.float32), root.astype(np.float32)

    made = [one(stretch) for stretch in STRETCHES]
    return np.concatenate([rows for rows, _ in made]), [root for _, root in made]


def _match_stretched(copies: Sequence[np.ndarray], other: np.ndarray) -> np.ndarray:
    """Matches (M, 2) of all stretched copies with another photo, at most one for each feature of the other photo.

    Each copy is matched separately. If all were matched at once, a detail would fail the ratio test against its own copies.
    """
    best: dict[int, tuple[float, int]] = {}
    start = 0
    for copy in copies:
        for a, b in match_two(copy, other).tolist():
            value = float(copy[a] @ other[b])
            if value > best.get(b, (-1.0, 0))[0]:
                best[b] = (value, start + a)
        start += len(copy)
    return np.array([[a, b] for b, (_, a) in best.items()], np.uint32).reshape(-1, 2)


def rescue(work: Path, images: Path, matcher: Matcher, loose: set[int], on_fraction: Callable[[float], None],
           log: Callable[[str], None]) -> int:
    """Add matches from stretched copies of loose photos (indices) to the database. Returns how many pairs gained matches.

    At most MOST_LOOSE photos are tried, those with the most matches so far, each with a few placed photos. This limits the time
    for large sets. The other photos may be placed after these.
    """
    photos = matcher.photos
    placed = [i for i in range(len(photos)) if i not in loose]
    likely = {i: matcher.likeliest(i, placed, _CANDIDATES) for i in loose}
    tried = sorted(loose, key=lambda i: (-sum(matcher.counts.get((min(i, j), max(i, j)), 0) for j in likely[i]), i))[:MOST_LOOSE]
    gained: list[Pair] = []
    steps, done = len(tried) * (_CANDIDATES + 1), 0
    db = pycolmap.Database.open(str(matcher.database))
    try:
        with ThreadPoolExecutor(matcher.threads) as pool:
            made = pool.map(lambda i: _features(images / prepared_name(photos[i].name)), tried)
            for i, (rows, copies) in zip(tried, made):
                done += 1
                image_id = matcher.image_id(i)
                keypoints = np.asarray(db.read_keypoints(image_id))
                db.update_keypoints(image_id, np.concatenate([keypoints[:, :4], rows]).astype(np.float32))
                others, units = [], []
                for j in likely[i]:
                    few = largest_features(db, matcher.image_id(j), _OTHER_FEATURES)
                    others.append(few)
                    units.append(unit(np.asarray(db.read_descriptors(matcher.image_id(j)))[few]))
                matched = pool.map(_match_stretched, [copies] * len(units), units)
                for j, few, matches in zip(likely[i], others, matched):
                    done += 1
                    on_fraction(done / steps)
                    if len(matches) >= _MIN_MATCHES:
                        matches = np.stack([matches[:, 0] + len(keypoints), few[matches[:, 1]]], axis=1).astype(np.uint32)
                        _add_matches(db, image_id, matcher.image_id(j), matches)
                        gained.append((i, j))
    finally:
        db.close()
    verify(matcher, gained, work / "rescue.txt")
    names = ", ".join(photos[i].name for i in sorted(tried))
    log(f"Matched again as stretched copies: {names}" + (f" (of {len(loose)} photos not placed)" if len(tried) < len(loose) else ""))
    return len(gained)


def _add_matches(db: pycolmap.Database, image_id: int, other_id: int, matches: np.ndarray) -> None:
    """Add matches (M, 2) to those of two photos. All of them must be verified again afterwards."""
    if db.exists_matches(image_id, other_id):
        old = np.asarray(db.read_matches(image_id, other_id))
        taken = set(old[:, 1].tolist())
        matches = np.concatenate([old, matches[[m not in taken for m in matches[:, 1].tolist()]]]).astype(np.uint32)
        db.delete_matches(image_id, other_id)
    if db.exists_inlier_matches(image_id, other_id):
        db.delete_inlier_matches(image_id, other_id)
    db.write_matches(image_id, other_id, matches)
