"""From photos to camera poses and sparse points: OpenCV's SIFT, COLMAP's matching and mapping."""
import json
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional

import cv2
import numpy as np
import pycolmap

from . import still
from .errors import EngineError
from .masks import resized_mask
from .matching import Matcher, Pair, all_pairs, match_pairs, shortlist
from .pairs import choose_pairs, in_order
from .photos import Photo, prepared_name
from .reasons import not_placed
from .rescue import MOST_LOOSE, rescue
from .settings import FEATURE_SIZE

EXHAUSTIVE_UP_TO = 60
#: Sets up to this size: if the chosen pairs placed less than half of the photos, all other pairs are matched too.
SECOND_LOOK_UP_TO = 150
_LOOSE_PAIRS = 20  # further pairs for each loose photo
# The share of the stage's work that is done at each point.
_FEATURES_DONE, _MATCHES_DONE, _FIRST_MAPPED, _MAPPED = 0.3, 0.65, 0.85, 0.97
_SHORTLIST_SHARE = 0.1  # of the matching
#: Sets up to this size match all pairs. In larger ones a few likely pairs are tried first, and a quick look chooses the others.
TRY_FIRST_FROM = 24
#: How many likely pairs are matched at first, and how many if none of those is good.
_TRIED_PAIRS = (60, 600)
#: Inliers of a good pair: mapping cannot begin with fewer, even with its lower demands. Pairs of rendered plain objects had up to 35 by
#: chance.
_LEAST_INLIERS = 50
_LEAST_FEATURES = 8  # per photo on average; with fewer there is nothing to compare
CAMERA_MODELS = {"auto": "SIMPLE_RADIAL", "perspective": "RADIAL", "brown": "OPENCV", "fisheye": "OPENCV_FISHEYE"}


def _root_sift(descriptors: np.ndarray) -> np.ndarray:
    """RootSIFT (Arandjelovic and Zisserman 2012) as bytes, as COLMAP stores it: 512 times the root of the L1-normalised values."""
    d = descriptors.astype(np.float32)
    d /= np.maximum(d.sum(axis=1, keepdims=True), 1e-9)
    return np.clip(np.round(np.sqrt(d) * 512.0), 0, 255).astype(np.uint8)


def extract(path: Path, mask: Optional[str], size: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints (N, 4: x, y, scale, angle in radians; COLMAP's pixel corners) and RootSIFT bytes of one photo."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    height, width = grey.shape
    scale = min(1.0, size / max(height, width))
    if scale < 1.0:
        grey = cv2.resize(grey, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
    allowed = None
    if mask:
        allowed = resized_mask(mask, *grey.shape[::-1])
    # OpenCV keeps the strongest ``count`` features, so a low contrast threshold gives weakly textured objects enough of them.
    sift = cv2.SIFT_create(nfeatures=count, contrastThreshold=0.008, edgeThreshold=12)
    keypoints, descriptors = sift.detectAndCompute(grey, allowed)
    if not keypoints:
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    fx, fy = width / grey.shape[1], height / grey.shape[0]
    rows = np.array([[(k.pt[0] + 0.5) * fx, (k.pt[1] + 0.5) * fy, k.size * fx, np.deg2rad(k.angle)]
                     for k in keypoints], np.float32)
    return rows[:count], _root_sift(descriptors[:count])


def _import(database: Path, images: Path, photos: Sequence[Photo], lens: str, flight: bool) -> dict[str, int]:
    """Write cameras and images to COLMAP's database. Photos with the same lens share one camera. Returns image ids by name."""
    model = CAMERA_MODELS[lens]
    if lens == "auto" and flight:
        model = "OPENCV"
    groups: dict[Any, list[Photo]] = {}
    for photo in photos:
        groups.setdefault(photo.camera_key, []).append(photo)
    for group in groups.values():
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = model
        focal, width, height = group[0].focal_px, group[0].width, group[0].height
        if focal:
            centre = [width / 2.0, height / 2.0]
            params = {"SIMPLE_RADIAL": [focal, *centre, 0.0], "RADIAL": [focal, *centre, 0.0, 0.0]}.get(
                model, [focal, focal, *centre, 0.0, 0.0, 0.0, 0.0])
            reader.camera_params = ",".join(f"{value:.6f}" for value in params)
        pycolmap.import_images(str(database), str(images), camera_mode=pycolmap.CameraMode.SINGLE,
                               image_names=[prepared_name(p.name) for p in group], options=reader)
    db = pycolmap.Database.open(str(database))
    try:
        return {image.name: image.image_id for image in db.read_all_images()}
    finally:
        db.close()


def features_and_matches(work: Path, images: Path, photos: Sequence[Photo], options: dict[str, Any], threads: int,
                         flight: bool, on_fraction: Callable[[float], None], log: Callable[[str], None]) -> Matcher:
    """Fill COLMAP's database with features and verified matches. Returns the matcher that did so."""
    database = work / "database.db"
    for path in work.glob("database.db*"):
        path.unlink()
    pycolmap.logging.minloglevel = 3
    pycolmap.Database.open(str(database)).close()
    ids = _import(database, images, photos, options["camera-lens"], flight)
    missing = [p.name for p in photos if prepared_name(p.name) not in ids]
    if missing:
        raise EngineError(f"COLMAP could not read {', '.join(missing[:5])}.")
    size, count = FEATURE_SIZE[options["feature-quality"]], options["min-num-features"]
    db = pycolmap.Database.open(str(database))
    found: list[int] = []
    try:
        # OpenCV's SIFT uses several threads itself; two photos at a time fill the gaps.
        with ThreadPoolExecutor(min(2, threads)) as pool:
            made = pool.map(lambda p: extract(images / prepared_name(p.name), p.mask, size, count), photos)
            for done, (photo, (keypoints, descriptors)) in enumerate(zip(photos, made), 1):
                image_id = ids[prepared_name(photo.name)]
                db.write_keypoints(image_id, keypoints)
                db.write_descriptors(image_id, descriptors)
                found.append(len(keypoints))
                on_fraction(_FEATURES_DONE * done / len(photos))
    finally:
        db.close()
    log(f"Features: {int(np.median(found))} in a photo (median), {min(found)} to {max(found)}")
    background = still.leave_out(database, images, work / "still", photos, ids,
                                 lambda photo, mask: extract(images / prepared_name(photo.name), mask, size, count), log)
    found_still = None if background is None else vars(background)
    (work / "still.json").write_text(json.dumps(found_still))
    matcher = Matcher(database, in_order(photos), ids, threads)
    if len(photos) > TRY_FIRST_FROM and not _recognizable(matcher, work, log):
        raise EngineError(not_placed((), [p.name for p in photos], len(photos), found_still))
    match(matcher, work, options, lambda f: on_fraction(_FEATURES_DONE + (_MATCHES_DONE - _FEATURES_DONE) * f), log)
    return matcher


def match(matcher: Matcher, work: Path, options: dict[str, Any], on_fraction: Callable[[float], None], log: Callable[[str], None]
          ) -> None:
    """Match and verify pairs of photos: all of a small set; in larger sets, likely pairs that a quick look finds promising."""
    asked, count = options["matcher-neighbors"], len(matcher.photos)
    if count <= EXHAUSTIVE_UP_TO and not asked:
        pairs = all_pairs(count)
    else:
        pairs = choose_pairs(matcher, asked or 20, log)
    # In small sets, every pair counts: without half of them, 16 photos were placed less exactly (held-out SSIM 0.80 instead of 0.83).
    if not asked and count > TRY_FIRST_FROM:
        looked_at = len(pairs)
        pairs = shortlist(matcher, pairs, lambda f: on_fraction(_SHORTLIST_SHARE * f))
        if len(pairs) < looked_at:
            log(f"Matching {len(pairs)} of {looked_at} pairs of photos: they share large features or were taken one after the other")
    match_pairs(matcher, sorted(set(pairs) - matcher.done), work / "pairs.txt",
                lambda f: on_fraction(_SHORTLIST_SHARE + (1 - _SHORTLIST_SHARE) * f))


def _unmatched(matcher: Matcher, loose: set[int]) -> list[Pair]:
    """Pairs to match before demands are lowered: all pairs of a small set of which little was placed; otherwise pairs of some loose
    photos with the placed photos that most likely show the same place."""
    n = len(matcher.photos)
    placed = [i for i in range(n) if i not in loose]
    if len(placed) < n / 2 and n <= SECOND_LOOK_UP_TO:
        wanted = set(all_pairs(n))
    else:
        wanted = {(min(i, j), max(i, j)) for i in sorted(loose)[:MOST_LOOSE] for j in matcher.likeliest(i, placed, _LOOSE_PAIRS)}
    return sorted(wanted - matcher.done)


def _recognizable(matcher: Matcher, work: Path, log: Callable[[str], None]) -> bool:
    """Whether likely pairs of photos show the same details. A plain object is refused before matching noise takes hours."""
    db = pycolmap.Database.open(str(matcher.database))
    try:
        if db.num_descriptors() < _LEAST_FEATURES * len(matcher.photos):
            return False
    finally:
        db.close()
    likely = choose_pairs(matcher, 3, lambda _: None)
    for count in _TRIED_PAIRS:
        tried = {likely[k] for k in np.linspace(0, len(likely) - 1, count).astype(int)}
        match_pairs(matcher, sorted(tried - matcher.done), work / "pairs.txt", lambda _: None)
        db = pycolmap.Database.open(str(matcher.database))
        try:
            _, shared = db.read_two_view_geometry_num_inliers()
        finally:
            db.close()
        good = sum(number >= _LEAST_INLIERS for number in shared)
        log(f"{good} of {len(matcher.done)} likely pairs of photos show the same details")
        if good:
            return True
    return False


def _pipeline(threads: int, lower: bool) -> pycolmap.IncrementalPipelineOptions:
    """COLMAP's mapping options. ``lower``: with the lower demands of the second attempt."""
    pipeline = pycolmap.IncrementalPipelineOptions()
    pipeline.num_threads = threads
    pipeline.random_seed = 1
    pipeline.min_model_size = 3
    # On the banana set, these take a fifth of the time, and the reprojection error stays the same to the fifth digit.
    pipeline.ba_global_function_tolerance = 1e-5
    pipeline.ba_global_frames_ratio = pipeline.ba_global_points_ratio = 1.4
    if lower:
        pipeline.mapper.abs_pose_min_num_inliers = 20
        pipeline.mapper.abs_pose_min_inlier_ratio = 0.15
        pipeline.mapper.init_min_num_inliers = _LEAST_INLIERS
        pipeline.mapper.init_min_tri_angle = 6.0
        pipeline.mapper.max_reg_trials = 6
    return pipeline


def map_photos(work: Path, images: Path, matcher: Matcher, photos: Sequence[Photo], threads: int,
               on_fraction: Callable[[float], None], log: Callable[[str], None]) -> Optional[pycolmap.Reconstruction]:
    """Place the photos. Of the models that COLMAP finds, the one with the most photos, then the most points, is kept.

    Loose photos get a second chance: pairs that were not matched yet, features from stretched copies (rescue.py), and lower
    demands. The mapping then continues from the first model, unless that has less than half of the photos. Returns None if
    nothing can be placed.
    """
    target = work / "sparse"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    count = len(photos)

    def mapped(name: str, lower: bool, begin: float, end: float, source: str = "", have: int = 2) -> list[pycolmap.Reconstruction]:
        placed = [have]

        def one_more() -> None:
            placed[0] += 1
            on_fraction(begin + (end - begin) * min(1.0, placed[0] / max(count, 1)))

        out = target / name
        out.mkdir()
        began = time.monotonic()
        models = pycolmap.incremental_mapping(str(matcher.database), str(images), str(out), options=_pipeline(threads, lower),
                                              input_path=source, next_image_callback=one_more)
        most = max((model.num_reg_images() for model in models.values()), default=0)
        log(f"Mapping: {len(models)} model(s) in {time.monotonic() - began:.0f} s, best has {most} of {count} photos")
        return list(models.values())

    def size(model: pycolmap.Reconstruction) -> tuple[int, int]:
        return model.num_reg_images(), model.num_points3D()

    best = max(mapped("first", False, _MATCHES_DONE, _FIRST_MAPPED), key=size, default=None)
    middle = 0.5 * (_FIRST_MAPPED + _MAPPED)
    for name, begin, end in (("pairs", _FIRST_MAPPED, middle), ("rescue", middle, _MAPPED)):
        names = {im.name for im in best.images.values() if im.has_pose} if best else set()
        loose = {i for i, photo in enumerate(matcher.photos) if prepared_name(photo.name) not in names}
        if not loose:
            break
        prepared = 0.6 * end + 0.4 * begin
        if name == "pairs":
            pairs = _unmatched(matcher, loose)
            if pairs:
                log(f"{len(loose)} of {count} photos are not placed yet: matching {len(pairs)} more pairs")
            match_pairs(matcher, pairs, work / "pairs.txt", lambda f, a=begin, b=prepared: on_fraction(a + (b - a) * f))
        elif best is None or len(loose) > count / 2:
            break
        else:
            rescue(work, images, matcher, loose, lambda f, a=begin, b=prepared: on_fraction(a + (b - a) * f), log)
        source = ""
        if len(names) >= count / 2:
            start = target / f"before-{name}"
            start.mkdir()
            best.write(str(start))
            source = str(start)
        again = mapped(name, True, prepared, end, source, len(names) if source else 2)
        best = max([*([best] if best is not None else []), *again], key=size, default=None)
    on_fraction(_MAPPED)
    return best
