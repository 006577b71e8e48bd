"""WebODM in Docker with us in it: `start`, `stop`, `down`, `restart`, `update`, `logs`, `config`, `manage`, `backup`.

WebODM's own webodm.sh does the work, with all of its flags: `docker/shim/docker-compose` stands before the real Compose and
lays our files over those that WebODM names.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

from deploy import backup
from deploy.report import DeployError
from deploy.webodm import ROOT

REPOSITORY = "https://github.com/WebODM/WebODM"
#: The released version that COMPATIBILITY.md names: the commit of 3.2.4.
RELEASE = "c373a15383b42dcca0bd47c73f98e484d79784b0"
SHIM = ROOT / "docker" / "shim"
SETTING_PREFIXES = ("WO_OPENSCAN_", "WO_TAPIS_", "WO_SMTP_", "WO_BEHIND_TLS_PROXY", "WO_ENCRYPTION_KEYS", "WO_LOG_JSON")
SETTINGS_NAME = "webodm-extensions.env"

_NEW_SETTINGS = """\
# Settings of OpenScan Cloud and Tapis storage, one NAME=VALUE a line, without quotes. docs/settings.md lists them all.
# This file holds secrets: only you can read it, keep it so.
#WO_OPENSCAN_PUBLIC_URL=https://scan.example.org
#WO_BEHIND_TLS_PROXY=YES
#WO_SMTP_HOST=smtp.example.org
#WO_SMTP_USER=
#WO_SMTP_PASSWORD=
#WO_SMTP_TLS=YES
#WO_SMTP_FROM=webodm@example.org
"""


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
    _git(["clone", "--quiet", REPOSITORY, str(target)])
    _git(["-C", str(target), "checkout", "--quiet", RELEASE])
    return target


def _git(arguments: list[str]) -> None:
    try:
        done = subprocess.run(["git", *arguments], stderr=subprocess.PIPE, text=True)
    except OSError as error:
        raise DeployError("git is needed to fetch WebODM; or set WEBODM_DIR to a WebODM that is here") from error
    if done.returncode:
        raise DeployError(f"git {arguments[0]} failed: {done.stderr.strip()[-500:]}. Fetch WebODM by hand and set WEBODM_DIR.")


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)


def shell_settings(environment: dict[str, str]) -> str:
    """Our settings among `environment`, as the lines of an env file. Raises DeployError for a value with a line end."""
    lines = []
    for name, value in sorted(environment.items()):
        if name.startswith(SETTING_PREFIXES):
            if "\n" in value or "\r" in value:
                raise DeployError(f"{name} has more than one line, which an env file cannot hold")
            lines.append(f"{name}={value}\n")
    return "".join(lines)


def prepare_environment(checkout: Path, keep: bool) -> dict[str, str]:
    """The environment of WebODM's webodm.sh, and the two env files that our Compose file names.

    keep: leave the settings that the shell gave at the last start.
    """
    settings = checkout / SETTINGS_NAME
    if not settings.exists():
        _write_private(settings, _NEW_SETTINGS)
        print(f"+ wrote {settings}: settings of ours go there", flush=True)
    from_shell = checkout / ".webodm-extensions-shell.env"
    given = shell_settings(dict(os.environ))
    if given or not keep or not from_shell.exists():
        _write_private(from_shell, given)
    return {**os.environ, "WEBODM_EXTENSIONS_DIR": str(ROOT), "WEBODM_EXTENSIONS_ENV": str(settings),
            "WEBODM_EXTENSIONS_SHELL_ENV": str(from_shell), "PATH": f"{SHIM}{os.pathsep}{os.environ.get('PATH', '')}"}


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
        return _in_container(["python", "manage.py", *arguments])
    if command == "backup":
        return backup.dump(["docker", "exec", _container("db"), "pg_dump", "-U", "postgres", *backup.OPTIONS, "webodm_dev"],
                           Path(arguments[0]) if arguments else None, dict(os.environ))
    checkout = find_checkout(clone=command == "start")
    environment = prepare_environment(checkout, keep=command != "start")
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


def doctor(url: Optional[str], as_json: bool) -> int:
    """The doctor inside the running webapp container."""
    command = ["python", "/opt/webodm-extensions/deploy", "doctor", "--webodm", "/webodm", "--url", url or "http://localhost:8000"]
    return _in_container(command + (["--json"] if as_json else []))
