"""A task's results, as files or as zips that WebODM makes while they are read."""
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Optional, cast

from app.models import Task


class _StreamReader(io.RawIOBase):
    """A readable file over WebODM's stream of byte chunks."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def available_assets(task: Task) -> list[str]:
    """WebODM's names of what there is (``textured_model.zip``, ``textured_model.glb``, ``all.zip`` …)."""
    return list(task.available_assets)


def open_asset(task: Task, name: str) -> BinaryIO:
    """An asset to read from start to end; zips of directories are made on the way and cannot be sought in.

    Raises FileNotFoundError for unknown names and for results that are not there.
    """
    source = task.get_asset_file_or_stream(name)
    if isinstance(source, str):
        return open(source, "rb")  # noqa: SIM115 (the caller closes it)
    return cast(BinaryIO, io.BufferedReader(_StreamReader(source)))


def asset_path(task: Task, name: str) -> Optional[Path]:
    """The file of an asset that is one; None for zips of directories, unknown names and what is not there."""
    if name not in Task.ASSETS_MAP:
        return None
    path = task.get_check_file_asset_path(name) if isinstance(Task.ASSETS_MAP[name], str) else None
    return Path(path) if path else None


def assets_dir(task: Task) -> Path:
    """The directory of the results, in ODM's layout; it exists once the task is complete."""
    return Path(task.assets_path(""))
