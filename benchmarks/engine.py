"""The engine's figures by one command: ``python -m benchmarks.engine [figures|presets|growth] [--photos DIR]``.

``figures`` (the default): quality on the banana photos with two of them held out, on a synthetic object and relief of
known shape, and on the drone flight. ``presets``: time and peak memory of fast, default and high. ``growth``: 16, 64
and 256 synthetic photos, with the fitted exponent. Each run's directory stays (``--work``), so it can be looked at.
"""
import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parent.parent
PYTHON = os.environ.get("ENGINE_PYTHON", str(ROOT / ".venv" / "engine" / "bin" / "python"))
HELD_OUT = "DSC_0425.JPG,DSC_0436.JPG"


@dataclass
class Run:
    """A finished run: its statistics, seconds of wall clock and of all cores, and peak memory in bytes."""

    out: Path
    stats: dict[str, Any]
    wall: float
    cpu: float
    peak: int


def engine(images: Path, out: Path, options: dict[str, Any], *more: str) -> Run:
    """Run the engine; its console goes to ``OUT.log``. Exits with the engine's own sentence where it fails."""
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_suffix(".options.json")
    file.write_text(json.dumps([{"name": k, "value": v} for k, v in options.items()]))
    began = time.monotonic()
    with open(out.with_suffix(".log"), "w+") as log:
        process = subprocess.Popen([PYTHON, "-m", "engine", "--images", str(images), "--out", str(out), "--options",
                                    str(file), *more], cwd=ROOT, stdout=log, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        last = json.loads(log.read().splitlines()[-1])
    if process.returncode:
        sys.exit(f"{images}: {last.get('error')}")
    wall = time.monotonic() - began
    stats = json.loads((out / "odm_report" / "stats.json").read_text())
    return Run(out, stats, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measure(*arguments: str) -> dict[str, Any]:
    """A measure of benchmarks.engine_measures."""
    done = subprocess.run([PYTHON, "-m", "benchmarks.engine_measures", *arguments], cwd=ROOT, capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout)


def synthetic(kind: str, directory: Path, photos: int, size: int) -> Path:
    """A synthetic set, rendered once."""
    if not (directory / "truth.json").exists():
        subprocess.run([PYTHON, "-m", "benchmarks.engine_synthetic", kind, str(directory), "--photos", str(photos),
                        "--size", str(size)], cwd=ROOT, check=True)
    return directory


class Figures:
    """Rows of the printed table: what was asked, what was reached."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, str]] = []

    def at_least(self, name: str, value: float, bound: Optional[float], form: str = "{:.3f}") -> None:
        """A figure that must not be lower than its bound (None: told, not judged)."""
        verdict = "" if bound is None else ("ok" if value >= bound else "MISSED")
        self.rows.append((name, form.format(value), "" if bound is None else ">= " + form.format(bound), verdict))

    def at_most(self, name: str, value: float, bound: Optional[float], form: str = "{:.3f}") -> None:
        """A figure that must not be higher than its bound."""
        verdict = "" if bound is None else ("ok" if value <= bound else "MISSED")
        self.rows.append((name, form.format(value), "" if bound is None else "<= " + form.format(bound), verdict))

    def show(self) -> bool:
        """Print the rows; whether every bound was met."""
        width = [max(len(row[i]) for row in self.rows) for i in range(4)]
        for row in self.rows:
            print("  ".join(text.ljust(w) for text, w in zip(row, width)).rstrip())
        return not any(row[3] == "MISSED" for row in self.rows)


def common(figures: Figures, run: Run) -> None:
    """What every run tells."""
    counted = run.stats["reconstruction_statistics"]
    figures.at_least("  photos placed (share)", counted["reconstructed_shots_count"]
                     / counted["initial_shots_count"], 1.0)
    figures.at_most("  reprojection error (px)", counted["reprojection_error_pixels"], None)
    figures.at_least("  dense points", run.stats["engine"]["points"], None, "{:.0f}")
    figures.at_most("  wall (s)", run.wall, None, "{:.0f}")
    figures.at_most("  cpu (s)", run.cpu, None, "{:.0f}")
    figures.at_most("  peak memory (MB)", run.peak / 1e6, None, "{:.0f}")


def banana(figures: Figures, photos: Path, work: Path, preset: str) -> None:
    """The 16 photos, two of them held out from depth and texture."""
    run = engine(photos / "banana", work / f"banana-{preset}", {"preset": preset}, "--hold-out", HELD_OUT)
    figures.rows.append((f"banana, {preset}", "", "", ""))
    common(figures, run)
    facts = run.stats["engine"]
    figures.at_least("  dense points of the object", facts["points"], 100_000, "{:.0f}")
    figures.at_most("  open edges", facts["open_edges"], 0, "{:.0f}")
    figures.at_least("  texture side (px)", facts["texture_size"], 2048, "{:.0f}")
    seen = measure("held-out", str(run.out))
    figures.at_least("  held-out SSIM inside the object", seen["ssim"], 0.6)
    figures.at_least("  held-out SSIM, uncovered pixels counted", seen["ssim_of_whole_object"], 0.6)
    figures.at_least("  held-out PSNR (dB)", seen["psnr_db"], None, "{:.1f}")
    figures.at_least("  object pixels covered", seen["covered"], None)
    figures.at_most("  model pixels outside the object", seen["beyond"], None)


def shape(figures: Figures, kind: str, work: Path, preset: str, photos: int, size: int) -> None:
    """A synthetic set of known shape."""
    directory = synthetic(kind, work / f"{kind}-{photos}-{size}", photos, size)
    run = engine(directory / "images", work / f"{kind}-{preset}", {"preset": preset})
    figures.rows.append((f"synthetic {kind}, {photos} photos of {size} px, {preset}", "", "", ""))
    common(figures, run)
    measured = measure("shape", str(run.out), str(directory / "truth.json"))
    bound = 0.95 if kind == "object" else None
    figures.at_least("  true surface within 1 % of the diagonal", measured["complete_within_1_percent"], bound)
    figures.at_least("  model within 1 % of the true surface", measured["accurate_within_1_percent"], None)
    figures.at_most("  median error (% of the diagonal)", measured["median_error_percent"], None)
    figures.at_most("  islands", measured["parts"] - 1, 0, "{:.0f}")


def flight(figures: Figures, photos: Path, work: Path, preset: str) -> None:
    """The drone flight with GPS."""
    run = engine(photos / "brighton_beach", work / f"flight-{preset}", {"preset": preset})
    figures.rows.append((f"flight, {preset}", "", "", ""))
    common(figures, run)
    frame = run.stats["engine"]["frame"]
    figures.at_most("  distance to the photos' GPS, mean (m)", frame["gps_error_mean_m"], 3.0)
    figures.at_most("  distance to the photos' GPS, largest (m)", frame["gps_error_max_m"], 3.0)
    for name in ("odm_orthophoto/odm_orthophoto.tif", "odm_dem/dsm.tif"):
        figures.at_least(f"  {name} is there", float((run.out / name).exists()), 1.0, "{:.0f}")


def growth(figures: Figures, work: Path) -> None:
    """Wall time of 16, 64 and 256 synthetic photos at the lowest quality, and the exponent that fits."""
    options = {"preset": "fast", "pc-quality": "lowest", "feature-quality": "lowest", "min-num-features": 3000}
    counts, walls = (16, 64, 256), []
    for count in counts:
        directory = synthetic("object", work / f"growth-{count}", count, 480)
        run = engine(directory / "images", work / f"growth-{count}-out", options)
        walls.append(run.cpu)
        figures.at_most(f"growth: {count} photos, cpu (s)", run.cpu, None, "{:.0f}")
        figures.at_most(f"growth: {count} photos, peak memory (MB)", run.peak / 1e6, None, "{:.0f}")
    x, y = [math.log(c) for c in counts], [math.log(w) for w in walls]
    mx, my = sum(x) / 3, sum(y) / 3
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)
    figures.at_most("growth: exponent of time in photos", slope, None, "{:.2f}")


def main() -> int:
    """Command line; exit code 1 where a bound was missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", default="figures", choices=["figures", "presets", "growth"])
    parser.add_argument("--photos", type=Path, default=ROOT / "tests" / "data" / "photos",
                        help="directory with banana/ and brighton_beach/")
    parser.add_argument("--work", type=Path, help="keep the runs here")
    parser.add_argument("--preset", default="default", choices=["fast", "default", "high"])
    parser.add_argument("--only", default="", help="comma-separated: banana, object, relief, flight")
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="engine-bench-"))
    figures = Figures()
    chosen = set(arguments.only.split(",")) if arguments.only else {"banana", "object", "relief", "flight"}
    if arguments.what == "figures":
        if "banana" in chosen:
            banana(figures, arguments.photos, work, arguments.preset)
        if "object" in chosen:
            shape(figures, "object", work, arguments.preset, 24, 960)
        if "relief" in chosen:
            shape(figures, "relief", work, arguments.preset, 20, 960)
        if "flight" in chosen:
            flight(figures, arguments.photos, work, arguments.preset)
    elif arguments.what == "presets":
        for preset in ("fast", "default", "high"):
            banana(figures, arguments.photos, work, preset)
    else:
        growth(figures, work)
    met = figures.show()
    print(f"\nruns and pictures: {work}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
