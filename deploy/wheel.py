"""Our Django apps as a wheel in WebODM's Python."""
import hashlib
import shutil
import tempfile
from pathlib import Path

from deploy import packages
from deploy.report import Report
from deploy.webodm import ROOT, WebODM

DISTRIBUTION = "webodm-openscan-tapis"
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "app_extensions")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".DS_Store")


def fingerprint() -> str:
    """What the wheel would be made of: the same sources give the same text."""
    found = hashlib.sha256()
    for name in SOURCES:
        path = ROOT / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
                found.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest()


def is_installed(webodm: WebODM) -> bool:
    """Whether WebODM's Python has our wheel."""
    return DISTRIBUTION in packages.installed(webodm)


def put(webodm: WebODM, report: Report) -> str:
    """Build the wheel and install it, unless the one that is there was made of the same sources; returns the fingerprint.

    Raises DeployError where pip fails: it fetches flit_core to build with.
    """
    wanted = fingerprint()
    there = is_installed(webodm)
    if there and webodm.record.get("wheel") == wanted:
        report.same(f"the wheel {DISTRIBUTION} is up to date")
        return wanted
    report.change(f"{'replace' if there else 'install'} the wheel {DISTRIBUTION} in {webodm.python}", lambda: _install(webodm))
    return wanted


def _install(webodm: WebODM) -> None:
    with tempfile.TemporaryDirectory(prefix="webodm-wheel-") as name:
        source = Path(name)
        for part in SOURCES:  # a build writes beside its sources, which may belong to another user
            if (ROOT / part).is_dir():
                shutil.copytree(str(ROOT / part), str(source / part), ignore=_LEFT_OUT)
            else:
                shutil.copy(str(ROOT / part), str(source / part))
        webodm.run(["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet", "--no-deps", "--force-reinstall",
                    str(source)], "building and installing our wheel")


def remove(webodm: WebODM, report: Report) -> None:
    """Take the wheel out, if it is there."""
    packages.remove(webodm, [DISTRIBUTION], report)
