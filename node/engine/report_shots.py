"""The report's pages on cameras and shots: which cameras took the photos, from where, and how many points each photo gave."""
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .scene import Scene

if TYPE_CHECKING:
    from .pipeline import Run

_PLAN = 1000        # pixels of the plan's longer side
_PLAN_MARGIN = 40
_MOST_LISTED = 400  # photos


def cameras(run: "Run", scene: Scene) -> list[tuple[str, str]]:
    """Each camera's name, photos and lens, for the report's table."""
    photos = {p.name: p for p in run.photos}
    rows = []
    for camera in scene.meta["cameras"]:
        names = [name for name, number in scene.meta["camera_of"].items() if number == camera["id"] and name in photos]
        if not names:
            continue
        photo, placed = photos[names[0]], sum(view.name in names for view in scene.views)
        longer = max(camera["width"], camera["height"])
        # The film frame to which FocalLengthIn35mmFilm refers is 36 mm wide (EXIF 2.3, 0xA405).
        focal = camera["params"][0] / longer
        name = f"{photo.make} {photo.model}".strip() or "Unnamed camera"
        size = f"{round(camera['width'] / photo.scale)} x {round(camera['height'] / photo.scale)} pixels"
        rows.append((name, f"{placed} photos of {size}; focal length {36 * focal:.1f} mm (35 mm equivalent); lens {camera['model']}"))
    return rows


def shots(scene: Scene) -> list[str]:
    """A line for each placed photo: how many sparse points it sees, and their mean reprojection error."""
    lines = []
    for view, seen in list(zip(scene.views, scene.seen))[:_MOST_LISTED]:
        error = f", {np.mean(scene.errors[seen]):.2f} px" if len(seen) else ""
        lines.append(f"{view.name}: {len(seen)} points{error}{', held out' if view.held_out else ''}")
    if len(scene.views) > _MOST_LISTED:
        lines.append(f"and {len(scene.views) - _MOST_LISTED} more: odm_report/shots.geojson has them all")
    return lines


def plan(scene: Scene) -> np.ndarray:
    """A picture (RGB) from above: the sparse points in their colours, and the position and direction of each photo."""
    centres = np.array([view.centre for view in scene.views])[:, :2]
    low, high = np.percentile(scene.points[:, :2], [1, 99], axis=0)
    low, high = np.minimum(low, centres.min(axis=0)), np.maximum(high, centres.max(axis=0))
    scale = (_PLAN - 2 * _PLAN_MARGIN) / max(float((high - low).max()), 1e-12)
    width, height = (int(np.ceil(v)) for v in (high - low) * scale + 2 * _PLAN_MARGIN)

    def at(places: np.ndarray) -> np.ndarray:
        return np.rint(np.c_[(places[:, 0] - low[0]) * scale, (high[1] - places[:, 1]) * scale] + _PLAN_MARGIN).astype(int)

    picture = np.full((height, width, 3), 250, np.uint8)
    pixels = at(scene.points)
    inside = ((pixels >= 1) & (pixels < [width - 1, height - 1])).all(axis=1)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        picture[pixels[inside, 1] + dy, pixels[inside, 0] + dx] = scene.colours[inside]
    for view, (x, y) in zip(scene.views, at(centres).tolist()):
        direction = view.R[2, :2] * [1, -1]
        tip = np.rint(np.array([x, y]) + 26 * direction).astype(int)
        cv2.line(picture, (x, y), (int(tip[0]), int(tip[1])), (30, 90, 170), 2, cv2.LINE_AA)
        cv2.circle(picture, (x, y), 6, (30, 90, 170), -1, cv2.LINE_AA)
    return picture
