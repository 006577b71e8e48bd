"""Scale from printed tags: found, measured, and refused where promised tags are missing."""
import json

from tests.engine.running import script

MEASURE = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from node.engine.errors import EngineError
from node.engine.scaling import parse, scale_from_tags
from node.engine.scene import Scene, View
out = Path(sys.argv[1])
dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_250)
# A sheet of 400 x 300 units with two tags of 60 units, drawn at 4 pixels a unit.
sheet = np.full((1200, 1600), 235, np.uint8)
for tag, (x, y) in ((3, (200, 300)), (7, (1000, 500))):
    sheet[y:y + 240, x:x + 240] = cv2.aruco.generateImageMarker(dictionary, tag, 240)
if sys.argv[2] == "plain":
    sheet[:] = 200
K = np.array([[900.0, 0, 400], [0, 900.0, 300], [0, 0, 1]])
views = []
for k, (dx, dy) in enumerate(((-120, 40), (90, -60), (20, 120))):
    eye = np.array([200.0 + dx, 150.0 + dy, -560.0])
    z = np.array([200.0, 150.0, 0]) - eye
    z /= np.linalg.norm(z)
    x = np.cross([0, 1.0, 0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    t = -R @ eye
    H = K @ np.c_[R[:, 0], R[:, 1], t] @ np.diag([0.25, 0.25, 1.0])
    picture = cv2.warpPerspective(sheet, H, (800, 600), borderValue=120)
    path = str(out / f"{k}.png")
    cv2.imwrite(path, picture)
    views.append(View(f"{k}.png", 800, 600, K, R, t, path))
scene = Scene(views, np.zeros((0, 3)), np.zeros((0, 3), np.uint8), [], np.zeros(0))
before = np.linalg.norm(scene.views[0].centre - scene.views[1].centre)
try:
    answer = scale_from_tags(scene, "aruco:30", lambda message: None)
    after = np.linalg.norm(scene.views[0].centre - scene.views[1].centre)
    print(json.dumps({"ratio": after / before, "unit": answer["unit"]}))
except EngineError as error:
    print(json.dumps({"error": str(error)}))
"""


def test_tags_of_30_mm_make_a_unit_a_millimetre(tmp_path):
    measured = json.loads(script("-c", MEASURE, str(tmp_path), "tags"))
    assert measured["unit"] == "mm"
    assert abs(measured["ratio"] / (30 / 60) - 1) < 0.01
    assert abs(measured["ratio"] / 0.5005607 - 1) < 1e-4  # as it was before distances could be given


def test_promised_tags_that_are_not_there_are_said(tmp_path):
    assert "No printed tag" in json.loads(script("-c", MEASURE, str(tmp_path), "plain"))["error"]


def test_a_malformed_length_is_refused(tmp_path):
    text = script("-c", "from node.engine.scaling import parse\nfrom node.engine.errors import EngineError\n"
                        "for t in ('aruco', 'aruco:-3', 'unknown:30'):\n"
                        "    try:\n        parse(t); print('taken')\n"
                        "    except EngineError as e:\n        print('refused' if t in str(e) else 'unnamed')\n"
                        "print(parse('apriltag:40')[:2], parse('apriltag:40')[2], parse(''))")
    assert text.split() == ["refused", "refused", "refused", "('apriltag',", "40.0)", "()", "None"]
