"""Server, token and login: from options, the environment, a configuration file, and the system's keyring, in this order."""
import configparser
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from openscan_uploader.errors import NotPossible

ORIGINAL_SERVER = "http://openscanfeedback.dnsuser.de:1334"
_KEYRING_SERVICE = "openscan-uploader"
_SECTION = "openscan"


@dataclass(frozen=True)
class Settings:
    """Where to send, and as whom."""

    server: str = ""
    token: str = ""
    user: str = "openscan"
    password: str = "free"


def config_file() -> Path:
    """The configuration file: `OPENSCAN_CONFIG`, or the usual place of this system."""
    if os.environ.get("OPENSCAN_CONFIG"):
        return Path(os.environ["OPENSCAN_CONFIG"])
    return _base("APPDATA", "Library/Application Support", "XDG_CONFIG_HOME", ".config") / "config.ini"


def state_directory() -> Path:
    """Where the state of sets is kept: `OPENSCAN_STATE`, or the usual place of this system."""
    if os.environ.get("OPENSCAN_STATE"):
        return Path(os.environ["OPENSCAN_STATE"])
    return _base("LOCALAPPDATA", "Library/Application Support", "XDG_STATE_HOME", ".local/state") / "sets"


def _base(windows: str, mac: str, xdg: str, otherwise: str) -> Path:
    if sys.platform == "win32":
        parent = Path(os.environ.get(windows) or Path.home())
    elif sys.platform == "darwin":
        parent = Path.home() / mac
    else:
        parent = Path(os.environ.get(xdg) or Path.home() / otherwise)
    return parent / "openscan-uploader"


def load(server: Optional[str] = None, token: Optional[str] = None) -> Settings:
    """Collect the settings.

    Args:
        server: the caller's value; takes precedence over everything else.
        token: likewise.

    Raises:
        NotPossible: the configuration file cannot be read.
    """
    path = config_file()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise NotPossible(f"The configuration file {path} cannot be read. Correct or delete it. It must have a line [{_SECTION}] "
                          "followed by lines such as server = https://example.org.") from error

    def chosen(name: str, given: Optional[str], default: str = "") -> str:
        return given or os.environ.get(f"OPENSCAN_{name.upper()}") or parser.get(_SECTION, name, fallback="") or default

    address = chosen("server", server).strip().rstrip("/")
    found = chosen("token", token).strip()
    if not found and address:
        found = stored_token(address)
    return Settings(address, found, chosen("user", None, Settings.user), chosen("password", None, Settings.password))


def save(server: str, token: str) -> bool:
    """Save the server in the configuration file, and the token in the keyring, or in the file if there is no keyring.

    Only its owner can read the file.

    Returns:
        Whether the token is in the keyring.
    """
    path = config_file()
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    if not parser.has_section(_SECTION):
        parser.add_section(_SECTION)
    parser.set(_SECTION, "server", server)
    in_keyring = _store_token(server, token)
    if in_keyring:
        parser.remove_option(_SECTION, "token")
    else:
        parser.set(_SECTION, "token", token)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.unlink() if temporary.exists() else None
    with os.fdopen(os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        parser.write(file)
    os.replace(str(temporary), str(path))
    return in_keyring


def stored_token(server: str) -> str:
    """The keyring's token for a server; empty if there is no token or no keyring."""
    keyring = _keyring()
    if keyring is None:
        return ""
    try:
        return keyring.get_password(_KEYRING_SERVICE, server) or ""
    except Exception:  # noqa: BLE001 - each keyring raises its own errors; without one, the user enters the token again
        return ""


def _store_token(server: str, token: str) -> bool:
    keyring = _keyring()
    if keyring is None:
        return False
    try:
        keyring.set_password(_KEYRING_SERVICE, server, token)
        return keyring.get_password(_KEYRING_SERVICE, server) == token
    except Exception:  # noqa: BLE001 - a locked or missing keyring: the caller keeps the token in the file
        return False


def _keyring() -> Any:
    if os.environ.get("OPENSCAN_KEYRING") == "no":
        return None
    try:
        import keyring  # an extra; imported late, because it takes a while to find the system's services
    except ImportError:
        return None
    return keyring
