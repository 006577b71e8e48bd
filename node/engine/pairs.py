"""Which photos to match in large sets (neighbours in time, in space, and in likeness), and matching just those."""
from collections.abc import Sequence
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pycolmap
from scipy.spatial import cKDTree

from .photos import Photo, prepared_name

_WORDS = 64
_SAMPLE_PER_PHOTO = 400
_RATIO = 0.8  # Lowe 2004
_BLOCK = 64


def _vlad(descriptors: np.ndarray, words: np.ndarray, tree: cKDTree) -> np.ndarray:
    """One vector for a photo from its features (VLAD, Jegou et al. 2010, with intra-normalisation)."""
    _, nearest = tree.query(descriptors)
    vector = np.zeros_like(words)
    np.add.at(vector, nearest, descriptors - words[nearest])
    vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)
    flat = vector.ravel()
    return flat / max(np.linalg.norm(flat), 1e-9)


def _likeness(database: Path, photos: Sequence[Photo], ids: dict[str, int]) -> np.ndarray:
    """Cosine of the photos' VLAD vectors, (N, N)."""
    samples = []
    random = np.random.default_rng(1)
    db = pycolmap.Database.open(str(database))
    try:
        for photo in photos:
            descriptors = np.asarray(db.read_descriptors(ids[prepared_name(photo.name)]))
            pick = random.permutation(len(descriptors))[:_SAMPLE_PER_PHOTO]
            samples.append(descriptors[pick].astype(np.float32))
    finally:
        db.close()
    everything = np.concatenate(samples)
    everything = everything[random.permutation(len(everything))[:40000]]
    words = min(_WORDS, max(1, len(everything) // 4))
    cv2.setRNGSeed(1)
    _, _, centres = cv2.kmeans(everything, words, None, (3, 12, 1.0), 1, cv2.KMEANS_PP_CENTERS)
    tree = cKDTree(centres)
    vectors = np.stack([_vlad(s, centres, tree) if len(s) else np.zeros(centres.size, np.float32) for s in samples])
    return vectors @ vectors.T


def choose_pairs(database: Path, photos: Sequence[Photo], ids: dict[str, int], neighbours: int,
                 log: Callable[[str], None]) -> list[tuple[str, str]]:
    """Pairs of photo names: a few before and after in the order taken, the nearest by GPS, and the most alike."""
    n = len(photos)
    order = sorted(range(n), key=lambda i: (photos[i].taken, photos[i].name))
    pairs: set[tuple[int, int]] = set()

    def add(i: int, j: int) -> None:
        if i != j:
            pairs.add((min(i, j), max(i, j)))

    for place, i in enumerate(order):
        for step in range(1, max(3, neighbours // 4) + 1):
            add(i, order[(place + step) % n])
    gps = [i for i in range(n) if photos[i].gps is not None]
    if len(gps) > 2:
        where = np.array([photos[i].gps for i in gps])
        flat = np.c_[where[:, 0], where[:, 1] * np.cos(np.deg2rad(where[:, 0].mean()))] * 111_320.0
        _, near = cKDTree(flat).query(flat, k=min(len(gps), neighbours + 1))
        for a, row in enumerate(near):
            for b in row:
                add(gps[a], gps[int(b)])
    else:
        like = _likeness(database, photos, ids)
        np.fill_diagonal(like, -1)
        for i in range(n):
            for j in np.argsort(-like[i])[:neighbours]:
                add(i, int(j))
    log(f"Matching {len(pairs)} of {n * (n - 1) // 2} pairs of photos")
    return [(photos[i].name, photos[j].name) for i, j in sorted(pairs)]


def match_two(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mutual nearest neighbours that pass the ratio test. ``a``, ``b``: unit float32 rows. Returns (M, 2) uint32."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), np.uint32)
    cosine = a @ b.T
    forward = np.argmax(cosine, axis=1)
    backward = np.argmax(cosine, axis=0)
    rows = np.arange(len(a))
    best = cosine[rows, forward].copy()
    cosine[rows, forward] = -1
    second = cosine.max(axis=1)
    distance, other = np.sqrt(np.maximum(2 - 2 * best, 0)), np.sqrt(np.maximum(2 - 2 * second, 0))
    good = (backward[forward] == rows) & (distance < _RATIO * other) & (distance < 0.9)
    return np.stack([rows[good], forward[good]], axis=1).astype(np.uint32)


def match_pairs(database: Path, pairs_file: Path, pairs: Sequence[tuple[str, str]], ids: dict[str, int],
                on_fraction: Callable[[float], None]) -> None:
    """Match the given pairs and verify them with COLMAP, block by block: memory stays that of one block's photos."""
    options = pycolmap.TwoViewGeometryOptions()
    for start in range(0, len(pairs), _BLOCK):
        block = pairs[start:start + _BLOCK]
        needed = sorted({name for pair in block for name in pair})
        db = pycolmap.Database.open(str(database))
        try:
            units: dict[str, np.ndarray] = {}
            for name in needed:
                d = np.asarray(db.read_descriptors(ids[prepared_name(name)])).astype(np.float32)
                units[name] = d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-9)
            found = [match_two(units[first], units[second]) for first, second in block]
            kept = []
            for (first, second), matches in zip(block, found):
                if len(matches) >= options.min_num_inliers:
                    db.write_matches(ids[prepared_name(first)], ids[prepared_name(second)], matches)
                    kept.append((first, second))
        finally:
            db.close()
        if kept:
            pairs_file.write_text("".join(f"{prepared_name(a)} {prepared_name(b)}\n" for a, b in kept))
            pycolmap.verify_matches(str(database), str(pairs_file), options)
        on_fraction(min(1.0, (start + _BLOCK) / len(pairs)))
