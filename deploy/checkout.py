"""Finds the WebODM checkout that the Docker commands work on, or clones the tried release."""
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Optional

from deploy.report import DeployError
from deploy.start_state import StartState
from deploy.webodm import ROOT, TESTED_VERSIONS

REPOSITORY = "https://github.com/WebODM/WebODM"
#: The release that COMPATIBILITY.md names: the commit of 3.2.4, and the image that WebODM's build publishes for it.
RELEASE = "c373a15383b42dcca0bd47c73f98e484d79784b0"
RELEASE_IMAGE = f"webodm/webodm_webapp:{TESTED_VERSIONS[-1]}"


def is_checkout(directory: Path) -> bool:
    """Whether `directory` is WebODM's, as one starts it in Docker."""
    return (directory / "webodm.sh").is_file() and (directory / "docker-compose.yml").is_file()


def find_checkout(clone: bool = False) -> Path:
    """The WebODM checkout: `WEBODM_DIR`, else this directory, `WebODM` in it, or `WebODM` beside this file.

    clone: get the release where there is none. Raises DeployError.
    """
    if os.environ.get("WEBODM_DIR"):
        directory = Path(os.environ["WEBODM_DIR"]).resolve()
        if not is_checkout(directory):
            raise DeployError(f"WEBODM_DIR={directory} is not a WebODM in Docker: it has no webodm.sh or no docker-compose.yml")
        return directory
    for directory in (Path.cwd(), Path.cwd() / "WebODM", ROOT / "WebODM"):
        if is_checkout(directory):
            return directory.resolve()
    target = ROOT / "WebODM"
    if not clone:
        raise DeployError(f"no WebODM found. Set WEBODM_DIR to its directory (looked for {target} too)")
    print(f"+ clone {REPOSITORY} at {RELEASE[:12]} to {target}", flush=True)
    unfinished = ROOT / "WebODM.part"  # the next start must not take a clone that was cut for the release
    if unfinished.exists():
        shutil.rmtree(str(unfinished))
    git(["clone", "--quiet", REPOSITORY, str(unfinished)])
    git(["checkout", "--quiet", RELEASE], unfinished)
    StartState(image=RELEASE_IMAGE, cloned=True).write(unfinished)
    unfinished.rename(target)
    return target


def git(arguments: list[str], directory: Optional[Path] = None) -> str:
    """Run git; returns what it printed. Raises DeployError."""
    # the checkout may belong to another user than the one who runs Docker: git would refuse it
    trust = ["-c", f"safe.directory={directory}"] if directory else []
    try:
        done = subprocess.run(["git", *trust, *arguments], cwd=str(directory or Path.cwd()), capture_output=True, text=True)
    except OSError as error:
        raise DeployError("git is needed to fetch WebODM. Install it, or set WEBODM_DIR to a WebODM on this machine") from error
    if done.returncode:
        raise DeployError(f"git {arguments[0]} failed: {done.stderr.strip()[-500:]}. Fetch WebODM yourself and set WEBODM_DIR.")
    return done.stdout.strip()


def current_commit(checkout: Path) -> str:
    """The commit that is checked out; empty where the checkout is no git clone."""
    return git(["rev-parse", "HEAD"], checkout) if (checkout / ".git").exists() else ""


def version_in(package_json: str) -> str:
    """WebODM's version in the text of its package.json; empty where there is none."""
    try:
        return str(json.loads(package_json).get("version", ""))
    except (ValueError, AttributeError):
        return ""
