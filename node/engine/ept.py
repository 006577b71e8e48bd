"""Entwine point tiles (EPT 1.0): the octree of LAZ files that WebODM's 3D view streams."""
import json
from pathlib import Path
from typing import Any, Optional

import laspy
import numpy as np
import pyproj

from .cloud import Cloud

_SPAN = 128          # cells along a tile's edge; a tile holds at most one point per cell
_LEAF_POINTS = 40000  # a tile with at most this many points left takes them all


def _write_tile(path: Path, cloud: Cloud, scale: float, offset: np.ndarray) -> None:
    header = laspy.LasHeader(point_format=2, version="1.2")
    header.offsets, header.scales = offset, np.full(3, scale)
    las = laspy.LasData(header)
    las.x, las.y, las.z = cloud.points[:, 0], cloud.points[:, 1], cloud.points[:, 2]
    las.red, las.green, las.blue = (cloud.colours[:, i].astype(np.uint16) * 257 for i in range(3))
    las.write(str(path))


def write_ept(directory: Path, cloud: Cloud, epsg: Optional[int]) -> None:
    """Write ``ept.json``, ``ept-hierarchy/`` and ``ept-data/`` into a directory."""
    data, hierarchy = directory / "ept-data", directory / "ept-hierarchy"
    data.mkdir(parents=True, exist_ok=True)
    hierarchy.mkdir(exist_ok=True)
    low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2 * 1.0001 + 1e-9
    scale = 0.001 if epsg is not None else max(half / 1e8, 1e-9)
    offset = np.round(middle, 3)
    counts: dict[str, int] = {}
    todo = [(0, 0, 0, 0, np.arange(len(cloud)))]
    while todo:
        d, x, y, z, members = todo.pop()
        size = 2 * half / 2 ** d
        corner = middle - half + np.array([x, y, z]) * size
        local = (cloud.points[members] - corner) / size
        if len(members) > _LEAF_POINTS and d < 20:
            cell = np.clip((local * _SPAN).astype(np.int64), 0, _SPAN - 1)
            _, mine = np.unique(cell @ np.array([_SPAN * _SPAN, _SPAN, 1]), return_index=True)
        else:
            mine = np.arange(len(members))
        key = f"{d}-{x}-{y}-{z}"
        counts[key] = len(mine)
        _write_tile(data / f"{key}.laz", cloud.keep(members[mine]), scale, offset)
        rest = np.ones(len(members), bool)
        rest[mine] = False
        if rest.any():
            octant = (local[rest] >= 0.5).astype(int)
            below = members[rest]
            for child in np.unique(octant, axis=0):
                inside = (octant == child).all(axis=1)
                todo.append((d + 1, 2 * x + int(child[0]), 2 * y + int(child[1]), 2 * z + int(child[2]),
                             below[inside]))
    (hierarchy / "0-0-0-0.json").write_text(json.dumps(counts))
    schema: list[dict[str, Any]] = [
        {"name": axis, "type": "signed", "size": 4, "scale": scale, "offset": float(offset[i]),
         "minimum": float(low[i]), "maximum": float(high[i])} for i, axis in enumerate("XYZ")]
    schema += [{"name": name, "type": "unsigned", "size": 2} for name in ("Red", "Green", "Blue")]
    srs = {} if epsg is None else {"authority": "EPSG", "horizontal": str(epsg),
                                   "wkt": pyproj.CRS.from_epsg(epsg).to_wkt("WKT1_GDAL")}
    (directory / "ept.json").write_text(json.dumps({
        "bounds": [*(middle - half), *(middle + half)], "boundsConforming": [*low, *high], "dataType": "laszip",
        "hierarchyType": "json", "points": len(cloud), "schema": schema, "span": _SPAN, "srs": srs,
        "version": "1.0.0"}, default=float))
