"""Several scans of one object that was turned over between them: one model of all of them where they share enough surface."""
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

import cv2
import numpy as np
import pycolmap

from . import sfm
from .frame import Plane, find_support, own_up
from .georef import similarity
from .matching import Matcher
from .photos import Photo, photo_name, prepared_name
from .scene import Scene

_NAME = re.compile(r"(scan\d+)[_\-]", re.IGNORECASE)  # as OpenScan3 names photos: scan01_001.jpg
_LEAST_PHOTOS = 8     # of a scan
_LEAST_SHARE = 0.25   # of all photos, for a part without names to count as a scan
_JOINED = 0.5         # of a scan's placed photos that have to be in the common model
_LEAST_HEIGHT = 0.012  # of the cameras' distance: what is lower belongs to the support


@dataclass
class Scan:
    """One scan solved by itself: its photos, camera positions and support in coordinates of its own."""

    name: str
    photos: list[str]
    model: Optional[pycolmap.Reconstruction] = None
    centres: dict[str, np.ndarray] = field(default_factory=dict)
    plane: Optional[Plane] = None


@dataclass
class Solved:
    """What could be placed.

    ``scans``: those that are joined in ``model``, none where the photos are of one scan; ``note``: for the user, where a scan is left
    out; ``left_out``: how many photos that scan has.
    """

    model: Optional[pycolmap.Reconstruction]
    scans: list[Scan] = field(default_factory=list)
    note: str = ""
    left_out: int = 0

    def supports(self, scene: Scene) -> dict[str, list[float]]:
        """Each joined scan's support, by its name, in the scene's coordinates: normal (3) and offset."""
        final = {v.name: v.centre for v in scene.views}
        out = {}
        for scan in self.scans:
            names = [name for name in scan.centres if name in final]
            if scan.plane is not None and len(names) >= 3:
                scale, R, t = similarity(np.array([scan.centres[n] for n in names]), np.array([final[n] for n in names]))
                normal = R @ scan.plane.normal
                out[scan.name] = [*normal.tolist(), float(scale * scan.plane.offset + normal @ t)]
        return out


def named_scans(photos: Sequence[Photo]) -> dict[str, list[str]]:
    """Photo names by scan, from names such as ``scan01_001.jpg``; empty where there are no two scans."""
    groups: dict[str, list[str]] = {}
    for photo in photos:
        match = _NAME.match(photo.name)
        groups.setdefault(match[1].lower() if match else "", []).append(photo.name)
    enough = "" not in groups and len(groups) > 1 and min(len(names) for names in groups.values()) >= _LEAST_PHOTOS
    return groups if enough else {}


def place(work: Path, images: Path, matcher: Matcher, photos: Sequence[Photo], flight: bool, threads: int,
          on_fraction: Callable[[float], None], log: Callable[[str], None]) -> Solved:
    """Place the photos; of several scans each is placed by itself first, to tell its support from the object.

    Scans are told by the photos' names, or by a large part of the photos that can only be placed by itself.
    """
    groups = {} if flight else named_scans(photos)
    if groups:
        scans = [_alone(work, images, matcher.database, Scan(name, names), threads, log) for name, names in groups.items()]
        model = None
    else:
        model = sfm.map_photos(work, images, matcher, photos, threads, on_fraction, log)
        loose = sorted({p.name for p in photos} - _placed(model))
        if flight or len(loose) < max(_LEAST_PHOTOS, _LEAST_SHARE * len(photos)):
            return Solved(model)
        other = _alone(work, images, matcher.database, Scan("the second group of photos", loose), threads, log)
        if model is None or len(other.centres) < max(_LEAST_PHOTOS, 0.5 * len(loose)):
            return Solved(model)
        scans = [_described(Scan("the first group", sorted(_placed(model)), model), log), other]
    if any(scan.plane is not None for scan in scans):
        _leave_out_supports(work, matcher.database, scans)
    if groups or any(scan.plane is not None for scan in scans):
        model = sfm.map_photos(work, images, matcher, photos, threads, on_fraction, log)
    placed = _placed(model)
    joined = [s for s in scans if s.centres and len(placed & set(s.photos)) >= max(3, _JOINED * len(s.centres))]
    if len(joined) > 1:
        kept = {name for scan in joined for name in scan.photos}
        left = [s.name for s in scans if s not in joined]
        log(f"Joined into one model: {', '.join(s.name for s in joined)}")
        unused = sorted({name for s in scans if s not in joined for name in s.photos})
        return Solved(_only(model, kept), joined, _not_joined(left, unused, "the others") if left else "", len(unused))
    best = max(scans, key=lambda s: len(s.centres))
    if best.model is None:
        return Solved(model)
    others = [s for s in scans if s is not best]
    note = _not_joined([s.name for s in others], [name for s in others for name in s.photos], best.name)
    log(note)
    return Solved(best.model, [], note, sum(len(s.photos) for s in others))


def _placed(model: Optional[pycolmap.Reconstruction]) -> set[str]:
    return set() if model is None else {photo_name(im.name) for im in model.images.values() if im.has_pose}


def _not_joined(scans: Sequence[str], photos: Sequence[str], kept: str) -> str:
    return (f"{', '.join(scans)} could not be joined with {kept}: too little of the object's surface is seen in both. The model is that of "
            f"{kept} alone; not used: {', '.join(photos)}. Turn the object by a quarter rather than upside down between scans, and let "
            "neighbouring scans overlap.")


def _only(model: pycolmap.Reconstruction, names: set[str]) -> pycolmap.Reconstruction:
    for image in list(model.images.values()):
        if image.has_pose and photo_name(image.name) not in names:
            model.deregister_frame(image.frame_id)
    return model


def _alone(work: Path, images: Path, database: Path, scan: Scan, threads: int, log: Callable[[str], None]) -> Scan:
    """Place a scan by itself, and find what it stood on."""
    pipeline = pycolmap.IncrementalPipelineOptions()
    pipeline.num_threads, pipeline.random_seed, pipeline.min_model_size = threads, 1, 3
    pipeline.ba_global_function_tolerance = 1e-6
    pipeline.image_names = [prepared_name(name) for name in scan.photos]
    target = work / "sparse-scan"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    models = pycolmap.incremental_mapping(str(database), str(images), str(target), options=pipeline)
    if not models:
        log(f"{scan.name}: none of its {len(scan.photos)} photos could be placed by themselves")
        return scan
    scan.model = max(models.values(), key=lambda m: (m.num_reg_images(), m.num_points3D()))
    return _described(scan, log)


def _described(scan: Scan, log: Callable[[str], None]) -> Scan:
    """Fill in the camera positions and the support of a scan that was placed."""
    poses = {photo_name(im.name): im.cam_from_world() for im in scan.model.images.values() if im.has_pose}
    turns = np.array([np.array(p.rotation.matrix()) for p in poses.values()])
    scan.centres = {n: -R.T @ np.array(p.translation) for R, (n, p) in zip(turns, poses.items())}
    points = np.array([p.xyz for p in scan.model.points3D.values()]).reshape(-1, 3)
    scan.plane = find_support(points, np.array(list(scan.centres.values())), turns[:, 2], own_up(turns))
    log(f"{scan.name}: {len(poses)} of {len(scan.photos)} photos placed by themselves, "
        + ("on a support" if scan.plane else "no support seen"))
    return scan


def _object_features(scan: Scan, image: pycolmap.Image, keypoints: np.ndarray) -> np.ndarray:
    """Which of a placed photo's features are on the object: not measured on the support, and within the outline of what stands on it."""
    centres = np.array(list(scan.centres.values()))
    ids = np.array([p.point3D_id if p.has_point3D() else -1 for p in image.points2D])
    known = np.flatnonzero(ids != -1)
    places = np.array([scan.model.points3D[int(ids[k])].xyz for k in known]).reshape(-1, 3)
    height = scan.plane.height(places)
    lowest = _LEAST_HEIGHT * float(np.median(scan.plane.height(centres)))
    middle = np.median(places[height > lowest], axis=0) if (height > lowest).any() else np.zeros(3)
    off = np.linalg.norm(places - middle, axis=1)
    on = (height > lowest) & (off < 3.0 * np.median(off[height > lowest]) if (height > lowest).any() else False)
    out = np.zeros(len(keypoints), bool)
    if on.sum() < 8:
        return out
    hull = cv2.convexHull(keypoints[known[on], :2].astype(np.float32))
    inside = np.array([cv2.pointPolygonTest(hull, (float(x), float(y)), False) >= 0 for x, y in keypoints[:, :2]])
    out[inside] = True
    out[known[~on]] = False
    return out


def _leave_out_supports(work: Path, database: Path, scans: Sequence[Scan]) -> None:
    """Drop what was measured on the scans' supports from the database; the matches that are left are verified again."""
    db = pycolmap.Database.open(str(database))
    try:
        stored = {image.name: image.image_id for image in db.read_all_images()}
        keep: dict[int, np.ndarray] = {}
        features = {}
        for scan in scans:
            placed = {} if scan.model is None else {im.name: im for im in scan.model.images.values() if im.has_pose}
            for name in scan.photos:
                number = stored[prepared_name(name)]
                keypoints = np.asarray(db.read_keypoints(number))
                features[number] = keypoints, np.asarray(db.read_descriptors(number))
                image = placed.get(prepared_name(name))
                keep[number] = (np.ones(len(keypoints), bool) if scan.plane is None or image is None
                                else _object_features(scan, image, keypoints))
        numbers = sorted(features)
        names = {number: name for name, number in stored.items()}
        matches, pairs = [], []
        for k, a in enumerate(numbers):
            for b in numbers[k + 1:]:
                if db.exists_matches(a, b):
                    rows = np.asarray(db.read_matches(a, b)).reshape(-1, 2)
                    rows = rows[keep[a][rows[:, 0]] & keep[b][rows[:, 1]]]
                    if len(rows) >= pycolmap.TwoViewGeometryOptions().min_num_inliers:
                        new = np.c_[(np.cumsum(keep[a]) - 1)[rows[:, 0]], (np.cumsum(keep[b]) - 1)[rows[:, 1]]].astype(np.uint32)
                        matches.append((a, b, new))
                        pairs.append(f"{names[a]} {names[b]}\n")
        db.clear_matches()
        db.clear_two_view_geometries()
        db.clear_keypoints()
        db.clear_descriptors()
        for number, (keypoints, descriptors) in features.items():
            db.write_keypoints(number, keypoints[keep[number]])
            db.write_descriptors(number, descriptors[keep[number]])
        for a, b, rows in matches:
            db.write_matches(a, b, rows)
    finally:
        db.close()
    listing = work / "scan_pairs.txt"
    listing.write_text("".join(pairs))
    pycolmap.verify_matches(str(database), str(listing), pycolmap.TwoViewGeometryOptions())
