"""Prepares a task's directory for the engine, from uploaded files or from a zip file at an address."""
import asyncio
import os
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from .archives import unzip_flat, unzip_tree
from .disk import Disk
from .tasks import Task
from .threads import in_thread
from .uploads import Upload

DOWNLOAD_CHUNK_BYTES = 1 << 20
_GROUND_FILE = re.compile(r"(\.txt|^align\.(las|laz|tif))$", re.IGNORECASE)
_SEED = "seed.zip"


class IntakeError(Exception):
    """The files of a task cannot be used; the text is shown to its owner."""


async def take_in(task: Task, upload: Upload, project: Path, max_images: int, disk: Disk) -> int:
    """Move a task's files into its directory; returns the number of images.

    As in NodeODM, ``images/`` holds the photos and ``gcp/`` the text files (ground control points and the like) and alignment files.
    ``seed.zip`` is unpacked into the task's directory. It is safe to run this again after a kill. ``max_images`` 0 means no limit.
    Raises IntakeError, ArchiveError, DiskFullError, OSError.
    """
    if task.zipurl:
        await _fetch_zip(task.zipurl, upload, disk)
    return await in_thread(_arrange, upload, project, max_images, disk)


def _arrange(upload: Upload, project: Path, max_images: int, disk: Disk) -> int:
    images = project / "images"
    project.mkdir(parents=True, exist_ok=True)
    if upload.images.is_dir():
        # One rename moves all or nothing. If the target exists, an earlier task with this id left it behind.
        if images.exists():
            shutil.rmtree(images)
        os.replace(upload.images, images)
    upload.remove()
    images.mkdir(exist_ok=True)
    ground = project / "gcp"
    ground.mkdir(exist_ok=True)
    seed = images / _SEED
    seeded = seed.is_file()
    if seeded:
        unzip_tree(seed, project, disk)
        seed.unlink()
    for path in list(images.iterdir()):
        if path.suffix.lower() == ".zip":
            path.unlink()
        elif _GROUND_FILE.search(path.name):
            os.replace(path, ground / path.name)
    count = sum(1 for path in images.iterdir() if path.is_file())
    if not count and not seeded:
        raise IntakeError("There are no images among the files that were sent.")
    if max_images and count > max_images:
        raise IntakeError(f"{count} images uploaded, but this node can only process up to {max_images}.")
    return count


def ground_options(project: Path) -> list[dict[str, str]]:
    """The engine options that name the ground files of a task, as NodeODM passes them to ODM."""
    options: dict[str, str] = {}
    for path in sorted((project / "gcp").glob("*")):
        name = path.name.lower()
        if name == "geo.txt":
            option = "geo"
        elif name == "image_groups.txt":
            option = "split-image-groups"
        elif name.startswith("align."):
            option = "align"
        elif name.endswith(".txt"):
            option = "gcp"
        else:
            continue
        options.setdefault(option, str(path))
    return [{"name": name, "value": value} for name, value in options.items()]


async def _fetch_zip(url: str, upload: Upload, disk: Disk) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise IntakeError("zipurl must be an http or https address.")
    upload.create()
    archive = upload.directory / "zipurl.zip"
    host = urlsplit(url).hostname
    loop = asyncio.get_running_loop()
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            if answer.status != 200:
                raise IntakeError(f"Cannot fetch the zip file from {host}: it answered {answer.status}")
            disk.check_room(answer.content_length or 0)
            with archive.open("wb") as file:
                async for chunk in answer.content.iter_chunked(DOWNLOAD_CHUNK_BYTES):
                    disk.check_room(len(chunk))
                    await loop.run_in_executor(None, file.write, chunk)
    except (aiohttp.ClientError, asyncio.TimeoutError) as error:
        raise IntakeError(f"Cannot fetch the zip file from {host}: {type(error).__name__}") from error
    # An earlier attempt may have been interrupted while unpacking.
    for path in upload.images.iterdir():
        path.unlink()
    await in_thread(unzip_flat, archive, upload.images, disk)
    archive.unlink()
