"""Focus stacks in a direct run of the engine."""
from pathlib import Path

import cv2

from node.engine.focus import merge_stacks
from tests.engine.running import script
from tests.shared import focus_scenes

PHOTOS = sorted((Path(__file__).resolve().parents[1] / "data" / "photos" / "banana").glob("*.JPG"))


def stack(directory, index, count=3):
    picture = cv2.resize(cv2.imread(str(PHOTOS[index])), (480, 320), interpolation=cv2.INTER_AREA)
    focus_scenes.write_stack(picture, [directory / f"scan01_{index:03d}_fs{number:02d}.jpg" for number in range(count)], seed=index)


def test_frames_give_way_to_one_photo_per_position(tmp_path):
    images, merged, lines = tmp_path / "images", tmp_path / "merged", []
    images.mkdir()
    merged.mkdir()
    for index in range(2):
        stack(images, index)
    (images / "other.jpg").write_bytes(PHOTOS[5].read_bytes())
    files, frames = merge_stacks(sorted(images.iterdir()), merged, lines.append)
    assert [path.name for path in files] == ["other.jpg", "scan01_000.jpg", "scan01_001.jpg"]
    assert frames == {"scan01_000.jpg": 3, "scan01_001.jpg": 3} and files[1].parent == merged
    assert lines == ["6 frames of focus stacks were merged into 2 photos, one per position."]


def test_frames_that_do_not_fit_or_whose_name_is_taken_stay(tmp_path):
    images, merged, lines = tmp_path / "images", tmp_path / "merged", []
    images.mkdir()
    merged.mkdir()
    stack(images, 0)
    stack(images, 1)
    (images / "scan01_000_fs01.jpg").write_bytes(PHOTOS[0].read_bytes())  # larger than the others
    (images / "scan01_001.jpg").write_bytes(PHOTOS[1].read_bytes())
    given = sorted(images.iterdir())
    files, frames = merge_stacks(given, merged, lines.append)
    assert files == given and frames == {}
    assert len(lines) == 2 and "differ in size" in lines[0] and "used as they are" in lines[1]


def test_the_engine_has_the_option_and_its_image_what_it_needs():
    code = "import node.engine.options as o; print(next(x.listed() for x in o.OPTIONS if x.name == 'focus-stacks'))"
    assert "'domain': ['auto', 'off']" in script("-c", code)
    copied = (Path(__file__).resolve().parents[2] / "node" / "Dockerfile").read_text()
    for module in ("photo_files", "photo_headers", "focus_stacks", "formatting"):
        assert f"app_extensions/shared/{module}.py" in copied
