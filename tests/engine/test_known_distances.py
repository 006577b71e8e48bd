"""Scale from measured distances between printed tags, found in pictures of them by cameras that are known."""
import json

import pytest

from tests.engine.running import run, script

CASES = {
    "one": ("table", "4x4:3-17=250"),
    "any family": ("table", "aruco: 17-3 = 250.0"),
    "three": ("table", "4x4:3-17=250,3-20=175,17-41=180"),
    "one of three wrong": ("table", "4x4:3-17=250,3-20=175,17-41=200"),
    "two that disagree": ("table", "4x4:3-17=250,3-20=185"),
    "two of hardly the same": ("table", "4x4:3-17=250,3-20=176"),
    "one of two not there": ("table", "4x4:3-17=250,3-99=70"),
    "none there": ("table", "4x4:98-99=250,3-99=70"),
    "another family": ("table", "6x6:3-17=250"),
    "in one photo": ("17 in one photo", "4x4:3-17=250"),
    "printed twice": ("17 printed twice", "4x4:3-17=250"),
    "printed twice, others": ("17 printed twice", "4x4:3-20=175"),
    "moved once": ("17 moved once", "4x4:3-17=250"),
    "moved always": ("17 moved always", "4x4:3-17=250"),
    "moved twice": ("17 moved twice", "4x4:3-17=250"),
    "from one place": ("from one place", "4x4:3-17=250"),
    "two families, any": ("3 in two families", "aruco:3-17=250"),
    "two families, named": ("3 in two families", "4x4:3-17=250"),
    "edge": ("table", "4x4:40"),
    "edge and distance": ("table", "4x4:40,3-17=250"),
    "wrong edge": ("table", "4x4:3-17=250,42"),
    "wrong edge alone": ("table", "4x4:42"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict:
    """What the engine answers in all cases."""
    return json.loads(script("-m", "tests.engine.tag_photos", str(tmp_path_factory.mktemp("tags")), json.dumps(CASES)))


@pytest.fixture(scope="module")
def of(answers) -> dict:
    """The answer to a case by its name."""
    return answers["cases"]


@pytest.mark.parametrize("name", ["one", "any family", "three", "one of three wrong", "one of two not there", "printed twice, others",
                                  "moved once", "two families, named", "edge and distance", "wrong edge"])
def test_known_distances_give_the_true_scale(of, name):
    assert of[name].get("error") is None
    assert of[name]["unit"] == "mm" and not of[name].get("moved")
    assert abs(of[name]["mm_a_unit"] / 2.5 - 1) < 0.003
    assert abs(of[name]["scale_factor"] / of[name]["mm_a_unit"] - 1) < 1e-9


def test_each_distance_is_told_as_it_came_out(of):
    rows = of["three"]["scale_distances"]
    assert [row["tags"] for row in rows] == [[3, 17], [3, 20], [17, 41]]
    assert [row["given_mm"] for row in rows] == [250, 175, 180]
    for row in rows:
        assert row["used"] and row["photos"] == [5, 5]
        assert abs(row["off"]) < 0.003 and abs(row["measured_mm"] / row["given_mm"] - 1 - row["off"]) < 1e-9
    assert of["three"]["scale_warnings"] == []
    assert "3 of 3 distances" in of["three"]["scale_note"] and "agree within 0." in of["three"]["scale_note"]
    assert sum("given as" in line for line in of["three"]["log"]) == 3


def test_one_wrong_distance_of_three_is_found_and_left_out(of):
    rows = {tuple(row["tags"]): row for row in of["one of three wrong"]["scale_distances"]}
    assert [rows[pair]["used"] for pair in ((3, 17), (3, 20), (17, 41))] == [True, True, False]
    assert abs(rows[17, 41]["measured_mm"] - 180) < 0.6 and abs(rows[17, 41]["off"] + 0.1) < 0.004
    (warning,) = of["one of three wrong"]["scale_warnings"]
    assert "17-41 came out as 1" in warning and "given as 200 mm" in warning and "not used" in warning and "3-20" not in warning
    assert any(warning in line for line in of["one of three wrong"]["log"])
    assert "2 of 3 distances" in of["one of three wrong"]["scale_note"]
    assert of["one"]["scale_note"] == "1 distance between tags"


def test_of_two_that_disagree_both_are_used_and_told(of):
    answer = of["two that disagree"]
    assert all(row["used"] for row in answer["scale_distances"])
    (warning,) = answer["scale_warnings"]
    assert "3-17 came out as" in warning and "3-20 came out as" in warning and "more than 1 %" in warning
    # Least squares of 250 of 250 and 185 of 175: between the two, nearer to the longer one.
    assert abs(answer["mm_a_unit"] / 2.5 - (250 * 250 + 185 * 175) / (250 ** 2 + 175 ** 2)) < 0.003
    assert of["two of hardly the same"]["scale_warnings"] == []


def test_a_distance_whose_tag_is_missing_is_told_and_the_others_are_enough(of):
    answer = of["one of two not there"]
    assert answer["scale_distances"][1] == {"tags": [3, 99], "given_mm": 70, "measured_mm": None, "off": None, "used": False,
                                            "reason": "tag 99 was seen in fewer than two photos"}
    assert answer["scale_warnings"] == ["distance 3-99 could not be measured: tag 99 was seen in fewer than two photos"]


@pytest.mark.parametrize(("name", "said"), [
    ("none there", ["tag 98 was seen in fewer than two photos", "tag 99 was seen in fewer than two photos"]),
    ("another family", ["tag 3 was seen in fewer than two photos", "tag 17 was seen in fewer than two photos"]),
    ("in one photo", ["tag 17 was seen in fewer than two photos"]),
    ("printed twice", ["tag 17 appears twice in 5 photos", "17 printed twice 0.png", "only once"]),
    ("moved always", ["tag 17 was seen in 5 photos that do not agree"]),
    ("moved twice", ["tag 17 was seen in 5 photos that do not agree"]),
    ("from one place", ["tag 3 was seen from nearly one direction only", "tag 17 was seen from nearly one direction only"]),
    ("two families, any", ["tag 3 was seen in more than one family (4x4, 5x5)", "name the family"]),
])
def test_without_any_distance_the_run_says_why(of, name, said):
    assert not of[name]["moved"]
    error = of[name]["error"]
    assert error.startswith("None of the distances of scale-distance could be measured") and "Lay the tags" in error
    for part in said:
        assert part in error


def test_a_tag_that_one_photo_shows_elsewhere_keeps_the_others(of):
    assert of["moved once"]["scale_distances"][0]["photos"] == [5, 4]


def test_the_edge_alone_still_gives_the_scale(of):
    assert abs(of["edge"]["mm_a_unit"] / 2.5 - 1) < 0.01
    assert set(of["edge"]) == {"mm_a_unit", "log", "unit", "scale_note", "scale_factor"}
    assert of["edge"]["log"] == [f"Scale: {of['edge']['scale_note']}; one unit is one millimetre"]
    assert abs(of["wrong edge alone"]["mm_a_unit"] / of["edge"]["mm_a_unit"] - 42 / 40) < 1e-9


def test_with_both_the_distances_set_the_scale_and_the_edge_is_measured(of):
    for name, given in (("edge and distance", 40), ("wrong edge", 42)):
        assert abs(of[name]["mm_a_unit"] / of["one"]["mm_a_unit"] - 1) < 1e-9
        edge = of[name]["scale_edge"]
        assert edge["given_mm"] == given and abs(edge["measured_mm"] - 40) < 0.4 and edge["edges"] == 16
    assert of["edge and distance"]["scale_warnings"] == []
    (warning,) = of["wrong edge"]["scale_warnings"]
    assert "edge came out as" in warning and "given as 42 mm" in warning


def test_statistics_and_report_have_the_figures(answers):
    reported = answers["reported"]
    assert abs(reported["mm"] / answers["true_mm"] - 1) < 0.003
    frame = reported["stats"]["frame"]
    assert reported["stats"]["unit"] == frame["unit"] == "mm"
    assert [row["used"] for row in frame["scale_distances"]] == [True, True, False, False]
    assert len(frame["scale_warnings"]) == 3
    pdf = " ".join(reported["pdf"].split())
    assert "Distance of tags 3 and 17" in pdf and "given as 250 mm" in pdf and "given as 200 mm" in pdf and "Edge of the tags" in pdf
    assert "tag 99 was seen in fewer than two photos" in pdf


def test_a_flight_says_that_its_gps_gives_the_scale(answers):
    assert any("scale-distance is not used" in line for line in answers["flown"])


def test_the_families_have_the_numbers_that_are_allowed(answers):
    numbers = answers["numbers"]
    assert {name: numbers[name] for name in answers["tags_in"]} == answers["tags_in"]
    assert numbers["aruco"] == max(answers["tags_in"].values())


PARSE = """
import json, sys
from node.engine.errors import EngineError
from node.engine.options import BY_NAME
said = []
for text in json.loads(sys.argv[1]):
    try:
        said.append([True, BY_NAME["scale-distance"].parse(text)])
    except EngineError as error:
        said.append([False, str(error)])
print(json.dumps(said))
"""
WRONG = {
    "aruco": "not a length", "aruco:": "not a length", "aruco:-3": "not a length", "aruco:nan": "not a length", "aruco:inf": "not a length",
    "unknown:30": "no family 'unknown'", "30": "no family '30'", "4x4:30,5": "in decimals, use a point", "4x4:30,": "not a length",
    "4x4:3-17": "'3-17' is not a length", "4x4:3-17=": "not a length", "4x4:3-17=0": "not a length", "4x4:3-17=-250": "not a length",
    "4x4:3-17=1e999": "not a length", "4x4:3-17=25cm": "not a length", "4x4:3-3=250": "'3-3=250' names the same tag twice",
    "4x4:3-17=250,17-3=251": "tags 17 and 3 is given twice", "4x4:3-17=250,3-250=9": "no tag 250 in family 4x4; its numbers are 0 to 249",
    "aruco:3-587=9": "0 to 586", "4x4:3-17-20=250": "not a length", "4x4:a-b=250": "not a length", "4x4:3-17=250;3-20=175": "not a length",
    "4x4:٣-17=250": "not a length", "4x4:3-17=1_000": "not a length", "4x4:3-17=٢٥٠": "not a length", "4x4:3=250": "not a length",
}


def test_wrong_texts_are_refused_with_what_is_wrong_and_what_is_allowed():
    right = ["", "  ", "aruco:30", "AprilTag: 40.5", "4x4:3-17=250", "4x4: 3 - 249 = 250.5 , 17-3=1e2 , 30", "apriltag:0-586=9"]
    said = json.loads(script("-c", PARSE, json.dumps([*WRONG, *right])))
    for (text, why), (taken, sentence) in zip(WRONG.items(), said):
        assert not taken, text
        assert sentence.startswith(f"Option scale-distance: {text!r} is not allowed") and why in sentence, sentence
        assert "aruco:3-17=250,3-20=180.5" in sentence and "apriltag" in sentence
    assert said[len(WRONG):] == [[True, text] for text in right]


def test_a_run_refuses_a_wrong_text_before_it_looks_at_the_photos(tmp_path):
    (tmp_path / "images").mkdir()
    done = run(tmp_path / "images", tmp_path / "out", {"scale-distance": "aruco:3-3=250"})
    assert done.code == 1 and "same tag twice" in done.result["error"]
    assert "There are no photos" in run(tmp_path / "images", tmp_path / "out", {"scale-distance": "aruco:3-17=250"}).result["error"]
