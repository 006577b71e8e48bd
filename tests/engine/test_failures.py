"""Sets that cannot become a model: the text says what is missing and what to do."""
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from tests.engine.conftest import PHOTOS, TINY
from tests.engine.running import ROOT, command, run, script

pytestmark = pytest.mark.slow

UNRELATED = """
import sys
from pathlib import Path
import cv2, numpy as np
width, height = int(sys.argv[3]), int(sys.argv[3]) * 3 // 4
for k in range(int(sys.argv[2])):
    random = np.random.default_rng(k)
    coarse = random.integers(0, 255, (height // 6, width // 6, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(Path(sys.argv[1]) / f"photo_{k}.jpg"), picture)
"""


def test_photos_of_different_things_say_so(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    script("-c", UNRELATED, str(images), "6", "480")
    done = run(images, tmp_path / "out", TINY)
    assert done.code == 1
    assert "could be placed" in done.result["error"] and "overlap" in done.result["error"]


def test_a_large_set_of_which_few_photos_fit_is_no_model(synthetic_object, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(synthetic_object / "images", images)
    script("-c", UNRELATED, str(images), "50", "128")  # small ones: few features, soon matched; more than EXHAUSTIVE_UP_TO
    done = run(images, tmp_path / "out", TINY)
    assert done.code == 1
    assert re.match(rf"Only {PHOTOS} of {PHOTOS + 50} photos could be placed", done.result["error"]), (done.result, done.logs)


def test_a_plain_object_is_told_before_all_pairs_are_matched(tmp_path):
    script("-m", "dev.benchmarks.engine_rigs", "plain-object", str(tmp_path), "--photos", "26", "--size", "320")
    done = run(tmp_path / "images", tmp_path / "out", TINY)
    assert done.code == 1
    assert "None of the 26 photos could be placed" in done.result["error"] and "needs texture" in done.result["error"]
    assert not any("Mapping" in line for line in done.logs), done.logs


def test_a_background_that_stood_still_is_named_as_the_cause(tmp_path):
    script("-m", "dev.benchmarks.engine_rigs", "plain-object-static", str(tmp_path), "--photos", "12", "--size", "360")
    done = run(tmp_path / "images", tmp_path / "out", TINY)
    assert done.code == 1
    assert "the background did not move with the object" in done.result["error"] and "dark cloth" in done.result["error"]


def test_too_much_for_the_memory_is_refused_with_the_figures(synthetic_object, tmp_path):
    done = run(synthetic_object / "images", tmp_path / "out", {**TINY, "max-memory": 100})
    assert done.code == 1
    assert "100 MB may be used" in done.result["error"] and re.search(r"about \d+(\.\d)? MB of memory", done.result["error"])
    assert not list((tmp_path / "out").glob("odm_*")), "refused before anything is made"


def test_sigterm_stops_at_once(synthetic_object, tmp_path):
    with subprocess.Popen(command(synthetic_object / "images", tmp_path / "out", TINY), cwd=ROOT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if '"opensfm"' in line:
                break
        began = time.monotonic()
        process.terminate()
        process.wait(timeout=60)
        assert time.monotonic() - began < 20
        assert process.returncode == -signal.SIGTERM
        assert process.stderr.read() == "", "no stack trace in the console of a task that was canceled"


@pytest.fixture
def small_disk(tmp_path):
    """A file system that has a little more room than the photos are said to need."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(directory)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory, leave: int) -> None:
    """Take the room of a file system but so many bytes; a second call changes what was taken."""
    with open(directory / "filler", "w+b") as file:
        while True:
            disk = os.statvfs(directory)
            try:
                return os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - leave)
            except OSError as error:  # the engine wrote in between
                if error.errno != errno.ENOSPC:
                    raise


WRITE = """
import sys
from pathlib import Path
from node.engine.errors import WriteError, is_disk_full
from node.engine.photos import list_images, prepare
target = Path(sys.argv[2])
try:
    files, masks, _ = list_images(Path(sys.argv[1]))
    prepare(files, masks, target, 2000, 2)
    print("written")
except WriteError as error:
    print("full" if is_disk_full(error, target) else error)
"""


def test_a_full_disk_is_told_before_and_while_it_happens(synthetic_object, small_disk):
    images, out = synthetic_object / "images", small_disk / "out"
    fill(small_disk, 40_000_000)
    before = run(images, out, TINY)
    assert before.code == 1
    needed, free = re.search(r"need about ([\d.]+) MB of disk space, but only ([\d.]+) MB are free", before.result["error"]).groups()
    assert 45 < float(needed) < 150 and 30 < float(free) <= 40
    assert not (out / ".engine" / "photos").exists(), "refused before anything is made"
    (small_disk / "filler").unlink()
    fill(small_disk, 50_000)
    assert script("-c", WRITE, str(images), str(out / "photos")).strip() == "full", "a photo that cannot be written is no broken one"
    (small_disk / "filler").unlink()
    # COLMAP's database does not say what ails it.
    with subprocess.Popen(command(images, out, TINY), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        for line in process.stdout:
            row = json.loads(line)
            if row["type"] == "progress" and row["stage"] == "opensfm" and not (small_disk / "filler").exists():
                fill(small_disk, 200_000)
        assert process.wait() == 1
    assert "The disk is full" in row["error"]


def test_a_missing_directory_is_named(tmp_path):
    done = run(tmp_path / "nowhere", tmp_path / "out")
    assert done.code == 1 and "nowhere" in done.result["error"]
