"""From photos to camera poses and sparse points: OpenCV's SIFT, COLMAP's matching and mapping."""
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional

import cv2
import numpy as np
import pycolmap

from . import still
from .errors import EngineError
from .masks import resized_mask
from .pairs import choose_pairs, match_pairs
from .photos import Photo, prepared_name
from .reasons import not_placed
from .rescue import rescue
from .settings import FEATURE_SIZE

EXHAUSTIVE_UP_TO = 60
#: Sets up to this size have the rest of their pairs matched where the chosen ones placed less than half of the photos.
SECOND_LOOK_UP_TO = 150
#: In sets larger than this a few likely pairs are tried first.
TRY_FIRST_FROM = 24
_TRIED_PAIRS, _LEAST_GOOD = 60, 0.05
CAMERA_MODELS = {"auto": "SIMPLE_RADIAL", "perspective": "RADIAL", "brown": "OPENCV", "fisheye": "OPENCV_FISHEYE"}


def _root_sift(descriptors: np.ndarray) -> np.ndarray:
    """RootSIFT (Arandjelovic and Zisserman 2012) in the bytes that COLMAP stores: 512 times the root of L1."""
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
    # A low contrast threshold: OpenCV keeps the strongest ``count``, so weakly textured objects still get enough.
    sift = cv2.SIFT_create(nfeatures=count, contrastThreshold=0.008, edgeThreshold=12)
    keypoints, descriptors = sift.detectAndCompute(grey, allowed)
    if not keypoints:
        return np.zeros((0, 4), np.float32), np.zeros((0, 128), np.uint8)
    fx, fy = width / grey.shape[1], height / grey.shape[0]
    rows = np.array([[(k.pt[0] + 0.5) * fx, (k.pt[1] + 0.5) * fy, k.size * fx, np.deg2rad(k.angle)]
                     for k in keypoints], np.float32)
    return rows[:count], _root_sift(descriptors[:count])


def _import(database: Path, images: Path, photos: Sequence[Photo], lens: str, flight: bool) -> dict[str, int]:
    """Write cameras and images to COLMAP's database; photos of one lens share one camera. Returns ids by name."""
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


#: Prints how many photo pairs are verified, once a second, until its standard input ends.
_COUNT_PAIRS = """
import select, sqlite3, sys
while not select.select([sys.stdin], [], [], 1.0)[0]:
    try:
        with sqlite3.connect("file:" + sys.argv[1] + "?mode=ro", uri=True, timeout=0.2) as connection:
            print(connection.execute("SELECT COUNT(*) FROM two_view_geometries").fetchone()[0], flush=True)
    except sqlite3.OperationalError:
        pass  # COLMAP holds the lock just now; the next second will do
"""


def _watch_pairs(counter: "subprocess.Popen[str]", total: int, on_fraction: Callable[[float], None]) -> None:
    for line in counter.stdout:
        on_fraction(int(line) / max(total, 1))


@contextmanager
def _pairs_watched(database: Path, total: int, on_fraction: Callable[[float], None]) -> Iterator[None]:
    """Report how many photo pairs COLMAP has verified, read from its own database while it works.

    By another process: two SQLite libraries in one process (Python's and COLMAP's) drop each other's locks on a file
    (https://www.sqlite.org/howtocorrupt.html, "multiple copies of SQLite"), which ended in a bus error.
    """
    counter = subprocess.Popen([sys.executable, "-c", _COUNT_PAIRS, str(database)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    watcher = threading.Thread(target=_watch_pairs, daemon=True, args=(counter, total, on_fraction))
    watcher.start()
    try:
        yield
    finally:
        counter.stdin.close()
        counter.wait()
        watcher.join()
        counter.stdout.close()


def features_and_matches(work: Path, images: Path, photos: Sequence[Photo], options: dict[str, Any], threads: int,
                         flight: bool, on_fraction: Callable[[float], None], log: Callable[[str], None]) -> Path:
    """Fill COLMAP's database with features and verified matches. Returns its path."""
    database = work / "database.db"
    for path in work.glob("database.db*"):
        path.unlink()
    pycolmap.logging.minloglevel = 3
    pycolmap.Database.open(str(database)).close()
    ids = _import(database, images, photos, options["camera-lens"], flight)
    missing = [p.name for p in photos if prepared_name(p.name) not in ids]
    if missing:
        raise EngineError(f"COLMAP could not take in {', '.join(missing[:5])}.")
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
                on_fraction(0.4 * done / len(photos))
    finally:
        db.close()
    log(f"Features: {int(np.median(found))} in a photo (median), {min(found)} to {max(found)}")
    background = still.leave_out(database, images, work / "still", photos, ids,
                                 lambda photo, mask: extract(images / prepared_name(photo.name), mask, size, count), log)
    found_still = None if background is None else vars(background)
    (work / "still.json").write_text(json.dumps(found_still))
    n = len(photos)
    if n > TRY_FIRST_FROM and not _recognizable(database, work, photos, ids, log):
        raise EngineError(not_placed((), [p.name for p in photos], n, found_still))
    match(database, work, photos, ids, options, threads, lambda f: on_fraction(0.4 + 0.35 * f), log)
    on_fraction(0.75)
    return database


def match(database: Path, work: Path, photos: Sequence[Photo], ids: dict[str, int], options: dict[str, Any], threads: int,
          on_fraction: Callable[[float], None], log: Callable[[str], None]) -> None:
    """Match and verify all pairs of a small set, and the likely ones of a large set."""
    asked = options["matcher-neighbors"]
    if len(photos) <= EXHAUSTIVE_UP_TO and not asked:
        _match_all(database, len(photos), threads, on_fraction)
    else:
        pairs = choose_pairs(database, photos, ids, asked or 20, log)
        match_pairs(database, work / "pairs.txt", pairs, ids, on_fraction)


def _recognizable(database: Path, work: Path, photos: Sequence[Photo], ids: dict[str, int], log: Callable[[str], None]) -> bool:
    """Whether any likely pairs of photos show the same thing: a plain object is told before hours go into matching noise."""
    likely = choose_pairs(database, photos, ids, 3, lambda _: None)
    tried = [likely[k] for k in np.unique(np.linspace(0, len(likely) - 1, _TRIED_PAIRS).astype(int))]
    match_pairs(database, work / "pairs.txt", tried, ids, lambda _: None)
    db = pycolmap.Database.open(str(database))
    try:
        _, shared = db.read_two_view_geometry_num_inliers()
    finally:
        db.close()
    good = sum(number >= pycolmap.TwoViewGeometryOptions().min_num_inliers for number in shared)
    log(f"{good} of {len(tried)} likely pairs of photos show the same details")
    return good >= _LEAST_GOOD * len(tried)


def _match_all(database: Path, photos: int, threads: int, on_fraction: Callable[[float], None]) -> None:
    """Match every pair that was not matched yet."""
    matching = pycolmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = threads
    with _pairs_watched(database, photos * (photos - 1) // 2, on_fraction):
        pycolmap.match_exhaustive(str(database), matching_options=matching, device=pycolmap.Device.cpu)


def _match_the_rest(database: Path, photos: int, placed: int, threads: int, log: Callable[[str], None]) -> None:
    """Where few photos were placed and not every pair was looked at, look at the others before demands are lowered."""
    db = pycolmap.Database.open(str(database))
    try:
        matched = db.num_matched_image_pairs()
    finally:
        db.close()
    pairs = photos * (photos - 1) // 2
    if placed < photos / 2 and photos <= SECOND_LOOK_UP_TO and matched < pairs:
        log(f"Only {placed} of {photos} photos were placed by {matched} chosen pairs: matching the other {pairs - matched} pairs as well")
        _match_all(database, photos, threads, lambda _: None)


def map_photos(work: Path, images: Path, database: Path, photos: Sequence[Photo], threads: int,
               on_fraction: Callable[[float], None], log: Callable[[str], None]) -> Optional[pycolmap.Reconstruction]:
    """Place the photos. All models that COLMAP finds are tried; the one with most photos, then points, is kept.

    Photos that stayed loose get a second chance (rescue.py) and looser demands. None where nothing can be placed.
    """
    target = work / "sparse"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    count = len(photos)
    best: Optional[pycolmap.Reconstruction] = None
    for attempt in range(2):
        pipeline = pycolmap.IncrementalPipelineOptions()
        pipeline.num_threads = threads
        pipeline.random_seed = 1
        pipeline.min_model_size = 3
        pipeline.ba_global_function_tolerance = 1e-6
        if attempt:
            placed_names = {im.name for im in best.images.values() if im.has_pose} if best else set()
            loose = [p.name for p in photos if prepared_name(p.name) not in placed_names]
            _match_the_rest(database, count, len(placed_names), threads, log)
            if best is not None and len(loose) <= max(8, count // 4):
                rescue(work, images, database, loose, photos, threads, log)
            pipeline.mapper.abs_pose_min_num_inliers = 20
            pipeline.mapper.abs_pose_min_inlier_ratio = 0.15
            pipeline.mapper.init_min_num_inliers = 50
            pipeline.mapper.init_min_tri_angle = 6.0
            pipeline.mapper.max_reg_trials = 6
        placed = [2]

        def one_more(placed=placed) -> None:
            placed[0] += 1
            on_fraction(0.75 + 0.24 * min(1.0, placed[0] / max(count, 1)))

        out = target / str(attempt)
        out.mkdir()
        began = time.monotonic()
        models = pycolmap.incremental_mapping(str(database), str(images), str(out), options=pipeline,
                                              next_image_callback=one_more)
        for model in models.values():
            if best is None or (model.num_reg_images(), model.num_points3D()) > (
                    best.num_reg_images(), best.num_points3D()):
                best = model
        log(f"Mapping: {len(models)} model(s) in {time.monotonic() - began:.0f} s, best has "
            f"{best.num_reg_images() if best else 0} of {count} photos")
        if best is not None and best.num_reg_images() == count:
            break
    return best
