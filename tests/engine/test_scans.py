"""Two scans of one object that was turned over between them. Placing alone, without depth."""
import json

import pytest

from tests.engine.running import script

PLACE = """
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from dev.benchmarks.engine_rig_sets import SETS
from dev.benchmarks.engine_rigs import BOTTOM, TOP, make
from node.engine import frame, georef, scans, scene, sfm
from node.engine.options import load_options
from node.engine.photos import list_images, photo_name, prepare
work, other = Path(sys.argv[1]), sys.argv[2]
rings = ((0.5, 8.0), (0.5, 36.0))  # what is seen from 8 degrees above is seen from 8 below in the other scan
make(work / "set", replace(SETS["turned-patterned"], photos=36, rings=rings), 560)
if other:  # the second scan shows something else
    for path in (work / "set" / "images").glob("scan02_*"):
        path.unlink()
    make(work / "other", replace(SETS["facade"], photos=10), 480)
    for k, path in enumerate(sorted((work / "other" / "images").iterdir())):
        path.rename(work / "set" / "images" / f"scan02_{k:03d}.jpg")
truth = {p["name"]: p for p in json.loads((work / "set" / "truth.json").read_text())["poses"]}
files, masks, _ = list_images(work / "set" / "images")
photos, _ = prepare(files, masks, work / "photos", 2000, 2)
options, told = {**load_options(None), "feature-quality": "lowest", "min-num-features": 2000}, []
matcher = sfm.features_and_matches(work, work / "photos", photos, options, 2, False, lambda fraction: None, told.append)
found = scans.place(work, work / "photos", matcher, photos, False, options, 2, lambda fraction: None, told.append)
placed = sorted(photo_name(im.name) for im in found.model.images.values() if im.has_pose)
out = {"placed": placed, "note": found.note, "told": told, "left_out": found.left_out}
if found.scans:
    solved = scene.build(found.model, work / "photos", work / "undistorted", [], 2)
    solved.meta = {"scans": {s.name: s.photos for s in found.scans}}
    solved.meta["frame"] = frame.place(solved, photos, "off", "", told.append)
    # Into the object's own coordinates.
    eyes = np.array([truth[v.name]["eye"] for v in solved.views])
    scale, R, t = georef.similarity(np.array([v.centre for v in solved.views]), eyes)
    error = np.linalg.norm(scale * np.array([v.centre for v in solved.views]) @ R.T + t - eyes, axis=1)
    heights = {}
    for name, (*normal, offset) in found.supports(solved).items():
        turned = R @ np.array(normal)
        heights[name] = [turned.tolist(), float(scale * offset + turned @ t)]
    z = (scale * solved.points @ R.T + t)[:, 2]
    out.update(error=float(error.max()), heights=heights, beyond=float(((z < BOTTOM - 0.05) | (z > TOP + 0.05)).mean()))
print(json.dumps(out))
"""


def place(tmp_path, other: str = "") -> dict:
    return json.loads(script("-c", PLACE, str(tmp_path), other, timeout=1800))


@pytest.mark.long
def test_both_scans_are_joined_and_neither_table_is_left(tmp_path):
    found = place(tmp_path)
    assert len(found["placed"]) == 36, found["told"]
    assert found["error"] < 0.11, "2 % of a distance of 5.4: both scans are where they were taken from"
    (up, low), (down, top) = found["heights"]["scan01"], found["heights"]["scan02"]
    assert up[2] > 0.999 and down[2] < -0.999
    assert low == pytest.approx(-0.65, abs=0.03) and top == pytest.approx(-0.75, abs=0.03)
    assert found["beyond"] < 0.02, "what was measured on the tables is gone"


@pytest.mark.long
def test_a_scan_that_shares_nothing_is_named(tmp_path):
    found = place(tmp_path, "other")
    assert found["placed"] == [f"scan01_{k:03d}.jpg" for k in range(18)], found["told"]
    assert "scan02 could not be joined with scan01" in found["note"] and "scan02_009.jpg" in found["note"]
    assert found["left_out"] == 10


CUT = """
import json, sys
from pathlib import Path
import numpy as np
from node.engine import dense
from node.engine.scene import View
K = np.array([[100.0, 0, 49.5], [0, 100.0, 39.5], [0, 0, 1]])
R = np.diag([1.0, -1, -1])  # from 5 above, straight down
view = View("a.jpg", 100, 80, K, R, -R @ np.array([0, 0, 5.0]), "")
depth = np.full((80, 100), 5.0, np.float32)  # a table at z = 0, and on its right half something 1 high
depth[:, 50:] = 4.0
depth[:10] = 0.0
maps = dense.DepthMaps(Path(sys.argv[1]))
maps.write(0, depth, np.zeros((80, 100, 3), np.float32))
maps.read(0)
for _ in range(2):  # as after an interrupted run
    dense.cut_below(maps, view, 0, 1.0, np.array([0, 0, 1.0]), 0.5)
left, _ = maps.read(0)
print(json.dumps([float(left[:, :50].max()), sorted({float(v) for v in left[10:, 50:].ravel()}), float(left[:10].max())]))
"""


def test_depth_below_a_scans_support_is_forgotten(tmp_path):
    assert json.loads(script("-c", CUT, str(tmp_path))) == [0.0, [4.0], 0.0]
