"""Rendered turntable sets: the delivered model is the photographed object. One small set here; all of them at ``--long``."""
import json
import subprocess
import sys

import pytest

from dev.benchmarks.engine_rig_sets import SETS
from tests.engine.conftest import TINY
from tests.engine.running import ROOT, run, script

pytestmark = pytest.mark.long  # each set is rendered and reconstructed


@pytest.fixture(scope="module")
def delivered(tmp_path_factory) -> tuple[list[str], dict]:
    """What the engine told of a set before a wall that stands still, on a plain dark table, and the measures of its model."""
    directory = tmp_path_factory.mktemp("rig")
    script("-m", "dev.benchmarks.engine_rigs", "static", str(directory), "--photos", "24", "--size", "560")
    done = run(directory / "images", directory / "out", {**TINY, "min-num-features": 2000})
    assert done.code == 0, done.result
    measured = json.loads(script("-m", "dev.benchmarks.engine_rig_measures", str(directory / "out"), str(directory / "truth.json")))
    return done.logs, measured


def test_the_still_background_is_told(delivered):
    assert any("The background stands still in 24 photos" in line for line in delivered[0])


def test_every_photo_is_placed_where_it_was_taken(delivered):
    measured = delivered[1]
    assert measured["placed"] == 24 and measured["camera_error_percent"] < 1.0
    assert measured["tilt_degrees"] < 2.0


def test_the_model_is_the_object_and_nothing_else(delivered):
    measured = delivered[1]
    # At the lowest quality; the bounds of the real presets are those of the benchmark.
    assert measured["complete_within_1_percent"] > 0.8
    assert measured["foreign"] < 0.02
    assert measured["open_edges"] == 0


@pytest.mark.long
@pytest.mark.parametrize("only", list(SETS))
def test_each_rig_gives_its_object_or_its_message(only, tmp_path):
    done = subprocess.run([sys.executable, "-m", "dev.benchmarks.engine", "rigs", "--only", only, "--work", str(tmp_path)],
                          cwd=ROOT, capture_output=True, text=True, timeout=3600)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
