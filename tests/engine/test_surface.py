"""The surface by itself, of points that need no photos."""
import json

import pytest

from tests.engine.running import ROOT, script

SPHERE = """
import json, os, sys, threading, time
from pathlib import Path
import numpy as np
from node.engine.cloud import Cloud
from node.engine.surface import poisson
work, elsewhere = Path(sys.argv[1]), Path(sys.argv[2])
(work / "PR_left").write_text("by a run that was killed")
os.chdir(elsewhere)
seen = set()

def watch():
    while True:
        seen.update(path.name for path in elsewhere.iterdir())
        time.sleep(0.001)

threading.Thread(target=watch, daemon=True).start()
i = np.arange(4000) + 0.5
polar, turn = np.arccos(1 - 2 * i / 4000), np.pi * (1 + 5 ** 0.5) * i
points = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
mesh = poisson(Cloud(points + 100.0, np.full((4000, 3), 128, np.uint8), points), work, 6, 0.0)
radius = np.linalg.norm(mesh.vertices - 100.0, axis=1)
print(json.dumps([len(mesh.faces), radius.min(), radius.max(), sorted(path.name for path in work.iterdir()), sorted(seen)]))
"""


def test_scratch_files_stay_in_the_runs_own_directory(tmp_path):
    work, elsewhere = tmp_path / "work", tmp_path / "elsewhere"
    work.mkdir()
    elsewhere.mkdir()
    faces, least, most, left, seen = json.loads(script("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + SPHERE,
                                                 str(work), str(elsewhere)).splitlines()[-1])
    assert faces > 500 and 0.95 < least < most < 1.05
    assert left == [] and seen == []


KILLED = """
import multiprocessing, os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from node.engine.cloud import Cloud
from node.engine.errors import EngineError
from node.engine.surface import poisson

def kill():
    while not multiprocessing.active_children():
        time.sleep(0.01)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

i = np.arange(4000) + 0.5
polar, turn = np.arccos(1 - 2 * i / 4000), np.pi * (1 + 5 ** 0.5) * i
points = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
if sys.argv[2] == "kill":
    threading.Thread(target=kill, daemon=True).start()
else:
    points[:] = points[0]
try:
    poisson(Cloud(points, np.full((4000, 3), 128, np.uint8), points), Path(sys.argv[1]), 6, 0.0)
except EngineError as error:
    print(error)
"""


@pytest.mark.parametrize("how, reason", [("kill", "exit code -9"), ("one place", "0 triangles, 0 of 0 corners are not finite")])
def test_a_surface_that_cannot_be_built_is_an_error_that_says_why_and_what_to_do(tmp_path, how, reason):
    said = script("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + KILLED, str(tmp_path), how).splitlines()[-1]
    assert said == (f"The surface could not be built from 4000 points ({reason}). "
                    "If memory is short, choose a lower mesh-octree-depth or pc-quality.")


LOST = """
import json, sys
import numpy as np
from node.engine.surface import between_neighbours
corners = np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0], [np.nan, 1, 0], [4, 0, 0], [np.nan] * 3, [np.inf, 0, 0]])
faces = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [4, 2, 6], [6, 5, 1]])
moved, lost = between_neighbours(corners, faces)
print(json.dumps([moved.tolist()[4:7], bool(np.isfinite(moved[7]).all()), lost]))
"""


def test_a_corner_that_is_not_finite_moves_between_its_neighbours():
    """COLMAP gave 7 of 238,525 corners as NaN, each time for the same points: the run failed. A corner without neighbours stays lost."""
    moved, alone, lost = json.loads(script("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + LOST).splitlines()[-1])
    assert moved == [[1.0, 1.0, 0.0], [4.0, 0.0, 0.0], [pytest.approx(8 / 3), pytest.approx(2 / 3), 0.0]]
    assert not alone and lost == 3
