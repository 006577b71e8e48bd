"""What a stand-in system holds: directories, files, symbolic links, generated listings. Nothing is copied."""
import os
import posixpath
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Optional, Union

JPEG_END = b"\xff\xd9"


@dataclass
class File:
    """A file whose bytes are those of ``source``, padded inside the JPEG to ``size`` bytes if that is larger."""

    source: Path
    size: int
    modified: float
    mime: Optional[str] = None
    kind: str = "file"

    def blocks(self, block_bytes: int = 1 << 18) -> Iterator[bytes]:
        """The file's bytes in blocks."""
        real = self.source.stat().st_size
        if self.size <= real:
            with self.source.open("rb") as stream:
                left = self.size
                while left:
                    block = stream.read(min(block_bytes, left))
                    if not block:
                        return
                    left -= len(block)
                    yield block
            return
        # Padding goes after the image data and before a last end marker: decoders stop at the first one.
        yield from File(self.source, real, self.modified).blocks(block_bytes)
        left = self.size - real
        zeros = bytes(block_bytes)
        while left > len(JPEG_END):
            count = min(block_bytes, left - len(JPEG_END))
            yield zeros[:count]
            left -= count
        yield JPEG_END[-left:]


@dataclass
class Link:
    """A symbolic link; ``target`` is relative to the link's directory or starts with ``/`` (the system's root)."""

    target: str
    modified: float = field(default_factory=time.time)
    kind: str = "symbolic_link"

    @property
    def size(self) -> int:
        """A link's own length, as ``lstat`` gives it."""
        return len(os.fsencode(self.target))


@dataclass
class Directory:
    """Names and what they are."""

    entries: dict[str, "Node"] = field(default_factory=dict)
    modified: float = field(default_factory=time.time)
    kind: str = "dir"
    size: int = 4096


Node = Union[File, Link, Directory]


class NotThere(LookupError):
    """The path does not exist on the system."""


class Tree:
    """One system's files."""

    def __init__(self) -> None:
        self.root = Directory()
        self.lock = threading.RLock()

    def find(self, path: str, follow: bool = True, depth: int = 0) -> Node:
        """The node at a path relative to the root. :raises NotThere: nothing there, or links that never end"""
        if depth > 8:
            raise NotThere(path)
        with self.lock:
            node: Node = self.root
            parts = [part for part in path.split("/") if part]
            for index, part in enumerate(parts):
                if not isinstance(node, Directory) or part not in node.entries:
                    raise NotThere(path)
                node = node.entries[part]
                last = index == len(parts) - 1
                if isinstance(node, Link) and (follow or not last):
                    base = "/" + "/".join(parts[:index])
                    target = posixpath.normpath(posixpath.join(base, node.target))
                    node = self.find(target, True, depth + 1)
            return node

    def make_directory(self, path: str) -> Directory:
        """The directory at a path, made with its parents."""
        with self.lock:
            node = self.root
            for part in (part for part in path.split("/") if part):
                below = node.entries.setdefault(part, Directory())
                if not isinstance(below, Directory):
                    raise NotThere(path)
                node = below
            return node

    def put(self, path: str, node: Node) -> None:
        """Lay a node at a path."""
        folder, _, name = path.strip("/").rpartition("/")
        with self.lock:
            self.make_directory(folder).entries[name] = node

    def put_file(self, path: str, source: Path, *, size: Optional[int] = None, modified: Optional[float] = None,
                 mime: Optional[str] = "") -> None:
        """Lay a real file at a path. :param size: bytes to pad it to; :param mime: empty: by the name"""
        stat = source.stat()
        if mime == "":
            mime = "image/jpeg" if path.lower().endswith((".jpg", ".jpeg")) else "application/octet-stream"
        self.put(path, File(source, size or stat.st_size, stat.st_mtime if modified is None else modified, mime))

    def remove(self, path: str) -> None:
        """Take a node away. :raises NotThere: nothing there"""
        folder, _, name = path.strip("/").rpartition("/")
        with self.lock:
            parent = self.find(folder)
            if not isinstance(parent, Directory) or parent.entries.pop(name, None) is None:
                raise NotThere(path)

    def add_real(self, path: str, folder: Path) -> None:
        """Lay a real directory, with all that is below it, at a path."""
        self.make_directory(path)
        for entry in sorted(folder.iterdir()):
            below = f"{path}/{entry.name}"
            if entry.is_symlink():
                self.put(below, Link(os.readlink(entry)))
            elif entry.is_dir():
                self.add_real(below, entry)
            elif entry.is_file():
                self.put_file(below, entry)


def listing_item(system: str, path: str, name: str, node: Node) -> dict:
    """An item of a listing as the Files API has it. ``path`` is without a leading slash."""
    return {
        "mimeType": getattr(node, "mime", None),
        "type": node.kind,
        "owner": "1000",
        "group": "1000",
        "nativePermissions": "rwxr-xr-x" if node.kind == "dir" else "rw-r--r--",
        "url": f"tapis://{system}/{path}",
        "lastModified": datetime.fromtimestamp(int(node.modified), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "name": name,
        "path": path,
        "size": node.size,
    }
