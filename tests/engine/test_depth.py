"""What counts as a measurement of depth: texture that matches, and not grey that changes evenly."""
import json

import pytest

from tests.engine.running import script

pytestmark = pytest.mark.slow

RAMP = """
import json
import cv2
import numpy as np
from node.engine import dense, patchmatch
from node.engine.scene import View
random = np.random.default_rng(3)
width, height, depth, shift = 240, 80, 5.0, 12  # a wall 5 away; the second camera sees it 12 pixels to the left
K = np.array([[200.0, 0, 119.5], [0, 200.0, 39.5], [0, 0, 1]])
wall = np.tile(np.linspace(60, 200, width + 40), (height, 1))
texture = cv2.GaussianBlur(random.normal(128, 90, wall.shape), (0, 0), 1.5)
wall[:, :120] = texture[:, :120]
seen = lambda first: np.clip(wall[:, first:first + width] + random.normal(0, 1.0, (height, width)), 0, 255).astype(np.uint8)
baseline = shift * depth / K[0, 0]
left = View("a", width, height, K, np.eye(3), np.zeros(3), "")
right = View("b", width, height, K, np.eye(3), np.array([-baseline, 0, 0]), "")
image, sources = seen(0), patchmatch.packed(seen(shift)[None])
A, b, Kinv = dense._relative(left, [right], 1.0)
mask = np.ones(image.shape, np.uint8)

def costs(at):
    maps = np.full(image.shape, at, np.float32), np.tile(np.array([0, 0, -1], np.float32), (*image.shape, 1))
    cost = np.full(image.shape, patchmatch.BAD, np.float32)
    patchmatch.start_costs(image, sources, A, b, Kinv, mask, *maps, cost, dense.WINDOW_RADIUS)
    found = [cost.copy()]
    patchmatch.plain_costs(image, sources, A, b, Kinv, *maps, cost, np.float32(dense.MOST_COST), dense.WINDOW_RADIUS)
    found.append(cost)
    taken = [each[10:-10] < dense.MOST_COST for each in found]
    return [[float(each[:, 30:110].mean()), float(each[:, 140:220].mean())] for each in taken]  # textured, evenly changing

print(json.dumps({"right": costs(5.0), "wrong": costs(4.0)}))
"""


def test_grey_that_changes_evenly_is_no_measurement_at_any_depth():
    """On a plain ground in soft light it matched wherever it was compared, and the ground rose to the object like a skirt."""
    found = json.loads(script("-c", RAMP))
    (textured, even), (textured_now, even_now) = found["right"]
    assert textured > 0.98 and textured_now > 0.98
    assert even > 0.7 and even_now < 0.1
    (textured, even), (textured_now, even_now) = found["wrong"]
    assert even > 0.7, "the fault: a wrong depth matches as well"
    assert textured_now < 0.1 and even_now < 0.1


COVER = """
import json
import numpy as np
from node.engine import dense
from node.engine.scene import Scene, View
random = np.random.default_rng(3)
wall = np.c_[random.uniform(-9, 9, 4000), random.uniform(-3, 3, 4000), np.full(4000, 10.0)]
K = np.array([[200.0, 0, 99.5], [0, 200.0, 49.5], [0, 0, 1]])  # each sees five to the left and to the right

def ranked(*places, half=9.0):
    views = [View(str(x), 200, 100, K, np.eye(3), np.array([-x, 0, 0]), "") for x in places]
    seen = [np.flatnonzero((np.abs(wall[:, 0]) < half) & (np.abs(wall[:, 0] - x) < 4.9) & (np.abs(wall[:, 1]) < 2.4)) for x in places]
    scene = Scene(views, wall, np.zeros((4000, 3), np.uint8), seen, np.zeros(4000))
    order = dense.cover_photos(scene, {0: list(range(1, len(places)))}, 4)[0]
    return [places[i] for i in order]

print(json.dumps([ranked(0.0, -1.0, -2.0, -1.5, -2.5, -3.0, 1.0, 1.5), ranked(0.0, -1.0, 1.0, -1.5, 1.5, 2.0, half=2.5), ranked(0.0, 1.0)]))
"""


def test_two_of_the_first_neighbours_show_each_part_of_a_photo():
    """The ends of a facade, which few photos show, were missing: the photos with most points in common all missed them."""
    end, middle, alone = json.loads(script("-c", COVER))
    assert end == [-1.0, -2.0, 1.0, 1.5, -1.5, -2.5, -3.0]
    assert middle == [-1.0, 1.0, -1.5, 1.5, 2.0], "where all is shown, the best stay first"
    assert alone == [1.0]
