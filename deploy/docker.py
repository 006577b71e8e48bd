"""WebODM in Docker with us in it: `start`, `stop`, `down`, `restart`, `update`, `logs`, `config`, `manage`, `backup`.

WebODM's own webodm.sh does the work, with all of its flags: `deploy/docker/shim/docker-compose` stands before the real Compose and
lays our files over those that WebODM names.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

from deploy import backup, compose_settings
from deploy.report import DeployError
from deploy.webodm import ROOT

REPOSITORY = "https://github.com/WebODM/WebODM"
#: The released version that COMPATIBILITY.md names: the commit of 3.2.4.
RELEASE = "c373a15383b42dcca0bd47c73f98e484d79784b0"
SHIM = ROOT / "deploy" / "docker" / "shim"
USAGE = """\
Usage: ./webodm.sh start|restart [FLAGS]    WebODM with us in it; FLAGS are those of WebODM's own webodm.sh, which does the work
       ./webodm.sh stop|down [FLAGS]        stops it; `down` removes the containers too (volumes stay)
       ./webodm.sh update [FLAGS]           WebODM's update, then our image anew on the new one
       ./webodm.sh logs [ARGUMENTS]         of webapp and worker; ARGUMENTS go to Compose's `logs`
       ./webodm.sh config [ARGUMENTS]       the merged Compose file, secrets included
       ./webodm.sh manage COMMAND …         a management command in the running webapp container

WEBODM_DIR names WebODM's directory (default: ./WebODM; `start` clones the tried release where there is none).
FLAGS with paths mean them as seen from there. docs/admin/docker.md tells more."""


def find_checkout(clone: bool) -> Path:
    """The WebODM checkout: `WEBODM_DIR`, else `WebODM` here or beside this file.

    clone: get the released version where there is none. Raises DeployError.
    """
    if os.environ.get("WEBODM_DIR"):
        directory = Path(os.environ["WEBODM_DIR"]).resolve()
        if not (directory / "webodm.sh").is_file():
            raise DeployError(f"WEBODM_DIR={directory} holds no WebODM: there is no webodm.sh in it")
        return directory
    for directory in (Path.cwd() / "WebODM", ROOT / "WebODM"):
        if (directory / "webodm.sh").is_file():
            return directory.resolve()
    target = ROOT / "WebODM"
    if not clone:
        raise DeployError(f"no WebODM found: set WEBODM_DIR to its directory (looked for {target} too)")
    print(f"+ clone {REPOSITORY} at {RELEASE[:12]} to {target}", flush=True)
    unfinished = ROOT / "WebODM.part"  # a clone that is cut must not be taken for the release at the next start
    if unfinished.exists():
        shutil.rmtree(str(unfinished))
    _git(["clone", "--quiet", REPOSITORY, str(unfinished)])
    _git(["checkout", "--quiet", RELEASE], unfinished)
    unfinished.rename(target)
    return target


def _git(arguments: list[str], directory: Optional[Path] = None) -> None:
    try:
        done = subprocess.run(["git", *arguments], cwd=str(directory or Path.cwd()), stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise DeployError("git is needed to fetch WebODM; or set WEBODM_DIR to a WebODM that is here") from error
    if done.returncode:
        raise DeployError(f"git {arguments[0]} failed: {done.stderr.strip()[-500:]}. Fetch WebODM by hand and set WEBODM_DIR.")


def prepare_environment(checkout: Path, command: str) -> dict[str, str]:
    """The environment of WebODM's webodm.sh for `command`: our Compose before the real one, and what it lays over WebODM's files.

    Raises DeployError.
    """
    settings = compose_settings.prepare(checkout, keep=command != "start", needed=command in ("start", "restart", "config"))
    return {**os.environ, "WEBODM_EXTENSIONS_DIR": str(ROOT),
            "WEBODM_EXTENSIONS_SETTINGS": str(settings),
            "PATH": f"{SHIM}{os.pathsep}{os.environ.get('PATH', '')}"}


def _run(arguments: list[str], checkout: Path, environment: dict[str, str]) -> int:
    try:
        return subprocess.run(arguments, cwd=str(checkout), env=environment).returncode
    except KeyboardInterrupt:
        return 130


def _compose(checkout: Path, environment: dict[str, str], *arguments: str) -> int:
    return _run([str(SHIM / "docker-compose"), "-f", "docker-compose.yml", *arguments], checkout, environment)


def main(command: str, arguments: list[str]) -> int:
    """Runs one of the Docker commands with the rest of its command line; returns the exit code. Raises DeployError."""
    if command == "manage":
        print("manage: in the running WebODM container", file=sys.stderr, flush=True)
        return _in_container(["python", "manage.py", *arguments])
    if {"-h", "--help"}.intersection(arguments):  # WebODM's webodm.sh passes over what it does not know, and stops or starts
        print(USAGE)
        return 0
    checkout = find_checkout(clone=command == "start")
    if command not in ("logs", "config"):
        _refuse_unknown(arguments, checkout)
    environment = prepare_environment(checkout, command)
    if command in ("start", "restart"):
        _need_docker()
        print(f"* WebODM in {checkout}, with docker-compose.override.yml over it", flush=True)
        code = _compose(checkout, environment, "build")
        return code or _run(["./webodm.sh", command, *arguments], checkout, environment)
    if command == "update":
        code = _run(["./webodm.sh", "update", *arguments], checkout, environment)
        return code or _compose(checkout, environment, "build", "--pull")
    if command == "logs":
        return _compose(checkout, environment, "logs", *(arguments or ["--follow", "webapp", "worker"]))
    if command == "config":
        return _compose(checkout, environment, "config", *arguments)
    return _run(["./webodm.sh", command, *arguments], checkout, environment)


def _refuse_unknown(arguments: list[str], checkout: Path) -> None:
    """WebODM's webodm.sh passes over flags that it does not know (`--detach`, `--port=80`), and does something else than was meant."""
    known = (checkout / "webodm.sh").read_text(errors="replace")
    for argument in arguments:
        if argument.startswith("--") and not re.search(rf"(?<![\w-]){re.escape(argument)}(?![\w-])", known):
            raise DeployError(f"WebODM's webodm.sh has no flag {argument} (values follow after a space); "
                              f"`{checkout / 'webodm.sh'}` without arguments lists them")


def _need_docker() -> None:
    if not shutil.which("docker"):
        raise DeployError("docker is not here: https://docs.docker.com/engine/install/. Without Docker: "
                          "`./webodm.sh sandbox start`, or `./webodm.sh install --webodm DIR` for a native WebODM")


def _container(name: str) -> str:
    _need_docker()
    done = subprocess.run(["docker", "ps", "--quiet", "--filter", f"name=^/?{name}$", "--filter", "status=running"],
                          capture_output=True, text=True)
    if done.returncode:
        raise DeployError(f"docker does not answer: {done.stderr.strip()[-300:]}")
    if not done.stdout.strip():
        raise DeployError(f"the container `{name}` is not running: `./webodm.sh start` first")
    return done.stdout.split()[0]


def _in_container(command: list[str]) -> int:
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    return subprocess.run(["docker", "exec", "-i", *terminal, _container("webapp"), *command]).returncode


def dump_tables(target: Optional[Path]) -> int:
    """`backup` of the running database container. Raises DeployError."""
    command = ["docker", "exec", _container("db"), "pg_dump", "-U", "postgres", *backup.OPTIONS, "webodm_dev"]
    return backup.dump(command, target, dict(os.environ))


def doctor(url: Optional[str], as_json: bool) -> int:
    """The doctor inside the running webapp container."""
    command = ["python", "/opt/webodm-extensions/deploy", "doctor", "--webodm", "/webodm", "--url", url or "http://localhost:8000"]
    return _in_container(command + (["--json"] if as_json else []))
