"""Runs of the engine, their measures, and the table of figures: what the engine's benchmarks share."""
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ENGINE_PYTHON", str(ROOT / ".venv" / "engine" / "bin" / "python"))
HELD_OUT = "DSC_0425.JPG,DSC_0436.JPG"


@dataclass
class Program:
    """A program that ended: its standard output, seconds of wall clock and of all cores, and peak memory in bytes."""

    output: str
    wall: float
    cpu: float
    peak: int
    code: int


def timed(command: list[str], log: Path, cwd: Path = ROOT) -> Program:
    """Run a program to its end; its standard output is kept in ``log``, its errors beside it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with open(log, "w+") as out, open(log.with_suffix(".err"), "w") as errors:
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    return Program(text, time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024,
                   process.returncode)


@dataclass
class Run:
    """A finished run of the engine: its results, its statistics, and the program that made them."""

    out: Path
    stats: dict[str, Any]
    program: Program

    @property
    def disk(self) -> int:
        """Bytes on disk at the end, intermediate files included."""
        return sum(path.stat().st_size for path in self.out.rglob("*") if path.is_file())


@dataclass
class Runs:
    """Where the runs are kept. ``again`` False: what finished there before is taken as it is, and told with its own figures."""

    work: Path
    again: bool = True
    _made: set[str] = field(default_factory=set)  # by this process: a run that two tables show is made once

    def _kept(self, name: str) -> bool:
        return (self.work / f"{name}.json").exists() and (name in self._made or not self.again)

    def program(self, name: str, command: list[str]) -> Program:
        """Run a program, or take what it told before; its output is in ``NAME.log``, its figures in ``NAME.json``."""
        file = self.work / f"{name}.json"
        if self._kept(name):
            return Program(**json.loads(file.read_text()))
        file.unlink(missing_ok=True)
        program = timed(command, self.work / f"{name}.log")
        if not program.code:
            file.write_text(json.dumps(vars(program)))
            self._made.add(name)
        return program

    def attempt(self, images: Path, name: str, options: dict[str, Any], *more: str) -> tuple[Program, Path]:
        """Run the engine, which may fail; where its results are."""
        out, file = self.work / name, self.work / f"{name}.options.json"
        if not self._kept(name):
            shutil.rmtree(out, ignore_errors=True)
        self.work.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([{"name": k, "value": v} for k, v in options.items()]))
        program = self.program(name, [PYTHON, "-m", "node.engine", "--images", str(images), "--out", str(out), "--options", str(file),
                                      *more])
        return program, out

    def engine(self, images: Path, name: str, options: dict[str, Any], *more: str) -> Run:
        """Run the engine. Exits with the engine's own sentence where it fails."""
        program, out = self.attempt(images, name, options, *more)
        if program.code:
            sys.exit(f"{images}: {json.loads(program.output.splitlines()[-1]).get('error')}")
        return Run(out, json.loads((out / "odm_report" / "stats.json").read_text()), program)

    def banana(self, photos: Path, preset: str) -> Run:
        """The engine on the 16 photos, two of them held out from depth and texture."""
        return self.engine(photos / "banana", f"banana-{preset}", {"preset": preset}, "--hold-out", HELD_OUT)

    def synthetic(self, kind: str, photos: int, size: int) -> Path:
        """A synthetic set; it is the same each time, so it is rendered once."""
        directory = self.work / f"{kind}-{photos}-{size}"
        if not (directory / "truth.json").exists():
            subprocess.run([PYTHON, "-m", "dev.benchmarks.engine_synthetic", kind, str(directory), "--photos", str(photos),
                            "--size", str(size)], cwd=ROOT, check=True)
        return directory

    def rig(self, name: str, size: int) -> Path:
        """A rendered rig; it is the same each time, so it is rendered once."""
        directory = self.work / f"set-{name}-{size}"
        if not (directory / "truth.json").exists():
            subprocess.run([PYTHON, "-m", "dev.benchmarks.engine_rigs", name, str(directory), "--size", str(size)], cwd=ROOT, check=True)
        return directory


def measure(module: str, *arguments: str) -> dict[str, Any]:
    """What a module of measures in this package finds."""
    done = subprocess.run([PYTHON, "-m", f"dev.benchmarks.{module}", *arguments], cwd=ROOT, capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return json.loads(done.stdout)


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
        width = [max((len(row[i]) for row in self.rows), default=0) for i in range(4)]
        for row in self.rows:
            print("  ".join(text.ljust(w) for text, w in zip(row, width)).rstrip())
        return not any(row[3] == "MISSED" for row in self.rows)
