"""Progress moves while a step tells nothing, and never goes back."""
import json

from tests.engine.running import script

QUIET = """
import io, json, time
from node.engine import progress
progress.QUIET = 0.2  # seconds
stream = io.StringIO()
told = progress.Progress(stream)
told.begin("dataset")
told.begin("opensfm")
told.update(0.5)
time.sleep(2)         # a step without news
told.update(0.5)      # not back
told.update(0.9)
told.begin("openmvs")
told.result(True)
time.sleep(0.5)
print(stream.getvalue())
"""


def test_progress_creeps_on_and_stays_within_its_stage():
    rows = [json.loads(line) for line in script("-c", QUIET).splitlines() if line]
    moved = [row for row in rows if row["type"] == "progress"]
    figures = [row["progress"] for row in moved]
    assert figures == sorted(figures)
    first, last = (next(k for k, row in enumerate(moved) if row["stage"] == stage) for stage in ("opensfm", "openmvs"))
    quiet = figures[first + 1:last - 1]
    assert len(quiet) >= 4 and len(set(quiet)) == len(quiet), "each step is another figure"
    assert max(quiet) < figures[last - 1], "it did not run ahead of what came next"
    assert rows[-1] == {"type": "result", "ok": True, "error": None}, "nothing comes after the result"
