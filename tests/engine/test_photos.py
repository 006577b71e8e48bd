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
import io, sys
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
(out / "phone.HEIC").write_bytes(b"\\0\\0\\0\\x18ftypheic\\0\\0\\0\\0mif1heic")
(out / "card.THM").write_bytes(b"a camera's preview")
(out / "plain.jpg_original").write_bytes(b"exiftool's backup")
(out / "._plain.jpg").write_bytes(b"\\0\\5\\x16\\7")
Image.fromarray(shifted(20)).save(out / "ending.jfif", "JPEG")
Image.fromarray(shifted(21)).save(out / "no_ending", "JPEG")
Image.fromarray(shifted(22)).save(out / "phone.webp")
whole = io.BytesIO()
Image.fromarray(shifted(23)).save(whole, "JPEG")
(out / "no_end.jpg").write_bytes(whole.getvalue()[:-2])
(out / "film.mp4").write_bytes(b"\\0\\0\\0\\x18ftypmp42\\0\\0\\0\\0isommp42")
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
    ("cut.jpg", "breaks off before its end"), ("text.jpg", "is not a photo"), ("tiny.png", "cannot be read (only 30x30"),
    ("empty.jpg", "is empty")])
def test_broken_files_are_left_out_and_named(read, name, why):
    assert why in _reason(read, name)
    assert "object at" not in _reason(read, name), "a sentence, no program's words"


def test_kinds_that_are_not_read_are_named(read):
    assert "HEIC" in _reason(read, "phone.HEIC"), "a broken one"
    assert "video" in _reason(read, "film.mp4")
    assert "places.txt" not in [item["name"] for item in read["left"]]


def test_endings_and_names_do_not_matter(read):
    used = {p["name"] for p in read["photos"]}
    assert {"ending.jfif", "no_ending", "phone.webp", "no_end.jpg"} <= used
    assert "end mark is missing" in _notes(read, "no_end.jpg")


def test_what_lies_on_a_card_is_named_and_clutter_is_not(read):
    assert "camera card" in _reason(read, "card.THM") and "backup" in _reason(read, "plain.jpg_original")
    assert "._plain.jpg" not in [item["name"] for item in read["left"]]


def test_an_orientation_that_does_not_exist_turns_nothing(read):
    assert _notes(read, "nowhere.jpg") == ""


def test_a_double_is_left_out_and_names_its_twin(read):
    assert {item["name"]: item["reason"] for item in read["left"]}.items() & {
        ("double.jpg", "is the same photo as plain.jpg"), ("plain.jpg", "is the same photo as double.jpg")}


def test_a_mask_belongs_to_its_photo_and_is_none_itself(read):
    names = [p["name"] for p in read["photos"]] + [item["name"] for item in read["left"]]
    assert not [name for name in names if "_mask" in name]
    assert read["masks"]["cmyk.jpg"] == [[400, 600], [100, 199, 30, 89]]
    assert set(read["masks"]) == {"cmyk.jpg", "turned.jpg", "upright.jpg", "grey.jpg", "deep.png", "deep.tif", "cut_out.png"}


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
    assert "0 of 4 photos" in done.result["error"] and "is not a photo" in done.result["error"]


TURNED = """
import json, sys
from pathlib import Path
import cv2, numpy as np, tifffile
from PIL import Image
from node.engine.masks import read_mask
from node.engine.photos import list_images, prepare, prepared_name
out, target = Path(sys.argv[1]), Path(sys.argv[2])
random = np.random.default_rng(3)
# How the stored pixels come from the upright ones, so that the orientation turns them back (EXIF 2.3, 0x0112).
STORE = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1),
         6: lambda a: a.swapaxes(0, 1)[::-1], 7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a.swapaxes(0, 1)[:, ::-1]}
for o, store in STORE.items():
    exif = Image.Exif(); exif[274] = o
    for kind in ("tiff8", "tiff16", "jpeg", *(["png16"] if o == 1 else [])):  # OpenCV writes no orientation into a PNG
        upright = cv2.resize(random.integers(40, 90, (8, 12, 3), dtype=np.uint8), (180, 120), interpolation=cv2.INTER_CUBIC)
        upright[10:30, 20:50] = 255
        mask = np.zeros((120, 180), np.uint8); mask[10:30, 20:50] = 255
        stored, name = np.ascontiguousarray(store(upright)), f"{kind}_{o}"
        Image.fromarray(np.ascontiguousarray(store(mask))).save(out / f"{name}_mask.png")
        if kind == "jpeg":
            Image.fromarray(stored).save(out / f"{name}.jpg", quality=95, exif=exif)
        elif kind == "png16":
            ok, data = cv2.imencode(".png", stored[..., ::-1].astype(np.uint16) * 257)
            (out / f"{name}.png").write_bytes(data.tobytes())
        else:
            deep = stored.astype(np.uint16) * 257 if kind == "tiff16" else stored
            tifffile.imwrite(out / f"{name}.tif", deep, photometric="rgb", compression="zlib", bigtiff=o == 3,
                             extratags=[(274, "H", 1, o, True)])
images, masks, _ = list_images(out)
photos, left = prepare(images, masks, target, 2000, 2)
found = {}
for photo in photos:
    grey = cv2.imread(str(target / prepared_name(photo.name)), cv2.IMREAD_GRAYSCALE)
    shown = [np.nonzero(grey > 180), np.nonzero(read_mask(photo.mask))]
    found[photo.name] = [[photo.height, photo.width], *[[int(v) for v in (r.min(), r.max(), c.min(), c.max())] for r, c in shown]]
print(json.dumps({"found": found, "left": [vars(item) for item in left]}))
"""


def test_every_orientation_is_turned_once_and_masks_with_it(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    read = json.loads(script("-c", TURNED, str(images), str(tmp_path / "prepared")))
    assert not read["left"] and len(read["found"]) == 25
    for name, (size, spot, mask) in read["found"].items():
        assert size == [120, 180], name
        assert all(abs(a - b) <= 1 for a, b in zip(spot, [10, 29, 20, 49])), (name, spot)
        assert all(abs(a - b) <= 1 for a, b in zip(mask, [10, 29, 20, 49])), (name, mask)


BANDS = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from PIL import Image
from node.engine.photos import list_images, prepare
out, target = Path(sys.argv[1]), Path(sys.argv[2])
random = np.random.default_rng(3)
def picture():
    return cv2.resize(random.integers(0, 255, (40, 60, 3), dtype=np.uint8), (180, 120), interpolation=cv2.INTER_CUBIC)
for k in range(4):
    if sys.argv[3] == "beside":
        Image.fromarray(picture()).save(out / f"DJI_{k:03d}.jpg")
        Image.fromarray(picture()).save(out / f"DJI_2026_{k:04d}_V.jpg")
        Image.fromarray(picture()).save(out / f"DJI_2026_{k:04d}_T.jpg")
    for band in ("RED", "GREEN", "NIR"):
        cv2.imwrite(str(out / f"DJI_{k:03d}_{band}.TIF"), picture()[:, :, 0].astype(np.uint16) * 200)
images, masks, _ = list_images(out)
photos, left = prepare(images, masks, target, 2000, 2)
print(json.dumps({"used": [p.name for p in photos], "left": {item.name: item.reason for item in left}}))
"""


def test_bands_and_thermal_frames_beside_colour_photos_are_left_out(tmp_path):
    for case in ("beside", "alone"):
        (tmp_path / case).mkdir()
    beside, alone = (json.loads(script("-c", BANDS, str(tmp_path / case), str(tmp_path / f"{case}_out"), case))
                     for case in ("beside", "alone"))
    assert len(beside["used"]) == 8 and len(beside["left"]) == 16
    assert "band of a multispectral" in beside["left"]["DJI_001_NIR.TIF"] and "thermal" in beside["left"]["DJI_2026_0002_T.jpg"]
    assert len(alone["used"]) == 12 and not alone["left"], "without colour photos they are what there is"


GPS = """
import json, sys
from pathlib import Path
import cv2, numpy as np
from PIL import Image
from node.engine.photos import list_images, prepare
out, target = Path(sys.argv[1]), Path(sys.argv[2])
random = np.random.default_rng(3)
def photo(name, gps):
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(gps)
    picture = cv2.resize(random.integers(0, 255, (40, 60, 3), dtype=np.uint8), (180, 120), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(picture).save(out / name, exif=exif)
there = {1: "N", 2: (46.0, 50.0, 33.0), 3: "W", 4: (91.0, 59.0, 40.0)}
photo("whole.jpg", {**there, 5: b"\\0", 6: 198.5})
photo("below.jpg", {**there, 5: b"\\1", 6: 12.5})
photo("level.jpg", there)
photo("origin.jpg", {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0), 6: 5.0})
photo("sides.jpg", {2: there[2], 4: there[4], 6: 198.5})
images, masks, _ = list_images(out)
photos, left = prepare(images, masks, target, 2000, 2)
print(json.dumps({p.name: [p.gps, p.notes] for p in photos}))
"""


def test_positions_are_read_as_far_as_they_go(tmp_path):
    (tmp_path / "images").mkdir()
    read = json.loads(script("-c", GPS, str(tmp_path / "images"), str(tmp_path / "prepared")))
    assert read["whole.jpg"][0][2] == 198.5 and read["below.jpg"][0][2] == -12.5 and read["level.jpg"][0][2] is None
    assert read["whole.jpg"][0][1] < -91 and read["sides.jpg"][0][1] == read["whole.jpg"][0][1], "as the others"
    assert "taken from the other photos" in read["sides.jpg"][1][0]
    assert read["origin.jpg"] == [None, ["its GPS position is 0, 0 and is not used"]]
