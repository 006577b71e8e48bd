"""Writes uploads from multipart requests straight to disk, for tasks that do not exist yet.

A set lies in ``uploads/<uuid>/``: ``body.json`` with the form's fields, ``images/`` with the complete files, ``incoming/`` with those
still on their way. The directory stays when the node ends, so that an upload in chunks can continue after a restart.
"""
import asyncio
import contextlib
import filecmp
import json
import os
import re
import shutil
import time
import uuid as uuid_module
from pathlib import Path
from typing import Any, Optional

from aiohttp import BodyPartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from .disk import Disk
from .names import safe_name, unused_name

CHUNK_BYTES = 1 << 20
MAX_FIELD_BYTES = 1 << 20
FILES_FIELD = "images"
#: Errors that reading a malformed body raises; BadHttpMessage comes from a part's headers, RecursionError from deeply nested JSON.
_MALFORMED = (ValueError, web.HTTPBadRequest, BadHttpMessage, RecursionError)
_UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
_CLIENT_UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[1-7][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", re.IGNORECASE)


class UploadError(Exception):
    """The request cannot be accepted; the text is shown to the client."""


def is_uuid(text: str) -> bool:
    return bool(_UUID.match(text))


def is_client_uuid(text: str) -> bool:
    """Whether a client may choose this as its task's id (``set-uuid``): like NodeODM, this node wants a UUID of a known version."""
    return bool(_CLIENT_UUID.match(text))


class Upload:
    """One set of files on its way into a task."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self.directory = directory
        self.images = directory / "images"
        self._incoming = directory / "incoming"
        self._body = directory / "body.json"
        self._disk = disk

    def create(self) -> None:
        self.images.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    def is_open(self) -> bool:
        """Whether ``init`` has begun this set and it is not committed yet."""
        return self._body.is_file()

    def write_body(self, body: dict[str, str]) -> None:
        """Keep the form's fields until the commit."""
        unfinished = self._body.with_suffix(".part")
        unfinished.write_text(json.dumps(body), encoding="utf-8")
        os.replace(unfinished, self._body)

    def read_body(self) -> dict[str, Any]:
        return json.loads(self._body.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Accept no more files."""
        self._body.unlink(missing_ok=True)

    def count(self) -> int:
        return sum(1 for _ in self.images.iterdir()) if self.images.is_dir() else 0

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    async def receive(self, request: web.Request) -> tuple[dict[str, str], int]:
        """Read a multipart request and write its files to disk; returns its form fields and the number of files.

        Files appear under their own names once they are complete. If one fails, nothing of it stays, and the request's later files are
        not read. Raises UploadError, DiskFullError, OSError.
        """
        if not request.content_type.startswith("multipart/"):
            raise UploadError(f"Expected multipart/form-data, got {request.content_type}")
        self._disk.check_room(request.content_length or 0)
        fields: dict[str, str] = {}
        files = 0
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    raise UploadError("Multipart inside multipart is not accepted")
                if part.filename is None:
                    fields[part.name or ""] = await _read_field(part)
                elif part.name != FILES_FIELD:
                    raise UploadError(f"Unexpected field {part.name!r}: send files in the field '{FILES_FIELD}'")
                else:
                    await self._receive_file(part)
                    files += 1
        except _MALFORMED as error:
            raise UploadError(f"The upload is not well-formed: {error}") from error
        return fields, files

    async def _receive_file(self, part: BodyPartReader) -> None:
        name = safe_name(part.filename or "")
        loop = asyncio.get_running_loop()
        unfinished = self._incoming / uuid_module.uuid4().hex
        try:
            with unfinished.open("wb") as file:
                while True:
                    chunk = await part.read_chunk(CHUNK_BYTES)
                    if not chunk:
                        break
                    self._disk.check_room(len(chunk))
                    await loop.run_in_executor(None, file.write, chunk)
            await loop.run_in_executor(None, self._place, unfinished, name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                unfinished.unlink()

    def _place(self, unfinished: Path, name: str) -> None:
        target = self.images / name
        if target.exists() and filecmp.cmp(unfinished, target, shallow=False):
            # A client that got no answer sends its file again.
            return
        os.replace(unfinished, self.images / unused_name(self.images, name))


class Uploads:
    """The directory of all sets that are on their way."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        directory.mkdir(parents=True, exist_ok=True)
        for unfinished in directory.glob("*/incoming/*"):
            unfinished.unlink()

    def get(self, uuid: str) -> Upload:
        return Upload(self._directory / uuid, self._disk)

    def find_open(self, uuid: str) -> Optional[Upload]:
        """The set with this id that still takes files, or None."""
        upload = self.get(uuid) if is_uuid(uuid) else None
        return upload if upload is not None and upload.is_open() else None

    def remove_stale(self, older_than_seconds: float, in_use: set[str]) -> list[str]:
        """Remove sets that have not grown for this long, except those of tasks ``in_use``; returns their ids."""
        removed = []
        for directory in self._directory.iterdir():
            if directory.name in in_use or time.time() - _last_change(directory) < older_than_seconds:
                continue
            shutil.rmtree(directory, ignore_errors=True)
            removed.append(directory.name)
        return removed


def _last_change(directory: Path) -> float:
    """When a set last changed, in seconds since 1970. Adding a file changes the time of its directory."""
    times = []
    for path in (directory, directory / "images", directory / "incoming"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times, default=0.0)


async def _read_field(part: BodyPartReader) -> str:
    data = bytearray()
    while True:
        chunk = await part.read_chunk(CHUNK_BYTES)
        if not chunk:
            return data.decode("utf-8")
        data += chunk
        if len(data) > MAX_FIELD_BYTES:
            raise UploadError(f"The field {part.name!r} is longer than {MAX_FIELD_BYTES} bytes")


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a small request, sent as JSON, urlencoded or multipart without files. Raises UploadError."""
    kind = request.content_type
    try:
        if kind == "application/json":
            body = await request.json()
            if not isinstance(body, dict):
                raise UploadError("Expected a JSON object")
            return body
        if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
            return {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    except _MALFORMED as error:
        raise UploadError(f"The request is not well-formed: {error}") from error
    return {}
