"""A second chance for photos that stayed loose: features from stretched copies of them.

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

from .pairs import match_two
from .photos import Photo, prepared_name

# (factor, direction in degrees): how much the photo is stretched, along which axis.
STRETCHES = [(1.5, 0.0), (1.5, -25.0), (1.5, 25.0), (2.2, 0.0), (2.2, -25.0), (2.2, 25.0), (1.7, 90.0)]
_FEATURES = 3000
_SIZE = 1200
_MIN_MATCHES = 15


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
    """Keypoints (N, 4; COLMAP's) in the photo itself from all stretched copies, and RootSIFT unit vectors a copy."""
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
    """Matches (M, 2) of all stretched copies with another photo; one for each of the other photo's features.

    Each copy is matched on its own: across copies the same detail would fail the ratio test against itself.
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


def rescue(work: Path, images: Path, database: Path, loose: Sequence[str], photos: Sequence[Photo], threads: int,
           log: Callable[[str], None]) -> int:
    """Add matches from stretched copies of the loose photos (names) to the database. Returns how many pairs gained."""
    gained: list[tuple[str, str]] = []
    db = pycolmap.Database.open(str(database))
    try:
        ids = {image.name: image.image_id for image in db.read_all_images()}
        others = [p.name for p in photos]
        units = {}
        for name in others:
            d = np.asarray(db.read_descriptors(ids[prepared_name(name)])).astype(np.float32)
            units[name] = d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)
        with ThreadPoolExecutor(max(1, threads)) as pool:
            made = list(pool.map(lambda name: _features(images / prepared_name(name)), loose))
        for name, (rows, descriptors) in zip(loose, made):
            image_id = ids[prepared_name(name)]
            keypoints = np.asarray(db.read_keypoints(image_id))
            offset = len(keypoints)
            db.update_keypoints(image_id, np.concatenate([keypoints[:, :4], rows]).astype(np.float32))
            candidates = [other for other in others if other not in loose]
            matched = [_match_stretched(descriptors, units[other]) for other in candidates]
            for other, matches in zip(candidates, matched):
                other_id = ids[prepared_name(other)]
                if len(matches) < _MIN_MATCHES:
                    continue
                matches = matches + np.array([[offset, 0]], np.uint32)
                if db.exists_matches(image_id, other_id):
                    old = np.asarray(db.read_matches(image_id, other_id))
                    taken = set(old[:, 1].tolist())
                    matches = np.concatenate([old, [m for m in matches if int(m[1]) not in taken]]).astype(np.uint32)
                    db.delete_matches(image_id, other_id)
                if db.exists_inlier_matches(image_id, other_id):
                    db.delete_inlier_matches(image_id, other_id)
                db.write_matches(image_id, other_id, matches)
                gained.append((name, other))
    finally:
        db.close()
    if gained:
        listing = work / "rescue.txt"
        listing.write_text("".join(f"{prepared_name(a)} {prepared_name(b)}\n" for a, b in gained))
        pycolmap.verify_matches(str(database), str(listing), pycolmap.TwoViewGeometryOptions())
    log(f"Loose photos tried again from stretched copies: {', '.join(loose)}")
    return len(gained)
