"""A killed run continues where it was, and its model is whole."""
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Optional

import pytest

from tests.engine.conftest import PHOTOS, TINY
from tests.engine.running import ROOT, command, run

STAGES = ["dataset", "opensfm", "openmvs", "odm_filterpoints", "odm_meshing", "mvs_texturing", "odm_georeferencing", "odm_dem",
          "odm_orthophoto", "odm_report"]


def killed(images: Path, out: Path, options: dict, stage: str, lines: int = 1, wait: float = 0.0, written: Optional[Path] = None) -> bool:
    """Run until the stage has told its progress ``lines`` times, ``wait`` seconds more, then SIGKILL. Whether it was still running.

    ``written``: a file that has to be there, too. The lines do not tell: progress creeps on between two pieces of work.
    """
    told = 0
    with subprocess.Popen(command(images, out, options), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            told += row["type"] == "progress" and row["stage"] == stage
            if told >= lines and (written is None or written.exists()):
                break
        time.sleep(wait)
        process.kill()
        return process.wait() == -signal.SIGKILL


def finished_maps(out: Path) -> dict[Path, int]:
    """The depth maps that are whole, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in (out / ".engine" / "depth").glob("*.npz") if ".part" not in path.name}


def test_depth_maps_of_a_killed_run_are_kept(finished, synthetic_object, tmp_path):
    images, out = synthetic_object / "images", tmp_path / "out"
    options = {**TINY, "mesh-size": 2000, "texturing-size": 256, "skip-report": True}  # stages after the depth, soon done
    shutil.copytree(finished[1], out)
    # As a kill before the last three maps leaves it; the next run is killed after the first of them.
    for stage in STAGES[2:]:
        (out / ".engine" / f"{stage}.done").unlink()
    for index in range(PHOTOS - 3, PHOTOS):
        (out / ".engine" / "depth" / f"{index}.npz").unlink()
    assert killed(images, out, options, "openmvs", written=out / ".engine" / "depth" / f"{PHOTOS - 3}.npz")
    maps = finished_maps(out)
    assert len(maps) >= PHOTOS - 2
    done = run(images, out, options)
    assert done.code == 0, done.result
    kept = [line.split(":")[0] for line in done.logs if "finished before" in line]
    assert kept == ["dataset", "opensfm"]
    assert all(path.stat().st_mtime_ns == at for path, at in maps.items()) and len(finished_maps(out)) == PHOTOS
    facts = json.loads((out / "odm_report/stats.json").read_text())["engine"]
    assert facts["open_edges"] == 0 and facts["points"] > 5000

    # Whoever asks for the depth again gets none of the old maps.
    assert killed(images, out, {**options, "rerun-from": "openmvs"}, "openmvs", lines=2)
    assert len(finished_maps(out)) < PHOTOS and not set(maps.items()) & set(finished_maps(out).items())


@pytest.mark.long
def test_a_run_killed_in_every_stage_ends_with_a_whole_model(synthetic_object, tmp_path):
    images, out = synthetic_object / "images", tmp_path / "out"
    for number, stage in enumerate(STAGES):
        for wait in (0.0, 0.4 + 0.1 * number):
            killed(images, out, TINY, stage, wait=wait)
    done = run(images, out, TINY)
    assert done.code == 0, done.result
    stats = json.loads((out / "odm_report/stats.json").read_text())
    assert stats["reconstruction_statistics"]["reconstructed_shots_count"] == PHOTOS
    assert stats["engine"]["open_edges"] == 0
    assert not list(out.rglob("*.part*")), "nothing half-written is left"
    for name in ("odm_texturing/odm_textured_model_geo.glb", "odm_georeferencing/odm_georeferenced_model.laz", "viewer.html"):
        assert (out / name).stat().st_size > 0
