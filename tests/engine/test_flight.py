"""A flight with GPS: on the map within metres, with orthophoto and surface model."""
import json
import math

import pytest

from tests.engine.conftest import TINY
from tests.engine.running import run, script

pytestmark = pytest.mark.slow

READ = """
import json, sys
from pathlib import Path
import numpy as np, tifffile, pyproj, laspy
sys.path.insert(0, ".")
from dev.benchmarks import engine_synthetic as truth
root = Path(sys.argv[1])
out = {}
for name in ("odm_orthophoto/odm_orthophoto.tif", "odm_dem/dsm.tif"):
    with tifffile.TiffFile(root / name) as tif:
        page = tif.pages[0]
        out[name] = {"tile": [page.tilewidth, page.tilelength], "scale": page.tags[33550].value[0],
                     "tie": page.tags[33922].value[3:5], "epsg": page.tags[34735].value[15],
                     "shape": list(page.shape), "samples": page.samplesperpixel}
        if name.endswith("dsm.tif"):
            heights = page.asarray()
            nodata = page.tags[42113].value
            scale, tie = page.tags[33550].value[0], page.tags[33922].value[3:5]
        else:
            alpha = page.asarray()[:, :, 3]
            out["alpha"] = [int(alpha.min()), int(alpha.max())]
epsg = out["odm_dem/dsm.tif"]["epsg"]
project = pyproj.Transformer.from_crs(epsg, 4326, always_xy=True)
rows, columns = np.nonzero(heights > -9000)
pick = np.random.default_rng(1).permutation(len(rows))[:3000]
rows, columns = rows[pick], columns[pick]
longitude, latitude = project.transform(tie[0] + (columns + 0.5) * scale, tie[1] - (rows + 0.5) * scale)
y = (latitude - truth.RELIEF_LATITUDE) * 111174.0
x = (longitude - truth.RELIEF_LONGITUDE) * 111320.0 * np.cos(np.deg2rad(truth.RELIEF_LATITUDE)) * 1.0015
inside = (abs(x) < 30) & (abs(y) < 30)
real = np.array([truth.relief_height(a, b) for a, b in zip(x[inside], y[inside])]) + truth.RELIEF_ALTITUDE
out["height_error_m"] = float(np.median(abs(heights[rows, columns][inside] - real)))
out["compared"] = int(inside.sum())
out["nodata"] = str(nodata)
las = laspy.read(root / "odm_georeferencing/odm_georeferenced_model.laz")
out["laz_epsg"] = las.header.parse_crs().to_epsg()
out["laz_middle"] = [float(np.median(las.x)), float(np.median(las.y))]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def flight(tmp_path_factory) -> tuple[dict, dict]:
    """Statistics of a flight over the relief, and what its maps say."""
    directory = tmp_path_factory.mktemp("flight")
    script("-m", "dev.benchmarks.engine_synthetic", "relief", str(directory), "--photos", "12", "--size", "400")
    done = run(directory / "images", directory / "out", TINY)
    assert done.code == 0, (done.result, done.stderr[-2000:])
    stats = json.loads((directory / "out/odm_report/stats.json").read_text())
    return stats, json.loads(script("-c", READ, str(directory / "out")))


def test_the_gps_is_met_within_three_metres(flight):
    frame = flight[0]["engine"]["frame"]
    assert frame["epsg"] == 32632  # 8 degrees east, 47 degrees north
    assert frame["gps_error_max_m"] < 3.0
    assert flight[0]["reconstruction_statistics"]["has_gps"] is True


def test_maps_are_tiled_and_in_utm(flight):
    for name in ("odm_orthophoto/odm_orthophoto.tif", "odm_dem/dsm.tif"):
        read = flight[1][name]
        assert read["tile"] == [256, 256] and read["epsg"] == 32632
        assert min(read["shape"][:2]) > 100
    assert flight[1]["odm_orthophoto/odm_orthophoto.tif"]["samples"] == 4
    assert flight[1]["alpha"] == [0, 255]


def test_heights_are_those_of_the_ground(flight):
    assert flight[1]["compared"] > 300
    assert flight[1]["height_error_m"] < 1.5
    assert float(flight[1]["nodata"]) == -9999


def test_the_cloud_says_where_it_is(flight):
    assert flight[1]["laz_epsg"] == 32632
    tie = flight[1]["odm_dem/dsm.tif"]["tie"]
    assert math.dist(tie, flight[1]["laz_middle"]) < 200
