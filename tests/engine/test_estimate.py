"""What a run is said to need before it begins, against what it took, and for sets that nobody wants to try out."""
import json

from tests.engine.running import script

ESTIMATE = """
import json, sys
from node.engine.estimate import estimate
from node.engine.options import load_options
from node.engine.settings import DEPTH_SIZE, WORK_SIZE
options = load_options(None)
quality = options["pc-quality"]
needs = [estimate([(4000, 3000)] * count, options, 4, WORK_SIZE[quality], DEPTH_SIZE[quality]) for count in (16, 250, 1000, 2000)]
print(json.dumps([[need.memory_bytes, need.disk_bytes] for need in needs]))
"""

FUSE = """
import json, sys
from pathlib import Path
import numpy as np
from node.engine import dense
from node.engine.scene import Scene
work = Path(sys.argv[1]) / ".engine"
scene, facts = Scene.load(work), json.loads((work / "facts.json").read_text())
near = dense.choose_neighbours(scene, dense.FUSION_NEIGHBOURS)
clouds = [dense.fuse(scene, dense.DepthMaps(work / "depth"), near, facts["depth_scale"], 3, lambda done, total: None, most)
          for most in (10 ** 9, 3000)]
# what single stray points reach is no extent
print(json.dumps([[len(cloud), np.ptp(np.percentile(cloud.points, [2, 98], axis=0), axis=0).tolist()] for cloud in clouds]))
"""


def test_a_run_takes_what_was_estimated_and_not_far_less(stats):
    facts = stats["engine"]
    assert facts["peak_memory_bytes"] <= facts["estimate"]["memory_bytes"] <= 3 * facts["peak_memory_bytes"]


def test_disk_is_not_underestimated(finished, stats):
    used = sum(path.stat().st_size for path in finished[1].rglob("*") if path.is_file())
    assert used <= stats["engine"]["estimate"]["disk_bytes"]


def test_a_thousand_photos_fit_into_a_usual_server():
    needs = json.loads(script("-c", ESTIMATE))
    memory, disk = ([need[k] for need in needs] for k in (0, 1))
    assert memory == sorted(memory) and disk == sorted(disk)
    assert memory[2] < 16e9 and disk[2] < 60e9
    assert disk[3] > 1.9 * (disk[2] - disk[0]), "disk grows with the set"


MEMORY = """
import sys
from pathlib import Path
from node.engine.estimate import available_memory
print(available_memory(Path(sys.argv[1]) / "meminfo", Path(sys.argv[1])))
"""


def test_files_that_the_kernel_keeps_do_not_fill_a_container(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n")
    assert int(script("-c", MEMORY, str(tmp_path))) == 8000000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    assert int(script("-c", MEMORY, str(tmp_path))) == 8000000 * 1024
    (tmp_path / "memory.max").write_text("4000000000\n")
    (tmp_path / "memory.current").write_text("3900000000\n")
    (tmp_path / "memory.stat").write_text("anon 500000000\nfile 3400000000\ninactive_file 3000000000\nactive_file 300000000\n")
    assert int(script("-c", MEMORY, str(tmp_path))) == 4000000000 - 600000000


def test_a_cloud_keeps_to_its_limit_and_still_covers_the_object(finished):
    whole, thin = json.loads(script("-c", FUSE, str(finished[1])))
    assert whole[0] > 6000 and 1000 < thin[0] <= 3000
    assert all(b > 0.8 * a for a, b in zip(whole[1], thin[1]))


PLAN = """
import json
from node.engine.estimate import adapted
from node.engine.options import load_options
options = load_options(None)
told = []
cases = ((200, 8, 64e9, 1e12), (200, 8, 2.6e9, 1e12), (1000, 4, 5.5e9, 1e12), (200, 4, 64e9, 4.6e9), (200, 4, 4e8, 1e12))
for photos, threads, memory, disk in cases:
    plan = adapted([(4000, 3000)] * photos, options, threads, 4000, 1000, memory, disk)
    fits = plan.need.memory_bytes <= memory and plan.need.disk_bytes <= disk
    told.append([plan.threads, plan.depth_size, plan.most_points, fits, plan.changes(threads, 1000)])
print(json.dumps(told))
"""


def test_a_run_does_with_less_before_it_is_refused():
    ample, less, fewer_points, disk, none = json.loads(script("-c", PLAN))
    assert ample[:4] == [8, 1000, 12_000_000, True] and not ample[4]
    assert less[3] and less[4], "fits with less"
    assert fewer_points[2] < 12_000_000 and fewer_points[3] and any("million points" in line for line in fewer_points[4])
    assert disk[3] and disk[1] < 1000 and any("instead of 1000 pixels" in line for line in disk[4])
    assert not none[3] and none[:2] == [1, 400], "the smallest plan, which is then refused"
