"""Chooses which photos to match in large sets: neighbours in the order taken, in space, and by likeness."""
import re
from collections.abc import Sequence
from typing import Callable

import cv2
import numpy as np
import pycolmap
from scipy.spatial import cKDTree

from .matching import Matcher, Pair, scan_of
from .photos import Photo

_WORDS = 64
_SAMPLE_PER_PHOTO = 400
_DIGITS = re.compile(r"\d+")


def _vlad(descriptors: np.ndarray, words: np.ndarray, tree: cKDTree) -> np.ndarray:
    """One vector for a photo from its features (VLAD, Jegou et al. 2010, with intra-normalisation)."""
    _, nearest = tree.query(descriptors)
    vector = np.zeros_like(words)
    np.add.at(vector, nearest, descriptors - words[nearest])
    vector /= np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-9)
    flat = vector.ravel()
    return flat / max(np.linalg.norm(flat), 1e-9)


def _likeness(matcher: Matcher) -> np.ndarray:
    """Cosine of the photos' VLAD vectors, (N, N)."""
    samples = []
    random = np.random.default_rng(1)
    db = pycolmap.Database.open(str(matcher.database))
    try:
        for i in range(len(matcher.photos)):
            descriptors = np.asarray(db.read_descriptors(matcher.image_id(i)))
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


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts names by their numbers: photo 2 before photo 10."""
    numbers = _DIGITS.findall(name)
    words = _DIGITS.split(name.lower())
    return [(int(number), word) for word, number in zip(words, [*numbers, "0"])]


def in_order(photos: Sequence[Photo]) -> list[Photo]:
    """Photos in the order in which they were taken: scans of a rig by name, others by time and then by name."""
    def key(photo: Photo) -> tuple:
        scan = scan_of(photo.name)
        return (1, int(scan), "", natural(photo.name)) if scan else (0, 0, photo.taken, natural(photo.name))

    return sorted(photos, key=key)


def _rounds(photos: Sequence[Photo]) -> list[list[int]]:
    """Groups of photos (indices) that were taken one after the other: one group per scan of a rig, and one for all others."""
    of: dict[str, list[int]] = {}
    for i, photo in enumerate(photos):
        of.setdefault(scan_of(photo.name), []).append(i)
    return list(of.values())


def choose_pairs(matcher: Matcher, neighbours: int, log: Callable[[str], None]) -> list[Pair]:
    """Pairs of photos: a few before and after in the order taken, the nearest by GPS, and the most alike."""
    photos = matcher.photos
    n = len(photos)
    pairs: set[Pair] = set()

    def add(i: int, j: int) -> None:
        if i != j:
            pairs.add((min(i, j), max(i, j)))

    for members in _rounds(photos):
        for place, i in enumerate(members):
            for step in range(1, max(3, neighbours // 4) + 1):
                add(i, members[(place + step) % len(members)])
    gps = [i for i in range(n) if photos[i].gps is not None]
    if len(gps) > 2:
        where = np.array([photos[i].gps[:2] for i in gps])
        flat = np.c_[where[:, 0], where[:, 1] * np.cos(np.deg2rad(where[:, 0].mean()))] * 111_320.0
        _, near = cKDTree(flat).query(flat, k=min(len(gps), neighbours + 1))
        for a, row in enumerate(near):
            for b in row:
                add(gps[a], gps[int(b)])
    like = _likeness(matcher)
    np.fill_diagonal(like, -1)
    for i in range(n):
        for j in np.argsort(-like[i])[:neighbours]:
            add(i, int(j))
    log(f"Matching {len(pairs)} of {n * (n - 1) // 2} pairs of photos")
    return sorted(pairs)
