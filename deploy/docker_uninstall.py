"""`uninstall` of a WebODM in Docker: what we left in its database and its media volume."""
from pathlib import Path

from deploy import compose_settings
from deploy.containers import in_webapp
from deploy.start_state import STATE_NAME

FILES = (compose_settings.SETTINGS_NAME, compose_settings.SHELL_NAME, compose_settings.OLD_SHELL_NAME, compose_settings.COMPOSE_NAME,
         STATE_NAME)


def inside(purge: bool, dry_run: bool) -> int:
    """Take us out of the running webapp's volumes: plugin links, rows that name us, and with `purge` tables and files too.

    Returns the exit code. Raises DeployError where the container does not run.
    """
    command = ["python", "/opt/webodm-extensions/deploy", "uninstall", "--webodm", "/webodm"]
    return in_webapp([*command, *(["--purge"] if purge else []), *(["--dry-run"] if dry_run else [])])


def forget_files(checkout: Path) -> None:
    """Delete our files in a checkout: settings, and what the last start was told."""
    for name in FILES:
        path = checkout / name
        if path.exists():
            path.unlink()
            print(f"+ delete {path}", flush=True)
