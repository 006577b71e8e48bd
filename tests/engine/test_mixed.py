"""A set of photos of every kind at once becomes a model. Long: ``--long``."""
import json
import shutil

import pytest

from tests.engine.conftest import PHOTOS, TINY
from tests.engine.running import run, script

MIX = """
import sys
from pathlib import Path
import cv2, numpy as np
from PIL import Image
out = Path(sys.argv[1])
names = sorted(out.glob("*.jpg"))
def photo(k):
    return Image.open(names[k]).convert("RGB")
photo(0).convert("CMYK").save(names[0], quality=95)
photo(1).convert("L").save(names[1], quality=95)
cv2.imwrite(str(names[2].with_suffix(".png")), cv2.imread(str(names[2])).astype(np.uint16) * 257)
names[2].unlink()
exif = Image.Exif(); exif[274] = 8
photo(3).transpose(Image.Transpose.ROTATE_270).save(names[3], quality=95, exif=exif)
photo(4).crop((11, 7, 312, 232)).save(names[4], quality=95)
photo(5).resize((427, 321)).save(names[5], quality=95)
(out / "double.jpg").write_bytes(names[6].read_bytes())
(out / "broken.jpg").write_bytes(names[7].read_bytes()[:5000])
blurred = cv2.GaussianBlur(cv2.imread(str(names[8])), (0, 0), 2.5)
cv2.imwrite(str(names[8]), blurred)
"""


@pytest.mark.long
def test_a_set_of_odd_photos_becomes_a_model(synthetic_object, tmp_path):
    images = tmp_path / "images"
    shutil.copytree(synthetic_object / "images", images)
    script("-c", MIX, str(images))
    done = run(images, tmp_path / "out", TINY)
    assert done.code == 0, done.result
    stats = json.loads((tmp_path / "out/odm_report/stats.json").read_text())
    left = {item["name"] for item in stats["engine"]["left_out"]}
    assert len(left) == 2 and "broken.jpg" in left and left & {"double.jpg", "object_006.jpg"}
    assert stats["reconstruction_statistics"]["reconstructed_shots_count"] >= PHOTOS - 1
    assert stats["engine"]["open_edges"] == 0
    told = " ".join(done.logs)
    for note in ("CMYK", "grey", "16-bit", "upright", "blurred", "same photo"):
        assert note in told, note
