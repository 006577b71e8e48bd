"""Sets the model's coordinates: UTM for flights, upright on the support for objects, in millimetres if a length is known."""
from dataclasses import dataclass
from typing import Any, Callable, Optional

import numpy as np

from .georef import by_gps
from .photos import Photo
from .scaling import scale_from_tags
from .scene import Scene

OBJECT_DIAGONAL = 10.0  # units; distance of the cameras from an object of unknown scale
_PLANE_TRIALS = 400
_MOST_TILT = 58.0  # degrees between the support's normal and the cameras' up, which leans back if all look down from one side
_LEAST_AGREED = 0.25  # length of the mean of the photos' upward directions
_MOST_GAP = 190.0  # degrees around the object without a photo; with a larger gap, the photos show a scene from its front


@dataclass
class Plane:
    """Points with normal @ x = offset; the cameras are on the normal's side."""

    normal: np.ndarray
    offset: float
    share: float  # of all sparse points that lie on it

    def height(self, points: np.ndarray) -> np.ndarray:
        """Signed distance, towards the cameras."""
        return points @ self.normal - self.offset


def fit_plane(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares plane through points: unit normal and offset."""
    centre = points.mean(axis=0)
    _, _, vectors = np.linalg.svd(points - centre, full_matrices=False)
    return vectors[2], float(vectors[2] @ centre)


def find_support(points: np.ndarray, cameras: np.ndarray, looking: np.ndarray, up: Optional[np.ndarray]) -> Optional[Plane]:
    """The plane on which the object stands: level, with many points on it, (nearly) none behind it, and every camera in front of it.

    ``cameras``: positions; ``looking``: unit viewing directions; ``up``: the cameras' own up direction, which distinguishes a table from
    a wall (None if unknown). Returns None if there is no such plane.
    """
    if len(points) < 50:
        return None
    level_enough = np.cos(np.deg2rad(_MOST_TILT))
    random = np.random.default_rng(1)
    spread = float(np.median(np.linalg.norm(points - np.median(points, axis=0), axis=1)))
    tolerance = 0.02 * spread
    best, best_score = None, 0.0
    sample = points if len(points) < 20000 else points[random.permutation(len(points))[:20000]]
    for _ in range(_PLANE_TRIALS):
        a, b, c = sample[random.choice(len(sample), 3, replace=False)]
        normal = np.cross(b - a, c - a)
        length = np.linalg.norm(normal)
        if length < 1e-12:
            continue
        normal /= length
        if up is not None and abs(normal @ up) < level_enough:
            continue
        offset = float(normal @ a)
        side = cameras @ normal - offset
        if np.median(side) < 0:
            normal, offset, side = -normal, -offset, -side
        if (side > 0).mean() < 0.95 or (looking @ normal < 0.1).mean() < 0.9:
            continue
        height = sample @ normal - offset
        score = (np.abs(height) < tolerance).mean() - 2.0 * (height < -3 * tolerance).mean()
        if score > best_score:
            best, best_score = (normal, offset), score
    if best is None:
        return None
    normal, offset = best
    for _ in range(3):
        on = np.abs(points @ normal - offset) < tolerance
        fitted, level = fit_plane(points[on])
        if fitted @ normal < 0:
            fitted, level = -fitted, -level
        normal, offset = fitted, level
    share = float((np.abs(points @ normal - offset) < tolerance).mean())
    return Plane(normal, offset, share) if share > 0.12 and (up is None or normal @ up > level_enough) else None


def own_up(axes: np.ndarray) -> Optional[np.ndarray]:
    """The cameras' own up direction (unit). ``axes`` (N, 3, 3): their rotations, world to camera.

    The horizontal axes of cameras that are not rolled lie in one plane, the level one. If the cameras look in too few directions to
    determine it, the mean of the photos' upward directions is used. None if the photos do not agree on a direction.
    """
    mean = -axes[:, 1].mean(axis=0)
    agreed = float(np.linalg.norm(mean))
    mean /= max(agreed, 1e-12)
    # If the camera was held on its side, the photo's upright axis is the horizontal one.
    across = np.where((np.abs(axes[:, 0] @ mean) <= np.abs(axes[:, 1] @ mean))[:, None], axes[:, 0], axes[:, 1])
    _, spread, directions = np.linalg.svd(across, full_matrices=False)
    either = mean if agreed > _LEAST_AGREED else None
    if len(spread) < 3 or spread[1] < 0.15 * spread[0] or spread[2] > 0.4 * spread[1]:
        return either
    level = directions[2] if directions[2] @ mean > 0 else -directions[2]
    return level if level @ mean > np.cos(np.deg2rad(50.0)) else either


def _against_view(looking: np.ndarray) -> np.ndarray:
    """The up direction of cameras that are turned in all directions, or back and forth as in a flight: opposite to their view."""
    up = -looking.mean(axis=0)
    return up / max(float(np.linalg.norm(up)), 1e-12)


def surrounded(scene: Scene, middle: np.ndarray, up: np.ndarray) -> bool:
    """Whether the photos go round one object: they look at ``middle``, and leave no large gap around it."""
    centres = np.array([v.centre for v in scene.views])
    towards = middle - centres
    distance = np.linalg.norm(towards, axis=1)
    looking = np.array([v.R[2] for v in scene.views])
    if (np.einsum("ni,ni->n", towards, looking) < 0.85 * distance).mean() > 0.2:
        return False
    one = np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.7 else [0, 1.0, 0])
    one /= np.linalg.norm(one)
    two = np.cross(up, one)
    angles = np.sort(np.degrees(np.arctan2(-towards @ two, -towards @ one)))
    gaps = np.diff(np.r_[angles, angles[0] + 360.0])
    return bool(gaps.max() <= _MOST_GAP)


def rotation_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes unit vector a to b."""
    v, c = np.cross(a, b), float(a @ b)
    if c < -0.999999:
        axis = np.cross(a, [1.0, 0, 0]) if abs(a[0]) < 0.9 else np.cross(a, [0, 1.0, 0])
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    K = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + K + K @ K / (1 + c)


def focus_point(scene: Scene) -> np.ndarray:
    """The point nearest to all viewing axes, which the photos look at."""
    A, b = np.zeros((3, 3)), np.zeros(3)
    for view in scene.views:
        P = np.eye(3) - np.outer(view.R[2], view.R[2])
        A += P
        b += P @ view.centre
    return np.linalg.solve(A + 1e-9 * np.eye(3), b)


def upright(scene: Scene, log: Callable[[str], None]) -> dict[str, Any]:
    """Turn an object's scene so that z is up. If the object stands on a plane, the plane becomes z = 0."""
    cameras = np.array([v.centre for v in scene.views])
    looking = np.array([v.R[2] for v in scene.views])
    scans = list(scene.meta.get("scans", {}).values())
    up = own_up(np.array([v.R for v in scene.views if not scans or v.name in scans[0]]))
    # The common model of several scans has no support: it would be in two places at once.
    plane = None if scans else find_support(scene.points, cameras, looking, up)
    if up is None:
        up = _against_view(looking)
    if plane is not None:
        up = plane.normal
        log(f"Support plane found: {100 * plane.share:.0f} % of the sparse points lie on it")
    R = rotation_between(up, np.array([0, 0, 1.0]))
    middle = focus_point(scene)
    if not np.isfinite(middle).all() or np.linalg.norm(middle - cameras.mean(axis=0)) > 20 * np.ptp(cameras):
        middle = np.median(scene.points, axis=0)
    base = middle.copy() if plane is None else middle - plane.height(middle[None])[0] * plane.normal
    around = surrounded(scene, middle, up)
    near = np.median(np.linalg.norm(cameras - middle, axis=1))
    scale = OBJECT_DIAGONAL / max(float(near), 1e-12)
    scene.transform(scale, R, -scale * R @ base)
    return {"kind": "local", "epsg": None, "offset": [0.0, 0.0, 0.0], "unit": "",
            "support": None if plane is None else plane.share, "around": around, "middle": (scale * R @ (middle - base)).tolist()}


def place(scene: Scene, photos: list[Photo], gps: str, scale_option: str, log: Callable[[str], None]) -> dict[str, Any]:
    """Bring the scene into its final coordinates. Returns a description, which is also kept as ``scene.meta['frame']``.

    ``gps``: auto, on or off.
    """
    axes = np.array([v.R for v in scene.views])
    up = own_up(axes)
    frame = by_gps(scene, photos, gps, bool(scale_option.strip()), _against_view(axes[:, 2]) if up is None else up, log)
    if frame is None:
        frame = upright(scene, log)
        scaled = scale_from_tags(scene, scale_option, log)
        if scaled is not None:
            factor = scaled.pop("scale_factor")
            frame.update(scaled, middle=[factor * v for v in frame["middle"]])
    elif scale_option.strip():
        log("scale-distance is not used: the scale comes from the photos' GPS, and one unit is one metre")
    scene.meta["frame"] = frame
    return frame
