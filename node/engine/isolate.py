"""Separates the object from what it stands on and from what is behind it."""
from typing import Callable, Optional

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .cloud import Cloud
from .dense import DepthMaps, Region, cut_below, fuse
from .errors import EngineError
from .frame import own_up, rotation_between
from .reasons import NO_TEXTURE, too_few_points
from .scene import Scene

_MARGIN = 0.15      # of the object's extent, added around it
_LEAST_HEIGHT = 0.012  # of the cameras' distance; lower points belong to the support
_LEAST_POINTS = 30
_SURE = 12          # points expected in the middle of an even table; fewer than a fifth of them occur by chance once in 2,000 times


def cluster(points: np.ndarray, radius: float) -> np.ndarray:
    """Labels of groups in which each point has another within ``radius``."""
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    n = len(points)
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def _main_group(points: np.ndarray, middle: np.ndarray, radius: float) -> np.ndarray:
    """Mask of the group with the most points. Points count less the farther they are from the middle."""
    labels = cluster(points, radius)
    weight = 1.0 / (1.0 + (np.linalg.norm(points - middle, axis=1) / max(radius * 8, 1e-12)) ** 2)
    return labels == np.argmax(np.bincount(labels, weights=weight))


def _ball(scene: Scene, middle: np.ndarray) -> float:
    """The radius around the middle that roughly fills the photos. The object lies within it."""
    return float(np.median([np.linalg.norm(v.centre - middle) * 0.5 * min(v.width, v.height) / v.K[0, 0] for v in scene.views]))


def _in_frame(scene: Scene, low: np.ndarray, high: np.ndarray) -> float:
    """The share of the photos that show the whole box."""
    corners = Region(low, high).corners()
    whole = 0
    for view in scene.views:
        pixels, depth = view.project(corners)
        whole += bool((depth > 0).all() and (pixels > 0).all() and (pixels < [view.width, view.height]).all())
    return whole / max(len(scene.views), 1)


def _refuse_plain_object(scene: Scene, middle: np.ndarray, distance: float) -> None:
    """Raise EngineError if the support was measured all round the middle, but nothing in the middle: the object has no texture."""
    on = scene.points[np.abs(scene.points[:, 2]) < _LEAST_HEIGHT * distance]
    off = np.linalg.norm(on[:, :2] - middle[:2], axis=1)
    near = off[off < distance]
    if not len(near):
        return
    # A flat object, such as a coin, has as many points as the table around it. If there are few points, a hole may be chance.
    reach, hole = float(np.percentile(near, 90)), 0.08 * distance
    expected = 0.9 * len(near) * min(1.0, hole / reach) ** 2
    if expected >= _SURE and (near < hole).sum() < 0.2 * expected:
        raise EngineError(NO_TEXTURE)


def object_region(scene: Scene, wanted: str, log: Callable[[str], None]) -> Optional[Region]:
    """The box around the photographed object, from the sparse points; None keeps everything.

    ``wanted``: auto, keep or remove. auto removes the surroundings if the photos go round an object, or if they show a whole object that
    stands on a support. Raises EngineError if nothing of the object itself could be measured.
    """
    frame = scene.meta["frame"]
    if wanted == "keep" or frame["kind"] != "local":
        return None
    supported, around = frame.get("support") is not None, frame.get("around", False)
    if not supported and not around:
        log("The background is kept: the photos do not go round an object, and no plane was found that an object stands on")
        return None
    centres = np.array([v.centre for v in scene.views])
    middle = np.array(frame["middle"])
    distance = float(np.median(np.linalg.norm(centres - middle, axis=1)))
    good = scene.errors < 2.0
    if supported:
        good &= scene.points[:, 2] > _LEAST_HEIGHT * distance
    else:
        good &= np.linalg.norm(scene.points - middle, axis=1) < 1.25 * _ball(scene, middle)
    candidates = scene.points[good]
    if len(candidates) < _LEAST_POINTS:
        if around and supported:
            _refuse_plain_object(scene, middle, distance)
        log("The background is kept: too few points above the support to tell the object from it")
        return None
    spacing = cKDTree(candidates).query(candidates, k=2)[0][:, 1]
    group = candidates[_main_group(candidates, middle, max(0.03 * distance, 4 * float(np.median(spacing))))]
    if len(group) < _LEAST_POINTS:
        return None
    low, high = np.percentile(group, [0.5, 99.5], axis=0)
    # The cameras must be around or above the object, not on one side of a wall.
    outside = np.linalg.norm((centres - (low + high) / 2)[:, :2], axis=1) > 0.5 * np.linalg.norm((high - low)[:2])
    if wanted == "auto" and (outside.mean() < 0.7 or (not around and _in_frame(scene, low, high) < 0.5)):
        log("The background is kept: the photos show a scene, not one object from all sides")
        return None
    log("The object's size is about " + " x ".join(f"{v:.2f}" for v in high - low) + "; everything outside is removed")
    margin = _MARGIN * (high - low).max()
    low, high = low - margin, high + margin
    if supported:
        low[2] = -0.25 * margin
    else:  # there are few sparse points below an overhang
        low[2] = max(low[2] - 0.4 * float((high - low).max()), min(low[2], middle[2] - 1.1 * _ball(scene, middle)))
    return Region(low, high)


def hidden_base(object_points: np.ndarray, support_points: np.ndarray, cut: float, cell: float) -> Cloud:
    """Points, facing down, where the object hides its support: the underside that no photo shows.

    They fill the object's outline, except where the support was seen (below overhangs).
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
    # Four points per cell, so that the base weighs about as much as the sides.
    quarter = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])
    flat = ((np.stack([x, y], axis=1)[:, None, :] + quarter) * cell + low).reshape(-1, 2)
    points = np.c_[flat, np.full(len(flat), cut)]
    return Cloud(points, np.full((len(flat), 3), 90, np.uint8),
                 np.tile(np.array([0, 0, -1.0], np.float32), (len(flat), 1)))


def find_table(cloud: Cloud, middle: np.ndarray, extent: float) -> Optional[float]:
    """The height of the level surface on which the object stands, from dense points; None if there is none.

    It is the lowest level surface that extends beyond the object. Only the edge of a thin plate may lie below it: a level surface with
    more below it belongs to the object, such as the top of a plinth.
    """
    if cloud.normals is None or len(cloud) < 1000:
        return None
    z, step = cloud.points[:, 2], 0.004 * extent
    level = cloud.normals[:, 2] > 0.93
    if level.sum() < 200:
        return None
    low = float(z.min())
    counts = np.bincount(((z[level] - low) / step).astype(np.int64))
    sums = np.convolve(counts, np.ones(5), mode="same")
    off = np.linalg.norm(cloud.points[:, :2] - middle[:2], axis=1)
    for k in range(len(sums)):
        if sums[k] < max(200.0, 0.02 * len(z)) or sums[k] < sums[max(k - 4, 0):k + 5].max():
            continue
        height = low + (k + 0.5) * step
        on = level & (np.abs(z - height) < 2.5 * step)
        above, below = z > height + 4 * step, z < height - 4 * step
        if above.sum() < 500:
            return None
        reach, own = np.percentile(off[on], 95), np.percentile(off[above], 95)
        beside = (off[on] > np.percentile(off[above & (z < height + 20 * step)], 80)).mean() if (
            above & (z < height + 20 * step)).any() else 1.0
        inner = below & (off < 0.8 * reach)
        thin = not below.any() or height - np.percentile(z[below], 2) < 0.25 * reach
        if reach > 0.95 * own and beside > 0.3 and inner.sum() < 0.03 * above.sum() and thin:
            return height
    return None


def on_pin(points: np.ndarray, bottom: float) -> np.ndarray:
    """Mask of the points on a pin or rod that holds the object from below.

    A pin is thin, has the same thickness everywhere, is longer than thick, and continues below ``bottom``, the lower end of the region.
    A leg of the object, in contrast, ends within the photos.
    """
    low, high = np.percentile(points[:, 2], [0.05, 99.5])
    step = (high - low) / 150
    nothing = np.zeros(len(points), bool)
    if low > bottom + 4 * step:
        return nothing
    radii = []
    for k in range(100):
        part = points[np.abs(points[:, 2] - low - (k + 0.5) * step) <= 0.5 * step + 1e-12]
        radii.append(np.percentile(np.linalg.norm(part[:, :2] - np.median(part[:, :2], axis=0), axis=1), 90) if len(part) >= 5 else 0.0)
    widest, first = max(radii), float(np.median([r for r in radii[:12] if r > 0] or [np.inf]))
    if first > 0.22 * widest:
        return nothing
    thick = next((k for k, r in enumerate(radii) if r > 2.2 * first and k > 3), None)
    if thick is None or thick * step < 2.5 * first:
        return nothing
    below = points[:, 2] < low + thick * step
    off = np.linalg.norm(points[:, :2] - np.median(points[below, :2], axis=0), axis=1)
    return below & (off < 2.0 * first) | (off < 1.5 * first) & (points[:, 2] < low + (thick + 2) * step)


def object_alone(cloud: Cloud, scene: Scene, region: Region, log: Callable[[str], None]
                 ) -> tuple[Cloud, float, Cloud]:
    """The photographed object's points, the height of its flat underside, and points for the underside where a support hid it.

    The support's relief (a carpet, a turntable's print) is measured at its points around the object. Raises EngineError if a support was
    measured, but nothing that stands on it.
    """
    inside = cloud.keep(region.contains(cloud.points))
    if len(inside) < 1000:
        raise EngineError(too_few_points(len(inside)))
    z = inside.points[:, 2]
    middle = (region.low + region.high) / 2
    extent = float((region.high - region.low).max())
    joined = bool(scene.meta.get("scans"))  # the scans were cut off their supports before
    table: Optional[float] = None
    if not joined:
        table = 0.0 if scene.meta["frame"].get("support") is not None else find_table(inside, middle, extent)
    nothing = cloud.keep(np.zeros(len(cloud), bool))
    if table is None:
        pin = on_pin(inside.points, float(region.low[2]))
        if pin.any() and not joined:
            log(f"The object was cut off the pin that holds it, at a height of {inside.points[pin, 2].max():.3f}")
            inside = inside.keep(~pin)
        kept = inside.keep(_of_main_group(inside.points, middle, extent))
        log(f"No support was seen; {len(kept)} of {len(cloud)} points belong to the object")
        return kept, float(np.percentile(kept.points[:, 2], 0.3)), nothing
    flat = np.abs(z - table) < 0.05 * extent
    floor = z[flat & (inside.normals[:, 2] > 0.7)] if inside.normals is not None else z[flat]
    cut = table + 0.004 * extent
    if len(floor) > 500:
        level = float(np.median(floor))
        relief = 1.4826 * float(np.median(np.abs(floor - level)))
        cut = min(max(level + 3.0 * relief, table + 0.004 * extent), table + 0.03 * extent)
    above = inside.keep(z > cut)
    if len(above) < 1000:
        raise EngineError(NO_TEXTURE)
    spacing = cKDTree(above.points).query(above.points[:: max(1, len(above) // 5000)], k=2)[0][:, 1]
    kept = above.keep(_of_main_group(above.points, middle, extent))
    log(f"The object was cut off {cut - table:.3f} above its support; {len(kept)} of {len(cloud)} points belong to it")
    cell = max(2.0 * float(np.median(spacing)), 0.004 * extent)
    base = hidden_base(kept.points, inside.points[z <= cut], cut, cell)
    return kept, cut, base


def cut_scans(scene: Scene, maps: DepthMaps, near: dict[int, list[int]], scale: float, region: Optional[Region],
              log: Callable[[str], None]) -> None:
    """Remove each scan's support from the depth maps of its photos. In the other scans of the turned object, the object is there."""
    for name, members in scene.meta.get("scans", {}).items():
        mine = {i: [j for j in others if scene.views[j].name in members] for i, others in near.items() if scene.views[i].name in members}
        if not mine or region is None:
            continue
        extent = float((region.high - region.low).max())
        support = scene.meta["supports"].get(name)
        if support is None:
            up = own_up(np.array([scene.views[i].R for i in mine]))
            if up is None:
                continue
            R = rotation_between(up, np.array([0, 0, 1.0]))
            cloud = fuse(scene, maps, mine, scale, 2, lambda done, total: None)
            cloud = cloud.keep(region.contains(cloud.points))
            upright = Cloud(cloud.points @ R.T, cloud.colours, (cloud.normals @ R.T).astype(np.float32))
            height = find_table(upright, R @ (region.low + region.high) / 2, extent)
            if height is None:
                log(f"{name}: no support was seen")
                continue
            support = [*up.tolist(), height]
        for i in mine:
            cut_below(maps, scene.views[i], i, scale, np.array(support[:3]), support[3] + 0.01 * extent)
        log(f"{name}: cut off its support")


def _of_main_group(points: np.ndarray, middle: np.ndarray, extent: float) -> np.ndarray:
    """Mask of the points that belong to what the photos look at. The groups are found in a thinned copy."""
    spacing = cKDTree(points).query(points[:: max(1, len(points) // 5000)], k=2)[0][:, 1]
    cell = max(4.0 * float(np.median(spacing)), 0.006 * extent)
    _, first = np.unique(np.floor(points / cell).astype(np.int64), axis=0, return_index=True)
    thin = points[first]
    main = _main_group(thin, middle, 2.5 * cell)
    return main[cKDTree(thin).query(points)[1]]
