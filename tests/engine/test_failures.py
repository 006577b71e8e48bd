"""Sets that cannot become a model: the text says what is missing and what to do."""
import subprocess
import time

from tests.engine.conftest import TINY
from tests.engine.running import ROOT, command, run, script

UNRELATED = """
import sys
from pathlib import Path
import cv2, numpy as np
for k in range(6):
    random = np.random.default_rng(k)
    picture = cv2.resize(random.integers(0, 255, (60, 80, 3), dtype=np.uint8), (480, 360), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(Path(sys.argv[1]) / f"photo_{k}.jpg"), picture)
"""


def test_photos_of_different_things_say_so(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    script("-c", UNRELATED, str(images))
    done = run(images, tmp_path / "out", TINY)
    assert done.code == 1
    assert "could be placed" in done.result["error"] and "overlap" in done.result["error"]


def test_too_much_for_the_memory_is_refused_with_the_figures(synthetic_object, tmp_path):
    done = run(synthetic_object / "images", tmp_path / "out", {**TINY, "max-memory": 100})
    assert done.code == 1
    assert "0.1 GB may be used" in done.result["error"] and "GB of memory" in done.result["error"]
    assert not list((tmp_path / "out").glob("odm_*")), "refused before anything is made"


def test_sigterm_stops_at_once(synthetic_object, tmp_path):
    with subprocess.Popen(command(synthetic_object / "images", tmp_path / "out", TINY), cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            if '"opensfm"' in line:
                break
        began = time.monotonic()
        process.terminate()
        process.wait(timeout=60)
        assert time.monotonic() - began < 20
        assert process.returncode != 0


def test_a_missing_directory_is_named(tmp_path):
    done = run(tmp_path / "nowhere", tmp_path / "out")
    assert done.code == 1 and "nowhere" in done.result["error"]
