"""What we remember of each set: a small file, so that an upload continues after a restart and past sets can be listed.

The files hold no token and no upload link. A token is known by the first letters of its SHA-256.
"""
import contextlib
import hashlib
import json
import os
import sys
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

from openscan_uploader.errors import NotPossible

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_VERSION = 1
#: States of a set as we know it. `sending`: not started yet.
SENDING, STARTED, GIVEN_UP = "sending", "started", "given up"


@dataclass
class Set:
    """One set that was sent or is being sent."""

    key: str
    server: str
    token_mark: str
    #: The folder, zip or first file.
    source: str
    project: str
    #: `files`: photos as they are; `zip`: streamed as one; `archive`: a zip that was there before.
    how: str
    photos: int
    size_bytes: int
    part_bytes: int
    #: [name, path, bytes, modified in ns, CRC-32 or null] of each file; of one that was converted, the JPEG's first four after that.
    files: List[List[Any]]
    created_at: float = 0.0
    done: List[int] = field(default_factory=list)
    state: str = SENDING
    #: Whether the server has created the project for us. Until then, one of this name is somebody else's.
    created: bool = False
    status: str = ""
    #: Only where the server gives one (see its createProject); needed for every later call about the project.
    secret: str = ""
    #: Where the model was put.
    model: str = ""
    #: Where the window is to put the model when it is done; empty if it is not to fetch it by itself.
    fetch_to: str = ""

    def same_files(self, files: "List[List[Any]]") -> bool:
        """Whether these are the files that the set was made of, unchanged."""
        return [entry[:4] for entry in self.files] == [entry[:4] for entry in files]


def token_mark(token: str) -> str:
    """How a token is recognized in our files."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


class Sets:
    """The sets in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: What was read of each file, and of which state of it: a set's status is asked often, and each question looks through all.
        self._known: Dict[Path, Tuple[Tuple[int, int, int], Optional[Set]]] = {}

    def new(self, **values: Any) -> Set:
        """A set that is not saved yet."""
        return Set(key=uuid.uuid4().hex[:16], created_at=time.time(), **values)

    def all(self) -> "List[Set]":
        """All sets, the newest first. Other files are ignored."""
        found = []
        for path in self.directory.glob("*.json") if self.directory.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):  # forgotten meanwhile
                about = path.stat()
                version = (about.st_ino, about.st_mtime_ns, about.st_size)
                if path not in self._known or self._known[path][0] != version:
                    self._known[path] = (version, _read(path))
                read = self._known[path][1]
                if read is not None:
                    found.append(replace(read))
        return sorted(found, key=lambda each: each.created_at, reverse=True)

    def of_source(self, token: str, source: str) -> "List[Set]":
        """The sets of one folder or zip under one token, the newest first."""
        mark = token_mark(token)
        return [each for each in self.all() if (each.token_mark, each.source) == (mark, source)]

    def of_project(self, token: str, project: str) -> "Optional[Set]":
        """The newest set with this project's name under one token."""
        mark = token_mark(token)
        return next((each for each in self.all() if (each.token_mark, each.project) == (mark, project)), None)

    def save(self, one: Set) -> None:
        """Write a set's file: whole or not at all. Raises NotPossible where the directory cannot be written."""
        path = self.directory / f"{one.key}.json"
        temporary = path.with_suffix(f".{os.getpid()}.new")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": _VERSION, **asdict(one)}, file, ensure_ascii=True)
            os.replace(str(temporary), str(path))
        except OSError as error:
            raise NotPossible(f"{self.directory} cannot be written ({error.strerror}). Make room there, or set OPENSCAN_STATE to another "
                              "directory.") from error

    def forget(self, one: Set) -> None:
        """Remove a set's file."""
        with contextlib.suppress(FileNotFoundError):
            (self.directory / f"{one.key}.json").unlink()

    @contextlib.contextmanager
    def lock(self, source: str) -> "Iterator[None]":
        """Keep a second program off the same folder. The system lets go of the lock when its holder ends.

        Raises NotPossible where somebody else has it.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}.lock"
        with open(path, "a+b") as file:
            try:
                if sys.platform == "win32":
                    file.seek(0)
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                else:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise NotPossible(f"{source} is being sent by another window or command. Wait for it.") from error
            yield


def _read(path: Path) -> "Optional[Set]":
    try:
        content: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("version") != _VERSION:
            return None
        return Set(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
