"""Remembers each set in a small file, so that an upload can continue after a restart and past sets can be listed.

The files hold no token and no upload link. A token is recognized by the beginning of its SHA-256.
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
#: States of a set on this computer. `sending`: processing has not been started yet.
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
    #: `files`: photos as they are; `zip`: photos streamed as one zip; `archive`: an existing zip.
    how: str
    photos: int
    size_bytes: int
    part_bytes: int
    #: [name, path, bytes, modified in ns, CRC-32 or null] of each file. For a converted file, the JPEG's first four values follow.
    files: List[List[Any]]
    created_at: float = 0.0
    done: List[int] = field(default_factory=list)
    state: str = SENDING
    #: Whether the server has created this project. Until then, a project with this name belongs to someone else.
    created: bool = False
    status: str = ""
    #: Only if the server gives one (see its createProject); needed for every later call about the project.
    secret: str = ""
    #: Where the model was put.
    model: str = ""
    #: Where the window will put the finished model; empty if it should not fetch it by itself.
    fetch_to: str = ""

    def same_files(self, files: "List[List[Any]]") -> bool:
        """Whether these are the set's files, unchanged."""
        return [entry[:4] for entry in self.files] == [entry[:4] for entry in files]


def token_mark(token: str) -> str:
    """The mark by which a set's file recognizes its token."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]


class Sets:
    """The sets in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        #: A cache of each file's content with the file's state: status calls are frequent, and each one looks through all sets.
        self._known: Dict[Path, Tuple[Tuple[int, int, int], Optional[Set]]] = {}

    def new(self, **values: Any) -> Set:
        """A set that is not saved yet."""
        return Set(key=uuid.uuid4().hex[:16], created_at=time.time(), **values)

    def all(self) -> "List[Set]":
        """All sets, newest first. Other files are ignored."""
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
        """The sets from one folder or zip under one token, newest first."""
        mark = token_mark(token)
        return [each for each in self.all() if (each.token_mark, each.source) == (mark, source)]

    def of_project(self, token: str, project: str) -> "Optional[Set]":
        """The newest set with this project's name under one token."""
        mark = token_mark(token)
        return next((each for each in self.all() if (each.token_mark, each.project) == (mark, project)), None)

    def save(self, one: Set) -> None:
        """Write a set's file, completely or not at all. Raises NotPossible if the directory cannot be written."""
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
        """Keep a second program off the same folder. The system releases the lock when the program ends.

        Raises NotPossible if another program has the lock.
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
                raise NotPossible(f"Another window or command is sending {source}. Wait until it has finished.") from error
            yield


def _read(path: Path) -> "Optional[Set]":
    try:
        content: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("version") != _VERSION:
            return None
        return Set(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
