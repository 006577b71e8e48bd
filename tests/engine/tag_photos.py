"""Photos of printed tags by known cameras, and what the engine makes of their scale. Runs in the engine's environment:

``python -m tests.engine.tag_photos DIRECTORY CASES``, with CASES a JSON object of ``name: [layout, option]``. Prints for each
case how many millimetres a unit of the scene became, what was found and logged, or the error.
"""
import io
import json
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from node.engine import frame, lengths, options, pipeline, report, results
from node.engine.errors import EngineError
from node.engine.photos import Photo
from node.engine.progress import Progress
from node.engine.scaling import scale_from_tags
from node.engine.scene import Scene, View

MM_A_UNIT = 2.5
EDGE = 40.0      # mm, the black square; around it are 8 mm of white
PRINTED = 6      # pixels a millimetre of the printed tag
DICTIONARIES = {"4x4": cv2.aruco.DICT_4X4_250, "5x5": cv2.aruco.DICT_5X5_250}
# Centres in mm, on three levels: 3 to 17 are 250 mm, 3 to 20 are 175 mm, 17 to 41 are 180 mm.
TABLE: dict[tuple[str, int], tuple[float, float, float]] = {
    ("4x4", 3): (60, 60, 0), ("4x4", 17): (310, 60, 0), ("4x4", 20): (110, 210, -75), ("4x4", 41): (290, 220, -80)}
TILTED = {41: 25.0}  # degrees about the y axis
EYES = ((-150, 60), (110, -110), (20, 150), (170, 70), (-60, -130))  # mm beside the table's middle
SIZE = (960, 720)


def laid_out(layout: str, photo: int) -> list[tuple[tuple[str, int], tuple[float, float, float]]]:
    """Which tags lie where while a photo is taken."""
    tags = list(TABLE.items())
    if layout == "17 in one photo" and photo != 1:
        tags = [row for row in tags if row[0][1] != 17]
    if layout == "17 printed twice":
        tags.append((("4x4", 17), (200, 130, 0)))
    moved = {"17 moved once": [0, 0, 32, 0, 0], "17 moved always": [0, 16, 32, 48, 64], "17 moved twice": [0, 0, 40, 40, 80]}
    if layout in moved:
        tags = [(tag, (310, 60 + moved[layout][photo], 0) if tag[1] == 17 else place) for tag, place in tags]
    if layout == "3 in two families":
        tags.append((("5x5", 3), (200, 130, 0)))
    return tags


def view(layout: str, photo: int, directory: Path) -> View:
    """A camera in millimetres and its picture."""
    middle = np.array([190.0, 140.0, 0.0])
    beside = np.array(EYES[photo]) * (0.01 if layout == "from one place" else 1.0)
    z = -np.array([beside[0], beside[1], -560.0])
    z /= np.linalg.norm(z)
    x = np.cross([0, 1.0, 0], z)
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    t = -R @ (middle + [beside[0], beside[1], -560.0])
    K = np.array([[1000.0, 0, SIZE[0] / 2 - 3], [0, 1000.0, SIZE[1] / 2 + 5], [0, 0, 1]])
    made = View(f"{layout} {photo}.png", *SIZE, K, R, t, str(directory / f"{layout} {photo}.png"))
    finer = 3
    picture = np.full((SIZE[1] * finer, SIZE[0] * finer), 120, np.uint8)
    for (family, number), place in laid_out(layout, photo):
        side = round(EDGE * PRINTED)
        tag = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(DICTIONARIES[family]), number, side)
        tag = cv2.copyMakeBorder(tag, *[8 * PRINTED] * 4, cv2.BORDER_CONSTANT, value=255)
        angle = np.radians(TILTED.get(number, 0.0))
        across, down = np.array([np.cos(angle), 0, np.sin(angle)]), np.array([0, 1.0, 0])
        half = tag.shape[0] / 2
        to_mm = np.array([[1 / PRINTED, 0, (0.5 - half) / PRINTED], [0, 1 / PRINTED, (0.5 - half) / PRINTED], [0, 0, 1]])
        H = made.scaled_K(finer) @ np.c_[R @ across, R @ down, R @ np.array(place) + t] @ to_mm
        ends = cv2.perspectiveTransform(np.array([[[0, 0], [2 * half, 0], [2 * half, 2 * half], [0, 2 * half]]], np.float64), H)[0]
        (left, top), (right, bottom) = np.floor(ends.min(axis=0)).astype(int) - 2, np.ceil(ends.max(axis=0)).astype(int) + 2
        assert left >= 0 and top >= 0 and right <= picture.shape[1] and bottom <= picture.shape[0], "the tag is not fully in the picture"
        part = picture[top:bottom, left:right]
        into = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]]) @ H
        shown = cv2.warpPerspective(tag, into, part.shape[::-1])
        where = cv2.warpPerspective(np.full_like(tag, 255), into, part.shape[::-1]) > 127
        part[where] = shown[where]
    cv2.imwrite(made.image, cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA))
    return made


def scene_of(views: list[View]) -> Scene:
    """A scene as placing leaves it: in arbitrary units."""
    copies = [View(v.name, v.width, v.height, v.K, v.R, v.t / MM_A_UNIT, v.image) for v in views]
    points = np.random.default_rng(2).uniform(0, 100, (30, 3))
    return Scene(copies, points, np.full((30, 3), 90, np.uint8), [np.arange(30) for _ in copies], np.full(30, 0.4))


def apart(scene: Scene) -> float:
    """Between the first two cameras, in the scene's units."""
    return float(np.linalg.norm(scene.views[0].centre - scene.views[1].centre))


def tried(views: list[View], option: str) -> dict[str, Any]:
    """What scaling a scene answers."""
    scene, said = scene_of(views), []
    before = apart(scene)
    try:
        answer = scale_from_tags(scene, option, said.append)
    except EngineError as error:
        return {"error": str(error), "moved": apart(scene) != before}
    return {"mm_a_unit": apart(scene) / before, "log": said, **(answer or {})}


def reported(views: list[View], option: str, directory: Path) -> dict[str, Any]:
    """stats.json and the text of report.pdf of a scene that was placed as a run places it."""
    images, said = directory / "images", []
    images.mkdir()
    values = {**options.load_options(None), "scale-distance": option}
    run = pipeline.Run(images, directory / "out", values, Progress(io.StringIO()), 1, [])
    scene = scene_of(views)
    scene.meta = {"cameras": [], "camera_of": {}, "reprojection_error_px": 0.4, "mean_track_length": 3.0, "loose": [], "photos": len(views)}
    frame.place(scene, [], False, option, said.append)
    scene.save(run.space.root)
    scene = Scene.load(run.space.root)
    run.space.write_json("photos.json", [])
    run.space.write_json("left_out.json", [])
    results.write_descriptions(run, scene)
    path = run.space.result("odm_report/report.pdf")
    report.write_report(run, scene, None, path)
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", path.read_bytes(), re.DOTALL)
    text = b" ".join(b" ".join(re.findall(rb"\((.*?)\) Tj", zlib.decompress(s))) for s in streams if s[:1] == b"\x78")
    stats = json.loads((directory / "out" / "odm_report" / "stats.json").read_text())
    return {"mm": apart(scene), "stats": stats["engine"], "pdf": text.decode("latin-1"), "log": said}


def flown(views: list[View], option: str) -> list[str]:
    """The log of a flight, whose scale is that of its GPS."""
    said: list[str] = []
    photos = [Photo(v.name, v.name, *SIZE, gps=(48.0 + v.centre[1] / 1e5, 11.0 + v.centre[0] / 1e5, 50.0)) for v in views]
    frame.place(scene_of(views), photos, True, option, said.append)
    return said


def main() -> None:
    directory, cases = Path(sys.argv[1]), json.loads(sys.argv[2])
    cv2.setNumThreads(1)
    names = sorted({layout for layout, _ in cases.values()})
    layouts = {layout: [view(layout, k, directory) for k in range(len(EYES))] for layout in names}
    answers = {name: tried(layouts[layout], option) for name, (layout, option) in cases.items()}
    table = layouts["table"]
    both = "4x4:3-17=250,3-20=175,17-41=200,3-99=70,42"
    print(json.dumps({"cases": answers, "reported": reported(table, both, directory), "flown": flown(table, both),
                      "true_mm": apart(Scene(table, np.zeros((0, 3)), np.zeros((0, 3), np.uint8), [], np.zeros(0))),
                      "tags_in": {name: len(cv2.aruco.getPredefinedDictionary(kind).bytesList) for name, kind in
                                  (("4x4", cv2.aruco.DICT_4X4_250), ("5x5", cv2.aruco.DICT_5X5_250), ("6x6", cv2.aruco.DICT_6X6_250),
                                   ("apriltag", cv2.aruco.DICT_APRILTAG_36h11))},
                      "numbers": lengths.TAGS_IN}))


if __name__ == "__main__":
    main()
