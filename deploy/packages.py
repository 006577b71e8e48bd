"""Our Python packages in WebODM's Python: added beside its pins, never in their place.

`python -m deploy.packages` does it for the Python that runs it: a step of the Dockerfile, which has only this file, `report.py` and the
requirements, so that its layer is built anew only when one of these changes.
"""
import json
import re
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional, Protocol

from deploy.report import DeployError, Report

REQUIREMENTS = Path(__file__).resolve().parent / "requirements"


class RunsPython(Protocol):
    """Something that runs WebODM's Python: `deploy.webodm.WebODM`, or this very Python."""

    def run(self, arguments: list[str], what: str) -> str:
        """Runs it and returns what it printed. Raises DeployError."""

_LIST = ("import json, importlib.metadata as m; "
         "print(json.dumps({d.metadata['Name']: d.version for d in m.distributions() if d.metadata['Name']}))")


class Requirement(NamedTuple):
    """One line of a requirements file: a name and the version that we are tested with."""

    name: str
    version: str
    with_dependencies: bool


def normal(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed(webodm: RunsPython) -> dict[str, str]:
    """Every package of WebODM's Python: normalised name to version."""
    found = json.loads(webodm.run(["-c", _LIST], "listing WebODM's packages"))
    return {normal(name): version for name, version in found.items()}


def requirements() -> list[Requirement]:
    """What we need at run time, in the order in which it is installed."""
    found = []
    for file_name, with_dependencies in (("ours.txt", True), ("ours-nodeps.txt", False)):
        for line in (REQUIREMENTS / file_name).read_text().splitlines():
            line = line.split("#")[0].strip()
            if line:
                name, _, version = line.partition("==")
                found.append(Requirement(name.strip(), version.strip(), with_dependencies))
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Packages that were there `before` and now are gone or have another version, as sentences."""
    return [f"{name} {version} -> {after.get(name, 'gone')}" for name, version in sorted(before.items())
            if after.get(name) != version]


def add(webodm: RunsPython, report: Report) -> list[str]:
    """Installs what is missing, with every package that is there as a constraint; returns the names that came in.

    A package that WebODM has in another version stays as it is. Raises DeployError where pip fails, or where a
    package of WebODM's changed after all.
    """
    before = installed(webodm)
    missing = []
    for wanted in requirements():
        there = before.get(normal(wanted.name))
        if there is None:
            missing.append(wanted)
        elif there == wanted.version:
            report.same(f"package {wanted.name} {there}")
        else:
            report.same(f"package {wanted.name} {there} stays (tested with {wanted.version})")
    for with_dependencies in (True, False):
        chosen = [wanted for wanted in missing if wanted.with_dependencies == with_dependencies]
        if chosen:
            names = " ".join(f"{wanted.name}=={wanted.version}" for wanted in chosen)
            how = "under WebODM's pins" if with_dependencies else "without their dependencies"
            report.change(f"pip install {names} ({how})",
                          partial(_pip_install, webodm, chosen, before if with_dependencies else None))
    if report.dry_run or not missing:
        return []
    after = installed(webodm)
    moved = changed(before, after)
    if moved:
        raise DeployError("packages of WebODM changed, which must not happen: " + "; ".join(moved)
                          + ". Put them back with `pip install NAME==VERSION`.")
    report.same(f"all {len(before)} packages of WebODM kept their versions")
    return sorted(set(after) - set(before))


def _pip_install(webodm: RunsPython, wanted: list[Requirement], there: Optional[dict[str, str]]) -> None:
    """Installs with dependencies, the packages `there` keeping their versions; or without dependencies, where it is None."""
    arguments = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    names = [f"{one.name}=={one.version}" for one in wanted]
    with tempfile.TemporaryDirectory() as scratch:
        if there is None:
            arguments += ["--no-deps"]
        else:
            constraints = Path(scratch) / "constraints.txt"
            constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(there.items())
                                           if name not in ("pip", "setuptools", "wheel")))
            arguments += ["-c", str(constraints)]
        webodm.run([*arguments, *names], "pip install " + " ".join(names))


def remove(webodm: RunsPython, names: list[str], report: Report) -> None:
    """Uninstalls those of the packages `names` that are installed."""
    there = installed(webodm)
    chosen = [name for name in names if normal(name) in there]
    if chosen:
        report.change("pip uninstall " + " ".join(chosen), lambda: webodm.run(
            ["-m", "pip", "--disable-pip-version-check", "uninstall", "--quiet", "--yes", *chosen], "pip uninstall"))


class _ThisPython:
    def run(self, arguments: list[str], what: str) -> str:
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise DeployError(f"{what} failed (exit {done.returncode}):\n{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout


if __name__ == "__main__":
    try:
        add(_ThisPython(), Report())
    except DeployError as error:
        sys.exit(f"error: {error}")
