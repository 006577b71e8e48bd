"""Large sets: which photos are matched, and that matching only those places them."""
import json

from tests.engine.conftest import TINY
from tests.engine.running import run


def test_chosen_pairs_place_every_photo(synthetic_object, tmp_path):
    done = run(synthetic_object / "images", tmp_path / "out", {**TINY, "matcher-neighbors": 4, "skip-3dmodel": True})
    assert done.code == 0, done.result
    line = next(line for line in done.logs if line.startswith("Matching "))
    matched, possible = (int(word) for word in line.split() if word.isdigit())
    assert possible == 15 * 14 // 2 and matched < 0.7 * possible
    stats = json.loads((tmp_path / "out/odm_report/stats.json").read_text())
    assert stats["reconstruction_statistics"]["reconstructed_shots_count"] == 15
    assert not (tmp_path / "out/odm_texturing").exists(), "skip-3dmodel makes no surface"
