"""Focus stacks: what merging gains against one well-focused photo per position, and what it costs against processing all frames.

The stacks are rendered from real photos seen through a lens of little depth of field that breathes. So the sharp picture is known.
"""
import json
import subprocess
import sys
from pathlib import Path

from dev.benchmarks.table import Row

POSITIONS = 4
FRAMES = 10
WIDTH = 1600

_WORK = """
import json, sys, time
from pathlib import Path
import cv2
from app_extensions.shared import focus_stacks
from tests.shared import focus_scenes

cv2.setNumThreads(1)
directory, positions, frames, width = Path(sys.argv[1]), *map(int, sys.argv[2:5])
photos = sorted(Path("tests/data/photos/banana").glob("*.JPG"))[:positions]
merger, found = focus_stacks.Merger(), []
for index, photo in enumerate(photos):
    sharp = cv2.imread(str(photo))
    sharp = cv2.resize(sharp, (width, width * sharp.shape[0] // sharp.shape[1]))
    paths = [directory / f"{index}_fs{number:02d}.jpg" for number in range(frames)]
    focus_scenes.write_stack(sharp, paths, seed=100 * index)
    started = time.process_time()
    merger.merge(paths, directory / f"{index}.jpg")
    seconds = time.process_time() - started
    middle = (frames // 2) / (frames - 1)
    truth = focus_scenes.sharp_at(sharp, middle)
    # One well-focused photo: the lens stopped down, so that a third of the blur is left.
    one = focus_scenes.frame(sharp, middle, seed=index, blur=focus_scenes.BLUR / 3)
    best = max(focus_scenes.psnr(cv2.imread(str(path)), focus_scenes.sharp_at(sharp, number / (frames - 1)))
               for number, path in enumerate(paths))
    found.append([focus_scenes.psnr(cv2.imread(str(directory / f"{index}.jpg")), truth), focus_scenes.psnr(one, truth), best,
                  seconds, sharp.shape[0] * sharp.shape[1] / 1e6])
print(json.dumps(found))
"""


def measure(directory: Path, seconds_per_photo: float = 0.0) -> "list[Row]":
    """Rows on likeness to the sharp scene, and on time.

    :param directory: for the frames
    :param seconds_per_photo: CPU time in which the engine processes one photo, as measured elsewhere; 0: the row is left out
    """
    done = subprocess.run([sys.executable, "-c", _WORK, str(directory), str(POSITIONS), str(FRAMES), str(WIDTH)],
                          capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    merged, single, best = (sum(row[column] for row in figures) / len(figures) for column in range(3))
    known = figures[3:] or figures  # the first stacks also measure the focus breathing
    per_frame = sum(row[3] for row in known) / len(known) / FRAMES
    per_12 = per_frame * 12 / known[0][4]
    rows = [
        Row("focus: likeness of merged against one well-focused photo (ratio of errors)", f"{merged:.1f} dB", f"{single:.1f} dB",
            10 ** ((single - merged) / 20), 1.0),
        Row("focus: likeness of merged against the best frame (ratio of errors)", f"{merged:.1f} dB", f"{best:.1f} dB",
            10 ** ((best - merged) / 20), 0.7),
        Row("focus: CPU per frame of 12 megapixels", f"{per_12:.2f} s", "", None),
    ]
    if seconds_per_photo:
        # All frames processed as photos, against merging them and processing one photo per position.
        rows.append(Row("focus: merging and processing against processing all frames",
                        f"{per_12 * FRAMES + seconds_per_photo:.1f} s", f"{seconds_per_photo * FRAMES:.1f} s",
                        (per_12 * FRAMES + seconds_per_photo) / (seconds_per_photo * FRAMES), 0.5))
    return rows
