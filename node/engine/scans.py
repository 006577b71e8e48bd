"""Joins several scans of one object that was turned over between them into one model, if they share enough surface."""
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import cv2
import numpy as np
import pycolmap
from scipy.spatial import cKDTree

from . import sfm
from .frame import Plane, find_support, own_up
from .georef import similarity
from .imagefile import write_image
from .masks import read_mask
from .matching import Matcher
from .photos import Photo, photo_name, prepared_name
from .scene import Scene
from .settings import FEATURE_SIZE

_NAME = re.compile(r"(scan\d+)[_\-]", re.IGNORECASE)  # as OpenScan3 names photos: scan01_001.jpg
_LEAST_PHOTOS = 8     # of a scan
_LEAST_SHARE = 0.25   # of all photos; an unnamed group must be this large to count as a scan
_JOINED = 0.5         # of a scan's placed photos; so many must be in the common model
_OUTLINE = 0.03       # of the object's size in the photo, added around its sparse points
_LEAST_HEIGHT = 0.012  # of the cameras' distance; lower points belong to the support


@dataclass
class Scan:
    """One scan, solved separately: its photos, camera positions and support, in its own coordinates."""

    name: str
    photos: list[str]
    model: Optional[pycolmap.Reconstruction] = None
    centres: dict[str, np.ndarray] = field(default_factory=dict)
    plane: Optional[Plane] = None


@dataclass
class Solved:
    """The placed photos.

    ``scans``: the scans joined in ``model``, empty if there is only one scan; ``note``: a message for the user if a scan is left out;
    ``left_out``: the number of its photos.
    """

    model: Optional[pycolmap.Reconstruction]
    scans: list[Scan] = field(default_factory=list)
    note: str = ""
    left_out: int = 0

    def supports(self, scene: Scene) -> dict[str, list[float]]:
        """The support of each joined scan, by the scan's name, in the scene's coordinates: normal (3) and offset."""
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
    """Photo names by scan, from names such as ``scan01_001.jpg``; empty if there are not at least two scans."""
    groups: dict[str, list[str]] = {}
    for photo in photos:
        match = _NAME.match(photo.name)
        groups.setdefault(match[1].lower() if match else "", []).append(photo.name)
    enough = "" not in groups and len(groups) > 1 and min(len(names) for names in groups.values()) >= _LEAST_PHOTOS
    return groups if enough else {}


def place(work: Path, images: Path, matcher: Matcher, photos: Sequence[Photo], flight: bool, options: dict[str, Any],
          threads: int, on_fraction: Callable[[float], None], log: Callable[[str], None]) -> Solved:
    """Place the photos. If there are several scans, each is first placed separately, to distinguish its support from the object.

    Scans are recognized by the photos' names, or because a large part of the photos can only be placed separately.
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
        _leave_out_supports(work, images, matcher, scans, photos, options, log)
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
    """Place a scan separately and find its support."""
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


def _outline(scan: Scan, image: pycolmap.Image, photo: Photo, keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outline of the object on a scan's support in one photo (h, w; bool), and the features (N, 2) on the support itself."""
    centres = np.array(list(scan.centres.values()))
    ids = [p.point3D_id if p.has_point3D() else None for p in image.points2D]
    known = [k for k, number in enumerate(ids) if number is not None]
    places = np.array([scan.model.points3D[ids[k]].xyz for k in known]).reshape(-1, 3)
    above = scan.plane.height(places) > _LEAST_HEIGHT * float(np.median(scan.plane.height(centres)))
    mask = np.zeros((photo.height, photo.width), np.uint8)
    if above.sum() >= 8:
        off = np.linalg.norm(places - np.median(places[above], axis=0), axis=1)
        thing = keypoints[known][above & (off < 3.0 * np.median(off[above])), :2]
        cv2.fillConvexPoly(mask, cv2.convexHull(thing.astype(np.float32)).astype(np.int32), 1)
        reach = max(3, round(_OUTLINE * float(np.ptp(thing, axis=0).max())))
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
    if photo.mask is not None:
        mask &= read_mask(photo.mask)
    return mask > 0, keypoints[known][~above, :2]


def _leave_out_supports(work: Path, images: Path, matcher: Matcher, scans: Sequence[Scan], photos: Sequence[Photo],
                        options: dict[str, Any], log: Callable[[str], None]) -> None:
    """Search and match features again. If a scan's support was found, only within the object's outline."""
    directory = work / "outlines"
    directory.mkdir(exist_ok=True)
    scan_of = {name: scan for scan in scans for name in scan.photos}
    placed = {im.name: im for scan in scans if scan.model is not None for im in scan.model.images.values() if im.has_pose}
    size, count = FEATURE_SIZE[options["feature-quality"]], options["min-num-features"]
    db = pycolmap.Database.open(str(matcher.database))
    try:
        ids = matcher.ids
        features = []
        for photo in photos:
            name = prepared_name(photo.name)
            keypoints, descriptors = np.asarray(db.read_keypoints(ids[name])), np.asarray(db.read_descriptors(ids[name]))
            scan = scan_of.get(photo.name)
            if scan is not None and scan.plane is not None and name in placed and photo.name in scan.centres:
                outline, on_support = _outline(scan, placed[name], photo, keypoints)
                path = directory / f"{name}.png"
                write_image(path, outline.astype(np.uint8) * 255)
                keypoints, descriptors = sfm.extract(images / name, str(path), size, count)
                if len(on_support) and len(keypoints):
                    apart = cKDTree(on_support).query(keypoints[:, :2])[0] > 1.0
                    keypoints, descriptors = keypoints[apart], descriptors[apart]
            features.append((ids[name], keypoints, descriptors))
        db.clear_matches()
        db.clear_two_view_geometries()
        db.clear_keypoints()
        db.clear_descriptors()
        for number, keypoints, descriptors in features:
            db.write_keypoints(number, keypoints)
            db.write_descriptors(number, descriptors)
    finally:
        db.close()
    log("What the scans stand on is left out, and features are matched again")
    matcher.forget()
    sfm.match(matcher, work, options, lambda fraction: None, log)
