"""The results of a finished run: ODM's layout, files that others can open, figures that hold."""
import json
import shutil
import struct
from pathlib import Path

import pytest

from tests.engine.conftest import PHOTOS, TINY
from tests.engine.running import run, script

LAYOUT = ["odm_georeferencing/odm_georeferenced_model.ply", "odm_georeferencing/odm_georeferenced_model.laz",
          "odm_texturing/odm_textured_model_geo.obj", "odm_texturing/odm_textured_model_geo.mtl",
          "odm_texturing/odm_textured_model_geo.glb", "cameras.json", "images.json", "odm_report/stats.json",
          "odm_report/shots.geojson", "odm_report/report.pdf", "odm_report/preview.png", "viewer.html",
          "entwine_pointcloud/ept.json"]


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of the finished run's directory, for tests that change it."""
    shutil.copytree(finished[1], tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize("name", LAYOUT)
def test_layout(finished, name):
    assert (finished[1] / name).stat().st_size > 0


def test_progress_never_goes_back_and_ends_at_100(finished):
    values = [line["progress"] for line in finished[0].progress]
    assert values == sorted(values) and values[-1] == 100.0
    stages = [line["stage"] for line in finished[0].progress]
    assert list(dict.fromkeys(stages))[:4] == ["dataset", "opensfm", "openmvs", "odm_filterpoints"]
    assert any(line["eta_seconds"] for line in finished[0].progress)
    assert finished[0].result == {"type": "result", "ok": True, "error": None}


def test_all_photos_are_placed(stats):
    counted = stats["reconstruction_statistics"]
    assert counted["reconstructed_shots_count"] == counted["initial_shots_count"] == PHOTOS
    assert counted["reprojection_error_pixels"] < 1.0


def test_the_object_is_closed_without_islands_and_textured(stats):
    engine = stats["engine"]
    assert engine["open_edges"] == 0
    assert engine["texture_size"] == TINY["texturing-size"]
    assert 1000 < engine["faces"] <= TINY["mesh-size"]
    assert stats["point_cloud_statistics"]["stats"]["statistic"][0]["count"] == engine["points"] > 5000


def test_glb_holds_texture_and_triangles(finished):
    data = (finished[1] / "odm_texturing/odm_textured_model_geo.glb").read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack_from("<I", data, 12)[0]
    document = json.loads(data[20:20 + size])
    primitive = document["meshes"][0]["primitives"][0]
    assert "TEXCOORD_0" in primitive["attributes"]
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    start = 20 + size + 8 + view["byteOffset"]
    assert data[start:start + 2] == b"\xff\xd8"


def test_obj_names_its_material_and_the_texture_is_there(finished):
    folder = finished[1] / "odm_texturing"
    mtl = (folder / "odm_textured_model_geo.mtl").read_text()
    picture = next(line.split()[1] for line in mtl.splitlines() if line.startswith("map_Kd"))
    assert (folder / picture).read_bytes()[:2] == b"\xff\xd8"
    lines = (folder / "odm_textured_model_geo.obj").read_text().splitlines()
    vertices = sum(line.startswith("v ") for line in lines)
    corners = [int(part.split("/")[0]) for line in lines if line.startswith("f ") for part in line.split()[1:]]
    assert max(corners) == vertices and min(corners) == 1


READ_CLOUDS = """
import json, sys, laspy
from pathlib import Path
root = Path(sys.argv[1])
las = laspy.read(root / "odm_georeferencing/odm_georeferenced_model.laz")
ept = json.loads((root / "entwine_pointcloud/ept.json").read_text())
counts = json.loads((root / "entwine_pointcloud/ept-hierarchy/0-0-0-0.json").read_text())
tiles = sum(len(laspy.read(root / f"entwine_pointcloud/ept-data/{k}.laz").points) for k in counts)
print(json.dumps({"laz": len(las.points), "colour": int(las.red.max()), "ept": ept["points"],
                  "hierarchy": sum(counts.values()), "tiles": tiles}))
"""


def test_clouds_hold_every_point_once(finished, stats):
    read = json.loads(script("-c", READ_CLOUDS, str(finished[1])))
    count = stats["engine"]["points"]
    assert read["laz"] == read["ept"] == read["hierarchy"] == read["tiles"] == count
    assert read["colour"] > 255


def test_shots_lie_around_the_model(finished):
    shots = json.loads((finished[1] / "odm_report/shots.geojson").read_text())["features"]
    assert len(shots) == PHOTOS
    heights = [shot["properties"]["translation"][2] for shot in shots]
    assert min(heights) > 0, "cameras stand above the support plane"


SHOTS = """
import json, sys
from pathlib import Path
import numpy as np
from node.engine import report_shots
from node.engine.scene import Scene
scene = Scene.load(Path(sys.argv[1]) / ".engine")
picture = report_shots.plan(scene)
blue = (picture == [30, 90, 170]).all(axis=2)
# The cameras stand around the object, whose points are in the middle of the plan.
height, width = blue.shape
middle = blue[height // 3: 2 * height // 3, width // 3: 2 * width // 3]
print(json.dumps({"lines": report_shots.shots(scene), "blue": int(blue.sum()), "middle": int(middle.sum())}))
"""


def test_the_report_shows_the_model_and_the_shots(finished):
    pdf = (finished[1] / "odm_report/report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.count(b"/Subtype /Image") == 2
    read = json.loads(script("-c", SHOTS, str(finished[1])))
    assert len(read["lines"]) == PHOTOS and all(" points, 0." in line for line in read["lines"])
    assert read["blue"] > PHOTOS * 50 and read["middle"] == 0
    stats = json.loads((finished[1] / "odm_report/stats.json").read_text())
    assert " s" in stats["odm_processing_statistics"]["total_time_human"]


def test_the_shape_is_right(finished, synthetic_object):
    measured = json.loads(script("-m", "dev.benchmarks.engine_measures", "shape", str(finished[1]),
                                 str(synthetic_object / "truth.json")))
    assert measured["parts"] == 1
    # The threads of COLMAP make runs differ a little: eight had 0.959 to 0.962 and 0.920 to 0.929. A model that is 8 % too low has 0.89
    # of both. The figure of the default quality is checked by the long tests.
    assert measured["complete_within_1_percent"] > 0.94
    assert measured["accurate_within_1_percent"] > 0.9


def test_a_second_run_keeps_what_is_finished_and_rerun_from_does_not(copy, synthetic_object):
    again = run(synthetic_object / "images", copy, TINY)
    assert again.code == 0 and sum("finished before" in line for line in again.logs) == 10
    part = run(synthetic_object / "images", copy, {**TINY, "rerun-from": "mvs_texturing"})
    assert part.code == 0 and sum("finished before" in line for line in part.logs) == 5


def test_a_changed_option_redoes_only_what_depends_on_it(copy, synthetic_object):
    # The least that the options take.
    done = run(synthetic_object / "images", copy, {**TINY, "mesh-size": 1000, "texturing-size": 256, "mesh-octree-depth": 1})
    assert done.code == 0
    kept = [line.split(":")[0] for line in done.logs if "finished before" in line]
    assert kept == ["dataset", "opensfm", "openmvs", "odm_filterpoints"]
    engine = json.loads((copy / "odm_report/stats.json").read_text())["engine"]
    assert engine["faces"] <= 1000 and engine["texture_size"] == 256 and engine["open_edges"] == 0


def test_what_is_not_made_again_does_not_stay_from_before(copy, synthetic_object):
    (copy / "odm_orthophoto").mkdir()
    (copy / "odm_orthophoto/odm_orthophoto.tif").write_text("of an earlier run")
    done = run(synthetic_object / "images", copy, {**TINY, "skip-3dmodel": True, "skip-report": True, "rerun-from": "odm_orthophoto",
                                                  "optimize-disk-space": True})
    assert done.code == 0, done.result
    for gone in ("odm_texturing", "odm_orthophoto", "odm_dem", "viewer.html", "odm_report/preview.png", "odm_report/report.pdf"):
        assert not (copy / gone).exists(), gone
    engine = json.loads((copy / "odm_report/stats.json").read_text())["engine"]
    assert engine["points"] > 5000 and not {"faces", "texture_size", "size"} & set(engine)
    assert not (copy / ".engine").exists(), "optimize-disk-space leaves no intermediate files"
