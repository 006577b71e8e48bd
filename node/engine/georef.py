"""Places a scene by the photos' GPS: level, upright, in UTM. Positions that do not agree are left out and reported.

GPS is used only if the positions agree with the reconstruction. Their distance alone says nothing: the positions of a phone that went
round a vase scatter by metres, too.
"""
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

import numpy as np
import pyproj
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from .photos import Photo
from .scene import Scene

_LEAST_PHOTOS = 4       # three positions fit nearly any three cameras, so they prove nothing
_LEAST_SHARE = 0.3      # of the placed photos
_AGREES = 0.3           # share of the positions' spread; a larger error (root mean square, level) means that GPS only scatters
_AGREES_BESIDE_TAGS = 0.1  # the same if printed tags give the scale: GPS must then be much better
_FAR = 1.0              # degrees from the median position; no flight is that large
_ZERO_BELOW = 5.0       # metres; an altitude of exactly 0 counts as missing if the others are higher or lower than this
_LEAST_ERROR = 1.0      # metres; a smaller error is never called wrong
_FLAT = 0.1             # thickness divided by width of a layer of cameras that counts as flat and level


@dataclass(frozen=True)
class _Positions:
    """Positions of placed photos: indices of the views, latitude and longitude in degrees, altitude in metres (nan if unknown)."""

    views: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    altitude: np.ndarray


@dataclass(frozen=True)
class _Fit:
    """A similarity into metres, the distance of each camera from its position, and which positions were used."""

    scale: float
    R: np.ndarray
    t: np.ndarray
    error: np.ndarray   # metres; level where no altitude is known
    used: np.ndarray    # bool
    ratio: float        # level error of the used positions divided by their spread


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale, rotation and shift that map source to target by least squares, in any dimension (Umeyama 1991), never a mirror image."""
    ms, mt = source.mean(axis=0), target.mean(axis=0)
    a, b = source - ms, target - mt
    U, S, Vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.ones(source.shape[1])
    signs[-1] = np.sign(np.linalg.det(U) * np.linalg.det(Vt))
    R = U @ np.diag(signs) @ Vt
    scale = float((S * signs).sum() / max((a ** 2).sum() / len(a), 1e-30))
    return scale, R, mt - scale * R @ ms


def utm_epsg(latitude: float, longitude: float) -> int:
    """EPSG code of the UTM zone (WGS 84) of a place."""
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    return (32600 if latitude >= 0 else 32700) + zone


def _ups(scene: Scene, own_up: np.ndarray) -> list[np.ndarray]:
    """Unit directions that may be up, likeliest first: normal to a flat layer of cameras, opposite to their view, their own up.

    The one with which the level positions fit best is taken. If they fit equally well, the order decides.
    """
    centres = np.array([v.centre for v in scene.views])
    axes = np.array([v.R for v in scene.views])
    looking, above = axes[:, 2].mean(axis=0), -axes[:, 1].mean(axis=0)
    same_way = float(np.linalg.norm(looking))
    looking = looking / max(same_way, 1e-12)
    _, spread, directions = np.linalg.svd(centres - centres.mean(axis=0), full_matrices=False)
    ups = [own_up]
    if same_way > 0.85:
        # All cameras look in one direction: down, as from a drone, or at a wall. They look down if the upper edges of the photos point in
        # different directions, or along the flight path.
        down = np.linalg.norm(above) < 0.7 or abs(above @ directions[0]) > 0.7 * np.linalg.norm(above)
        ups = [-looking, own_up] if down else [own_up, -looking]
    if spread[1] > 0.15 * spread[0] and spread[2] < _FLAT * spread[1]:
        normal = directions[2]
        side = -(normal @ looking) * same_way
        if abs(side) < 0.3:
            side = normal @ own_up
        ups.insert(0, normal if side > 0 else -normal)
    return ups


def _known(scene: Scene, photos: Sequence[Photo]) -> tuple[Optional[_Positions], list[tuple[str, str]]]:
    """The usable positions, and (photo, remark) for positions that are unusable or only partly usable."""
    by_name = {p.name: p for p in photos}
    notes: list[tuple[str, str]] = []
    rows = [(i, by_name[v.name].gps if v.name in by_name else None) for i, v in enumerate(scene.views)]
    notes += [(scene.views[i].name, "has no usable position") for i, gps in rows if gps is None]
    rows = [(i, gps) for i, gps in rows if gps is not None]
    if not rows:
        return None, notes
    where = np.array([[gps[0], gps[1]] for _, gps in rows])
    altitude = np.array([np.nan if gps[2] is None else gps[2] for _, gps in rows], float)
    near = (np.abs(where - np.median(where, axis=0)) < _FAR).all(axis=1)
    notes += [(scene.views[rows[k][0]].name, "has a position far from all others") for k in np.flatnonzero(~near)]
    rest = altitude[np.isfinite(altitude) & (altitude != 0) & near]
    zero = altitude == 0
    if zero.any() and (not len(rest) or abs(float(np.median(rest))) > _ZERO_BELOW):
        altitude[zero] = np.nan
    notes += [(scene.views[rows[k][0]].name, "has no altitude; only its latitude and longitude are used")
              for k in np.flatnonzero(near & ~np.isfinite(altitude))]
    views = np.array([i for i, _ in rows])
    return _Positions(views[near], where[near, 0], where[near, 1], altitude[near]), notes


def _turn_up(up: np.ndarray) -> np.ndarray:
    """A rotation that maps the unit vector ``up`` to z."""
    across = np.cross(up, [1.0, 0, 0] if abs(up[0]) < 0.9 else [0, 1.0, 0])
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(up, across), up])


def _refined(source: np.ndarray, target: np.ndarray, start: tuple[float, np.ndarray, np.ndarray]
             ) -> tuple[float, np.ndarray, np.ndarray]:
    """The least-squares similarity over all known values: level positions, and altitudes where they are not nan."""
    scale, R, t = start
    known = np.isfinite(target)
    size = max(float(np.ptp(source, axis=0).max()) * scale, 1.0)

    def parts(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        return scale * np.exp(x[0]), Rotation.from_rotvec(x[1:4]).as_matrix() @ R, t + size * x[4:]

    middle = source.mean(axis=0)

    def residual(x: np.ndarray) -> np.ndarray:
        s, turn, shift = parts(x)
        # Rotate and scale about the middle, so that the unknowns depend less on each other.
        moved = s * (source - middle) @ turn.T + scale * R @ middle + shift
        return (moved - np.where(known, target, moved)).ravel() / size

    x = least_squares(residual, np.zeros(7)).x
    s, turn, shift = parts(x)
    return s, turn, shift + scale * R @ middle - s * turn @ middle


def fit(source: np.ndarray, target: np.ndarray, up: np.ndarray) -> _Fit:
    """The upright similarity that maps cameras (N, 3) to their positions (N, 3; metres, nan if an altitude is unknown).

    The first fit is level, with rotations about ``up`` only. If altitudes are known and the cameras do not lie on one line, a free fit
    follows. Positions that are off by more than three robust sigma are ignored.
    """
    turn = _turn_up(up)
    level = source @ turn.T
    used = np.ones(len(source), bool)
    altitude = np.isfinite(target[:, 2])
    spread = np.linalg.svd(level[:, :2] - level[:, :2].mean(axis=0), compute_uv=False)
    wide = len(source) >= _LEAST_PHOTOS and spread[1] > 0.05 * spread[0]
    scale, R, t, error = 1.0, turn, np.zeros(3), np.zeros(len(source))
    for _ in range(8):
        scale, plane, shift = similarity(level[used, :2], target[used, :2])
        R = np.eye(3)
        R[:2, :2] = plane
        R = R @ turn
        heights = target[:, 2] - scale * source @ R[2]
        counted = used & altitude
        t = np.array([*shift, float(np.median(heights[counted])) if counted.any() else 0.0])
        if wide and counted.sum() >= _LEAST_PHOTOS:
            free = _refined(source[used], target[used], (scale, R, t))
            if free[1][2] @ up > np.cos(np.deg2rad(25.0)):
                scale, R, t = free
        off = scale * source @ R.T + t - target
        error = np.linalg.norm(np.where(np.isfinite(off), off, 0.0), axis=1)
        again = error < max(3 * 1.4826 * float(np.median(error[used])), _LEAST_ERROR)
        if (again == used).all() or again.sum() < 3:
            break
        used = again
    off = np.linalg.norm((scale * source @ R.T + t - target)[used, :2], axis=1)
    around = target[used, :2] - target[used, :2].mean(axis=0)
    ratio = float(np.sqrt((off ** 2).mean()) / max(np.sqrt((around ** 2).sum(axis=1).mean()), 1e-9))
    return _Fit(scale, R, t, error, used, ratio)


def _in_metres(positions: _Positions) -> tuple[int, np.ndarray]:
    """EPSG code of the UTM zone, and the positions there."""
    epsg = utm_epsg(float(np.median(positions.latitude)), float(np.median(positions.longitude)))
    east, north = pyproj.Transformer.from_crs(4326, epsg, always_xy=True).transform(positions.longitude, positions.latitude)
    return epsg, np.c_[east, north, positions.altitude]


def _best_fit(scene: Scene, positions: _Positions, unsure: bool, ups: Sequence[np.ndarray]) -> tuple[int, np.ndarray, _Fit, str]:
    """EPSG code, round offset, the fit relative to that offset, and a remark on the hemisphere.

    ``unsure``: the photos do not say whether north or south, east or west. In the wrong hemisphere, positions are mirrored. They would
    fit only upside down, which ``fit`` does not allow, so they agree badly, and the other hemisphere is tried.
    """
    source = np.array([scene.views[i].centre for i in positions.views])
    remark, chosen = "", None
    for west in (False, True) if unsure else (False,):
        tried = replace(positions, longitude=-positions.longitude) if west else positions
        epsg, target = _in_metres(tried)
        offset = np.array([np.round(np.median(target[:, 0])), np.round(np.median(target[:, 1])), 0.0])
        found = min((fit(source, target - offset, up) for up in ups), key=lambda f: (-f.used.sum() // 3, round(f.ratio, 2)))
        better = chosen is None or (found.used.sum(), -found.ratio) > (chosen[2].used.sum(), -chosen[2].ratio)
        if unsure and chosen is not None:
            better = found.ratio < 0.5 * chosen[2].ratio
        if better:
            chosen = epsg, offset, found
            remark = ("The photos do not say whether their positions are north or south, east or west. North and "
                      f"{'west' if west else 'east'} are assumed{', as the positions would be mirrored otherwise' if west else ''}. "
                      "The place on the map may be wrong; shape, size and level are right.") if unsure else ""
    return (*chosen, remark)


def by_gps(scene: Scene, photos: Sequence[Photo], wanted: str, has_tags: bool, own_up: np.ndarray, log: Callable[[str], None]
           ) -> Optional[dict[str, Any]]:
    """Move the scene to UTM minus a round offset, by its GPS. Returns None, with the reason in the log, if GPS is not used.

    ``wanted``: auto (if the positions agree with the reconstruction), on (whenever possible), off. ``has_tags``: printed tags give the
    scale, and GPS is used only if it is good. Returns ``epsg``, ``offset``, the unused positions, and the errors.
    """
    if wanted == "off":
        return None
    positions, notes = _known(scene, photos)
    count = 0 if positions is None else len(positions.views)
    least = 3 if wanted == "on" else max(_LEAST_PHOTOS, _LEAST_SHARE * len(scene.views))
    if count == 0 and wanted != "on":
        return None
    own = "The model keeps its own scale"
    if count < least:
        log(f"GPS is not used: only {count} of {len(scene.views)} photos have a usable position. {own}")
        return None
    epsg, target = _in_metres(positions)
    if len(np.unique(np.round(target[:, :2], 2), axis=0)) < 3:
        log(f"GPS is not used: all photos have the same position, or one of two. {own}")
        return None
    flagged = [p for p in photos if p.gps is not None and p.gps_unsure]
    unsure = len(flagged) > 0.5 * sum(p.gps is not None for p in photos)
    epsg, offset, found, remark = _best_fit(scene, positions, unsure, _ups(scene, own_up))
    most = _AGREES_BESIDE_TAGS if has_tags else _AGREES
    enough = found.used.sum() >= max(least, 0.5 * count)
    if wanted == "auto" and (found.ratio > most or not enough):
        log(f"GPS is not used: the positions do not agree with the photos (they scatter by {100 * found.ratio:.0f} % of their extent). "
            f"This is usual for a phone near a small object. {'Printed tags give the scale' if has_tags else own}")
        return None
    scene.transform(found.scale, found.R, found.t)
    notes += [(scene.views[i].name, f"has a position that is off by {found.error[k]:.0f} m and does not count")
              for k, i in enumerate(positions.views) if not found.used[k]]
    if remark:
        log(remark)
    for reason in dict.fromkeys(reason for _, reason in notes):
        names = sorted(name for name, other in notes if other == reason)
        log(f"GPS: {', '.join(names[:12])}{f' and {len(names) - 12} more' if len(names) > 12 else ''} {reason}")
    heights = bool(np.isfinite(positions.altitude[found.used]).any())
    if not heights:
        ground = float(np.percentile(scene.points[:, 2], 2)) if len(scene.points) else 0.0
        scene.transform(1.0, np.eye(3), np.array([0.0, 0.0, -ground]))
        log("No photo has an altitude. Heights are measured from the lowest ground in the photos")
    error = found.error[found.used]
    log(f"Placed in EPSG:{epsg}; the cameras are {error.mean():.2f} m from the photos' GPS on average, {error.max():.2f} m at most")
    return {"kind": "utm", "epsg": epsg, "offset": offset.tolist(), "gps_error_mean_m": float(error.mean()),
            "gps_error_max_m": float(error.max()), "unit": "m", "gps_remark": remark, "gps_heights": heights,
            "gps_notes": [{"photo": name, "reason": reason} for name, reason in sorted(notes)]}
