"""The photographed object apart from what it stands on, and which way is up; on points that need no photos."""
import json

import pytest

from tests.engine.running import script

CLOUDS = """
import json
import numpy as np
from scipy.spatial import cKDTree
from dev.benchmarks.engine_measures import points_on
from dev.benchmarks.engine_rig_sets import FIGURE
from dev.benchmarks.engine_rigs import BOTTOM, surface
from node.engine.cloud import Cloud
from node.engine.dense import Region
from node.engine.errors import EngineError
from node.engine.isolate import object_alone
from node.engine.meshes import Mesh
from node.engine.scene import Scene
random = np.random.default_rng(1)
mesh = Mesh(*surface(FIGURE, 120))
true = cKDTree(points_on(mesh, 60000))

def figure(bottom=False):
    points = points_on(mesh, 20000)
    normals = mesh.face_normals()[cKDTree(mesh.vertices[mesh.faces].mean(axis=1)).query(points)[1]]
    outward = normals * np.sign((normals * points).sum(1))[:, None]
    keep = bottom | (points[:, 2] > BOTTOM + 1e-3)
    return points[keep] + random.normal(0, 0.002, (keep.sum(), 3)), outward[keep]

def disc(inner, outer, height, count):
    r, a = np.sqrt(random.uniform(inner ** 2, outer ** 2, count)), random.uniform(0, 6.283, count)
    flat = np.c_[r * np.cos(a), r * np.sin(a), np.full(count, height)]
    return flat + random.normal(0, 0.004, (count, 3)), np.tile([0, 0, 1.0], (count, 1))

def tube(radius, low, high, count):
    a = random.uniform(0, 6.283, count)
    return np.c_[radius * np.cos(a), radius * np.sin(a), random.uniform(low, high, count)], np.c_[np.cos(a), np.sin(a), 0 * a]

def alone(*parts, reach=1.5, low=-1.0):
    points, normals = (np.concatenate(column) for column in zip(*parts))
    cloud = Cloud(points, np.full((len(points), 3), 128, np.uint8), normals.astype(np.float32))
    scene = Scene([], np.zeros((0, 3)), np.zeros((0, 3), np.uint8), [], np.zeros(0), {"frame": {"support": None, "around": True}})
    region = Region(np.array([-reach, -reach, low]), np.array([reach, reach, 1.1]))
    kept, cut, base = object_alone(cloud, scene, region, lambda text: None)
    far = true.query(kept.points)[0] > 0.05
    return {"own": float((~far).sum() / len(parts[0][0])), "foreign": float(far.mean()), "cut": cut, "base": len(base), "low": BOTTOM}

body = figure()
print(json.dumps({
    "nothing seen": alone(body),
    "few points": alone(body, disc(0.9, 1.45, BOTTOM, 1200)),
    "disc with a rim": alone(body, disc(0.85, 1.7, BOTTOM, 20000), tube(1.7, BOTTOM - 0.12, BOTTOM, 3000), reach=2.0),
    "larger than the object": alone(body, disc(0.85, 3.0, BOTTOM, 50000)),
    "pin": alone(figure(True), tube(0.07, -1.2, BOTTOM, 1500)),
    "plinth": alone(body, disc(0.85, 1.2, BOTTOM, 4000), tube(1.2, BOTTOM - 0.8, BOTTOM, 9000), reach=1.6, low=-1.7),
}))
"""


@pytest.fixture(scope="module")
def parted() -> dict:
    return json.loads(script("-c", CLOUDS))


@pytest.mark.parametrize("support", ["nothing seen", "few points", "disc with a rim", "larger than the object", "pin"])
def test_the_object_stays_and_its_support_goes(parted, support):
    part = parted[support]
    assert part["own"] > 0.97 and part["foreign"] < 0.005
    assert abs(part["cut"] - part["low"]) < 0.04, "the underside is where it stood"
    assert (part["base"] > 1000) == (support not in ("nothing seen", "pin")), "only a support hides an underside"


def test_a_plinth_is_a_part_of_the_object(parted):
    assert parted["plinth"]["own"] > 0.99 and parted["plinth"]["foreign"] > 0.3


SCENES = """
import json
import numpy as np
from dev.benchmarks.engine_rig_sets import SETS
from dev.benchmarks.engine_rigs import cameras
from node.engine import frame, georef, isolate
from node.engine.errors import EngineError
from node.engine.scene import Scene, View
random = np.random.default_rng(2)
turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
turn *= np.sign(np.linalg.det(turn))

def solved(name, points, rolled=False):
    # As it comes from COLMAP: in some direction, of some size.
    views = []
    for row in cameras(SETS[name]):
        if rolled:
            angle = random.uniform(0, 6.283)
            row["R"] = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]) @ row["R"]
        K = np.array([[972.0, 0, 359.5], [0, 972.0, 269.5], [0, 0, 1]])
        views.append(View(row["name"], 720, 540, K, row["R"], -row["R"] @ row["eye"], ""))
    scene = Scene(views, points, np.zeros((len(points), 3), np.uint8), [], np.full(len(points), 0.5))
    scene.transform(0.37, turn, np.array([3.0, 1, -2]))
    scene.meta["frame"] = frame.place(scene, [], "off", "", lambda text: None)
    return scene

def told(scene):
    logs = []
    try:
        region = isolate.object_region(scene, "auto", logs.append)
    except EngineError as error:
        return str(error)
    return None if region is None else (region.high - region.low).tolist()

def tilt(scene, name):
    _, R, _ = georef.similarity(np.array([v.centre for v in scene.views]), np.array([row["eye"] for row in cameras(SETS[name])]))
    return float(np.degrees(np.arccos(np.clip(R[2, 2], -1, 1))))

n = 4000
wall = np.c_[random.uniform(-4, 4, n), random.normal(0, 0.05, n), random.uniform(-2, 2, n)]
ball = random.normal(size=(n, 3))
ball = ball / np.linalg.norm(ball, axis=1, keepdims=True) * [1.0, 0.8, 0.7]
r, a = np.sqrt(random.uniform(0.7, 9, n)), random.uniform(0, 6.283, n)
table = np.c_[r * np.cos(a), r * np.sin(a), np.full(n, -0.72)]
out = {}
for name, key, points in (("facade", "facade", wall), ("black", "object", ball), ("black", "object on table", np.r_[ball, table]),
                          ("black", "rolled cameras", np.r_[ball, table]), ("black", "plain object on table", table)):
    scene = solved(name, points, key == "rolled cameras")
    out[key] = {"tilt": tilt(scene, name), "support": scene.meta["frame"]["support"], "around": scene.meta["frame"]["around"],
                "region": told(scene), "distance": float(np.median([np.linalg.norm(v.centre - scene.meta["frame"]["middle"])
                                                                    for v in scene.views]))}

def refused(count, hole):
    r, a = np.sqrt(random.uniform(hole ** 2, 9, count)), random.uniform(0, 6.283, count)
    points = np.c_[r * np.cos(a), r * np.sin(a), np.zeros(count)]
    try:
        isolate._refuse_plain_object(Scene([], points, points.astype(np.uint8), [], np.zeros(count)), np.zeros(3), 5.4)
    except EngineError:
        return True
    return False

out["flat"] = {n: sum(refused(n, 0.0) for _ in range(200)) for n in (30, 60, 200, 700, 4000)}
out["plain"] = {n: sum(refused(n, 0.84) for _ in range(200)) for n in (700, 4000)}
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def scenes() -> dict:
    return json.loads(script("-c", SCENES))


def test_a_wall_is_no_support_and_stands_upright(scenes):
    facade = scenes["facade"]
    assert facade["support"] is None and not facade["around"] and facade["region"] is None
    assert facade["tilt"] < 1.0


def test_an_object_without_a_support_is_told_from_its_surroundings(scenes):
    alone = scenes["object"]
    assert alone["support"] is None and alone["around"] and alone["tilt"] < 1.0
    # Half axes of 1.0, 0.8 and 0.7 at a distance of 5.4, turned about the upright one, with a margin of 15 % on each side
    # and more below, where an overhang hides the object from the sparse points.
    across, along, high = (measured * 5.4 / alone["distance"] for measured in alone["region"])
    assert 1.6 < across < 2.7 and 1.6 < along < 2.7 and 1.4 < high < 3.0


@pytest.mark.parametrize("key", ["object on table", "rolled cameras"])
def test_an_object_on_a_table_is_told_from_it(scenes, key):
    on_table = scenes[key]
    assert on_table["support"] > 0.3 and on_table["tilt"] < 1.0
    assert max(on_table["region"]) * 5.4 / on_table["distance"] < 2.8


def test_a_plain_object_on_a_patterned_table_is_told_to_need_texture(scenes):
    assert "matt or speckled coat" in scenes["plain object on table"]["region"]


def test_a_flat_object_on_a_table_of_few_points_is_not_taken_for_a_hole(scenes):
    """Before, an even table of 60 points had nothing in its middle in two of three cases, and the photos were refused."""
    assert scenes["flat"] == {"30": 0, "60": 0, "200": 0, "700": 0, "4000": 0}
    assert scenes["plain"] == {"700": 200, "4000": 200}
