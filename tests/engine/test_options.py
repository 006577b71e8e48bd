"""The list of options, and what a wrong one says. No photo is touched."""
import json
import subprocess

from tests.engine.running import PYTHON, ROOT, run


def _listed() -> list[dict]:
    done = subprocess.run([PYTHON, "-m", "engine", "--list-options"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_options_have_nodeodms_form():
    for option in _listed():
        assert set(option) == {"name", "type", "value", "domain", "help"}
        assert option["type"] in {"enum", "int", "float", "bool", "string"}
        assert isinstance(option["value"], str) and option["help"]
        if option["type"] == "enum":
            assert option["value"] in option["domain"]
        if option["type"] == "bool":
            assert option["value"] in {"true", "false"}


def test_odms_names_are_there():
    names = {option["name"] for option in _listed()}
    assert {"pc-quality", "mesh-size", "mesh-octree-depth", "feature-quality", "min-num-features", "use-3dmesh",
            "texturing-skip-global-seam-leveling", "max-concurrency", "rerun-from", "preset"} <= names


def test_a_wrong_value_names_the_option_and_what_is_allowed(tmp_path):
    (tmp_path / "images").mkdir()
    done = run(tmp_path / "images", tmp_path / "out", {"pc-quality": "superb"})
    assert done.code == 1
    assert done.result["ok"] is False
    assert "pc-quality" in done.result["error"] and "medium" in done.result["error"]


def test_a_negative_number_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    done = run(tmp_path / "images", tmp_path / "out", {"mesh-size": -5})
    assert done.code == 1 and "mesh-size" in done.result["error"]


def test_options_of_odm_alone_are_left_out(tmp_path):
    (tmp_path / "images").mkdir()
    done = run(tmp_path / "images", tmp_path / "out", {"split-overlap": 150})
    assert "There are no photos" in done.result["error"]


def test_an_options_file_that_is_none_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "o.json").write_text("{nonsense")
    done = subprocess.run([PYTHON, "-m", "engine", "--images", str(tmp_path / "images"), "--out",
                           str(tmp_path / "out"), "--options", str(tmp_path / "o.json")], cwd=ROOT,
                          capture_output=True, text=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1 and "options file" in last["error"]
