"""Our settings on their way into the containers, character for character.

Compose's own env files are no way to pass passwords: each version of Compose reads quotes, `$` and ` #` differently and changes values
silently. So the settings go into a separate Compose file, which keeps values as they are.
"""
import json
import os
import re
import sys
from pathlib import Path

from deploy.private_files import write_private
from deploy.report import DeployError

SETTING_PREFIXES = ("WO_OPENSCAN_", "WO_TAPIS_", "WO_EXTENSIONS_", "WO_SMTP_", "WO_BEHIND_TLS_PROXY", "WO_ENCRYPTION_KEYS", "WO_LOG_JSON",
                    "WO_EXTENSIONS_")
SETTINGS_NAME = "webodm-extensions.env"
#: What the shell of the last `start` gave, as JSON: a value may have line ends.
SHELL_NAME = ".webodm-extensions-shell.json"
OLD_SHELL_NAME = ".webodm-extensions-shell.env"
COMPOSE_NAME = ".webodm-extensions-compose.yml"
SERVICES = ("webapp", "worker", "extensions-worker")

_NEW_SETTINGS = """\
# Settings of OpenScan Cloud and Tapis storage, one NAME=VALUE per line.
# Values are taken literally. docs/admin/settings.md lists all settings.
# This file contains secrets: keep it readable only by you.
#WO_OPENSCAN_PUBLIC_URL=https://scan.example.org
#WO_BEHIND_TLS_PROXY=YES
#WO_SMTP_HOST=smtp.example.org
#WO_SMTP_USER=
#WO_SMTP_PASSWORD=
#WO_SMTP_TLS=YES
#WO_SMTP_FROM=webodm@example.org
"""


def shell_settings(environment: dict[str, str]) -> dict[str, str]:
    """Our settings among `environment`."""
    return {name: value for name, value in sorted(environment.items()) if name.startswith(SETTING_PREFIXES)}


def read_settings(path: Path) -> dict[str, str]:
    """The settings in the file that people write: `NAME=VALUE` lines and comments; one pair of quotes around a value goes.

    Raises DeployError where the file cannot be read or a line is none of these; the text of the line is not told.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DeployError(f"{path} cannot be read: {error}") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise DeployError(f"{path}, line {number}: not NAME=VALUE")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return found


def compose_text(settings: dict[str, str]) -> str:
    """A Compose file that gives webapp and worker these settings. It is JSON, which all of Compose's versions read as YAML."""
    environment = {name: value.replace("$", "$$") for name, value in sorted(settings.items())}
    return json.dumps({"services": {name: {"environment": environment} for name in SERVICES}}, indent=1) + "\n"


def prepare(checkout: Path, starts: bool, needed: bool = True, fresh: bool = False) -> Path:
    """Make the Compose file with the settings of the site's file and, before them, those of the shell; returns its path.

    starts: this is a `start`: settings in its shell are remembered, beside those of earlier starts unless `fresh`. All other commands use
    what is remembered and change nothing. needed: False for commands that start nothing: a wrong line in the settings must not keep a
    WebODM from being stopped. Raises DeployError.
    """
    target = checkout / COMPOSE_NAME
    try:
        settings = _collect(checkout, starts, fresh)
    except DeployError as error:
        if needed:
            raise
        print(f"warning: {error}", file=sys.stderr, flush=True)
        if target.exists():
            return target
        settings = {}
    text = compose_text(settings)
    if not target.exists() or target.read_text() != text:
        write_private(target, text)
    return target


def _collect(checkout: Path, starts: bool, fresh: bool) -> dict[str, str]:
    site, shell = checkout / SETTINGS_NAME, checkout / SHELL_NAME
    if starts:
        if not site.exists():
            write_private(site, _NEW_SETTINGS)
            print(f"+ wrote {site}: put our settings there", flush=True)
        settings = {**({} if fresh else _remembered(checkout)), **shell_settings(dict(os.environ))}
        write_private(shell, json.dumps(settings, indent=1, sort_keys=True) + "\n")
        (checkout / OLD_SHELL_NAME).unlink(missing_ok=True)
    return {**(read_settings(site) if site.exists() else {}), **_remembered(checkout)}


def _remembered(checkout: Path) -> dict[str, str]:
    """The settings that the shell of the last `start` had; up to 0.1.0 they were kept as lines."""
    try:
        return json.loads((checkout / SHELL_NAME).read_text())
    except FileNotFoundError:
        old = checkout / OLD_SHELL_NAME
        return dict(line.split("=", 1) for line in old.read_text().split("\n") if line) if old.exists() else {}
    except (OSError, ValueError) as error:
        raise DeployError(f"{checkout / SHELL_NAME} cannot be read: {error}. Delete it and run `./webodm.sh start` again") from error
