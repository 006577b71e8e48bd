"""Scale from printed ArUco tags of known size: the model then measures millimetres."""
from collections.abc import Callable
from typing import Any, Optional

import cv2
import numpy as np

from .errors import EngineError
from .scene import Scene

_DICTIONARIES = {"aruco": None, "4x4": cv2.aruco.DICT_4X4_250, "5x5": cv2.aruco.DICT_5X5_250,
                 "6x6": cv2.aruco.DICT_6X6_250, "apriltag": cv2.aruco.DICT_APRILTAG_36h11}
_MOST_RESIDUAL_PX = 3.0


def parse(text: str) -> Optional[tuple[str, float]]:
    """The family of tags and their edge in millimetres from ``NAME:MILLIMETRES``; None for an empty text."""
    if not text.strip():
        return None
    name, _, length = text.partition(":")
    name = name.strip().lower()
    try:
        edge = float(length)
    except ValueError:
        edge = 0.0
    if name not in _DICTIONARIES or edge <= 0:
        raise EngineError(f"Option scale-distance: {text!r} is not understood. Give the tags' family and their edge "
                          f"in millimetres, as in aruco:30.0; families: {', '.join(_DICTIONARIES)}.")
    return name, edge


def _triangulate(observations: list[tuple[np.ndarray, np.ndarray]]) -> Optional[np.ndarray]:
    """The point seen at these pixels by these 3x4 projections; None where they do not agree."""
    rows = []
    for P, pixel in observations:
        rows.append(pixel[0] * P[2] - P[0])
        rows.append(pixel[1] * P[2] - P[1])
    rows = [r / np.linalg.norm(r) for r in rows]
    point = np.linalg.svd(np.array(rows))[2][-1]
    if abs(point[3]) < 1e-12:
        return None
    point = point / point[3]
    for P, pixel in observations:
        seen = P @ point
        if seen[2] <= 0 or np.linalg.norm(seen[:2] / seen[2] - pixel) > _MOST_RESIDUAL_PX:
            return None
    return point[:3]


def find_tags(scene: Scene, family: str) -> dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]]:
    """Corners of all tags: (dictionary and id, corner) to their sightings (projection, pixel)."""
    kinds = [k for n, k in _DICTIONARIES.items() if k is not None] if family == "aruco" else [_DICTIONARIES[family]]
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    found: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    for view in scene.views:
        grey = view.load(grey=True)
        P = view.K @ np.c_[view.R, view.t]
        for kind in kinds:
            detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(kind), parameters)
            corners, ids, _ = detector.detectMarkers(grey)
            for tag, name in zip(corners, [] if ids is None else ids.ravel()):
                for k in range(4):
                    found.setdefault((kind * 1000 + int(name), k), []).append((P, tag[0, k].astype(float)))
    return found


def scale_from_tags(scene: Scene, option: str, log: Callable[[str], None]) -> Optional[dict[str, Any]]:
    """Scale the scene so that a unit is a millimetre. Returns what was found, None where no scale was asked for.

    Raises EngineError where tags were promised and none is seen well in two photos.
    """
    asked = parse(option)
    if asked is None:
        return None
    family, edge = asked
    found = find_tags(scene, family)
    corners = {key: _triangulate(seen) for key, seen in found.items() if len(seen) >= 2}
    lengths = []
    for tag in {tag for tag, _ in corners}:
        for k in range(4):
            a, b = corners.get((tag, k)), corners.get((tag, (k + 1) % 4))
            if a is not None and b is not None:
                lengths.append(float(np.linalg.norm(a - b)))
    if len(lengths) < 2:
        raise EngineError("No printed tag was seen sharply in two or more photos, so the model cannot be scaled. Lay "
                          "the tags beside the object, flat and fully in the picture, or leave scale-distance empty.")
    length = float(np.median(lengths))
    spread = float(1.4826 * np.median(np.abs(np.array(lengths) - length)) / length)
    factor = edge / length
    scene.transform(factor, np.eye(3), np.zeros(3))
    note = f"{len(lengths)} tag edges of {edge:g} mm, which agree within {100 * spread:.2f} %"
    log(f"Scale: {note}; a unit is a millimetre")
    return {"unit": "mm", "scale_note": note, "scale_factor": factor}
