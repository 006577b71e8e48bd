"""Our Python packages in WebODM's Python: added beside its pins, never in their place."""
import json
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

from deploy.report import DeployError, Report
from deploy.webodm import ROOT, WebODM

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


def installed(webodm: WebODM) -> dict[str, str]:
    """Every package of WebODM's Python: normalised name to version."""
    found = json.loads(webodm.run(["-c", _LIST], "listing WebODM's packages"))
    return {normal(name): version for name, version in found.items()}


def requirements() -> list[Requirement]:
    """What we need at run time, in the order in which it is installed."""
    found = []
    for file_name, with_dependencies in (("ours.txt", True), ("ours-nodeps.txt", False)):
        for line in (ROOT / "deploy" / "requirements" / file_name).read_text().splitlines():
            line = line.split("#")[0].strip()
            if line:
                name, _, version = line.partition("==")
                found.append(Requirement(name.strip(), version.strip(), with_dependencies))
    return found


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Packages that were there `before` and now are gone or have another version, as sentences."""
    return [f"{name} {version} -> {after.get(name, 'gone')}" for name, version in sorted(before.items())
            if after.get(name) != version]


def add(webodm: WebODM, report: Report) -> list[str]:
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
            report.same(f"package {wanted.name} {there} stays (tried with {wanted.version})")
    for with_dependencies in (True, False):
        chosen = [wanted for wanted in missing if wanted.with_dependencies == with_dependencies]
        if chosen:
            names = " ".join(f"{wanted.name}=={wanted.version}" for wanted in chosen)
            how = "under WebODM's pins" if with_dependencies else "without their dependencies"
            report.change(f"pip install {names} ({how})",
                          lambda chosen=chosen, deps=with_dependencies: _pip_install(webodm, chosen, deps))
    if report.dry_run or not missing:
        return []
    after = installed(webodm)
    moved = changed(before, after)
    if moved:
        raise DeployError("packages of WebODM changed, which must not be: " + "; ".join(moved)
                          + ". Put them back with `pip install NAME==VERSION`.")
    report.same(f"all {len(before)} packages of WebODM have the version they had")
    return sorted(set(after) - set(before))


def _pip_install(webodm: WebODM, wanted: list[Requirement], with_dependencies: bool) -> None:
    arguments = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    names = [f"{one.name}=={one.version}" for one in wanted]
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch) / "constraints.txt"
        pins = {name: version for name, version in installed(webodm).items() if name not in ("pip", "setuptools", "wheel")}
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())))
        if with_dependencies:
            arguments += ["-c", str(constraints)]
        else:
            arguments += ["--no-deps"]
        webodm.run([*arguments, *names], "pip install " + " ".join(names))


def remove(webodm: WebODM, names: list[str], report: Report) -> None:
    """Takes out the packages `names` that an install brought in, as far as they still are there."""
    there = installed(webodm)
    chosen = [name for name in names if normal(name) in there]
    if chosen:
        report.change("pip uninstall " + " ".join(chosen), lambda: webodm.run(
            ["-m", "pip", "--disable-pip-version-check", "uninstall", "--quiet", "--yes", *chosen], "pip uninstall"))
