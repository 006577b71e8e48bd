"""Large sets: which photos are matched, and that matching only those places them. Placing alone, without depth."""
import json
import shutil

import pytest

from tests.engine.conftest import PHOTOS, TINY
from tests.engine.running import script

pytestmark = pytest.mark.slow

PLACE = """
import json, sys
from pathlib import Path
from node.engine import scene, sfm
from node.engine.options import load_options
from node.engine.photos import list_images, photo_name, prepare
images, work, told = Path(sys.argv[1]), Path(sys.argv[2]), []
files, masks, _ = list_images(images)
photos, _ = prepare(files, masks, work / "photos", 2000, 2)
options = load_options(Path(sys.argv[3]))
database = sfm.features_and_matches(work, work / "photos", photos, options, 2, False, lambda fraction: None, told.append)
model = sfm.map_photos(work, work / "photos", database, photos, 2, lambda fraction: None, told.append)
solved = scene.build(model, work / "photos", work / "undistorted", [], 2, {p.name: p.mask for p in photos if p.mask})
shown = {}
for view in solved.views:
    if view.mask:
        import cv2, numpy as np
        from node.engine import dense, texture
        from node.engine.meshes import Mesh
        mask = cv2.imread(view.mask, cv2.IMREAD_GRAYSCALE) > 127
        pixels = view.project(solved.points[solved.seen[solved.views.index(view)]])[0].round().astype(int)
        inside = mask[pixels[:, 1].clip(0, mask.shape[0] - 1), pixels[:, 0].clip(0, mask.shape[1] - 1)]
        at_half = dense._mask_of(view, 0.5, None)
        # A square that fills the view, of 40 x 40 pairs of triangles.
        grid = np.stack(np.meshgrid(np.linspace(0.05, 0.95, 41), np.linspace(0.05, 0.95, 41)), axis=2).reshape(-1, 2)
        rays = np.c_[grid * [view.width, view.height], np.ones(len(grid))] @ np.linalg.inv(view.K).T
        corners = (rays - view.t) @ view.R
        a = (np.arange(40)[:, None] * 41 + np.arange(40)).ravel()
        faces = np.concatenate([np.c_[a, a + 41, a + 1], np.c_[a + 1, a + 41, a + 42]])
        mesh = Mesh(corners, faces)
        normals = mesh.face_normals()
        facing = np.sign((normals * (view.centre - corners[faces].mean(axis=1))).sum(axis=1, keepdims=True))
        alone = scene.Scene([view], solved.points, solved.colours, [], solved.errors)
        _, quality = texture.rate_views(alone, mesh, normals * facing, lambda done, total: None)
        where = grid[faces].mean(axis=1)
        columns = {"left": where[:, 0] < 0.4, "right": where[:, 0] > 0.6}
        shown[view.name] = {"features": [int(inside.sum()), len(inside)],
                            "depth": [float(at_half[:, :at_half.shape[1] // 3].mean()), float(at_half[:, -at_half.shape[1] // 3:].mean())],
                            "texture": {side: float((quality[which, 0] > 0).mean()) for side, which in columns.items()}}
print(json.dumps({"placed": sorted(photo_name(im.name) for im in model.images.values() if im.has_pose), "told": told, "masks": shown}))
"""

MASK = """
import sys
from pathlib import Path
import cv2, numpy as np
photo = Path(sys.argv[1])
height, width = cv2.imread(str(photo)).shape[:2]
mask = np.zeros((height, width), np.uint8)
mask[:, :width * 6 // 10] = 255
cv2.imwrite(str(photo.with_name(photo.stem + "_mask.png")), mask)
"""


def test_chosen_pairs_place_every_photo_whatever_its_name(synthetic_object, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(synthetic_object / "images", images)
    names = [f"#{number:02d} 50% (Пчела).jpg" for number in range(PHOTOS)]
    for path, name in zip(sorted(images.glob("*.jpg")), names):
        path.rename(images / name)
    masked = images / names[7]
    script("-c", MASK, str(masked))
    options = tmp_path / "options.json"
    options.write_text(json.dumps([{"name": name, "value": value} for name, value in {**TINY, "matcher-neighbors": 3}.items()]))
    read = json.loads(script("-c", PLACE, str(images), str(tmp_path / "work"), str(options)))
    line = next(line for line in read["told"] if line.startswith("Matching "))
    matched, possible = (int(word) for word in line.split() if word.isdigit())
    assert possible == PHOTOS * (PHOTOS - 1) // 2 and matched < 0.7 * possible
    assert read["placed"] == names
    # The right of one photo is masked: it gives no features, is searched for no depth, and colours nothing.
    mask = read["masks"][masked.name]
    inside, features = mask["features"]
    assert features > 10 and inside >= 0.97 * features
    assert mask["depth"][0] == 1.0 and mask["depth"][1] == 0.0
    assert mask["texture"]["left"] > 0.9 and mask["texture"]["right"] == 0.0


LOOSE = """
import json, sys
from pathlib import Path
import numpy as np, pycolmap
from node.engine import rescue, sfm
from node.engine.matching import Matcher
from node.engine.options import load_options
from node.engine.photos import list_images, photo_name, prepare
images, work, told, moved = Path(sys.argv[1]), Path(sys.argv[2]), [], []
files, masks, _ = list_images(images)
photos, _ = prepare(files, masks, work / "photos", 2000, 2)
options = load_options(Path(sys.argv[3]))
matcher = sfm.features_and_matches(work, work / "photos", photos, options, 2, False, lambda fraction: None, told.append)
# One photo's matches were never made.
db = pycolmap.Database.open(str(matcher.database))
features = {}
for other in range(len(photos)):
    features[other] = len(np.asarray(db.read_keypoints(matcher.image_id(other))))
    if other != 7 and db.exists_matches(matcher.image_id(7), matcher.image_id(other)):
        db.delete_matches(matcher.image_id(7), matcher.image_id(other))
        if db.exists_inlier_matches(matcher.image_id(7), matcher.image_id(other)):
            db.delete_inlier_matches(matcher.image_id(7), matcher.image_id(other))
db.close()
matcher.done -= {pair for pair in matcher.done if 7 in pair}
model = sfm.map_photos(work, work / "photos", matcher, photos, 2, moved.append, told.append)
found = {"placed": model.num_reg_images(), "told": list(told), "moved": moved}
told.clear()
steps, rescue.MOST_LOOSE = [], 3
rescue.rescue(work, work / "photos", matcher, set(range(len(photos) - 4)), steps.append, told.append)
db = pycolmap.Database.open(str(matcher.database))
more = [i for i in range(len(photos)) if len(np.asarray(db.read_keypoints(matcher.image_id(i)))) > features[i]]
print(json.dumps({**found, "tried": len(more), "said": told, "steps": steps}))
"""


def test_the_mapping_goes_on_for_loose_photos_and_tries_only_so_many(synthetic_object, tmp_path):
    options = tmp_path / "options.json"
    options.write_text(json.dumps([{"name": name, "value": value} for name, value in TINY.items()]))
    read = json.loads(script("-c", LOOSE, str(synthetic_object / "images"), str(tmp_path / "work"), str(options)))
    assert read["placed"] == PHOTOS
    mapped = [line for line in read["told"] if line.startswith("Mapping: ")]
    assert len(mapped) == 2 and f"best has {PHOTOS - 1} of {PHOTOS}" in mapped[0] and f"best has {PHOTOS} of {PHOTOS}" in mapped[1]
    assert any(f"1 of {PHOTOS} photos are not placed yet: matching {PHOTOS - 1} more pairs" in line for line in read["told"])
    assert read["moved"] == sorted(read["moved"]), "progress does not go back"
    assert read["tried"] == 3 and f"(of {PHOTOS - 4} photos not placed)" in read["said"][0]
    assert read["steps"] == sorted(read["steps"]) and len(read["steps"]) > 10


ORDER = """
import json
from node.engine.matching import Matcher
from node.engine.pairs import in_order
from node.engine.photos import Photo
def photos(*rows):
    return [Photo(name, "", 100, 100, taken=taken) for name, taken in rows]
rig = photos(*((f"scan{scan:02d}_{k}.jpg", "2026:11:02 10:00:00") for scan in (2, 1) for k in (10, 9, 100)))
phone = photos(("IMG_2.jpg", "2026:11:02 10:00:01"), ("IMG_10.jpg", "2026:11:02 10:00:00"), ("IMG_9.jpg", "2026:11:02 10:00:00"))
matcher = Matcher("", in_order(rig), {}, 1, {(0, 5): 90, (0, 4): 3})
print(json.dumps([[p.name for p in in_order(rig)], [p.name for p in in_order(phone)], matcher.likeliest(0, [1, 2, 4, 5], 3)]))
"""


def test_the_order_is_that_of_scans_or_of_time_and_numbers_are_numbers():
    rig, phone, likeliest = json.loads(script("-c", ORDER))
    assert rig == [f"scan{scan:02d}_{k}.jpg" for scan in (1, 2) for k in (9, 10, 100)]
    assert phone == ["IMG_9.jpg", "IMG_10.jpg", "IMG_2.jpg"]
    assert likeliest == [5, 1, 4], "most matches, nearest, next by matches"
