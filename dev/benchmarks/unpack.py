"""Ten parts of 100 MB to images in a directory, against Python's own zipfile that has the whole file.

Each run is a separate process: ``python -m dev.benchmarks.unpack ours|zipfile TARGET FILE…`` prints what it took as JSON.
"""
import io
import json
import os
import random
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from dev.benchmarks.table import Row
from dev.sandbox.stack import ROOT

PARTS = 10
PART_BYTES = 100_000_000
ROUNDS = 4
WALL_BOUND = 1.1
WRITTEN_BOUND = 1.05


def measure(directory: Path) -> list[Row]:
    """The fastest of four runs each, in turn: what else the machine does can only add to a run."""
    rows = []
    for method, name in ((zipfile.ZIP_DEFLATED, "deflated"), (zipfile.ZIP_STORED, "stored")):
        whole = directory / "set.zip"
        image_bytes = _make_set(whole, method)
        parts = _cut(whole, directory)
        if len(parts) != PARTS:
            raise RuntimeError(f"the set came to {len(parts)} parts")
        walls: dict[str, list[float]] = {"ours": [], "zipfile": []}
        written = 0
        ways = [("ours", parts), ("zipfile", [whole])]
        for _ in range(ROUNDS):
            # Each goes first as often as the other.
            ways.reverse()
            for way, files in ways:
                took = _run(way, directory / "target", files)
                walls[way].append(took["seconds"])
                if way == "ours":
                    written = max(written, took["written_bytes"])
        ours, other = min(walls["ours"]), min(walls["zipfile"])
        what = f"10 parts of 100 MB to images, {name}: wall s, against zipfile"
        rows.append(Row(what, f"{ours:.2f}", f"{other:.2f}", ours / other, WALL_BOUND))
        rows.append(Row("bytes written, against the images' bytes", f"{written / 1e6:.0f} MB", f"{image_bytes / 1e6:.0f} MB",
                        written / image_bytes, WRITTEN_BOUND))
        for path in [whole, *parts]:
            path.unlink()
    return rows


def _make_set(path: Path, method: int) -> int:
    """A zip of nearly 1 GB of photos; returns the photos' bytes. Each is a JPEG of noise, with a different comment."""
    photo = _noise_jpeg()
    total = 0
    with zipfile.ZipFile(path, "w", method) as archive:
        number = 0
        while total + len(photo) < PARTS * PART_BYTES - 4_000_000:
            comment = b"\xff\xfe\x00\x0a%08d" % number
            data = photo[:2] + comment + photo[2:]
            archive.writestr(f"photo_{number:04d}.jpg", data)
            total += len(data)
            number += 1
    return total


def _noise_jpeg() -> bytes:
    from PIL import Image

    size = (3000, 2000)
    noise = Image.frombytes("RGB", size, random.Random(1).getrandbits(8 * 3 * size[0] * size[1]).to_bytes(3 * size[0] * size[1], "big"))
    target = io.BytesIO()
    noise.save(target, "JPEG", quality=85)
    return target.getvalue()


def _cut(whole: Path, directory: Path) -> list[Path]:
    parts = []
    with whole.open("rb") as file:
        while True:
            data = file.read(PART_BYTES)
            if not data:
                return parts
            parts.append(directory / f"part{len(parts):02d}")
            parts[-1].write_bytes(data)


def _run(way: str, target: Path, files: list[Path]) -> dict:
    os.sync()
    target.mkdir()
    command = [sys.executable, "-m", "dev.benchmarks.unpack", way, str(target), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, env=dict(os.environ, PYTHONPATH=str(ROOT)))
    shutil.rmtree(target)
    return json.loads(done.stdout)


def ours(target: Path, parts: list[Path]) -> int:
    """What ingest does between the scan's rows: list, check, copy, inspect and rename each photo; returns their number."""
    from app_extensions.openscan.ingest.archives import PhotoSet
    from app_extensions.openscan.ingest.write import write_set

    incoming, scratch = target / ".incoming", target / ".scratch"
    incoming.mkdir()
    scratch.mkdir()
    with PhotoSet(parts, scratch) as photo_set:
        return write_set(photo_set, target, incoming, limit_photos=2000, least_photos=1).photos


def main() -> None:
    way, target, files = sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    if way == "ours":
        from app_extensions.openscan.ingest import archives, write  # noqa: F401 - loaded before the clock starts, as in a worker
    before, started = _written_bytes(), time.perf_counter()
    if way == "ours":
        photos = ours(target, files)
    else:
        with zipfile.ZipFile(files[0]) as archive:
            archive.extractall(target)
            photos = len(archive.namelist())
    seconds = time.perf_counter() - started
    there = sum(1 for path in target.iterdir() if path.is_file())
    if there != photos:
        raise RuntimeError(f"{there} of {photos} photos are there")
    print(json.dumps({"seconds": seconds, "written_bytes": _written_bytes() - before, "photos": photos}))


def _written_bytes() -> int:
    """Bytes that this process handed to write calls (proc(5))."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["wchar"])


if __name__ == "__main__":
    main()
