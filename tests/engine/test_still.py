"""A background that stands still while the object turns: what is left out of it, and that nothing else is."""
import json

import pytest

from tests.engine.running import script

pytestmark = pytest.mark.slow

FIND = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from dataclasses import replace
import pycolmap
from dev.benchmarks.engine_rig_sets import PLAIN, SETS
from dev.benchmarks.engine_rigs import make
from node.engine import sfm, still
from node.engine.photos import list_images, prepare, prepared_name
work, name, doubled = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "doubled"
rig = replace(SETS[name], photos=12, rings=((1.0, 12.0),))
make(work / "set", rig, 360)
images = work / "set" / "images"
if doubled:  # three frames of each position, each with its own noise
    for path in sorted(images.glob("*.jpg")):
        for k in range(2):
            picture = cv2.imread(str(path)).astype(np.float32)
            picture += np.random.default_rng(k).normal(0, 2, picture.shape)
            cv2.imwrite(str(path.with_name(path.stem + f"_again{k}.jpg")), np.clip(picture, 0, 255))
files, masks, _ = list_images(images)
photos, _ = prepare(files, masks, work / "photos", 2000, 2)
database = work / "database.db"
pycolmap.Database.open(str(database)).close()
ids = sfm._import(database, work / "photos", photos, "auto", False)
db = pycolmap.Database.open(str(database))
for photo in photos:
    keypoints, descriptors = sfm.extract(work / "photos" / prepared_name(photo.name), None, 360, 1000)
    db.write_keypoints(ids[prepared_name(photo.name)], keypoints)
    db.write_descriptors(ids[prepared_name(photo.name)], descriptors)
db.close()
make(work / "bare", replace(rig, background=PLAIN), 360)  # the same without the wall: where it is dark there was background
def split():
    counts = [0, 0]
    db = pycolmap.Database.open(str(database))
    for photo in photos:
        dark = cv2.imread(str(work / "bare" / "images" / photo.name.replace("_again0", "").replace("_again1", "")), 0) < 60
        keypoints = np.asarray(db.read_keypoints(ids[prepared_name(photo.name)]))
        at = keypoints[:, :2].astype(int).clip(0, [359, 269])
        for k, part in enumerate((dark, ~dark)):
            counts[k] += int((cv2.erode(part.astype(np.uint8), np.ones((15, 15)))[at[:, 1], at[:, 0]] > 0).sum())
    db.close()
    return counts
before = split()
found = still.leave_out(database, work / "photos", work / "still", photos, ids,
                        lambda photo, mask: sfm.extract(work / "photos" / prepared_name(photo.name), mask, 360, 1000), lambda text: None)
hidden = {}
if found:
    for name, path in found.masks.items():
        mask = cv2.imread(path, 0) > 127
        lit = cv2.imread(str(work / "bare" / "images" / name), 0) > 60
        hidden[name] = [float((~mask)[~lit].mean()), float((~mask)[cv2.erode(lit.astype(np.uint8), np.ones((5, 5))) > 0].mean())]
print(json.dumps({"before": before, "after": split(), "found": found is not None, "hidden": hidden}))
"""


def find(tmp_path, name: str, doubled: str = "") -> dict:
    return json.loads(script("-c", FIND, str(tmp_path), name, doubled))


def test_a_wall_behind_the_turntable_is_left_out(tmp_path):
    seen = find(tmp_path, "static")
    (wall, thing), (wall_left, thing_left) = seen["before"], seen["after"]
    assert wall > 3000 and wall_left < 0.05 * wall
    assert thing > 1500 and thing_left > 0.85 * thing
    assert len(seen["hidden"]) == 12, "depth is not searched there either"
    for background, thing in seen["hidden"].values():
        assert background > 0.35 and thing < 0.1


@pytest.mark.parametrize("name, doubled", [("patterned", ""), ("dark-table", "doubled")])
def test_what_moves_with_the_object_and_repeated_frames_stay(tmp_path, name, doubled):
    seen = find(tmp_path, name, doubled)
    assert not seen["found"] and seen["before"] == seen["after"]
