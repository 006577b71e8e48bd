"""The run from photos to results, stage by stage. Stages read and write files; finished stages are skipped."""
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable

import cv2

from app_extensions.shared import photo_files
from app_extensions.shared.formatting import format_bytes

from . import __version__
from .errors import EngineError
from .estimate import photo_sizes, plan_run, processor_seconds
from .focus import merge_stacks
from .photos import LeftOut, Photo, list_images, photo_name, prepare, sentences
from .progress import Progress
from .reasons import not_placed
from .settings import DEPTH_SIZE, MOST_POINTS, WORK_SIZE
from .workspace import Workspace

LEAST_PLACED = 0.4  # of the photos; a model of fewer counts as a failure

#: The results of each stage. They are removed before the stage runs again, because it may produce fewer with other options.
RESULTS: dict[str, tuple[str, ...]] = {
    "mvs_texturing": ("odm_texturing",), "odm_georeferencing": ("odm_georeferencing", "entwine_pointcloud"),
    "odm_dem": ("odm_dem",), "odm_orthophoto": ("odm_orthophoto",),
    "odm_report": ("odm_report", "viewer.html", "cameras.json", "images.json"),
}


class Run:
    """What all stages share."""

    def __init__(self, images: Path, out: Path, options: dict[str, Any], progress: Progress, threads: int,
                 held_out: Sequence[str]) -> None:
        self.images, self.options, self.progress, self.most_threads = images, options, progress, threads
        self.held_out = list(held_out)
        self.log = progress.log
        files, masks, self.other_files = list_images(images)
        self.files, self.masks = files, masks
        inputs = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in [*files, *sorted(masks.values())]]
        self.space = Workspace(out, [__version__, inputs, self.held_out], options["rerun-from"])
        if options["rerun-from"] in ("dataset", "opensfm", "openmvs"):
            (self.space.root / "depth.json").unlink(missing_ok=True)  # finished depth maps must not be kept

    @property
    def photos(self) -> list[Photo]:
        """The photos in use."""
        return [Photo.from_dict(row) for row in self.space.read_json("photos.json")]

    @property
    def left_out(self) -> list[LeftOut]:
        """The files that are not used."""
        return [LeftOut(**row) for row in self.space.read_json("left_out.json")]

    @property
    def threads(self) -> int:
        """Threads to use: fewer than asked for if memory is short."""
        return min(self.most_threads, self.space.read_json("plan.json", {}).get("threads", self.most_threads))

    @property
    def depth_size(self) -> int:
        """Longer side, in pixels, of the photos in which depth is searched."""
        return self.space.read_json("plan.json", {}).get("depth_size", DEPTH_SIZE[self.options["pc-quality"]])

    @property
    def most_points(self) -> int:
        """Maximum number of points in the cloud."""
        return self.space.read_json("plan.json", {}).get("most_points", MOST_POINTS)

    @property
    def is_flight(self) -> bool:
        """Whether this may be a flight: most photos have positions, and these are metres apart. Placing checks whether they agree."""
        return bool(self.space.read_json("set.json", {}).get("flight"))

    def picked(self, *names: str) -> dict[str, Any]:
        """The named options and their values, for the workspace: a stage depends on them."""
        return {name: self.options[name] for name in names}


def dataset(run: Run) -> None:
    """Read, check and prepare the photos."""
    options = run.options
    others = run.other_files
    if not run.files:
        detail = "; ".join(f"{item.name} {item.reason}" for item in others[:3])
        raise EngineError(f"There are no photos. {photo_files.ACCEPTED} files are accepted."
                          + (f" {detail}{' …' if len(others) > 3 else ''}." if others else ""))
    merged: dict[str, int] = {}
    if options["focus-stacks"] == "auto":
        run.files, merged = merge_stacks(run.files, run.space.directory("merged", empty=True), run.log,
                                         lambda done, total: run.progress.update(0.5 * done / total))
    work_size = WORK_SIZE[options["pc-quality"]]
    depth_size = DEPTH_SIZE[options["pc-quality"]]
    sizes = photo_sizes(run.files)
    plan = plan_run(sizes, options, run.most_threads, work_size, depth_size, run.space.root)
    need = plan.need
    run.space.write_json("plan.json", {"threads": plan.threads, "depth_size": plan.depth_size, "most_points": plan.most_points})
    if plan.changes(run.most_threads, depth_size):
        run.log(f"Reduced to fit into memory and disk: {', '.join(plan.changes(run.most_threads, depth_size))}")
    run.log(f"{len(sizes)} photos; they need about {format_bytes(need.memory_bytes)} of memory "
            f"and {format_bytes(need.disk_bytes)} of disk space")
    photos, left_out = prepare(run.files, run.masks, run.space.directory("photos", empty=True), work_size,
                               run.threads, lambda done, total: run.progress.update(done / total))
    left_out = others + left_out
    for sentence in sentences(left_out):
        run.log(sentence)
    stems = {path.stem.lower() for path in run.files}
    for stem, path in sorted(run.masks.items()):
        if stem not in stems:
            run.log(f"Mask {path.name} belongs to no photo and is not used")
    for photo in photos:
        if photo.name in merged:
            photo.notes.append(f"merged from {merged[photo.name]} frames of a focus stack")
        if photo.notes:
            run.log(f"{photo.name}: {', '.join(photo.notes)}")
    if len(photos) < 3:
        detail = "; ".join(f"{item.name} {item.reason}" for item in left_out[:3])
        raise EngineError(f"Only {len(photos)} of {len(run.files) + len(others)} photos can be used, and a model needs at least 3"
                          + (f" ({detail})" if detail else "") + ". Take 16 or more photos around the object.")
    located = [p.gps for p in photos if p.gps is not None]
    spread = max((abs(a[0] - b[0]) + abs(a[1] - b[1])) for a in located for b in located) * 111_320 if located else 0.0
    enough = len(located) >= max(3, 0.6 * len(photos))
    flight = enough and options["gps"] != "off" and (spread > 10.0 or options["gps"] == "on")
    run.space.write_json("set.json", {"flight": flight, "gps_spread_m": spread,
                                      "estimate": {"memory_bytes": need.memory_bytes, "disk_bytes": need.disk_bytes}})
    run.space.write_json("left_out.json", [vars(item) for item in left_out])
    run.space.write_json("photos.json", [p.as_dict() for p in photos])


def opensfm(run: Run) -> None:
    """Place the photos."""
    from . import frame, scans, scene, sfm
    photos = run.photos
    work, images = run.space.root, run.space.directory("photos")
    matcher = sfm.features_and_matches(work, images, photos, run.options, run.threads, run.is_flight,
                                       run.progress.update, run.log)
    background = run.space.read_json("still.json")
    found = scans.place(work, images, matcher, photos, run.is_flight, run.options, run.threads,
                        run.progress.update, run.log)
    model = found.model
    placed = set() if model is None else {photo_name(im.name) for im in model.images.values() if im.has_pose}
    loose = [p.name for p in photos if p.name not in placed]
    if len(placed) < 3 or len(placed) < LEAST_PLACED * (len(photos) - found.left_out):
        raise EngineError(not_placed(placed, loose, len(photos), background))
    if loose:
        run.log(f"Not placed: {', '.join(loose)} (too little overlap with the others)")
    solved = scene.build(model, images, run.space.directory("undistorted", empty=True), run.held_out, run.threads,
                         {**{p.name: p.mask for p in photos if p.mask is not None}, **(background["masks"] if background else {})})
    cameras = []
    for camera in model.cameras.values():
        cameras.append({"id": camera.camera_id, "model": camera.model.name, "width": camera.width,
                        "height": camera.height, "params": list(map(float, camera.params))})
    solved.meta = {"cameras": cameras, "camera_of": {photo_name(im.name): im.camera_id for im in model.images.values()},
                   "reprojection_error_px": float(model.compute_mean_reprojection_error()),
                   "mean_track_length": float(model.compute_mean_track_length()),
                   "loose": loose, "photos": len(photos), "notes": [found.note] if found.note else [],
                   "scans": {scan.name: [name for name in scan.photos if name in placed] for scan in found.scans}}
    frame.place(solved, photos, run.options["gps"], run.options["scale-distance"], run.log)
    solved.meta["supports"] = found.supports(solved)
    solved.save(work)
    run.log(f"{len(placed)} of {len(photos)} photos placed, {len(solved.points)} points, reprojection error "
            f"{solved.meta['reprojection_error_px']:.2f} px")
    run.progress.update(1.0)


def _stages() -> list:
    from . import stages
    return [
        ("dataset", dataset, ("pc-quality", "gps", "focus-stacks")),
        ("opensfm", opensfm, ("feature-quality", "min-num-features", "matcher-neighbors", "camera-lens", "scale-distance", "gps")),
        ("openmvs", stages.openmvs, ("background",)),
        ("odm_filterpoints", stages.odm_filterpoints, ("pc-filter",)),
        ("odm_meshing", stages.odm_meshing, ("mesh-octree-depth", "mesh-size", "use-3dmesh", "skip-3dmodel")),
        ("mvs_texturing", stages.mvs_texturing,
         ("texturing-size", "texturing-skip-global-seam-leveling", "texturing-keep-unseen-faces")),
        ("odm_georeferencing", stages.odm_georeferencing, ()),
        ("odm_dem", stages.odm_dem, ("dem-resolution", "dsm", "skip-orthophoto")),
        ("odm_orthophoto", stages.odm_orthophoto, ("orthophoto-resolution", "skip-orthophoto")),
        ("odm_report", stages.odm_report, ("skip-report",)),
    ]


def run(images: Path, out: Path, options: dict[str, Any], progress: Progress, threads: int,
        held_out: Sequence[str] = ()) -> None:
    """Make a model from the photos in ``images``. Results appear in ``out`` in ODM's layout.

    Raises EngineError with a message for the user if no model can be made.
    """
    if not images.is_dir():
        raise EngineError(f"There is no directory {images}.")
    out.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(threads)
    this = Run(images, out, options, progress, threads, held_out)
    progress.log(f"engine {__version__}, preset {options['preset']}, {threads} of {os.cpu_count()} cores")
    stages: list[Any] = _stages()
    for name, work, depends in stages:
        _one(this, name, work, this.picked(*depends))
    if options["optimize-disk-space"]:
        this.space.remove()


def _one(this: Run, name: str, work: Callable[[Run], None], settings: dict[str, Any]) -> None:
    if this.space.enter(name, settings):
        this.progress.begin(name, skipped=True)
        this.log(f"{name}: finished before, results kept")
        return
    this.progress.begin(name)
    this.space.remove_results(RESULTS.get(name, ()))
    began, used = time.monotonic(), processor_seconds()
    work(this)
    seconds, used = round(time.monotonic() - began, 2), round(processor_seconds() - used, 2)
    for file, value in (("timings.json", seconds), ("processor.json", used)):
        this.space.write_json(file, {**this.space.read_json(file, {}), name: value})
    this.space.finish(name)
    this.log(f"{name}: {seconds:.1f} s, {used:.1f} s of processor time")
