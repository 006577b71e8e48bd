"""One small synthetic set and one finished run of it, shared by the tests of results."""
import json
from pathlib import Path

import pytest

from tests.engine.running import Finished, run, script

PHOTOS = 12  # of the synthetic set
TINY = {"preset": "fast", "pc-quality": "lowest", "feature-quality": "lowest", "min-num-features": 2000,
        "mesh-octree-depth": 6, "mesh-size": 8000, "texturing-size": 1024}


@pytest.fixture(scope="session")
def synthetic_object(tmp_path_factory) -> Path:
    """Photos of a known object on a table (``images``) and ``truth.json``."""
    directory = tmp_path_factory.mktemp("object")
    script("-m", "dev.benchmarks.engine_synthetic", "dome", str(directory), "--photos", str(PHOTOS), "--size", "320")
    return directory


@pytest.fixture(scope="session")
def finished(synthetic_object, tmp_path_factory) -> tuple[Finished, Path]:
    """A run of the synthetic object at the lowest quality, and where its results are."""
    out = tmp_path_factory.mktemp("finished") / "out"
    done = run(synthetic_object / "images", out, TINY)
    assert done.code == 0, (done.result, done.stderr[-2000:])
    return done, out


@pytest.fixture(scope="session")
def stats(finished) -> dict:
    """``stats.json`` of the finished run."""
    return json.loads((finished[1] / "odm_report" / "stats.json").read_text())
