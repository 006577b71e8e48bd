"""Focus stacks are found by name and by content, and their merged photo is as sharp as the scene."""
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import piexif
import pytest

from app_extensions.shared import focus_stacks
from app_extensions.shared.focus_stacks import Merger, NotMerged, Stack
from tests.shared import focus_scenes

pytestmark = pytest.mark.slow

PHOTOS = sorted((Path(__file__).resolve().parents[1] / "data" / "photos" / "banana").glob("*.JPG"))


@pytest.fixture(autouse=True)
def aligned_at_a_smaller_width(monkeypatch):
    """As with real photos, which are larger."""
    monkeypatch.setattr(focus_stacks, "_ALIGN_WIDTH", 400)


def picture(index, width=500):
    found = cv2.imread(str(PHOTOS[index]))
    return cv2.resize(found, (width, found.shape[0] * width // found.shape[1]), interpolation=cv2.INTER_AREA)


def frames(directory, index, count=6, name="scan01_{0:03d}_fs{1:02d}.jpg", width=500, **more):
    paths = [directory / name.format(index, number) for number in range(count)]
    focus_scenes.write_stack(picture(index, width), paths, seed=100 * index, **more)
    return paths


def test_stacks_by_name():
    names = ["scan01/scan01_001_fs01.jpg", "scan01/scan01_001_fs00.jpg", "scan02/scan01_001_fs00.jpg", "scan01/scan01_002.jpg",
             "vase-focus1.JPG", "vase-focus2.JPG", "vase-focus10.JPG", "offset_1.jpg", "offset_2.jpg", "a_fs1.txt", "a_fs2.txt"]
    assert focus_stacks.stacks_by_name(names) == [Stack("scan01/scan01_001", (1, 0)), Stack("vase", (4, 5, 6))]


def test_merged_is_sharper_than_the_best_frame_everywhere(tmp_path):
    merger = Merger()
    for index in range(4):
        paths = frames(tmp_path, index)
        made = merger.merge(paths, tmp_path / "merged.jpg")
        assert made == (500, 332, 6)
        merged = cv2.imread(str(tmp_path / "merged.jpg"))
        sharp = picture(index)
        truth = focus_scenes.sharp_at(sharp, 3 / 5)  # the middle frame's setting
        singles = [focus_scenes.psnr(cv2.imread(str(path)), focus_scenes.sharp_at(sharp, number / 5)) for number, path in enumerate(paths)]
        assert focus_scenes.psnr(merged, truth) > max(singles) + 4, index


def test_without_alignment_it_would_not_be(tmp_path, monkeypatch):
    """Proof that focus breathing matters in this test and is taken out."""
    paths = frames(tmp_path, 1, width=800)  # the larger the photo, the more pixels it moves by
    truth = focus_scenes.sharp_at(picture(1, 800), 3 / 5)
    likeness = []
    for measure in (focus_stacks._align, lambda fixed, moving: np.eye(3)):
        monkeypatch.setattr(focus_stacks, "_align", measure)
        Merger().merge(paths, tmp_path / "merged.jpg")
        likeness.append(focus_scenes.psnr(cv2.imread(str(tmp_path / "merged.jpg")), truth))
    assert likeness[0] > likeness[1] + 3


def test_breathing_is_measured_in_the_first_stacks_only(tmp_path, monkeypatch):
    calls = []
    measure = focus_stacks._measure
    monkeypatch.setattr(focus_stacks, "_measure", lambda *arguments: calls.append(1) or measure(*arguments))
    merger = Merger()
    for index in range(5):
        merger.merge(frames(tmp_path, index, count=3), tmp_path / "merged.jpg")
    assert len(calls) == focus_stacks.MEASURED_STACKS


def test_the_merged_photo_keeps_the_exif(tmp_path):
    exif = piexif.dump({"0th": {piexif.ImageIFD.Model: "imx519", piexif.ImageIFD.Orientation: 8}})
    Merger().merge(frames(tmp_path, 2, count=3, exif=exif), tmp_path / "merged.jpg")
    kept = piexif.load(str(tmp_path / "merged.jpg"))["0th"]
    assert kept[piexif.ImageIFD.Model] == b"imx519" and kept[piexif.ImageIFD.Orientation] == 8


def test_when_time_is_up_the_sharpest_frame_is_taken(tmp_path):
    paths = frames(tmp_path, 3, count=3)
    cv2.imwrite(str(paths[0]), cv2.GaussianBlur(picture(3), (0, 0), 9))
    merger = Merger(seconds=0)
    made = merger.merge(paths, tmp_path / "merged.jpg")
    assert made.frames == 1 and (tmp_path / "merged.jpg").read_bytes() in (paths[1].read_bytes(), paths[2].read_bytes())
    assert focus_stacks.report([made]) == ["The sharpest frame was taken at 1 positions, as merging all of them would have taken too long."]


def test_frames_that_do_not_fit_together(tmp_path):
    paths = frames(tmp_path, 4, count=3)
    cv2.imwrite(str(paths[2]), picture(4, 400))
    with pytest.raises(NotMerged, match="size"):
        Merger().merge(paths, tmp_path / "merged.jpg")
    paths[2].write_bytes(b"no photo")
    with pytest.raises(NotMerged, match="decoded"):
        Merger().merge(paths, tmp_path / "merged.jpg")


def encoded(image):
    return cv2.imencode(".jpg", image)[1].tobytes()


def test_stacks_under_other_names_are_found_by_content():
    data = {f"DSC_{10 * index + number}.JPG": encoded(focus_scenes.frame(picture(index, 400), number / 2, seed=number))
            for index in range(6) for number in range(3)}
    names = sorted(data, key=lambda name: name[::-1])
    found = focus_stacks.stacks_by_content(names, lambda index: data[names[index]])
    assert [[names[frame] for frame in stack.frames] for stack in found] == [
        [f"DSC_{10 * index + number}.JPG" for number in range(3)] for index in range(6)]


@pytest.mark.parametrize("kind", ["ordinary", "doubles", "brackets", "turntable"])
def test_other_sets_are_no_focus_stacks(kind):
    shown = [picture(index, 400) for index in range(6)]
    if kind == "ordinary":
        data = [encoded(cv2.imread(str(path))) for path in PHOTOS[:12]]
    elif kind == "doubles":
        data = [encoded(image) for image in shown for _ in range(2)]
    elif kind == "brackets":
        data = [encoded(np.clip(image * factor, 0, 255).astype(np.uint8)) for image in shown for factor in (0.5, 1.0, 1.6)]
    else:
        turned = [cv2.getRotationMatrix2D((200, 133), 1.8 * step, 1) for step in range(24)]
        data = [encoded(cv2.warpAffine(shown[0], matrix, (400, 266))) for matrix in turned]
    names = [f"{index}.jpg" for index in range(len(data))]
    assert focus_stacks.stacks_by_content(names, lambda index: data[index]) == []


def test_a_normal_set_stays_within_its_memory(tmp_path):
    """Frames of twelve megapixels: the program holds two of them at a time, whatever their number."""
    image = cv2.resize(picture(5), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    paths = [tmp_path / f"a_fs{number:02d}.jpg" for number in range(4)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), cv2.blur(image, (1 + 4 * number, 1 + 4 * number)))
    code = """
import resource, sys
from pathlib import Path
from app_extensions.shared import focus_stacks
merger = focus_stacks.Merger()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
merger.merge([Path(path) for path in sys.argv[2:]], Path(sys.argv[1]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "merged.jpg"), *map(str, paths)], capture_output=True, text=True,
                          timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 700
    assert cv2.imread(str(tmp_path / "merged.jpg")).shape == (3000, 4000, 3)


def test_opencv_is_loaded_only_when_it_is_needed():
    code = ("import sys; from app_extensions.shared import focus_stacks as f; assert 'cv2' not in sys.modules; f.Merger(); "
            "assert 'cv2' in sys.modules")
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
