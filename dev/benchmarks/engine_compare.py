"""The engine beside two other ways from photos to a model, as ratios in one run: ``python -m dev.benchmarks.engine compare``.

``--stereo PYTHON`` runs dev.benchmarks.engine_stereo (COLMAP, OpenCV's semi-global matching, Open3D, xatlas) in an environment with the
engine's packages, ``open3d`` and ``xatlas``; ``--rival PYTHON`` runs ``pyarchinit-photogrammetry`` (``[mesh,fast]``) by its own
command line. What is not named is skipped by name. Each gets the same photos, and the same two are held out from depth and texture.
"""
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from dev.benchmarks.engine_runs import HELD_OUT, PYTHON, Program, Runs, measure
from dev.benchmarks.table import Row, print_table

PYARCHINIT = "pyarchinit-photogrammetry"
STEREO = "pycolmap, stereo pairs, Open3D, xatlas"
DISABLE = """
import sys
from pyarchinit_photogrammetry.app import app
for camera in app.document.chunk.cameras:
    camera.enabled = camera.path.rsplit("/", 1)[-1] not in sys.argv[-1].split(",")
app.document.save()
"""


class WayFailed(Exception):
    """Another way that broke off; the table says so in its place."""


@dataclass
class Way:
    """What one way cost and made."""

    name: str
    wall: float
    cpu: float
    peak: int
    installed: int
    placed: int
    points: int
    faces: int
    stages: dict[str, float]  # processor seconds
    seen: dict[str, Any] = field(default_factory=dict)  # measures on the photos that were held out


def installed_bytes(python: str) -> int:
    """Size of the virtual environment that a Python belongs to."""
    root = Path(python).parent.parent
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def ours(runs: Runs, photos: Path) -> Way:
    """The engine at its default quality."""
    run = runs.banana(photos, "default")
    facts, counted = run.stats["engine"], run.stats["reconstruction_statistics"]
    cpu = facts["processor_seconds"]
    stages = {"placing": cpu["dataset"] + cpu["opensfm"], "depth and fusion": cpu["openmvs"] + cpu["odm_filterpoints"],
              "surface and texture": cpu["odm_meshing"] + cpu["mvs_texturing"]}
    return Way("engine", run.program.wall, run.program.cpu, run.program.peak, installed_bytes(PYTHON),
               counted["reconstructed_shots_count"], facts["points"], facts["faces"], stages,
               measure("engine_measures", "held-out", str(run.out)))


def photos_alone(runs: Runs, photos: Path) -> Path:
    """A directory with the 16 photos and nothing else: COLMAP reads whatever lies beside them, licenses too, and breaks off."""
    directory = runs.work / "compare-photos"
    directory.mkdir(parents=True, exist_ok=True)
    for path in sorted((photos / "banana").glob("*.JPG")):
        shutil.copy2(path, directory / path.name)
    return directory


def stereo(python: str, runs: Runs, photos: Path) -> Way:
    """COLMAP, semi-global matching of rectified pairs, Open3D and xatlas."""
    out = runs.work / "compare-stereo"
    program = runs.program("compare-stereo", [python, "-m", "dev.benchmarks.engine_stereo", str(photos), str(out), "--hold-out",
                                              HELD_OUT])
    if program.code:
        raise WayFailed(f"it failed: see {out}.err")
    told = json.loads(program.output.splitlines()[-1])
    cpu = {name: row["cpu_s"] for name, row in told["stages"].items()}
    stages = {"placing": cpu["placing"], "depth and fusion": cpu["depth and fusion"],
              "surface and texture": cpu["surface"] + cpu["charts"] + cpu["texture"]}
    return Way(STEREO, program.wall, program.cpu, program.peak, installed_bytes(python), told["placed"], told["points"],
               told["faces"], stages, measure("engine_measures", "held-out", str(out)))


def pyarchinit(python: str, runs: Runs, photos: Path) -> Way:
    """Its commands one after the other, each at its default quality."""
    out = runs.work / "compare-pyarchinit"
    if runs.again:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    script, project, ppg = out / "disable.py", str(out / "set.ppg"), str(Path(python).parent / "ppg")
    script.write_text(DISABLE)
    ended: dict[str, Program] = {}

    def step(name: str, *arguments: str) -> None:
        ended[name] = runs.program(f"compare-pyarchinit-{arguments[0]}{len(ended)}", [ppg, *arguments])
        if ended[name].code:
            raise WayFailed(f"{name} failed: see {out}-{arguments[0]}{len(ended) - 1}.err")

    step("new", "new", project)
    step("photos", "add-photos", project, str(photos))
    step("placing", "align", project)
    step("cameras", "export", project, "--cameras", str(out / "cameras"))
    step("centres", "export", project, "--cameras", str(out / "centres.csv"))
    step("hold-out", "run", str(script), "--project", project, HELD_OUT)
    step("depth and fusion", "dense", project)
    step("surface and texture", "mesh", project)
    step("model", "export", project, "--model", str(out / "model.obj"))
    seen = subprocess.run([PYTHON, "-m", "dev.benchmarks.engine_foreign", str(out), str(photos), HELD_OUT],
                          capture_output=True, text=True, check=True)
    told = json.loads(seen.stdout)
    everything = list(ended.values())
    points = re.findall(r"[\d,]+", ended["depth and fusion"].output)
    return Way(PYARCHINIT, sum(p.wall for p in everything), sum(p.cpu for p in everything), max(p.peak for p in everything),
               installed_bytes(python), told["placed"], max(int(p.replace(",", "") or 0) for p in points), told["faces"],
               {name: ended[name].cpu for name in ("placing", "depth and fusion", "surface and texture")},
               measure("engine_measures", "held-out", str(out)))


def rows_against(us: Way, them: Way) -> list[Row]:
    """The table's rows: ours against one other way."""
    def row(what: str, ours: float, theirs: float, form: str) -> Row:
        return Row(f"{them.name}: {what}", form.format(ours), form.format(theirs), ours / theirs if theirs else None)

    rows = [row("processor s", us.cpu, them.cpu, "{:.0f}"), row("wall s", us.wall, them.wall, "{:.0f}")]
    rows += [row(f"processor s of {name}", us.stages[name], them.stages[name], "{:.0f}") for name in us.stages]
    rows += [row("peak memory, MB", us.peak / 1e6, them.peak / 1e6, "{:.0f}"),
             row("installed, MB", us.installed / 1e6, them.installed / 1e6, "{:.0f}"),
             row("photos placed", us.placed, them.placed, "{:.0f}"), row("points", us.points, them.points, "{:.0f}"),
             row("triangles", us.faces, them.faces, "{:.0f}")]
    rows += [row(what, us.seen[key], them.seen[key], "{:.3f}") for what, key in (
        ("held-out SSIM inside the object", "ssim"), ("held-out SSIM, uncovered pixels counted", "ssim_of_whole_object"),
        ("held-out PSNR, dB", "psnr_db"), ("object pixels covered", "covered"))]
    return rows


def compare(runs: Runs, photos: Path, stereo_python: Optional[str], rival_python: Optional[str]) -> bool:
    """Run all ways on the 16 photos, and print ours against each of the others."""
    us = ours(runs, photos)
    rows: list[Row] = []
    for name, python, way in ((STEREO, stereo_python, stereo), (PYARCHINIT, rival_python, pyarchinit)):
        if python is None or not Path(python).exists():
            rows.append(Row(name, skipped=f"{name} is not installed (or not named)"))
        else:
            try:
                rows += rows_against(us, way(python, runs, photos_alone(runs, photos)))
            except WayFailed as failure:
                rows.append(Row(name, skipped=str(failure)))
    return print_table(rows)
