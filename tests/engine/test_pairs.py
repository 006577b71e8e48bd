"""Large sets: which photos are matched, and that matching only those places them. Placing alone, without depth."""
import json
import shutil

from tests.engine.conftest import TINY
from tests.engine.running import script

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
    names = [f"#{number:02d} 50% (Пчела).jpg" for number in range(15)]
    for path, name in zip(sorted(images.glob("*.jpg")), names):
        path.rename(images / name)
    masked = images / names[7]
    script("-c", MASK, str(masked))
    options = tmp_path / "options.json"
    options.write_text(json.dumps([{"name": name, "value": value} for name, value in {**TINY, "matcher-neighbors": 4}.items()]))
    read = json.loads(script("-c", PLACE, str(images), str(tmp_path / "work"), str(options)))
    line = next(line for line in read["told"] if line.startswith("Matching "))
    matched, possible = (int(word) for word in line.split() if word.isdigit())
    assert possible == 15 * 14 // 2 and matched < 0.7 * possible
    assert read["placed"] == names
    assert not any("matching the other" in line for line in read["told"]), "the chosen pairs sufficed"
    # The right of one photo is masked: it gives no features, is searched for no depth, and colours nothing.
    mask = read["masks"][masked.name]
    inside, features = mask["features"]
    assert features > 10 and inside >= 0.97 * features
    assert mask["depth"][0] == 1.0 and mask["depth"][1] == 0.0
    assert mask["texture"]["left"] > 0.9 and mask["texture"]["right"] == 0.0
