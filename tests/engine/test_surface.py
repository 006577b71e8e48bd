"""The surface by itself, of points that need no photos."""
import json

from tests.engine.running import ROOT, script

SPHERE = """
import json, os, sys
from pathlib import Path
import numpy as np
from node.engine.cloud import Cloud
from node.engine.surface import poisson
work, gone = Path(sys.argv[1]), Path(sys.argv[2])
(work / "PR_left").write_text("by a run that was killed")
os.chdir(gone)
gone.rmdir()  # nothing can be written into this working directory
i = np.arange(4000) + 0.5
polar, turn = np.arccos(1 - 2 * i / 4000), np.pi * (1 + 5 ** 0.5) * i
points = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)
mesh = poisson(Cloud(points + 100.0, np.full((4000, 3), 128, np.uint8), points), work, 6, 0.0, 1)
radius = np.linalg.norm(mesh.vertices - 100.0, axis=1)
print(json.dumps([len(mesh.faces), radius.min(), radius.max(), sorted(path.name for path in work.iterdir())]))
"""


def test_scratch_files_stay_in_the_runs_own_directory(tmp_path):
    work, gone = tmp_path / "work", tmp_path / "gone"
    work.mkdir()
    gone.mkdir()
    faces, least, most, left = json.loads(script("-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + SPHERE,
                                                 str(work), str(gone)).splitlines()[-1])
    assert faces > 500 and 0.95 < least < most < 1.05
    assert left == []
