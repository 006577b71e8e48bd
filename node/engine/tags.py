"""Finds printed tags in the photos and locates them in space."""
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Optional

import cv2
import numpy as np

from .scene import Scene

_DICTIONARIES = {"4x4": cv2.aruco.DICT_4X4_250, "5x5": cv2.aruco.DICT_5X5_250, "6x6": cv2.aruco.DICT_6X6_250,
                 "apriltag": cv2.aruco.DICT_APRILTAG_36h11}
_MOST_RESIDUAL_PX = 3.0
_LEAST_ANGLE = 2.0  # degrees between two photos' rays; below that, depth is mostly noise
_MOST_PAIRS = 200


@dataclass(frozen=True)
class Tag:
    """A tag's family and number."""

    family: str
    number: int


@dataclass
class Sighting:
    """A tag in a photo."""

    photo: str
    eye: np.ndarray      # position of the camera
    P: np.ndarray        # 3x4 projection, world to pixels
    corners: np.ndarray  # (4, 2) pixels, in the tag's own order

    @property
    def centre(self) -> np.ndarray:
        """Where the diagonals cross. This is the square's centre, also in perspective."""
        a, b, c, d = np.c_[self.corners, np.ones(4)]
        x, y, w = np.cross(np.cross(a, c), np.cross(b, d))
        return np.array([x / w, y / w])


@dataclass
class Located:
    """A tag's centre in space, or the reason why it was not found."""

    point: Optional[np.ndarray]
    photos: int  # that agree on it
    reason: str = ""


def triangulate(observations: Sequence[tuple[np.ndarray, np.ndarray]]) -> Optional[np.ndarray]:
    """The point that these 3x4 projections see at these pixels; None if they do not agree."""
    rows = []
    for P, pixel in observations:
        rows.append(pixel[0] * P[2] - P[0])
        rows.append(pixel[1] * P[2] - P[1])
    rows = [r / np.linalg.norm(r) for r in rows]
    point = np.linalg.svd(np.array(rows))[2][-1]
    if abs(point[3]) < 1e-12:
        return None
    point = point / point[3]
    return point[:3] if all(_residual(P, pixel, point) <= _MOST_RESIDUAL_PX for P, pixel in observations) else None


def _residual(P: np.ndarray, pixel: np.ndarray, point: np.ndarray) -> float:
    """Pixels between a sighting and a (homogeneous) point; infinite behind the camera."""
    seen = P @ point
    return float(np.linalg.norm(seen[:2] / seen[2] - pixel)) if seen[2] > 0 else np.inf


def find_tags(scene: Scene, family: str) -> dict[Tag, list[Sighting]]:
    """The sightings of all tags of a family, or of all families for ``aruco``."""
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detectors = {name: cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(kind), parameters)
                 for name, kind in _DICTIONARIES.items() if family in ("aruco", name)}
    found: dict[Tag, list[Sighting]] = {}
    for view in scene.views:
        grey = view.load(grey=True)
        P = view.K @ np.c_[view.R, view.t]
        for name, detector in detectors.items():
            corners, ids, _ = detector.detectMarkers(grey)
            for square, number in zip(corners, [] if ids is None else ids.ravel()):
                found.setdefault(Tag(name, int(number)), []).append(
                    Sighting(view.name, view.centre, P, square[0].astype(float)))
    return found


def _agreeing(sightings: list[Sighting]) -> tuple[Optional[np.ndarray], list[Sighting]]:
    """The point on which most sightings agree, and these sightings: all, or the largest group that agrees with a pair of them."""
    seen = [(s.P, s.centre) for s in sightings]
    point = triangulate(seen)
    if point is not None:
        return point, sightings
    pairs = list(combinations(range(len(seen)), 2))
    if len(pairs) > _MOST_PAIRS:
        pairs = [pairs[i] for i in np.random.default_rng(1).choice(len(pairs), _MOST_PAIRS, replace=False)]
    best: list[int] = []
    for pair in pairs:
        tried = triangulate([seen[i] for i in pair])
        if tried is None:
            continue
        agree = [i for i, (P, pixel) in enumerate(seen) if _residual(P, pixel, np.append(tried, 1.0)) <= _MOST_RESIDUAL_PX]
        if len(agree) > len(best):
            best, point = agree, tried
    if best:
        together = triangulate([seen[i] for i in best])
        point = point if together is None else together
    return point, [sightings[i] for i in best]


def locate(sightings: list[Sighting]) -> Located:
    """A tag's centre from all its sightings. A few that disagree are left out; more than half must agree."""
    photos = [s.photo for s in sightings]
    twice = sorted({name for name in photos if photos.count(name) > 1})
    if len(set(photos)) < 2:
        return Located(None, 0, "was seen in fewer than two photos")
    if len(twice) > 1:
        return Located(None, 0, f"appears twice in {len(twice)} photos ({', '.join(twice[:3])}{' …' if len(twice) > 3 else ''}): "
                                "lay out each number only once")
    point, agreeing = _agreeing(sightings)
    if point is None or 2 * len(agreeing) <= len(sightings):
        return Located(None, 0, f"was seen in {len(set(photos))} photos that do not agree on its position: it was moved, or another tag "
                                "has the same number")
    rays = np.array([s.eye - point for s in agreeing])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    if (rays @ rays.T).min() > np.cos(np.radians(_LEAST_ANGLE)):
        return Located(None, 0, "was seen from nearly one direction only")
    return Located(point, len({s.photo for s in agreeing}))
