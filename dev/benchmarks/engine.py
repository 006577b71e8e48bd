"""The engine's figures by one command: ``python -m dev.benchmarks.engine [figures] [presets] [growth] [rigs] [compare] [--work DIR]``.

``figures`` (the default): quality on the banana photos with two of them held out, on a synthetic object and relief of
known shape, and on the drone flight. ``presets``: time and peak memory of fast, default and high. ``growth``: 16, 64
and 256 synthetic photos, with the fitted exponent. ``rigs``: rendered turntable sets and a
facade, judged by the published files. ``compare``: beside two other ways, where they
are installed (dev.benchmarks.engine_compare). Each run's directory stays (``--work``), so it can be looked at.
"""
import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

from dev.benchmarks.engine_compare import compare
from dev.benchmarks.engine_rig_sets import SETS
from dev.benchmarks.engine_runs import ROOT, Figures, Run, Runs, measure


def common(figures: Figures, run: Run) -> None:
    """What every run tells."""
    counted = run.stats["reconstruction_statistics"]
    figures.at_least("  photos placed (share)", counted["reconstructed_shots_count"]
                     / counted["initial_shots_count"], 1.0)
    figures.at_most("  reprojection error (px)", counted["reprojection_error_pixels"], None)
    figures.at_least("  dense points", run.stats["engine"]["points"], None, "{:.0f}")
    figures.at_most("  wall (s)", run.program.wall, None, "{:.0f}")
    figures.at_most("  cpu (s)", run.program.cpu, None, "{:.0f}")
    figures.at_most("  peak memory (MB)", run.program.peak / 1e6, None, "{:.0f}")


def banana(figures: Figures, runs: Runs, photos: Path, preset: str) -> None:
    """The 16 photos, two of them held out from depth and texture."""
    run = runs.banana(photos, preset)
    figures.rows.append((f"banana, {preset}", "", "", ""))
    common(figures, run)
    facts = run.stats["engine"]
    figures.at_least("  dense points of the object", facts["points"], 100_000, "{:.0f}")
    figures.at_most("  open edges", facts["open_edges"], 0, "{:.0f}")
    figures.at_least("  texture side (px)", facts["texture_size"], 2048, "{:.0f}")
    seen = measure("engine_measures", "held-out", str(run.out))
    figures.at_least("  held-out SSIM inside the object", seen["ssim"], 0.6)
    figures.at_least("  held-out SSIM, uncovered pixels counted", seen["ssim_of_whole_object"], 0.6)
    figures.at_least("  held-out PSNR (dB)", seen["psnr_db"], None, "{:.1f}")
    figures.at_least("  object pixels covered", seen["covered"], None)
    figures.at_most("  model pixels outside the object", seen["beyond"], None)


def shape(figures: Figures, runs: Runs, kind: str, preset: str, photos: int, size: int) -> None:
    """A synthetic set of known shape."""
    directory = runs.synthetic(kind, photos, size)
    run = runs.engine(directory / "images", f"{kind}-{preset}", {"preset": preset})
    figures.rows.append((f"synthetic {kind}, {photos} photos of {size} px, {preset}", "", "", ""))
    common(figures, run)
    measured = measure("engine_measures", "shape", str(run.out), str(directory / "truth.json"))
    bound = 0.95 if kind == "object" else None
    figures.at_least("  true surface within 1 % of the diagonal", measured["complete_within_1_percent"], bound)
    figures.at_least("  model within 1 % of the true surface", measured["accurate_within_1_percent"], None)
    figures.at_most("  median error (% of the diagonal)", measured["median_error_percent"], None)
    figures.at_most("  islands", measured["parts"] - 1, 0, "{:.0f}")


def flight(figures: Figures, runs: Runs, photos: Path, preset: str) -> None:
    """The drone flight with GPS."""
    run = runs.engine(photos / "brighton_beach", f"flight-{preset}", {"preset": preset})
    figures.rows.append((f"flight, {preset}", "", "", ""))
    common(figures, run)
    frame = run.stats["engine"]["frame"]
    figures.at_most("  distance to the photos' GPS, mean (m)", frame["gps_error_mean_m"], 3.0)
    figures.at_most("  distance to the photos' GPS, largest (m)", frame["gps_error_max_m"], 3.0)
    for name in ("odm_orthophoto/odm_orthophoto.tif", "odm_dem/dsm.tif"):
        figures.at_least(f"  {name} is there", float((run.out / name).exists()), 1.0, "{:.0f}")


def exponent(x: list[float], y: list[float]) -> float:
    """The p of the power law y = c x^p that fits best (least squares of the logarithms)."""
    u, v = [math.log(a) for a in x], [math.log(b) for b in y]
    mu, mv = sum(u) / len(u), sum(v) / len(v)
    return sum((a - mu) * (b - mv) for a, b in zip(u, v)) / sum((a - mu) ** 2 for a in u)


def growth(figures: Figures, runs: Runs) -> None:
    """Processor seconds, memory and disk of 16, 64 and 256 small synthetic photos, beside what was estimated before."""
    options = {"preset": "fast", "pc-quality": "lowest", "feature-quality": "lowest", "min-num-features": 2000,
               "mesh-octree-depth": 7, "mesh-size": 30000}
    counts, seconds, peaks = [16, 64, 256], [], []
    figures.rows.append(("growth, photos of 400 px", "", "", ""))
    for count in counts:
        run = runs.engine(runs.synthetic("dome", count, 400) / "images", f"growth-{count}", options)
        stats, estimate = run.stats["reconstruction_statistics"], run.stats["engine"]["estimate"]
        seconds.append(run.program.cpu)
        peaks.append(run.program.peak)
        figures.at_least(f"  {count} photos: placed (share)", stats["reconstructed_shots_count"] / count, 1.0)
        figures.at_most(f"  {count} photos: cpu (s)", run.program.cpu, None, "{:.0f}")
        figures.at_most(f"  {count} photos: peak memory (MB), estimated before", run.program.peak / 1e6,
                        estimate["memory_bytes"] / 1e6, "{:.0f}")
        figures.at_most(f"  {count} photos: disk (MB), estimated before", run.disk / 1e6, estimate["disk_bytes"] / 1e6, "{:.0f}")
        for name, used in run.stats["engine"]["processor_seconds"].items():
            if used >= 1.0:
                figures.at_most(f"    {name}, cpu (s)", used, None, "{:.0f}")
    figures.at_most("  exponent of processor time in photos", exponent(counts, seconds), None, "{:.2f}")
    figures.at_most("  exponent of peak memory in photos", exponent(counts, peaks), None, "{:.2f}")


def rigs(figures: Figures, runs: Runs, preset: str, size: int, wanted: set[str]) -> None:
    """The rendered rigs: each ends with the photographed object, or with the agreed message."""
    for name, rig in SETS.items():
        if wanted and name not in wanted:
            continue
        directory = runs.rig(name, size)
        program, out = runs.attempt(directory / "images", f"rig-{name}-{preset}", {"preset": preset})
        told = json.loads(program.output.splitlines()[-1])
        figures.rows.append((f"rig {name}, {rig.photos} photos of {size} px, {preset}", "", "", ""))
        figures.at_most("  wall (s)", program.wall, 300.0 if rig.message else None, "{:.0f}")
        if program.code or rig.message:
            figures.rows.append((f"  {told.get('error') or 'a model was delivered'}", "", "",
                                 "ok" if rig.message and rig.message in (told.get("error") or "") else "MISSED"))
            continue
        seen = measure("engine_rig_measures", str(out), str(directory / "truth.json"))
        figures.at_least("  photos placed (share)", seen["placed"] / seen["photos"], 0.9)
        figures.at_least("  object's surface within 1 % of the diagonal", seen["complete_within_1_percent"], 0.9)
        figures.at_least("  model within 1 % of the object's surface", seen["accurate_within_1_percent"], None)
        figures.at_most("  median error (% of the diagonal)", seen["median_error_percent"], None)
        figures.at_most("  model that is not the object (share of its area)", seen["foreign"], 0.02)
        figures.at_most("  tilt (degrees)", seen["tilt_degrees"], 5.0, "{:.1f}")


def main() -> int:
    """Command line; exit code 1 where a bound was missed."""
    parser = argparse.ArgumentParser(prog="dev.benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="WHAT", help="figures (the default), presets, growth, rigs, compare; several at once")
    parser.add_argument("--photos", type=Path, default=ROOT / "tests" / "data" / "photos",
                        help="directory with banana/ and brighton_beach/")
    parser.add_argument("--work", type=Path, help="keep the runs here")
    parser.add_argument("--keep", action="store_true", help="take the runs that finished in --work before as they are")
    parser.add_argument("--preset", default="default", choices=["fast", "default", "high"])
    parser.add_argument("--only", default="", help="comma-separated: banana, object, relief, flight; for rigs: names of sets")
    parser.add_argument("--size", type=int, default=720, help="rigs: width of the photos in pixels")
    parser.add_argument("--stereo", metavar="PYTHON", help="compare: an environment with the engine's packages, open3d and xatlas")
    parser.add_argument("--rival", metavar="PYTHON", help="compare: an environment with pyarchinit-photogrammetry[mesh,fast]")
    arguments = parser.parse_args()
    wanted = arguments.what or ["figures"]
    if unknown := set(wanted) - {"figures", "presets", "growth", "rigs", "compare"}:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are figures, presets, growth, rigs and compare")
    runs = Runs((arguments.work or Path(tempfile.mkdtemp(prefix="engine-bench-"))).resolve(), again=not arguments.keep)
    figures, photos = Figures(), arguments.photos.resolve()
    chosen = set(arguments.only.split(",")) if arguments.only else {"banana", "object", "relief", "flight"}
    if "figures" in wanted:
        if "banana" in chosen:
            banana(figures, runs, photos, arguments.preset)
        if "object" in chosen:
            shape(figures, runs, "object", arguments.preset, 36, 640)
        if "relief" in chosen:
            shape(figures, runs, "relief", arguments.preset, 20, 640)
        if "flight" in chosen:
            flight(figures, runs, photos, arguments.preset)
    if "presets" in wanted:
        for preset in ("fast", "default", "high"):
            banana(figures, runs, photos, preset)
    if "growth" in wanted:
        growth(figures, runs)
    if "rigs" in wanted:
        rigs(figures, runs, arguments.preset, arguments.size, set(filter(None, arguments.only.split(","))))
    met = figures.show()
    if "compare" in wanted:
        met = compare(runs, photos, arguments.stereo, arguments.rival) and met
    print(f"\nruns and pictures: {runs.work}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
