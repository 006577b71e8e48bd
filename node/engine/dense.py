"""Makes depth maps of all photos and fuses them into one cloud."""
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

import cv2
import numpy as np
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.sparse import coo_matrix

from . import patchmatch
from .cloud import Cloud
from .masks import resized_mask
from .scene import Scene, View
from .settings import MOST_POINTS

NEIGHBOURS = 4
FUSION_NEIGHBOURS = 8
WINDOW_RADIUS = 4  # pixels
MOST_COST = 0.6  # 1 - NCC; a worse match does not count as a measurement
_LEAST_SHARED = 10  # points; two views that share fewer are not compared
_CELLS = (16, 12)    # parts of a photo, across and down
_LEAST_GAIN = 0.03   # of the parts; a neighbour that adds fewer is not preferred
_ANGLE_BEST, _ANGLE_LEAST, _ANGLE_MOST = 12.0, 2.0, 45.0  # degrees between two views of a point


def choose_neighbours(scene: Scene, count: int) -> dict[int, list[int]]:
    """For each view, the other views that see the same points from useful angles, best first."""
    used = scene.used()
    centres = np.array([v.centre for v in scene.views])
    shared = _shared_points(scene)
    mine = np.zeros(len(scene.points), bool)
    out: dict[int, list[int]] = {}
    for i in used:
        mine[:] = False
        mine[scene.seen[i]] = True
        scores = []
        for j in used:
            if j == i or shared[i, j] < _LEAST_SHARED:
                continue
            common = scene.points[scene.seen[j][mine[scene.seen[j]]]]
            a, b = common - centres[i], common - centres[j]
            angle = _angles(a, b)
            good = (angle > _ANGLE_LEAST) & (angle < _ANGLE_MOST)
            weight = np.where(angle < _ANGLE_BEST, angle / _ANGLE_BEST, 1.0)
            # A photo from much nearer or farther shows details at another size, so it is less useful.
            size = np.linalg.norm(a, axis=1) / np.maximum(np.linalg.norm(b, axis=1), 1e-12)
            weight = weight * np.minimum(size, 1 / size)
            scores.append((float((weight * good).sum()), j))
        ranked = [j for score, j in sorted(scores, reverse=True) if score > 0][:count]
        if len(ranked) < count:
            # If few points are shared, take the nearest cameras that look in the same direction.
            have = set(ranked)
            by_angle = sorted((float(-(scene.views[i].R[2] @ scene.views[j].R[2])
                                     + 0.1 * np.linalg.norm(centres[i] - centres[j])), j)
                              for j in used if j != i and j not in have)
            ranked += [j for _, j in by_angle][:count - len(ranked)]
        out[i] = ranked
    return out


def _angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The angles between the rows of two arrays (N, 3), in degrees."""
    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def cover_photos(scene: Scene, near: dict[int, list[int]], count: int) -> dict[int, list[int]]:
    """Reorder each view's neighbours so that, if possible, at least two of the first ``count`` show each part of its photo.

    Depth needs two. The ends of a facade or of a flight are in few photos, and those that share most points with a photo may all miss
    the same part of it. The first two neighbours stay: they are the best for most of the photo.
    """
    out = {}
    for i, ranked in near.items():
        view, points = scene.views[i], scene.points[scene.seen[i]]
        cells = (view.project(points)[0] / [view.width, view.height] * _CELLS).astype(int)
        points = points[np.unique(cells, axis=0, return_index=True)[1]]
        sees = {j: _sees(scene.views[j], view.centre, points) for j in ranked}
        chosen, left = ranked[:2], ranked[2:]
        while left and len(chosen) < count:
            lacking = np.sum([sees[j] for j in chosen], axis=0) < 2
            gains = [int((sees[j] & lacking).sum()) for j in left]
            best = int(np.argmax(gains))
            chosen = [*chosen, left.pop(best if gains[best] > _LEAST_GAIN * len(points) else 0)]
        out[i] = chosen + left
    return out


def _sees(view: View, from_centre: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Which points are in the view's frame and at a useful angle to those seen from another camera."""
    pixels, depth = view.project(points)
    angle = _angles(points - from_centre, points - view.centre)
    inside = ((pixels >= 0) & (pixels <= [view.width - 1, view.height - 1])).all(axis=1)
    return (depth > 0) & inside & (angle > _ANGLE_LEAST) & (angle < _ANGLE_MOST)


def _shared_points(scene: Scene) -> np.ndarray:
    """How many points each pair of views has in common (V, V). A sparse product: the full table would not fit into memory."""
    rows = np.repeat(np.arange(len(scene.views)), [len(s) for s in scene.seen])
    columns = np.concatenate(scene.seen)
    sees = coo_matrix((np.ones(len(rows), np.int32), (rows, columns)), shape=(len(scene.views), len(scene.points)))
    sees = sees.tocsr()
    return (sees @ sees.T).toarray()


@dataclass
class Region:
    """An upright box in the world, in which depth is searched."""

    low: np.ndarray
    high: np.ndarray

    def corners(self) -> np.ndarray:
        """Its eight corners."""
        grid = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T
        return self.low + grid * (self.high - self.low)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Which points lie inside."""
        return ((points >= self.low) & (points <= self.high)).all(axis=1)


def _mask_of(view: View, scale: float, region: Optional[Region]) -> np.ndarray:
    width, height = view.size(scale)
    mask = np.ones((height, width), np.uint8)
    if region is not None:
        pixels, depth = view.project(region.corners())
        if (depth > 0).all():
            hull = cv2.convexHull((pixels * scale).astype(np.float32)).astype(np.int32)
            mask[:] = 0
            cv2.fillConvexPoly(mask, hull, 1)
    if view.mask is not None:
        mask &= resized_mask(view.mask, width, height)
    return mask


def depth_range(view: View, points: np.ndarray, region: Optional[Region]) -> tuple[float, float]:
    """Nearest and farthest depth to search: those of the region, or those of the sparse points with some margin."""
    if region is not None:
        z = (region.corners() @ view.R.T + view.t)[:, 2]
        if (z > 0).all():
            return float(z.min()), float(z.max())
    z = (points @ view.R.T + view.t)[:, 2]
    z = z[z > 0]
    near, far = np.percentile(z, [1, 99])
    return float(near * 0.75), float(far * 1.3)


def _first_guess(view: View, points: np.ndarray, scale: float, low: float, high: float) -> np.ndarray:
    """Depth interpolated between the sparse points that the view sees."""
    width, height = view.size(scale)
    pixels, z = view.project(points)
    pixels = pixels * scale
    good = (z >= low) & (z <= high) & (pixels > 0).all(1) & (pixels < [width, height]).all(1)
    guess = np.full((height, width), 0.5 * (low + high), np.float32)
    if good.sum() < 8:
        return guess
    # A coarse grid is enough: this is only the start of the search.
    step = 4
    gx, gy = np.meshgrid(np.arange(0, width, step), np.arange(0, height, step))
    flat = np.stack([gx.ravel(), gy.ravel()], 1)
    values = LinearNDInterpolator(pixels[good], z[good])(flat)
    hole = np.isnan(values)
    if hole.any():
        values[hole] = NearestNDInterpolator(pixels[good], z[good])(flat[hole])
    coarse = values.reshape(gx.shape).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), low, high)


def _relative(view: View, others: list[View], scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A (S, 3, 3) and b (S, 3) of the plane-induced homographies, and K^-1 of the view."""
    Kinv = np.linalg.inv(view.scaled_K(scale))
    A, b = [], []
    for other in others:
        K = other.scaled_K(scale)
        R = other.R @ view.R.T
        A.append(K @ R @ Kinv)
        b.append(K @ (other.t - R @ view.t))
    return np.array(A, np.float32), np.array(b, np.float32), Kinv.astype(np.float32)


def _stack(views: list[View], scale: float, load: Callable[[View, float], np.ndarray]) -> np.ndarray:
    pictures = [load(v, scale) for v in views]
    height, width = max(p.shape[0] for p in pictures), max(p.shape[1] for p in pictures)
    out = np.zeros((len(pictures), height, width), np.uint8)
    for row, picture in zip(out, pictures):
        # Smaller pictures are extended with their border pixels, so that no false edge appears.
        row[:] = cv2.copyMakeBorder(picture, 0, height - picture.shape[0], 0, width - picture.shape[1],
                                    cv2.BORDER_REPLICATE)
    return out


def depth_map(scene: Scene, index: int, neighbours: list[int], scale: float, levels: int, region: Optional[Region],
              load: Callable[[View, float], np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth (h, w), normals (h, w, 3; camera frame) and cost of a view, from coarse to fine."""
    view, others = scene.views[index], [scene.views[j] for j in neighbours]
    low, high = depth_range(view, scene.points, region)
    depth = normal = cost = np.zeros(0)
    for level in range(levels - 1, -1, -1):
        s = scale / 2 ** level
        image = load(view, s)
        sources = patchmatch.packed(_stack(others, s, load))
        A, b, Kinv = _relative(view, others, s)
        mask = _mask_of(view, s, region)
        height, width = image.shape
        if level == levels - 1:
            depth = _first_guess(view, scene.points[scene.seen[index]], s, low, high)
            x, y = np.meshgrid(np.arange(width), np.arange(height))
            ray = np.stack([Kinv[0, 0] * x + Kinv[0, 2], Kinv[1, 1] * y + Kinv[1, 2], np.ones_like(x)], axis=2)
            normal = -(ray / np.linalg.norm(ray, axis=2, keepdims=True)).astype(np.float32)
        else:
            depth = cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST)
            normal = np.ascontiguousarray(cv2.resize(normal, (width, height), interpolation=cv2.INTER_NEAREST))
        cost = np.full((height, width), patchmatch.BAD, np.float32)
        random = np.random.default_rng(index * 7 + level)
        state = random.integers(1, 2 ** 32, (height, width), dtype=np.uint32)
        patchmatch.start_costs(image, sources, A, b, Kinv, mask, depth, normal, cost, WINDOW_RADIUS)
        rounds = [1.0, 0.8, 0.5, 0.25, 0.12] if level == levels - 1 else [0.12, 0.05]
        for spread in rounds:
            for colour in (0, 1):
                patchmatch.sweep(image, sources, A, b, Kinv, mask, low, high, depth, normal, cost, state, colour,
                                 WINDOW_RADIUS, spread)
    patchmatch.plain_costs(image, sources, A, b, Kinv, depth, normal, cost, np.float32(MOST_COST), WINDOW_RADIUS)
    return depth, normal, cost


class Pictures:
    """Grey photos at the scales of the search. The most recent ones stay in memory."""

    def __init__(self, keep: int = 60) -> None:
        self._keep = keep
        self._cache: OrderedDict[tuple[str, float], np.ndarray] = OrderedDict()

    def __call__(self, view: View, scale: float) -> np.ndarray:
        key = (view.name, scale)
        if key not in self._cache:
            self._cache[key] = view.load(scale, grey=True)
            if len(self._cache) > self._keep:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


class DepthMaps:
    """Depth maps on disk. The most recent ones stay in memory."""

    def __init__(self, directory: Path, keep: int = 24) -> None:
        self._directory, self._keep = directory, keep
        self._cache: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()

    def path(self, index: int) -> Path:
        """The file of a view."""
        return self._directory / f"{index}.npz"

    def write(self, index: int, depth: np.ndarray, normal: np.ndarray) -> None:
        """Write a map; half precision is enough for normals."""
        temporary = self.path(index).with_suffix(".part.npz")
        np.savez(temporary, depth=depth.astype(np.float32), normal=normal.astype(np.float16))
        temporary.replace(self.path(index))
        self._cache.pop(index, None)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Depth (0 where unknown) and normals."""
        if index not in self._cache:
            with np.load(self.path(index)) as data:
                self._cache[index] = (data["depth"], data["normal"].astype(np.float32))
            if len(self._cache) > self._keep:
                self._cache.popitem(last=False)
        self._cache.move_to_end(index)
        return self._cache[index]


def cut_below(maps: DepthMaps, view: View, index: int, scale: float, normal: np.ndarray, offset: float) -> None:
    """Remove the depth of everything below the plane ``normal @ x = offset``."""
    depth, turned = maps.read(index)
    x, y = np.meshgrid(np.arange(depth.shape[1]), np.arange(depth.shape[0]))
    K = view.scaled_K(scale)
    camera = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=2) * depth[:, :, None]
    height = (camera - view.t) @ (view.R @ normal) - offset
    maps.write(index, np.where(height < 0, 0, depth), turned)


def fuse(scene: Scene, maps: DepthMaps, neighbours: dict[int, list[int]], scale: float, least_votes: int,
         on_done: Callable[[int, int], None], most_points: int = MOST_POINTS) -> Cloud:
    """One cloud from all depth maps: points on which at least ``least_votes`` views agree, without duplicates.

    It has at most ``most_points``, so that the memory of the later stages does not grow with the set. A view with more than
    its share gives a random sample of its points.
    """
    part = most_points // max(len(neighbours), 1)
    random = np.random.default_rng(1)
    used: dict[int, Optional[np.ndarray]] = {i: None for i in neighbours}
    points, normals, colours = [], [], []
    for done, (i, near) in enumerate(neighbours.items(), 1):
        view = scene.views[i]
        depth, normal = maps.read(i)
        taken = used[i]
        if taken is not None:
            depth = np.where(taken > 0, 0, depth).astype(np.float32)
        pairs = [maps.read(j) for j in near]
        height = max([d.shape[0] for d, _ in pairs], default=1)
        width = max([d.shape[1] for d, _ in pairs], default=1)
        others = np.zeros((len(near), height, width), np.float32)
        other_normals = np.zeros((len(near), height, width, 3), np.float32)
        for s, (d, n) in enumerate(pairs):
            others[s, :d.shape[0], :d.shape[1]] = d
            other_normals[s, :d.shape[0], :d.shape[1]] = n
        marks = np.zeros((len(near), height, width), np.uint8)
        out = np.zeros((*depth.shape, 3), np.float64)
        out_normals = np.zeros((*depth.shape, 3), np.float32)
        votes = np.zeros(depth.shape, np.uint8)
        views = [scene.views[j] for j in near]
        patchmatch.consistent(depth, normal, view.scaled_K(scale), view.R, view.t, others, other_normals,
                              np.array([v.scaled_K(scale) for v in views]).reshape(-1, 3, 3),
                              np.array([v.R for v in views]).reshape(-1, 3, 3),
                              np.array([v.t for v in views]).reshape(-1, 3), 1.5, 0.01, 0.5, marks, out, out_normals,
                              votes)
        good = votes >= least_votes
        places = np.flatnonzero(good)
        if len(places) > part:
            good = np.zeros_like(good)
            good.flat[random.choice(places, part, replace=False)] = True
        image = view.load(scale)
        points.append(out[good])
        normals.append(out_normals[good])
        colours.append(image[:depth.shape[0], :depth.shape[1]][good])
        for s, j in enumerate(near):
            h, w = pairs[s][0].shape
            if used[j] is None:
                used[j] = np.zeros((h, w), np.uint8)
            used[j] |= marks[s, :h, :w]
        on_done(done, len(neighbours))
    return Cloud(np.concatenate(points), np.concatenate(colours), np.concatenate(normals))
