"""Writes tiled GeoTIFF files (GeoTIFF 1.1, OGC 19-008r4) with tifffile."""
from pathlib import Path

import numpy as np
import tifffile

_TILE = 256
_MODEL_PIXEL_SCALE, _MODEL_TIEPOINT, _GEO_KEYS, _GDAL_NODATA = 33550, 33922, 34735, 42113


def write_geotiff(path: Path, array: np.ndarray, left: float, top: float, resolution: float, epsg: int,
                  nodata: str = "") -> None:
    """Write a map in a projected coordinate system.

    ``array``: (h, w, 4) RGBA bytes or (h, w) float32; ``left``, ``top``: coordinates of the outer corner of the first
    cell; ``resolution``: metres per cell. Overviews follow in the same file, each half as large as the one before.
    """
    keys = [1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, epsg]
    tags = [(_MODEL_PIXEL_SCALE, "d", 3, (resolution, resolution, 0.0), True),
            (_MODEL_TIEPOINT, "d", 6, (0.0, 0.0, 0.0, left, top, 0.0), True),
            (_GEO_KEYS, "H", len(keys), tuple(keys), True)]
    if nodata:
        tags.append((_GDAL_NODATA, "s", 0, nodata, True))
    rgba = array.ndim == 3
    form = {"tile": (_TILE, _TILE), "compression": "zlib", "metadata": None, "planarconfig": "contig" if rgba else None,
            "photometric": "rgb" if rgba else "minisblack", "extrasamples": ["unassalpha"] if rgba else None}
    with tifffile.TiffWriter(str(path), bigtiff=array.nbytes > 3e9) as out:
        out.write(array, extratags=tags, **form)
        while max(array.shape[:2]) > 2 * _TILE:
            array = array[::2, ::2]
            out.write(array, subfiletype=1, **form)
