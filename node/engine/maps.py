"""Makes orthophoto and surface model of a flight: views of the textured model from above."""
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from . import raster
from .geotiff import write_geotiff
from .imagefile import write_image
from .meshes import Mesh
from .scene import Scene

if TYPE_CHECKING:
    from .pipeline import Run

_NODATA = -9999.0
_MOST_CELLS = 400e6


def ground_sample(scene: Scene) -> float:
    """Metres of ground per pixel of the photos (median of all photos)."""
    sizes = []
    for view, ids in zip(scene.views, scene.seen):
        if len(ids):
            _, depth = view.project(scene.points[ids])
            sizes.append(float(np.median(depth)) / view.K[0, 0])
    return float(np.median(sizes))


def _grid(mesh: Mesh, resolution: float) -> tuple[float, float, int, int]:
    low, high = mesh.vertices[:, :2].min(axis=0), mesh.vertices[:, :2].max(axis=0)
    left, top = np.floor(low[0] / resolution) * resolution, np.ceil(high[1] / resolution) * resolution
    width, height = int(np.ceil((high[0] - left) / resolution)), int(np.ceil((top - low[1]) / resolution))
    return float(left), float(top), max(width, 1), max(height, 1)


def _resolution(run: "Run", scene: Scene, mesh: Mesh, option: str) -> float:
    """Metres per cell: as the option says, but no finer than the photos, and with no more cells than fit into memory."""
    resolution = max(run.options[option] / 100.0, ground_sample(scene))
    extent = np.ptp(mesh.vertices[:, :2], axis=0)
    return float(max(resolution, np.sqrt(extent.prod() / _MOST_CELLS)))


def surface_model(run: "Run", scene: Scene, mesh: Mesh) -> dict[str, Any]:
    """Write ``odm_dem/dsm.tif``: heights in metres, in the GPS's height system. Returns its figures."""
    frame = scene.meta["frame"]
    resolution = _resolution(run, scene, mesh, "dem-resolution")
    left, top, width, height = _grid(mesh, resolution)
    heights, index, _ = raster.draw_from_above(mesh.vertices, mesh.faces, left, top, resolution, width, height)
    heights = np.where(index >= 0, heights + frame["offset"][2], _NODATA).astype(np.float32)
    write_geotiff(run.space.result("odm_dem/dsm.tif"), heights, left + frame["offset"][0], top + frame["offset"][1],
                  resolution, frame["epsg"], nodata=str(int(_NODATA)))
    area = float((index >= 0).sum()) * resolution ** 2
    run.log(f"Surface model: {width} x {height} cells of {100 * resolution:.1f} cm, {area:.0f} m²")
    return {"area_m2": area, "dsm_resolution_m": resolution}


def orthophoto(run: "Run", scene: Scene, mesh: Mesh, texture: np.ndarray) -> dict[str, Any]:
    """Write ``odm_orthophoto/odm_orthophoto.tif`` (RGB and alpha, tiled) and a ``.png``. Returns its figures."""
    frame = scene.meta["frame"]
    resolution = _resolution(run, scene, mesh, "orthophoto-resolution")
    left, top, width, height = _grid(mesh, resolution)
    _, index, bary = raster.draw_from_above(mesh.vertices, mesh.faces, left, top, resolution, width, height)
    shown = index >= 0
    picture = np.zeros((height, width, 4), np.uint8)
    picture[shown, :3] = raster.sample(mesh, texture, index[shown], bary[shown][:, 0:1], bary[shown][:, 1:2])
    picture[shown, 3] = 255
    write_geotiff(run.space.result("odm_orthophoto/odm_orthophoto.tif"), picture, left + frame["offset"][0],
                  top + frame["offset"][1], resolution, frame["epsg"])
    small = cv2.resize(picture, None, fx=(s := min(1.0, 4000 / max(width, height))), fy=s,
                       interpolation=cv2.INTER_AREA)
    write_image(run.space.result("odm_orthophoto/odm_orthophoto.png"), cv2.cvtColor(small, cv2.COLOR_RGBA2BGRA))
    run.log(f"Orthophoto: {width} x {height} cells of {100 * resolution:.1f} cm")
    return {"orthophoto_resolution_m": resolution}
