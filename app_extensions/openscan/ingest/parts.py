"""Reads uploaded parts in place as one seekable file, so that a set of 2 GB need not be copied just to be joined."""
import bisect
import errno
import io
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

#: Descriptors kept open at once. A few suffice because reading mostly goes forward; a set may have thousands of parts.
OPEN_FILES = 8


class BeforeStart(OSError, ValueError):
    """A seek before the start. It is an OSError because ``zipfile`` expects one, and a ValueError because the disk is not to blame."""


class OpenFiles:
    """A few open descriptors, shared by all readers of one set. Not thread-safe."""

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
        """Close all descriptors. They are reopened on the next use."""
        while self._open:
            os.close(self._open.popitem()[1])


class _Positioned(io.RawIOBase):
    """Base of the composed files here: a position within ``size_bytes``. Subclasses set both."""

    size_bytes: int
    _position: int

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in bytes from this file's start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek like any file. :raises BeforeStart: the new position would be negative"""
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
        """How many bytes a call of ``read(size)`` returns."""
        left = max(self.size_bytes - self._position, 0)
        return left if size is None or size < 0 else min(size, left)


class JoinedParts(_Positioned):
    """The bytes of all parts, one part after the other, read-only. Not thread-safe."""

    def __init__(self, paths: Sequence[Path], files: Optional[OpenFiles] = None) -> None:
        """List the parts without opening them.

        :param paths: the parts in link order
        :param files: descriptors shared with other readers and closed by their owner; without them, ``close`` closes our own
        :raises OSError: a part is missing
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
        """Up to ``size`` bytes, across the borders of parts; fewer only at the end."""
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
    """Presents a range of a seekable file as a separate file, so that a stored zip within a zip is read in place."""

    def __init__(self, outer: Any, start: int, size_bytes: int) -> None:
        """:param outer: must stay open while this is used; :param start: first byte; :param size_bytes: length of the range"""
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
    """Another seekable file with one range replaced by the same number of other bytes."""

    def __init__(self, outer: Any, start: int, data: bytes) -> None:
        """:param outer: must stay open while this is used; :param start: first replaced byte; :param data: the new bytes"""
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
