"""Running the engine as a program, as the node does, in its own environment."""
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("ENGINE_PYTHON", str(ROOT / ".venv" / "engine" / "bin" / "python"))


@dataclass
class Finished:
    """A run that ended: its exit code and its JSON lines."""

    code: int
    lines: list[dict[str, Any]]
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The last line."""
        return self.lines[-1]

    @property
    def logs(self) -> list[str]:
        """The console lines."""
        return [line["message"] for line in self.lines if line["type"] == "log"]

    @property
    def progress(self) -> list[dict[str, Any]]:
        """The progress lines."""
        return [line for line in self.lines if line["type"] == "progress"]


def command(images: Path, out: Path, options: Optional[dict[str, Any]] = None, *more: str) -> list[str]:
    """The command line of a run; writes the options' file beside the results."""
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.parent / f"{out.name}.options.json"
    file.write_text(json.dumps([{"name": k, "value": v} for k, v in (options or {}).items()]))
    return [PYTHON, "-m", "node.engine", "--images", str(images), "--out", str(out), "--options", str(file), *more]


def run(images: Path, out: Path, options: Optional[dict[str, Any]] = None, *more: str,
        timeout: float = 1800) -> Finished:
    """Run the engine to its end."""
    done = subprocess.run(command(images, out, options, *more), cwd=ROOT, capture_output=True, text=True,
                          timeout=timeout)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return Finished(done.returncode, lines, done.stderr)


_scripts: "Optional[subprocess.Popen[str]]" = None


def script(kind: str, program: str, *arguments: str, timeout: int = 900) -> str:
    """Run a Python program of ours in the engine's environment and return what it prints. `kind`: ``-m`` or ``-c``, as for Python.

    Its libraries wait as they do in a run (``node/engine/__main__.py``): by default, threads that wait for each other spin, and tests side
    by side have more threads than cores.
    """
    global _scripts
    if _scripts is None:  # it ends with this process, at the end of its input
        env = {**os.environ, "OMP_WAIT_POLICY": "passive", "OPENBLAS_NUM_THREADS": "1"}
        _scripts = subprocess.Popen([PYTHON, "-m", "tests.engine.scripts"], cwd=ROOT, env=env, text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with tempfile.NamedTemporaryFile("r") as stdout, tempfile.NamedTemporaryFile("r") as stderr:
        order = {"arguments": [kind, program, *arguments], "timeout": timeout, "stdout": stdout.name, "stderr": stderr.name}
        _scripts.stdin.write(json.dumps(order) + "\n")
        _scripts.stdin.flush()
        code = _scripts.stdout.readline().strip()
        assert code == "0", stderr.read()[-2000:] or f"it ended with {code}"
        return stdout.read()
