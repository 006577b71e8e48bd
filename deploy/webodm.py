"""A WebODM directory: which Python runs it, what it is, and how its management commands are run."""
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from deploy.report import DeployError

ROOT = Path(__file__).resolve().parent.parent
#: Our version, read without importing anything of ours.
VERSION = re.findall(r'^__version__ = "([^"]+)"$', (ROOT / "app_extensions" / "__init__.py").read_text(), re.MULTILINE)[0]
PLUGINS = ("openscan_cloud", "tapis_storage")
LABELS = ("openscan", "tapis")
RECORD_NAME = ".webodm-extensions.json"
#: WebODM releases that this was tried on, see COMPATIBILITY.md.
TESTED_VERSIONS = ("3.2.4",)
OLDEST_VERSION = (2, 5, 0)


def read_env_file(path: Path) -> dict[str, str]:
    """`KEY=VALUE` lines, as systemd's EnvironmentFile and Docker's --env-file have them; `export ` before them is fine. A `#` is a
    comment where a word begins with it: `a#b` is a password like any other.

    Raises DeployError where the file cannot be read or a line is none of these.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DeployError(f"the environment file cannot be read: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        try:
            words = [] if line.lstrip().startswith("#") else shlex.split(line)
        except ValueError as error:
            raise DeployError(f"{path}, line {number}: {error}") from error
        if words and words[0] == "export":
            words = words[1:]
        words = words[:next((at for at, word in enumerate(words) if word.startswith("#")), len(words))]
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
                raise DeployError(f"{path}, line {number}: not KEY=VALUE")
            found[key] = value
    return found


class WebODM:
    """The WebODM in `directory`.

    python: path of its Python; by default that of the last install, its virtual environment, or of its running processes.
    extra_env: environment that its service has and this shell has not (`WO_DATABASE_HOST`, `WO_BROKER` …).
    Raises DeployError where there is no WebODM, or no Python that can run it.
    """

    def __init__(self, directory: Path, python: Optional[str] = None, extra_env: Optional[dict[str, str]] = None) -> None:
        self.directory = Path(directory).resolve()
        for needed in ("manage.py", "webodm/settings.py", "app", "worker"):
            if not (self.directory / needed).exists():
                raise DeployError(f"{self.directory} is not a WebODM: it has no {needed}")
        self.extra_env = dict(extra_env or {})
        self.record: dict[str, Any] = self._read_record()
        self.python = self._find_python(python)

    # -- what an install left here ------------------------------------------------------------------------------

    @property
    def record_path(self) -> Path:
        return self.directory / RECORD_NAME

    def _read_record(self) -> dict[str, Any]:
        try:
            return json.loads(self.record_path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise DeployError(f"{self.record_path} is damaged ({error}). Delete it and run `install` again") from error

    def write_record(self, record: dict[str, Any]) -> None:
        """Keeps what `uninstall` has to take back; whole or not at all."""
        self.record = record
        temporary = self.record_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        os.replace(temporary, self.record_path)

    # -- its Python ---------------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[str]:
        if self.record.get("python"):
            yield self.record["python"]
        for root in (self.directory, self.directory.parent):
            for name in ("venv", ".venv", "python3-venv"):
                yield str(root / name / "bin" / "python")
        if os.environ.get("VIRTUAL_ENV"):
            yield os.path.join(os.environ["VIRTUAL_ENV"], "bin", "python")
        yield from self._running_pythons()
        yield "python3.9"

    def _running_pythons(self) -> Iterator[str]:
        """Pythons of processes that run in the directory now (gunicorn, celery)."""
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if Path(os.readlink(str(entry / "cwd"))) != self.directory:
                    continue
                first = (entry / "cmdline").read_bytes().split(b"\0")[0].decode()
            except OSError:
                continue  # not ours to look at, or gone already
            if "python" in os.path.basename(first):
                yield first

    def _find_python(self, named: Optional[str]) -> str:
        tried = []
        for candidate in [named] if named else self._candidates():
            if candidate in tried:
                continue
            tried.append(candidate)
            if self._has_django(candidate):
                return candidate
        raise DeployError("no Python with WebODM's requirements found (tried: " + ", ".join(tried) + "). "
                          "Give the one that runs WebODM: --python /path/to/venv/bin/python")

    def _has_django(self, python: str) -> bool:
        try:
            done = subprocess.run([python, "-c", "import django, celery, rest_framework"], cwd=str(self.directory),
                                  env=self.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except OSError:
            return False
        return done.returncode == 0

    # -- running things in it -----------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """The environment of its processes: yours and `extra_env`."""
        env = {**os.environ, **self.extra_env}
        env["PYTHONUNBUFFERED"] = "1"
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        return env

    def run(self, arguments: list[str], what: str, *, timeout: float = 600, with_errors: bool = False) -> str:
        """Runs its Python with `arguments` in its directory; returns what it printed (`with_errors`: on stderr too).

        Raises DeployError with the end of its output where it fails.
        """
        try:
            done = subprocess.run([self.python, *arguments], cwd=str(self.directory), env=self.environment(),
                                  capture_output=True, timeout=timeout, text=True)
        except subprocess.TimeoutExpired as error:
            raise DeployError(f"{what} took longer than {timeout:.0f} s") from error
        if done.returncode != 0:
            tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
            raise DeployError(f"{what} failed (exit {done.returncode}):\n{tail}")
        return done.stdout + (done.stderr if with_errors else "")

    def manage(self, *arguments: str, with_errors: bool = False) -> str:
        """Runs `manage.py` with `arguments`; as `run`."""
        return self.run(["manage.py", *arguments], "manage.py " + " ".join(arguments), with_errors=with_errors)

    def manage_here(self, arguments: list[str]) -> int:
        """Runs `manage.py` with this terminal; returns its exit code."""
        return subprocess.run([self.python, "manage.py", *arguments], cwd=str(self.directory), env=self.environment()).returncode

    def probe(self, what: str, *arguments: str, timeout: float = 120) -> dict[str, Any]:
        """Asks WebODM's own Python with `probe.py`; `what` is one of its questions. Raises DeployError."""
        printed = self.run([str(Path(__file__).with_name("probe.py")), what, "worker", *arguments],
                           f"asking WebODM for its {what}", timeout=timeout)
        line = next((line for line in reversed(printed.splitlines()) if line.startswith("{")), "")
        if not line:
            raise DeployError(f"WebODM's Python did not answer when asked for its {what}:\n{printed[-1000:]}")
        return json.loads(line)


def version_tuple(version: str) -> "tuple[int, ...]":
    """`3.2.4` as (3, 2, 4); what is no number ends it."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group(0).split(".")) if found else ()
