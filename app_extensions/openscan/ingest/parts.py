"""Uploaded parts read in place as one seekable file, so that a set of 2 GB is never copied just to be joined."""
import bisect
import errno
import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

#: Descriptors kept open at once: reading mostly goes forward, and a set may have thousands of parts.
OPEN_FILES = 8


class BeforeStart(OSError, ValueError):
    """A seek before the start: an OSError, as ``zipfile`` expects of a file, and a ValueError, as the disk is not to blame."""


class OpenFiles:
    """A few open descriptors, shared by everything that reads one set. Not for use by several threads at once."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, int] = OrderedDict()

    def descriptor(self, path: Path) -> int:
        """A descriptor for reading; valid until the next call. :raises OSError: the file cannot be opened"""
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        while len(self._open) >= OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        self._open[path] = os.open(str(path), os.O_RDONLY | os.O_CLOEXEC)
        return self._open[path]

    def close(self) -> None:
        """Close all of them; using this again opens them again."""
        while self._open:
            os.close(self._open.popitem()[1])


class _Positioned(io.RawIOBase):
    """What files that are put together here share: a position within ``size_bytes``, both set by the subclass."""

    size_bytes: int
    _position: int

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in bytes from its own start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's. :raises BeforeStart: there"""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size_bytes}[whence]
        if base + offset < 0:
            raise BeforeStart(errno.EINVAL, f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; for readers that wrap this file."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _allowed(self, size: Optional[int]) -> int:
        """How many bytes a call of ``read(size)`` gives."""
        left = max(self.size_bytes - self._position, 0)
        return left if size is None or size < 0 else min(size, left)


class JoinedParts(_Positioned):
    """The parts' bytes one after the other, read only. Not for use by several threads at once."""

    def __init__(self, paths: Sequence[Path], files: Optional[OpenFiles] = None) -> None:
        """List the parts; none is kept open.

        :param paths: the parts in link order
        :param files: shared with other readers and closed by their owner; without it, ``close`` closes all
        :raises OSError: a part is not there
        """
        super().__init__()
        self._paths = [Path(path) for path in paths]
        self._files, self._own = files or OpenFiles(), files is None
        self._starts: list[int] = []
        self.size_bytes = 0
        for path in self._paths:
            self._starts.append(self.size_bytes)
            self.size_bytes += path.stat().st_size
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, over the borders of parts; fewer only at the end."""
        size = self._allowed(size)
        pieces = []
        while size > 0:
            piece = self._read_within_one_part(size)
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close what only this reader uses."""
        if self._own:
            self._files.close()
        super().close()

    def _read_within_one_part(self, size: int) -> bytes:
        index = bisect.bisect_right(self._starts, self._position) - 1
        # Empty parts share their start with the next one; bisect_right already lands on the last of them.
        piece = os.pread(self._files.descriptor(self._paths[index]), size, self._position - self._starts[index])
        if not piece:
            raise OSError("part %d is shorter than it was when reading began" % index)
        self._position += len(piece)
        return piece


class Slice(_Positioned):
    """A stretch of another seekable file as its own file: a stored zip within a zip is read in place."""

    def __init__(self, outer: Any, start: int, size_bytes: int) -> None:
        """:param outer: stays open as long as this is used; :param start: first byte; :param size_bytes: its length"""
        super().__init__()
        self._outer, self._start, self.size_bytes, self._position = outer, start, size_bytes, 0

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; fewer only at the slice's end."""
        size = self._allowed(size)
        self._outer.seek(self._start + self._position)
        data = self._outer.read(size)
        self._position += len(data)
        return data


class Patched(_Positioned):
    """Another seekable file with one stretch of it replaced by as many other bytes."""

    def __init__(self, outer: Any, start: int, data: bytes) -> None:
        """:param outer: stays open as long as this is used; :param start: first replaced byte; :param data: what stands there"""
        super().__init__()
        self._outer, self._start, self._data, self._position = outer, start, data, 0
        self.size_bytes = outer.seek(0, os.SEEK_END)

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes; fewer only at the end."""
        size = self._allowed(size)
        self._outer.seek(self._position)
        data = self._outer.read(size)
        start, end = max(self._start, self._position), min(self._start + len(self._data), self._position + len(data))
        if start < end:
            replaced = bytearray(data)
            replaced[start - self._position:end - self._position] = self._data[start - self._start:end - self._start]
            data = bytes(replaced)
        self._position += len(data)
        return data
