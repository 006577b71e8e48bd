"""`uninstall` of a WebODM in Docker: what we left in its database and its media volume."""
import os
import subprocess
from pathlib import Path

from deploy import compose_settings
from deploy.containers import docker, inspect, variables
from deploy.report import DeployError
from deploy.start_state import STATE_NAME

FILES = (compose_settings.SETTINGS_NAME, compose_settings.SHELL_NAME, compose_settings.OLD_SHELL_NAME, compose_settings.COMPOSE_NAME,
         STATE_NAME)
#: What would make our directories and rows anew while they are deleted.
SERVICES = ("extensions-worker", "worker", "webapp")


def command(purge: bool, dry_run: bool = False) -> list[str]:
    """What takes us out of the volumes: plugin links, and with `purge` tables, rows that name us and files."""
    words = ["python", "/opt/webodm-extensions/deploy", "uninstall", "--webodm", "/webodm"]
    return [*words, *(["--purge"] if purge else []), *(["--dry-run"] if dry_run else [])]


def take_out(container: str, purge: bool) -> int:
    """Stop our containers, then uninstall in a separate container. Returns its exit code. Raises DeployError."""
    webapp = inspect(container)
    if webapp is None:
        raise DeployError("the webapp container is gone. Run `./webodm.sh start`, then `uninstall` again")
    given = variables(webapp)
    docker("stop", *(name for name in SERVICES if inspect(name) is not None))
    # the values go through the client's environment: a file of them could not hold line ends
    names = [word for name in given if name != "PATH" for word in ("--env", name)]
    words = ["docker", "run", "--rm", "--volumes-from", container, "--network", next(iter(webapp["NetworkSettings"]["Networks"])), *names,
             "--entrypoint", "env", webapp["Image"], *command(purge)]
    return subprocess.run(words, env={**os.environ, **{name: value for name, value in given.items() if name != "PATH"}}).returncode


def forget_files(checkout: Path) -> None:
    """Delete our files in a checkout: settings, and what the last start was told."""
    for name in FILES:
        path = checkout / name
        if path.exists():
            path.unlink()
            print(f"+ delete {path}", flush=True)
