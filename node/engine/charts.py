"""Texture charts: chooses the photo for each triangle, groups triangles of the same photo, and packs the groups."""
import numpy as np
from numba import njit
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

CANDIDATES = 8  # best views kept for each triangle
_PADDING = 4    # pixels around a chart


def face_neighbours(faces: np.ndarray) -> np.ndarray:
    """The triangles across the three edges of each triangle (F, 3); -1 at a border."""
    n = len(faces)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges.sort(axis=1)
    owner = np.tile(np.arange(n), 3)
    slot = np.repeat(np.arange(3), n)
    order = np.lexsort((edges[:, 1], edges[:, 0]))
    e = edges[order]
    same = (e[1:] == e[:-1]).all(axis=1)
    out = np.full((n, 3), -1, np.int64)
    first, second = order[:-1][same], order[1:][same]
    out[owner[first], slot[first]] = owner[second]
    out[owner[second], slot[second]] = owner[first]
    return out


@njit(cache=True)
def insert_view(view, quality, best_view, best_quality):
    """Insert the view into each triangle's list of best views."""
    for f in range(quality.shape[0]):
        q = quality[f]
        k = best_quality.shape[1] - 1
        if q <= best_quality[f, k]:
            continue
        while k > 0 and best_quality[f, k - 1] < q:
            best_quality[f, k] = best_quality[f, k - 1]
            best_view[f, k] = best_view[f, k - 1]
            k -= 1
        best_quality[f, k] = q
        best_view[f, k] = view


@njit(cache=True)
def _smooth(labels, best_view, best_quality, neighbours, unity, rounds):
    """Give triangles the label of their neighbours if that costs little quality (iterated conditional modes)."""
    for _ in range(rounds):
        changed = 0
        for f in range(labels.shape[0]):
            if best_quality[f, 0] <= 0.0:
                continue
            top = best_quality[f, 0]
            best, value = labels[f], -1.0
            for k in range(best_view.shape[1]):
                if best_quality[f, k] <= 0.0:
                    break
                score = best_quality[f, k] / top
                for e in range(3):
                    g = neighbours[f, e]
                    if g >= 0 and labels[g] == best_view[f, k]:
                        score += unity
                if score > value:
                    best, value = best_view[f, k], score
            if best != labels[f]:
                labels[f] = best
                changed += 1
        if changed == 0:
            break


def choose_labels(best_view: np.ndarray, best_quality: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """One view per triangle (-1: no photo shows it), in patches as large as quality allows."""
    labels = np.where(best_quality[:, 0] > 0, best_view[:, 0], -1).astype(np.int64)
    for unity in (0.15, 0.3, 0.45):
        _smooth(labels, best_view, best_quality, neighbours, unity, 12)
    return labels


def grow(labels: np.ndarray, neighbours: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The chart of each triangle: connected triangles with the same view, or, if unseen, with the same main direction."""
    direction = np.argmax(np.abs(normals), axis=1) * 2 + (normals[np.arange(len(normals)), np.argmax(
        np.abs(normals), axis=1)] > 0)
    key = np.where(labels >= 0, labels, -1 - direction)
    rows, slots = np.nonzero(neighbours >= 0)
    other = neighbours[rows, slots]
    same = key[rows] == key[other]
    n = len(labels)
    graph = coo_matrix((np.ones(same.sum(), np.int8), (rows[same], other[same])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def pack(sizes: np.ndarray, width: int) -> tuple[np.ndarray, int]:
    """Shelf packing of rectangles (C, 2: w, h) into a strip. Returns their corners (C, 2) and the height used."""
    order = np.lexsort((-sizes[:, 0], -sizes[:, 1]))
    corners = np.zeros_like(sizes)
    x = y = shelf = 0
    for c in order:
        w, h = sizes[c]
        if x + w > width:
            x, y, shelf = 0, y + shelf, 0
        corners[c] = x, y
        x += w
        shelf = max(shelf, h)
    return corners, int(y + shelf)


def lay_out(corner_pixels: np.ndarray, chart: np.ndarray, most: int, least: int = 2048) -> tuple[np.ndarray, int]:
    """Place charts in a square atlas.

    ``corner_pixels`` (F, 3, 2): each triangle's corners in its photo (any unit for unseen ones). Returns the corners
    in atlas pixels and the side of the atlas: the smallest power of two from ``least`` to ``most`` that holds the charts
    at the photos' own resolution. If they do not fit at ``most``, they are scaled down.
    """
    count = int(chart.max()) + 1
    flat = corner_pixels.reshape(-1, 2)
    owner = np.repeat(chart, 3)
    low = np.full((count, 2), np.inf)
    high = np.full((count, 2), -np.inf)
    np.minimum.at(low, owner, flat)
    np.maximum.at(high, owner, flat)
    side, scale = min(least, most), 1.0
    while True:
        sizes = np.ceil((high - low) * scale).astype(np.int64) + 2 * _PADDING + 1
        if sizes[:, 0].max() <= side:
            corners, used = pack(sizes, side)
            if used <= side:
                break
        if side < most:
            side *= 2
        else:
            scale *= 0.94
    placed = (flat - low[owner]) * scale + corners[owner] + _PADDING + 0.5
    return placed.reshape(-1, 3, 2), side
