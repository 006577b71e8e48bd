"""The object apart from what it stands on and what is behind it."""
from typing import Callable, Optional

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .cloud import Cloud
from .dense import Region
from .scene import Scene

_MARGIN = 0.15      # of the object's extent, added around it
_LEAST_HEIGHT = 0.012  # of the cameras' distance: what is lower belongs to the support
_LEAST_POINTS = 30


def cluster(points: np.ndarray, radius: float) -> np.ndarray:
    """Labels of groups in which each point has another within ``radius``."""
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    n = len(points)
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _main_group(points: np.ndarray, middle: np.ndarray, radius: float) -> np.ndarray:
    """Mask of the group that has most points, counted less the farther they are from the middle."""
    labels = cluster(points, radius)
    weight = 1.0 / (1.0 + (np.linalg.norm(points - middle, axis=1) / max(radius * 8, 1e-12)) ** 2)
    return labels == np.argmax(np.bincount(labels, weights=weight))


def object_region(scene: Scene, wanted: str, log: Callable[[str], None]) -> Optional[Region]:
    """The box around the object on its support, from the sparse points; None keeps everything.

    ``wanted``: auto, keep or remove. auto removes only where there is a support plane, the cameras stand around it,
    and there is an object on it.
    """
    frame = scene.meta["frame"]
    if wanted == "keep" or frame["kind"] != "local" or frame.get("support") is None:
        if wanted == "remove":
            log("The background stays: no plane was found on which the object stands")
        return None
    centres = np.array([v.centre for v in scene.views])
    distance = float(np.median(np.linalg.norm(centres[:, :3] - frame["middle"], axis=1)))
    above = scene.points[(scene.points[:, 2] > _LEAST_HEIGHT * distance) & (scene.errors < 2.0)]
    if len(above) < _LEAST_POINTS:
        log("The background stays: too few points above the support to tell the object from it")
        return None
    middle = np.array(frame["middle"])
    spacing = cKDTree(above).query(above, k=2)[0][:, 1]
    group = above[_main_group(above, middle, max(0.03 * distance, 4 * float(np.median(spacing))))]
    if len(group) < _LEAST_POINTS:
        return None
    low, high = np.percentile(group, [0.5, 99.5], axis=0)
    # The cameras must lie around or above it, not on one side of a wall.
    around = np.linalg.norm((centres - (low + high) / 2)[:, :2], axis=1) > 0.5 * np.linalg.norm((high - low)[:2])
    if wanted == "auto" and around.mean() < 0.7:
        return None
    margin = _MARGIN * (high - low).max()
    low, high = low - margin, high + margin
    low[2] = -0.25 * margin
    log(f"The object is {(high - low - 2 * margin)[0]:.2f} x {(high - low - 2 * margin)[1]:.2f} x "
        f"{(high[2] - margin):.2f} in size; what is outside is removed")
    return Region(low, high)


def hidden_base(object_points: np.ndarray, support_points: np.ndarray, cut: float, cell: float) -> Cloud:
    """Points, facing down, where the object hides its support: the underside that no photo shows.

    Under the object's outline, less where the support was seen (beneath what overhangs).
    """
    low = object_points[:, :2].min(axis=0) - 4 * cell
    size = np.ceil((object_points[:, :2].max(axis=0) - low) / cell).astype(int) + 4

    def grid(points: np.ndarray) -> np.ndarray:
        at = np.floor((points[:, :2] - low) / cell).astype(int)
        at = at[((at >= 0) & (at < size)).all(axis=1)]
        counts = np.zeros(size, np.int32)
        np.add.at(counts, (at[:, 0], at[:, 1]), 1)
        return counts

    above, below = grid(object_points), grid(support_points)
    outline = ndimage.binary_fill_holes(ndimage.binary_closing(above > 0, iterations=3))
    usual = float(np.median(below[below > 0])) if (below > 0).any() else 0.0
    seen = ndimage.binary_closing(below > max(2.0, 0.15 * usual), iterations=2)
    base = ndimage.binary_opening(outline & ~seen, iterations=1)
    x, y = np.nonzero(base)
    # Four points a cell, so that the base weighs about as much as the sides.
    quarter = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    flat = ((np.stack([x, y], axis=1)[:, None, :] + quarter) * cell + low).reshape(-1, 2)
    points = np.c_[flat, np.full(len(flat), cut)]
    return Cloud(points, np.full((len(flat), 3), 90, np.uint8),
                 np.tile(np.array([0, 0, -1.0], np.float32), (len(flat), 1)))


def without_support(cloud: Cloud, scene: Scene, region: Region, log: Callable[[str], None]
                    ) -> tuple[Cloud, float, Cloud]:
    """The object's points, the height at which it is cut from its support, and points of its hidden base.

    The support's own relief (a carpet, a turntable's print) is measured on its points around the object.
    """
    inside = cloud.keep(region.contains(cloud.points))
    z = inside.points[:, 2]
    extent = float((region.high - region.low).max())
    floor = z[np.abs(z) < 0.05 * extent]
    cut = 0.004 * extent
    if len(floor) > 500:
        level = float(np.median(floor))
        relief = 1.4826 * float(np.median(np.abs(floor - level)))
        cut = min(max(level + 3.0 * relief, 0.004 * extent), 0.03 * extent)
    above = inside.keep(z > cut)
    if len(above) < 1000:
        log("Too little is left above the support: the background stays")
        return cloud, float("-inf"), cloud.keep(np.zeros(len(cloud), bool))
    spacing = cKDTree(above.points).query(above.points[:: max(1, len(above) // 5000)], k=2)[0][:, 1]
    # Groups are told apart on a thinned copy; each point then follows its nearest one.
    cell = max(4.0 * float(np.median(spacing)), 0.006 * extent)
    keys, first = np.unique(np.floor(above.points / cell).astype(np.int64), axis=0, return_index=True)
    thin = above.points[first]
    middle = (region.low + region.high) / 2
    main = _main_group(thin, middle, 2.5 * cell)
    _, nearest = cKDTree(thin).query(above.points)
    kept = above.keep(main[nearest])
    log(f"Cut from its support at {cut:.3f} above the plane; {len(kept)} of {len(cloud)} points are the object's")
    cell = max(2.0 * float(np.median(spacing)), 0.004 * extent)
    base = hidden_base(kept.points, inside.points[z <= cut], cut, cell)
    return kept, cut, base
