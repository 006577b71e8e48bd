"""From a folder with 1 GB of photos to a started set: the uploader against zip, split and curl. `./webodm.sh bench uploader`."""
import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from dev.benchmarks.ground import sandbox, scratch
from dev.benchmarks.processes import family, peak_bytes
from dev.benchmarks.table import Row, print_table
from dev.sandbox.stack import ROOT

PHOTO_BYTES = 4_000_000
PHOTOS, FEW_PHOTOS = 250, 25
PART_BYTES = 200_000_000
WALL_BOUND, FLAT_BOUND = 0.6, 1.1
_JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"

#: What people do by hand. Arguments: photos, directory for the zip, server, token, project, zip's level.
_BY_HAND = r"""
set -euo pipefail
ask() { curl -fsS -u openscan:free -G "$3/api/openscan/$1" -d token="$4" --data-urlencode project="$5" "${@:6}"; }
zip -q -r "$6" "$2/set.zip" "$1"
split -b 200000000 -d "$2/set.zip" "$2/part."
size=$(stat -c %s "$2/set.zip")
rm "$2/set.zip"
parts=("$2"/part.*)
links=$(ask createProject - "$3" "$4" "$5" -d photos="$7" -d parts=${#parts[@]} -d filesize="$size" | grep -o 'http[^"]*')
for link in $links; do
    curl -fsS -o /dev/null -T "${parts[0]}" "$link"
    parts=("${parts[@]:1}")
done
ask startProject - "$3" "$4" "$5"
"""


@dataclass
class Cost:
    """What one way cost at its best: seconds, CPU seconds of all its processes, and the memory of the largest of them."""

    wall: float = float("inf")
    cpu: float = float("inf")
    peak_bytes: int = 0


def run(cost: Cost, command: "list[str]", environment: "dict[str, str]") -> None:
    """Run a command to its end and note what it cost."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while True:
        time.sleep(0.02)  # right after the fork, the child still has this process's memory, which is why ru_maxrss will not do
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        cost.peak_bytes = max(cost.peak_bytes, _largest(process.pid))
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    cost.wall = min(cost.wall, time.perf_counter() - began)
    cost.cpu = min(cost.cpu, usage.ru_utime + usage.ru_stime)


def _largest(pid: int) -> int:
    """The peak memory of the largest of a process and its living descendants."""
    peaks = [0]
    with contextlib.suppress(OSError):  # one of them has just ended
        for each in family(pid):
            with contextlib.suppress(OSError, ValueError):
                peaks.append(peak_bytes(each))
    return max(peaks)


def make_photos(folder: Path, number: int) -> None:
    """Photos of random bytes, which no zip makes smaller, as those of a camera."""
    folder.mkdir()
    for each in range(number):
        (folder / f"IMG_{each:04}.JPG").write_bytes(_JPEG + os.urandom(PHOTO_BYTES - len(_JPEG)))


def measure(stack: Any, directory: Path, rounds: int) -> "list[Row]":
    """Each way in turn, so that none has the quieter machine."""
    from app_extensions.openscan.accounts import tokens

    _, token = tokens.create_token(forename="Ada", surname="Lovelace", mail="ada@example.org", credit_bytes=10**12)
    photos, few, work = directory / "photos", directory / "few", directory / "work"
    make_photos(photos, PHOTOS)
    make_photos(few, FEW_PHOTOS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "uploader" / "src"), "OPENSCAN_STATE": str(directory / "state"),
                   "OPENSCAN_CONFIG": str(directory / "none"), "OPENSCAN_KEYRING": "no", "OPENSCAN_SERVER": stack.address(),
                   "OPENSCAN_TOKEN": token}
    costs = {name: Cost() for name in ("photos", "zip", "few", "few-zip", "hand", "hand-0")}
    upload = [sys.executable, "-m", "openscan_uploader", "upload", "--quiet", "--again"]
    as_zip = ["--part-size", str(PART_BYTES // 1_000_000)]
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for name, level in (("hand", "-6"), ("hand-0", "-0")):
            work.mkdir()
            given = [str(photos), str(work), stack.address(), token, uuid.uuid4().hex, level, str(PHOTOS)]
            run(costs[name], ["bash", "-c", _BY_HAND, "by-hand", *given], environment)
            shutil.rmtree(work)
        run(costs["photos"], [*upload, str(photos)], environment)
        run(costs["zip"], [*upload, *as_zip, str(photos)], environment)
        run(costs["few"], [*upload, str(few)], environment)
        run(costs["few-zip"], [*upload, *as_zip, str(few)], environment)
    return [
        _wall("wall s, photos as they are, against zip and curl", costs["photos"], costs["hand"], WALL_BOUND),
        _wall("wall s, one zip in parts of 200 MB, against zip and curl", costs["zip"], costs["hand"], WALL_BOUND),
        _wall("wall s, photos as they are, against zip -0 and curl", costs["photos"], costs["hand-0"], None),
        _wall("wall s, one zip in parts of 200 MB, against zip -0 and curl", costs["zip"], costs["hand-0"], None),
        _cpu("CPU s, photos as they are, against zip and curl", costs["photos"], costs["hand"]),
        _cpu("CPU s, one zip in parts of 200 MB, against zip and curl", costs["zip"], costs["hand"]),
        _cpu("CPU s, photos as they are, against zip -0 and curl", costs["photos"], costs["hand-0"]),
        _cpu("CPU s, one zip in parts of 200 MB, against zip -0 and curl", costs["zip"], costs["hand-0"]),
        _peak("peak memory of 1 GB against 0.1 GB, photos as they are", costs["photos"], costs["few"], FLAT_BOUND),
        _peak("peak memory of 1 GB against 0.1 GB, one zip", costs["zip"], costs["few-zip"], FLAT_BOUND),
        _peak("peak memory against the largest of zip, split, curl", costs["photos"], costs["hand"], None),
    ]


def _wall(name: str, ours: Cost, other: Cost, bound: Optional[float]) -> Row:
    return Row(name, f"{ours.wall:.1f}", f"{other.wall:.1f}", ours.wall / other.wall, bound)


def _cpu(name: str, ours: Cost, other: Cost) -> Row:
    return Row(name, f"{ours.cpu:.1f}", f"{other.cpu:.1f}", ours.cpu / other.cpu)


def _peak(name: str, ours: Cost, other: Cost, bound: Optional[float]) -> Row:
    return Row(name, f"{ours.peak_bytes / 1e6:.0f} MB", f"{other.peak_bytes / 1e6:.0f} MB", ours.peak_bytes / other.peak_bytes, bound)


def main() -> int:
    """The exit code: 0 when no bound was missed."""
    parser = argparse.ArgumentParser(prog="webodm.sh bench uploader", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    missing = [tool for tool in ("zip", "split", "curl") if shutil.which(tool) is None]
    if missing:
        print(f"This benchmark needs {', '.join(missing)}. Install them first.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with scratch() as directory, sandbox() as stack:
        rows = measure(stack, directory, options.rounds)
    return 0 if print_table(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
