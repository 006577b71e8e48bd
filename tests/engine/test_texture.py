"""Which photo colours the model."""
import json

from tests.engine.running import script

PICK = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from dev.benchmarks.engine_synthetic import looking
from node.engine.meshes import Mesh
from node.engine.scene import Scene, View
from node.engine.texture import rate_views
out = Path(sys.argv[1])
random = np.random.default_rng(1)
page = cv2.resize(random.integers(0, 255, (120, 120), dtype=np.uint8), (720, 720), interpolation=cv2.INTER_CUBIC)
grid = np.stack(np.meshgrid(np.linspace(-0.9, 0.9, 21), np.linspace(-0.9, 0.9, 21)), axis=2).reshape(-1, 2)
a = (np.arange(20)[:, None] * 21 + np.arange(20)).ravel()
faces = np.concatenate([np.c_[a, a + 1, a + 21], np.c_[a + 1, a + 22, a + 21]])
mesh = Mesh(np.c_[grid, np.zeros(len(grid))], faces)
K = np.array([[700.0, 0, 319.5], [0, 700.0, 239.5], [0, 0, 1]])

def view(name, degrees, blur):
    angle = np.radians(degrees)
    eye = 4.0 * np.array([np.sin(angle), 0, np.cos(angle)])
    R = looking(eye, np.zeros(3), np.array([0, 1.0, 0]))
    t = -R @ eye
    corners = np.array([[-1, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0]], float)
    pixels = (corners @ R.T + t) @ K.T
    to = (pixels[:, :2] / pixels[:, 2:]).astype(np.float32)
    H = cv2.getPerspectiveTransform(np.array([[0, 0], [719, 0], [719, 719], [0, 719]], np.float32), to)
    picture = cv2.warpPerspective(page, H, (640, 480))
    if blur == "left":
        soft = cv2.GaussianBlur(picture, (0, 0), 3)
        picture[:, :320] = soft[:, :320]
    elif blur:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    path = out / f"{name}.png"
    cv2.imwrite(str(path), picture)
    return View(name, 640, 480, K, R, t, str(path))

# The second photo is taken so much aslant that no part of it has more pixels than the one from the front.
def winners(*views):
    scene = Scene(list(views), np.zeros((0, 3)), np.zeros((0, 3), np.uint8), [], np.zeros(0))
    best, quality = rate_views(scene, mesh, mesh.face_normals(), lambda done, total: None)
    return best[:, 0]

middle = mesh.vertices[faces].mean(axis=1)
half = winners(view("half", 0, "left"), view("oblique", -50, 0))
print(json.dumps({"square": float((winners(view("square", 0, 0), view("aslant", 50, 0)) == 0).mean()),
                  "blurred": float((winners(view("soft", 0, 2.5), view("sharp", 35, 0)) == 1).mean()),
                  "left": float((half[middle[:, 0] < -0.2] == 1).mean()), "right": float((half[middle[:, 0] > 0.2] == 0).mean())}))
"""


def test_the_sharpest_and_most_frontal_photo_wins(tmp_path):
    share = json.loads(script("-c", PICK, str(tmp_path)))
    assert share["square"] > 0.95, "of two sharp photos the one taken from the front"
    assert share["blurred"] > 0.95, "a sharp photo taken aslant rather than a blurred one from the front"
    assert share["left"] > 0.9 and share["right"] > 0.9, "of a photo that is blurred in part the rest is used"
