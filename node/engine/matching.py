"""Matches the features of pairs of photos, on all cores, and lets COLMAP verify the matches."""
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import pycolmap
from numba import njit

from .photos import Photo, prepared_name

_RATIO = 0.8  # Lowe 2004
_MOST_DISTANCE = 0.9
_ROWS = 256   # rows of the similarity table at a time, so that they stay in the processor's cache
_BLOCK = 48   # pairs that are matched between two visits to the database
_LARGEST = 1000  # largest features of each photo, which are matched first (preemptive matching, Wu 2013)
_PROMISING = 8   # matches among these with which a pair is matched completely; the verified pairs of the banana set have more
_BEST_EACH = 5   # pairs of each photo that are matched completely in any case

_SCAN = re.compile(r"scan(\d+)[_-]", re.IGNORECASE)  # as OpenScan rigs name their photos: scan01_001.jpg

Pair = tuple[int, int]


def scan_of(name: str) -> str:
    """The number of the scan that a rig's photo belongs to, ``""`` for other photos."""
    match = _SCAN.match(name)
    return match[1] if match else ""


@dataclass
class Matcher:
    """COLMAP's database of a set, and which pairs of photos are matched already (indices of ``photos``, the lower one first)."""

    database: Path
    photos: Sequence[Photo]
    ids: dict[str, int]                  # COLMAP's image ids by prepared name
    threads: int
    counts: dict[Pair, int] = field(default_factory=dict)  # matches found, of few features or all
    done: set[Pair] = field(default_factory=set)           # matched with all features

    def image_id(self, index: int) -> int:
        """COLMAP's number of a photo."""
        return self.ids[prepared_name(self.photos[index].name)]

    def forget(self) -> None:
        """Forget all matches, because the features have changed."""
        self.counts.clear()
        self.done.clear()

    def likeliest(self, index: int, among: Iterable[int], count: int) -> list[int]:
        """Photos that probably show the same place: alternately those with the most matches and the nearest in the order taken."""
        near = sorted(among, key=lambda j: (abs(j - index), j))
        matched = sorted(near, key=lambda j: -self.counts.get((min(index, j), max(index, j)), 0))
        return list(dict.fromkeys(j for two in zip(matched, near) for j in two))[:count]


def all_pairs(count: int) -> list[Pair]:
    """All pairs of ``count`` photos."""
    return [(i, j) for i in range(count) for j in range(i + 1, count)]


@njit(nogil=True, cache=True)
def _take_best(block, start, best, second, which, column_best, column_which):
    """The two best of each row in a part of the similarity table, and the best of each column so far."""
    for i in range(block.shape[0]):
        first, next_best, place = np.float32(-1.0), np.float32(-1.0), 0
        for j in range(block.shape[1]):
            value = block[i, j]
            if value > next_best:
                if value > first:
                    next_best, first, place = first, value, j
                else:
                    next_best = value
            if value > column_best[j]:
                column_best[j], column_which[j] = value, start + i
        best[start + i], second[start + i], which[start + i] = first, next_best, place


def match_two(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mutual nearest neighbours that pass the ratio test. ``a``, ``b``: unit float32 rows. Returns (M, 2) uint32."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.uint32)
    n = len(a)
    best, second, which = np.empty(n, np.float32), np.empty(n, np.float32), np.empty(n, np.int32)
    column_best, column_which = np.full(len(b), -1, np.float32), np.zeros(len(b), np.int32)
    columns = np.ascontiguousarray(b.T)
    for start in range(0, n, _ROWS):
        _take_best(a[start:start + _ROWS] @ columns, start, best, second, which, column_best, column_which)
    distance, other = np.sqrt(np.maximum(2 - 2 * best, 0)), np.sqrt(np.maximum(2 - 2 * second, 0))
    good = (column_which[which] == np.arange(n)) & (distance < _RATIO * other) & (distance < _MOST_DISTANCE)
    return np.stack([np.flatnonzero(good), which[good]], axis=1).astype(np.uint32)


def unit(descriptors: np.ndarray) -> np.ndarray:
    """COLMAP's descriptors (bytes) as unit float32 rows."""
    d = np.asarray(descriptors).astype(np.float32)
    return d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)


def largest_features(db: pycolmap.Database, image_id: int, count: int) -> np.ndarray:
    """The indices of a photo's largest features. They survive a change of distance and blur best."""
    scale = np.asarray(db.read_keypoints(image_id))[:, 2]
    return np.argsort(-scale, kind="stable")[:count]


def shortlist(matcher: Matcher, pairs: Sequence[Pair], on_fraction: Callable[[float], None]) -> list[Pair]:
    """The pairs to match with all features, chosen by a quick look at the largest features of each photo.

    These are promising pairs, the best few pairs of each photo, and neighbours in the order of ``photos``.
    """
    db = pycolmap.Database.open(str(matcher.database))
    try:
        few, most = {}, 0
        for i in sorted({k for pair in pairs for k in pair}):
            descriptors = np.asarray(db.read_descriptors(matcher.image_id(i)))
            most = max(most, len(descriptors))
            few[i] = descriptors[largest_features(db, matcher.image_id(i), _LARGEST)]
    finally:
        db.close()
    if most <= 2 * _LARGEST:
        return list(pairs)
    with ThreadPoolExecutor(matcher.threads) as pool:
        found = pool.map(lambda pair: len(match_two(unit(few[pair[0]]), unit(few[pair[1]]))), pairs)
        for done, (pair, count) in enumerate(zip(pairs, found), 1):
            matcher.counts[pair] = count
            on_fraction(done / len(pairs))
    of: dict[tuple[int, str], list[Pair]] = {}  # pairs of each photo with each scan, so that scans of one object can be joined
    for i, j in pairs:
        of.setdefault((i, scan_of(matcher.photos[j].name)), []).append((i, j))
        of.setdefault((j, scan_of(matcher.photos[i].name)), []).append((i, j))
    kept = {pair for pair in pairs if matcher.counts[pair] >= _PROMISING or pair[1] - pair[0] <= 2}
    kept.add((0, len(matcher.photos) - 1))  # the last photo of a round is beside the first
    for mine in of.values():
        kept.update(sorted(mine, key=lambda pair: -matcher.counts[pair])[:_BEST_EACH])
    return sorted(kept.intersection(pairs))


class _Units:
    """A cache of the most recently used photos' descriptors."""

    def __init__(self, matcher: Matcher, keep: int = 64) -> None:
        self._matcher, self._keep = matcher, keep
        self._cache: dict[int, np.ndarray] = {}

    def load(self, db: pycolmap.Database, wanted: Sequence[int]) -> dict[int, np.ndarray]:
        """The descriptors of the wanted photos. Others stay in the cache while there is room."""
        for i in wanted:
            units = self._cache.pop(i, None)
            self._cache[i] = unit(db.read_descriptors(self._matcher.image_id(i))) if units is None else units
        while len(self._cache) > max(self._keep, len(wanted)):
            del self._cache[next(iter(self._cache))]
        return {i: self._cache[i] for i in wanted}


def match_pairs(matcher: Matcher, pairs: Sequence[Pair], listing: Path, on_fraction: Callable[[float], None]) -> int:
    """Match pairs of photos and verify them with COLMAP, block by block. Returns how many have matches.

    It needs memory for one block's photos only. ``listing``: a file for COLMAP's list of pairs.
    """
    options = pycolmap.TwoViewGeometryOptions()
    units, gained, done = _Units(matcher), 0, 0
    with ThreadPoolExecutor(matcher.threads) as pool:
        for start in range(0, len(pairs), _BLOCK):
            block = pairs[start:start + _BLOCK]
            db = pycolmap.Database.open(str(matcher.database))
            kept = []
            try:
                of = units.load(db, sorted({i for pair in block for i in pair}))
                for (i, j), matches in zip(block, pool.map(match_two, [of[i] for i, _ in block], [of[j] for _, j in block])):
                    matcher.done.add((i, j))
                    matcher.counts[i, j] = len(matches)
                    done += 1
                    on_fraction(0.97 * done / len(pairs))
                    first, second = matcher.image_id(i), matcher.image_id(j)
                    if len(matches) >= options.min_num_inliers and not db.exists_matches(first, second):
                        db.write_matches(first, second, matches)
                        kept.append((i, j))
            finally:
                db.close()
            verify(matcher, kept, listing)
            gained += len(kept)
    on_fraction(1.0)
    return gained


def verify(matcher: Matcher, pairs: Sequence[Pair], listing: Path) -> None:
    """Let COLMAP verify the matches of these pairs by epipolar geometry."""
    if not pairs:
        return
    names = [prepared_name(photo.name) for photo in matcher.photos]
    listing.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in pairs))
    pycolmap.verify_matches(str(matcher.database), str(listing), pycolmap.TwoViewGeometryOptions())
