"""Writes the files of ODM's result layout that describe the run (cameras, images, shots, statistics), and the point clouds."""
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from scipy.spatial.transform import Rotation

from . import __version__
from .cloud import Cloud, write_laz, write_ply
from .estimate import peak_memory
from .progress import duration
from .scene import Scene

if TYPE_CHECKING:
    from .pipeline import Run

#: Reasons (keys of photo_files.PROBLEMS) of files that are not photos of the set. A model without them is complete.
_NO_PHOTOS = {"not_photo", "rig_thumbnail", "model_texture", "stacked_frame", "mask_alone", "card", "backup", "other"}


def write_clouds(run: "Run", cloud: Cloud, scene: Scene) -> None:
    """``odm_georeferencing/odm_georeferenced_model.ply`` and ``.laz``; in UTM for flights."""
    frame = scene.meta["frame"]
    offset = np.array(frame["offset"])
    placed = Cloud(cloud.points + offset, cloud.colours, cloud.normals)
    folder = "odm_georeferencing/odm_georeferenced_model"
    write_ply(run.space.result(folder + ".ply"), placed, double=frame["epsg"] is not None)
    write_laz(run.space.result(folder + ".laz"), placed, frame["epsg"])
    if frame["epsg"] is not None:
        zone, south = frame["epsg"] % 100, frame["epsg"] // 100 == 327
        run.space.result("odm_georeferencing/coords.txt").write_text(
            f"WGS84 UTM {zone}{'S' if south else 'N'}\n{offset[0]:.0f} {offset[1]:.0f}\n"
            + "".join(f"{x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in (v.centre for v in scene.views)))
        run.space.result("odm_georeferencing/proj.txt").write_text(
            f"+proj=utm +zone={zone} {'+south ' if south else ''}+datum=WGS84 +units=m +no_defs\n")


def _cameras(run: "Run", scene: Scene) -> dict[str, Any]:
    """``cameras.json`` in OpenSfM's form: focal lengths are shares of the longer side."""
    out = {}
    photos = {p.name: p for p in run.photos}
    for camera in scene.meta["cameras"]:
        names = [n for n, i in scene.meta["camera_of"].items() if i == camera["id"] and n in photos]
        if not names:
            continue
        photo = photos[names[0]]
        params, longer = camera["params"], max(camera["width"], camera["height"])
        two_focals = camera["model"] in ("OPENCV", "OPENCV_FISHEYE")
        k = params[4:8] if two_focals else params[3:5]
        key = f"{photo.make} {photo.model} {camera['width']} {camera['height']} perspective".strip().lower()
        row = {"projection_type": "fisheye" if camera["model"] == "OPENCV_FISHEYE" else "perspective",
               "width": camera["width"], "height": camera["height"], "focal": params[0] / longer,
               "k1": k[0] if k else 0.0, "k2": k[1] if len(k) > 1 else 0.0}
        out[key if key not in out else f"{key} {camera['id']}"] = row
    return out


def _shots(run: "Run", scene: Scene) -> dict[str, Any]:
    """``shots.geojson``: one point per photo, with its pose in the model's coordinates."""
    frame = scene.meta["frame"]
    offset = np.array(frame["offset"])
    to_degrees = pyproj.Transformer.from_crs(frame["epsg"], 4326, always_xy=True) if frame["epsg"] else None
    features = []
    for view in scene.views:
        position = view.centre + offset
        where = list(to_degrees.transform(*position)) if to_degrees else position.tolist()
        features.append({"type": "Feature", "geometry": {"type": "Point", "coordinates": where}, "properties": {
            "filename": view.name, "width": view.width, "height": view.height,
            "focal": float(view.K[0, 0]) / max(view.width, view.height),
            "rotation": Rotation.from_matrix(view.R).as_rotvec().tolist(), "translation": position.tolist()}})
    return {"type": "FeatureCollection", "features": features}


def _images(run: "Run") -> list[dict[str, Any]]:
    """``images.json``: EXIF data of each photo."""
    rows = []
    for photo in run.photos:
        row: dict[str, Any] = {"filename": photo.name, "width": round(photo.width / photo.scale),
                               "height": round(photo.height / photo.scale), "camera_make": photo.make,
                               "camera_model": photo.model, "captured_at": photo.taken}
        if photo.gps is not None:
            row.update(latitude=photo.gps[0], longitude=photo.gps[1], altitude=photo.gps[2])
        rows.append(row)
    return rows


def statistics(run: "Run", scene: Scene) -> dict[str, Any]:
    """``stats.json`` as WebODM reads it, and our own figures under ``engine``."""
    frame, meta = scene.meta["frame"], scene.meta
    facts = run.space.read_json("facts.json", {})
    dense = int(facts.get("points", 0))
    timings = run.space.read_json("timings.json", {})
    photos = run.photos
    return {
        "odm_processing_statistics": {"total_time": sum(timings.values()), "total_time_human": duration(sum(timings.values())),
                                      "average_gsd": facts.get("gsd_cm")},
        "processing_statistics": {"steps_times": timings, "area": facts.get("area_m2"),
                                  "start_date": min((p.taken for p in photos if p.taken), default=""),
                                  "end_date": max((p.taken for p in photos if p.taken), default="")},
        "reconstruction_statistics": {
            "components": 1, "has_gps": frame["epsg"] is not None, "has_gcp": False,
            "initial_shots_count": meta["photos"] + sum(item.code not in _NO_PHOTOS for item in run.left_out),
            "reconstructed_shots_count": len(scene.views), "reconstructed_points_count": len(scene.points),
            "reprojection_error_pixels": meta["reprojection_error_px"],
            "average_track_length": meta["mean_track_length"]},
        "point_cloud_statistics": {"dense": True, "stats": {"statistic": [{"count": dense}]}},
        "engine": {"version": __version__, "unit": frame["unit"], "frame": frame, "loose_photos": meta["loose"],
                   "notes": meta.get("notes", []),
                   "left_out": [vars(item) for item in run.left_out],
                   "estimate": run.space.read_json("set.json", {}).get("estimate"),
                   "peak_memory_bytes": peak_memory(),
                   "processor_seconds": run.space.read_json("processor.json", {}), **facts},
    }


def write_descriptions(run: "Run", scene: Scene) -> None:
    """``cameras.json``, ``images.json``, ``odm_report/shots.geojson`` and ``odm_report/stats.json``."""
    for name, value in (("cameras.json", _cameras(run, scene)), ("images.json", _images(run)),
                        ("odm_report/shots.geojson", _shots(run, scene)),
                        ("odm_report/stats.json", statistics(run, scene))):
        run.space.result(name).write_text(json.dumps(value, indent=1), encoding="utf-8")
