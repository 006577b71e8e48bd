"""All that the stand-in knows: its tenant, users, clients, systems, tokens that were ended, faults, and counters."""
import hashlib
import json
import re
import secrets
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional

from .jwts import SigningKey, claims_for
from .tree import Tree

PATTERN = "ptdatax.project."


@dataclass
class Client:
    """A client registered with the authenticator."""

    client_id: str
    client_key: str
    callback_url: str


@dataclass
class System:
    """A system as ``GET /v3/systems`` gives it, with its files."""

    id: str
    owner: str
    shared_with: list[str] = field(default_factory=list)
    system_type: str = "LINUX"
    enabled: bool = True
    has_credentials: bool = True
    description: str = ""
    title: str = ""
    notes: dict = field(default_factory=dict)
    host: str = "data.tacc.utexas.edu"
    created: str = "2024-05-01T12:00:00.000000Z"
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    tree: Tree = field(default_factory=Tree, repr=False)

    def seen_by(self, username: str) -> bool:
        """Whether a user owns it or it is shared with the user."""
        return username == self.owner or username in self.shared_with


@dataclass
class Fault:
    """Something that goes wrong on purpose; see ``control.py`` for what each kind does."""

    kind: str
    operation: str = "content"
    path: str = ""
    user: str = ""
    times: Optional[int] = None
    every: int = 1
    skip: int = 0
    after_bytes: int = 1000
    seconds: float = 10.0
    status: int = 500
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    per_path: bool = False
    seen: Counter = field(default_factory=Counter)
    hits: int = 0

    def drops(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The same bytes, ``after_bytes`` each ``seconds``."""
        for block in blocks:
            for start in range(0, len(block), self.after_bytes):
                time.sleep(self.seconds)
                yield block[start:start + self.after_bytes]

    def applies(self, operation: str, path: str, user: str) -> bool:
        """Whether this call is to go wrong; counts the calls that match. Called under the world's lock."""
        if self.operation not in (operation, "any") or (self.user and self.user != user):
            return False
        if self.path and not re.search(self.path, path):
            return False
        key = path if self.per_path else ""
        self.seen[key] += 1
        number = self.seen[key] - self.skip
        if number <= 0 or (number - 1) % self.every:
            return False
        if self.times is not None and (number - 1) // self.every >= self.times:
            return False
        self.hits += 1
        return True


class World:
    """The stand-in's state. ``lock`` guards everything but the trees, which have their own locks."""

    def __init__(self, data: Path, base_url: str, tenant: str = "portals") -> None:
        """:param data: a directory for the key and the registered clients, made if missing"""
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        self.base_url = base_url
        self.tenant = tenant
        self.lock = threading.RLock()
        self.key = SigningKey(data / "tenant_key.pem")
        self.settings: dict[str, Any] = {
            "access_seconds": 14400, "refresh_seconds": 31536000, "code_seconds": 600, "token_status": 200,
            "latency_ms": 0, "regex_full_match": False, "idle_seconds": 5.0, "refresh": "works",
        }
        self.users: dict[str, str] = {}
        self.clients: dict[str, Client] = {}
        self.systems: dict[str, System] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        self.issued: dict[str, set[str]] = {}
        self.ended: set[str] = set()
        self.revoked: set[str] = set()
        self.faults: list[Fault] = []
        self.photos: list[Path] = []
        self.running: Counter = Counter()
        self.reset_counters()
        self._load_clients()

    @property
    def issuer(self) -> str:
        """The ``iss`` of this tenant's tokens."""
        return self.base_url + "/v3/tokens"

    def _load_clients(self) -> None:
        path = self.data / "clients.json"
        if path.exists():
            for row in json.loads(path.read_text()):
                self.clients[row["client_id"]] = Client(**row)

    def add_client(self, client_id: str, callback_url: str, client_key: str = "") -> Client:
        """Register a client, or register it anew with another callback."""
        with self.lock:
            known = self.clients.get(client_id)
            key = client_key or (known.client_key if known else secrets.token_urlsafe(24))
            client = self.clients[client_id] = Client(client_id, key, callback_url)
            path = self.data / "clients.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps([asdict(each) for each in self.clients.values()], indent=1))
        return client

    def add_user(self, username: str, account_type: str = "user") -> None:
        """Make a user (or a service account) who may log in."""
        with self.lock:
            self.users[username] = account_type

    def add_system(self, system: System) -> System:
        """Make a system, or replace it."""
        with self.lock:
            self.systems[system.id] = system
        return system

    def make_tokens(self, username: str, client_id: str) -> dict[str, Any]:
        """The ``result`` of a token answer: nested, as the authenticator gives it."""
        result = {}
        for token_type in ("access",) if self.settings["refresh"] == "none" else ("access", "refresh"):
            claims = claims_for(
                self.issuer, self.tenant, username, token_type=token_type, client_id=client_id,
                account_type=self.users.get(username, "user"), lifetime=self.settings[token_type + "_seconds"],
            )
            result[token_type + "_token"] = {
                token_type + "_token": self.key.sign(claims),
                "expires_at": time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime(claims["exp"])),
                "expires_in": self.settings[token_type + "_seconds"],
                "jti": claims["jti"],
            }
        return result

    def keep(self, content: bytes) -> Path:
        """A file with this content, for a system's tree to point at."""
        path = self.data / "contents" / hashlib.sha256(content).hexdigest()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def fault_for(self, operation: str, path: str = "", user: str = "") -> Optional[Fault]:
        """The first fault switched on for this call, if any."""
        with self.lock:
            for fault in self.faults:
                if fault.applies(operation, path, user):
                    return fault
        return None

    def count(self, name: str, number: int = 1) -> None:
        """Count something; ``GET /_counters`` shows it."""
        with self.lock:
            self.counters[name] += number

    def enter(self, name: str) -> None:
        """Something begins of which the greatest number at the same time is of interest."""
        with self.lock:
            self.running[name] += 1
            self.peaks[name] = max(self.peaks[name], self.running[name])

    def leave(self, name: str) -> None:
        """It ended."""
        with self.lock:
            self.running[name] -= 1

    def reset_counters(self) -> None:
        """Start counting from zero."""
        with self.lock:
            self.counters: Counter = Counter()
            self.peaks: Counter = Counter()
