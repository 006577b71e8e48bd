"""Odd photos: modes, depths, rotation, doubles, broken files. Read by the engine's own functions, in its environment."""
import json

import pytest

from tests.engine.running import run, script

READ = """
import json, sys
from pathlib import Path
import numpy as np
from node.engine.masks import read_mask
from node.engine.photos import list_images, prepare
images, masks, other = list_images(Path(sys.argv[1]))
photos, left = prepare(images, masks, Path(sys.argv[2]), 2000, 2)
shown = {}
for photo in photos:
    if photo.mask:
        mask = read_mask(photo.mask)
        rows, columns = np.nonzero(mask)
        shown[photo.name] = [list(mask.shape), [int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())]]
print(json.dumps({"photos": [p.as_dict() for p in photos], "left": [vars(l) for l in other + left],
                  "masks": shown}))
"""

MAKE = """
import sys
from pathlib import Path
import cv2, numpy as np
from PIL import Image
out = Path(sys.argv[1])
random = np.random.default_rng(1)
base = cv2.resize(random.integers(0, 255, (200, 300, 3), dtype=np.uint8), (600, 400), interpolation=cv2.INTER_CUBIC)
def shifted(k):
    return np.roll(base, 17 * k, axis=1)
Image.fromarray(shifted(0)).save(out / "plain.jpg")
Image.fromarray(shifted(1)).convert("CMYK").save(out / "cmyk.jpg")
Image.fromarray(shifted(2)).convert("L").save(out / "grey.jpg")
cv2.imwrite(str(out / "deep.png"), (shifted(3)[..., ::-1].astype(np.uint16) * 257))
cv2.imwrite(str(out / "deep.tif"), (shifted(4)[..., ::-1].astype(np.uint16) * 16))
exif = Image.Exif(); exif[274] = 6
Image.fromarray(shifted(5)).save(out / "turned.jpg", exif=exif)
Image.fromarray(cv2.GaussianBlur(shifted(6), (0, 0), 9)).save(out / "blurred.jpg")
(out / "double.jpg").write_bytes((out / "plain.jpg").read_bytes())
(out / "cut.jpg").write_bytes((out / "plain.jpg").read_bytes()[:9000])
(out / "text.jpg").write_text("no photo at all")
Image.fromarray(shifted(7)[:30, :30]).save(out / "tiny.png")
Image.fromarray(shifted(8)[3:334, 5:566]).save(out / "odd.jpg")
(out / "empty.jpg").write_bytes(b"")
(out / "phone.HEIC").write_bytes(b"ftypheic")
(out / "film.mp4").write_bytes(b"ftypmp42")
(out / "places.txt").write_text("no photo")
exif[274] = 9  # there is no such orientation
Image.fromarray(shifted(9)).save(out / "nowhere.jpg", exif=exif)

def mask(box, size=(600, 400)):
    drawn = np.zeros(size[::-1], np.uint8)
    drawn[box[0]:box[1], box[2]:box[3]] = 255
    return Image.fromarray(drawn)
mask((100, 200, 30, 90)).save(out / "cmyk_mask.png")
mask((100, 200, 30, 90)).save(out / "turned_mask.png")              # as the camera stored the photo
exif[274] = 6
Image.fromarray(shifted(10)).save(out / "upright.jpg", exif=exif)
mask((100, 200, 30, 90), (400, 600)).save(out / "upright_mask.png")  # as a viewer shows it
mask((0, 1, 0, 1)).save(out / "grey_mask.png")
(out / "odd_mask.png").write_bytes(b"no picture")
mask((0, 200, 0, 100), (300, 200)).save(out / "deep_mask.png")
cut_out = Image.fromarray(shifted(11)); cut_out.putalpha(mask((120, 300, 40, 250)))
cut_out.save(out / "cut_out.png")
cut_out = Image.fromarray(shifted(12)); cut_out.putalpha(255)
cut_out.save(out / "opaque.png")
"""


@pytest.fixture(scope="module")
def read(tmp_path_factory) -> dict:
    """What the engine makes of a directory of odd photos."""
    directory = tmp_path_factory.mktemp("odd")
    images = directory / "images"
    images.mkdir()
    script("-c", MAKE, str(images))
    return json.loads(script("-c", READ, str(images), str(directory / "prepared")))


def _notes(read: dict, name: str) -> str:
    return " ".join(next(p for p in read["photos"] if p["name"] == name)["notes"])


def _reason(read: dict, name: str) -> str:
    return next(item["reason"] for item in read["left"] if item["name"] == name)


@pytest.mark.parametrize(("name", "note"), [
    ("cmyk.jpg", "CMYK"), ("grey.jpg", "grey"), ("deep.png", "16-bit"), ("deep.tif", "16-bit"),
    ("turned.jpg", "upright"), ("blurred.jpg", "blurred")])
def test_odd_photos_are_used_and_noted(read, name, note):
    assert note in _notes(read, name)


def test_a_turned_photo_is_upright(read):
    photo = next(p for p in read["photos"] if p["name"] == "turned.jpg")
    assert (photo["width"], photo["height"]) == (400, 600)


def test_a_photo_of_another_odd_size_is_used_as_it_is(read):
    photo = next(p for p in read["photos"] if p["name"] == "odd.jpg")
    assert (photo["width"], photo["height"]) == (561, 331)
    assert not [note for note in photo["notes"] if "mask" not in note]


@pytest.mark.parametrize(("name", "why"), [
    ("cut.jpg", "truncated"), ("text.jpg", "holds no picture"), ("tiny.png", "30x30"), ("empty.jpg", "is empty")])
def test_broken_files_are_left_out_and_named(read, name, why):
    assert "cannot be read" in _reason(read, name) and why in _reason(read, name)
    assert "object at" not in _reason(read, name), "a sentence, no program's words"


def test_kinds_that_are_not_read_are_named(read):
    assert "HEIC" in _reason(read, "phone.HEIC") and "JPEG" in _reason(read, "phone.HEIC")
    assert "film" in _reason(read, "film.mp4")
    assert "places.txt" not in [item["name"] for item in read["left"]]


def test_an_orientation_that_does_not_exist_turns_nothing(read):
    assert _notes(read, "nowhere.jpg") == ""


def test_a_double_is_left_out_and_names_its_twin(read):
    assert {item["name"]: item["reason"] for item in read["left"]}.items() & {
        ("double.jpg", "is the same photo as plain.jpg"), ("plain.jpg", "is the same photo as double.jpg")}


def test_a_mask_belongs_to_its_photo_and_is_none_itself(read):
    names = [p["name"] for p in read["photos"]] + [item["name"] for item in read["left"]]
    assert not [name for name in names if "_mask" in name]
    assert read["masks"]["cmyk.jpg"] == [[400, 600], [100, 199, 30, 89]]
    assert set(read["masks"]) == {"cmyk.jpg", "turned.jpg", "upright.jpg", "grey.jpg", "deep.png", "deep.tif"}


def test_a_mask_is_turned_with_its_photo(read):
    # A quarter clockwise: row r of the stored picture is column 399 - r.
    assert read["masks"]["turned.jpg"] == [[600, 400], [30, 89, 200, 299]]
    assert read["masks"]["upright.jpg"] == [[600, 400], [100, 199, 30, 89]], "drawn on the upright photo"


def test_masks_that_cannot_be_meant_are_noted(read):
    assert "odd_mask.png cannot be read" in _notes(read, "odd.jpg")
    assert "hides nearly all" in _notes(read, "grey.jpg")
    assert read["masks"]["deep.png"] == [[400, 600], [0, 399, 0, 199]], "a smaller one is enlarged"


def test_what_is_transparent_is_masked(read):
    assert read["masks"]["cut_out.png"] == [[400, 600], [120, 299, 40, 249]]
    assert "opaque.png" not in read["masks"], "nothing is transparent in it"


def test_plain_photos_have_no_note(read):
    kept = next(p for p in read["photos"] if p["name"] in ("plain.jpg", "double.jpg"))
    assert kept["notes"] == []


def test_too_few_photos_are_refused_with_their_reasons(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for k in range(4):
        (images / f"{k}.jpg").write_text("no photo")
    done = run(images, tmp_path / "out")
    assert done.code == 1
    assert "0 of 4 photos" in done.result["error"] and "cannot be read" in done.result["error"]
