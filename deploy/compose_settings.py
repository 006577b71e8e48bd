"""Our settings on their way into the containers, letter by letter.

An `env_file` of Compose's is no way for passwords: each version reads quotes, `$` and ` #` in it in another manner, and cuts or
changes them without a word. So the settings become a Compose file of their own, in which a value is what it is.
"""
import json
import os
import re
import sys
from pathlib import Path

from deploy.report import DeployError

SETTING_PREFIXES = ("WO_OPENSCAN_", "WO_TAPIS_", "WO_EXTENSIONS_", "WO_SMTP_", "WO_BEHIND_TLS_PROXY", "WO_ENCRYPTION_KEYS", "WO_LOG_JSON")
SETTINGS_NAME = "webodm-extensions.env"
#: What the shell of the last `start` gave: `NAME=VALUE` lines, values as they were.
SHELL_NAME = ".webodm-extensions-shell.env"
COMPOSE_NAME = ".webodm-extensions-compose.yml"
SERVICES = ("webapp", "worker")

_NEW_SETTINGS = """\
# Settings of OpenScan Cloud and Tapis storage, one NAME=VALUE a line, values as they are. docs/admin/settings.md lists them all.
# This file holds secrets: only you can read it, keep it so.
#WO_OPENSCAN_PUBLIC_URL=https://scan.example.org
#WO_BEHIND_TLS_PROXY=YES
#WO_SMTP_HOST=smtp.example.org
#WO_SMTP_USER=
#WO_SMTP_PASSWORD=
#WO_SMTP_TLS=YES
#WO_SMTP_FROM=webodm@example.org
"""


def shell_settings(environment: dict[str, str]) -> str:
    """Our settings among `environment`, a line each. Raises DeployError for a value with a line end."""
    lines = []
    for name, value in sorted(environment.items()):
        if name.startswith(SETTING_PREFIXES):
            if "\n" in value or "\r" in value:
                raise DeployError(f"{name} has more than one line, which no setting of ours has")
            lines.append(f"{name}={value}\n")
    return "".join(lines)


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
    return json.dumps({"version": "2.1", "services": {name: {"environment": environment} for name in SERVICES}}, indent=1) + "\n"


def write_private(path: Path, text: str) -> None:
    """Writes `path` whole or not at all, for the eyes of its owner only."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    os.replace(str(temporary), str(path))


def prepare(checkout: Path, keep: bool, needed: bool = True) -> Path:
    """Makes the Compose file with the settings of the site's file and, before them, those of the shell; returns its path.

    keep: leave the settings that the shell gave at the last start. needed: False for commands that start nothing: what is wrong with
    the settings must not keep a WebODM from being stopped. Raises DeployError.
    """
    target = checkout / COMPOSE_NAME
    try:
        settings = _collect(checkout, keep)
    except DeployError as error:
        if needed:
            raise
        print(f"warning: {error}", file=sys.stderr, flush=True)
        settings = {}
    write_private(target, compose_text(settings))
    return target


def _collect(checkout: Path, keep: bool) -> dict[str, str]:
    site, shell = checkout / SETTINGS_NAME, checkout / SHELL_NAME
    if not site.exists():
        write_private(site, _NEW_SETTINGS)
        print(f"+ wrote {site}: settings of ours go there", flush=True)
    given = shell_settings(dict(os.environ))
    if given or not keep or not shell.exists():
        write_private(shell, given)
    from_shell = dict(line.split("=", 1) for line in shell.read_text().split("\n") if line)
    return {**read_settings(site), **from_shell}
