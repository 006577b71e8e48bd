"""Packs a finished task's results into ``all.zip``, in the layout of NodeODM, which WebODM expects."""
import contextlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Callable

ARCHIVE_NAME = "all.zip"

# Relative to a task's directory; missing ones are left out.
DEFAULT_OUTPUTS = (
    "odm_orthophoto/odm_orthophoto.tif",
    "odm_orthophoto/odm_orthophoto.tfw",
    "odm_orthophoto/odm_orthophoto.png",
    "odm_orthophoto/odm_orthophoto.wld",
    "odm_orthophoto/odm_orthophoto.mbtiles",
    "odm_orthophoto/odm_orthophoto.kmz",
    "odm_orthophoto/odm_orthophoto_extent.dxf",
    "odm_orthophoto/cutline.gpkg",
    "odm_georeferencing",
    "odm_texturing",
    "odm_dem/dsm.tif",
    "odm_dem/dtm.tif",
    "odm_dem/dsm.euclideand.tif",
    "odm_dem/dtm.euclideand.tif",
    "dsm_tiles",
    "dtm_tiles",
    "orthophoto_tiles",
    "potree_pointcloud",
    "entwine_pointcloud",
    "3d_tiles",
    "images.json",
    "cameras.json",
    "task_output.txt",
    "log.json",
    "odm_report",
    "viewer.html",  # not ODM's: our engine's page that shows the model offline
)
# What every task has, results or not.
_NO_RESULT = frozenset({"task_output.txt", "images.json", "log.json"})
_COPY_BYTES = 1 << 20


class NoResultError(Exception):
    """The engine reported success, but left no results."""


class PackingCanceled(Exception):
    """The task was canceled while its archive was being written."""


def parse_outputs(text: Any) -> list[str]:
    """A client's ``outputs``, a JSON list of paths relative to the task's directory, without those that lead outside it.

    As in NodeODM, anything but a list of strings counts as none.
    """
    try:
        paths = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return []
    if not isinstance(paths, list):
        return []
    outputs = []
    for path in paths:
        if not isinstance(path, str) or "\0" in path:
            continue
        normal = PurePosixPath(os.path.normpath(path.replace("\\", "/")))
        if not normal.is_absolute() and ".." not in normal.parts and normal.parts:
            outputs.append(str(normal))
    return outputs


def pack_results(project: Path, outputs: Sequence[str], canceled: Callable[[], bool]) -> Path:
    """Write ``all.zip`` into a task's directory, under another name until it is complete; returns its path.

    Files are stored, not compressed: nearly all bytes are JPEG, LAZ and the like. ``canceled`` is called after every megabyte. Links are
    left out. Raises NoResultError, PackingCanceled, OSError.
    """
    files = sorted(_result_files(project, outputs or DEFAULT_OUTPUTS))
    if not any(str(path.relative_to(project)) not in _NO_RESULT for path in files):
        raise NoResultError("The engine reported success, but left no results")
    archive = project / ARCHIVE_NAME
    unfinished = project / (ARCHIVE_NAME + ".part")
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED, allowZip64=True, strict_timestamps=False) as target:
            for path in files:
                _add(target, path, str(path.relative_to(project)), canceled)
        os.replace(unfinished, archive)
    finally:
        with contextlib.suppress(FileNotFoundError):
            unfinished.unlink()
    return archive


def _result_files(project: Path, outputs: Sequence[str]) -> Iterator[Path]:
    seen = set()
    for output in outputs:
        start = project / output
        if start.is_symlink():
            continue
        for path in [start] if start.is_file() else start.rglob("*"):
            own = path.name not in (ARCHIVE_NAME, ARCHIVE_NAME + ".part")
            if own and path not in seen and path.is_file() and not path.is_symlink():
                seen.add(path)
                yield path


def _add(target: zipfile.ZipFile, path: Path, name: str, canceled: Callable[[], bool]) -> None:
    entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
    with path.open("rb") as source, target.open(entry, "w", force_zip64=path.stat().st_size >= 1 << 31) as member:
        while True:
            if canceled():
                raise PackingCanceled
            data = source.read(_COPY_BYTES)
            if not data:
                return
            member.write(data)
