"""The list of options, and what a wrong one says. No photo is touched."""
import json
import subprocess

from tests.engine.running import PYTHON, ROOT, run, script


def _listed() -> list[dict]:
    done = subprocess.run([PYTHON, "-m", "node.engine", "--list-options"], cwd=ROOT, capture_output=True, text=True)
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


PARSE = """
import json, sys
from node.engine.errors import EngineError
from node.engine.options import BY_NAME
said = []
for name, value in json.loads(sys.argv[1]):
    try:
        said.append(BY_NAME[name].parse(value))
    except EngineError as error:
        said.append(str(error))
print(json.dumps(said))
"""


def test_numbers_out_of_range_are_refused_and_the_least_and_most_are_taken():
    wrong = [("mesh-size", -5), ("mesh-size", 999), ("mesh-octree-depth", 15), ("texturing-size", 100000), ("min-num-features", 0),
             ("pc-filter", -1), ("pc-filter", "nan"), ("orthophoto-resolution", "inf"), ("max-concurrency", "two"), ("mesh-size", 1.5),
             ("dsm", "maybe"), ("rerun-from", "odm_meshin")]
    right = [("mesh-size", 1000), ("mesh-size", "20000000"), ("mesh-octree-depth", 1), ("mesh-octree-depth", 14), ("texturing-size", 16384),
             ("pc-filter", 0), ("max-memory", 0), ("dsm", "True"), ("rerun-from", "")]
    said = json.loads(script("-c", PARSE, json.dumps(wrong + right)))
    for (name, value), sentence in zip(wrong, said):
        assert isinstance(sentence, str) and name in sentence and "not allowed" in sentence and str(value) in sentence
    assert said[len(wrong):] == [1000, 20000000, 1, 14, 16384, 0.0, 0, True, ""]


def test_options_of_odm_alone_are_left_out(tmp_path):
    (tmp_path / "images").mkdir()
    done = run(tmp_path / "images", tmp_path / "out", {"split-overlap": 150})
    assert "There are no photos" in done.result["error"]


def test_an_options_file_that_is_none_is_named(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "o.json").write_text("{nonsense")
    done = subprocess.run([PYTHON, "-m", "node.engine", "--images", str(tmp_path / "images"), "--out",
                           str(tmp_path / "out"), "--options", str(tmp_path / "o.json")], cwd=ROOT,
                          capture_output=True, text=True)
    last = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1 and "options file" in last["error"]
