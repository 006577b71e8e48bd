"""Shows a finished model: finds its GLB file, counts its triangles, and makes a picture of a scan for lists."""
import json
import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Optional

from PIL import Image, ImageOps

from app_extensions.host import assets, media
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.models import Scan
from app_extensions.openscan.results import packing, research

PICTURE_PIXELS = 320
#: Larger pictures are not decoded for a thumbnail, because a web process does not have gigabytes for them.
MOST_PIXELS = 120_000_000
_LARGEST_JSON_BYTES = 20_000_000
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


class Model(NamedTuple):
    """A GLB file. `triangles` is 0 if the file does not say."""

    path: Path
    size_bytes: int
    triangles: int
    version: str


def find_model(task: Any) -> Optional[Model]:
    """The GLB of a completed task's model, None if the node made none."""
    try:
        found = [path for path in packing.model_files(assets.assets_dir(task)) if path.suffix.lower() == ".glb"]
        if not found:
            return None
        seen = found[0].stat()
    except FileNotFoundError:
        return None  # replaced by a new run while we looked
    version = f"{seen.st_mtime_ns:x}-{seen.st_size:x}"
    return Model(found[0], seen.st_size, _triangles(str(found[0]), version), version)


@lru_cache(maxsize=512)
def _triangles(path: str, version: str) -> int:
    """Count triangles in the file's JSON chunk (glTF 2.0, 4.4: binary glTF layout; 3.7.2.1: primitive modes)."""
    try:
        with open(path, "rb") as file:
            magic, _, _, length, kind = struct.unpack("<4sIIII", file.read(20))
            if magic != b"glTF" or kind != 0x4E4F534A or length > _LARGEST_JSON_BYTES:
                return 0
            content = json.loads(file.read(length))
        accessors = content.get("accessors", [])
        number = 0
        for mesh in content.get("meshes", []):
            for primitive in mesh["primitives"]:
                corners = accessors[primitive.get("indices", primitive["attributes"].get("POSITION"))]["count"]
                mode = primitive.get("mode", _TRIANGLES)
                number += corners // 3 if mode == _TRIANGLES else max(0, corners - 2) if mode in (_STRIP, _FAN) else 0
        return int(number)
    except (OSError, struct.error, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return 0  # a file that only a viewer may be able to read


def picture(scan: Scan) -> Optional[Path]:
    """A small JPEG of the model, or of the first photo before there is a model; None if there is nothing to show.

    It is kept in WebODM's directory for temporary files, which deletes it after a day, and is made again on demand.
    """
    task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
    source = _picture_source(task) if task is not None else None
    if source is None:
        return None
    kept = media.tmp_dir() / f"openscan-{scan.pk}-{source.stat().st_mtime_ns:x}.jpg"
    if kept.is_file():
        return kept
    try:
        with Image.open(source) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            image.draft("RGB", (PICTURE_PIXELS, PICTURE_PIXELS))
            small = ImageOps.exif_transpose(image)
            small.thumbnail((PICTURE_PIXELS, PICTURE_PIXELS))
            if small.mode in ("RGBA", "LA", "P"):
                clear = small.convert("RGBA")
                small = Image.new("RGB", clear.size, "white")
                small.paste(clear, mask=clear.getchannel("A"))
            temporary = kept.with_name(f"{kept.name}.{os.getpid()}")
            small.convert("RGB").save(temporary, "JPEG", quality=80)
            os.replace(temporary, kept)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return kept


def _picture_source(task: Any) -> Optional[Path]:
    preview = assets.assets_dir(task) / "odm_report" / "preview.png"
    if preview.is_file():
        return preview
    photos = research.photo_files(task)
    return photos[0] if photos else None
