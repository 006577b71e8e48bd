"""What a run will need of memory and disk, before it begins; too much is refused with the figures."""
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from .errors import EngineError

# Estimates, on the safe side by design and not measured one by one: libraries and compiled code, one photo in work a thread, and what grows with the set.
_BASE_BYTES = 700e6
_BYTES_PER_PIXEL_IN_WORK = 40.0
_BYTES_PER_FEATURE = 128 + 48 + 60
_DISK_PER_PIXEL = 1.3          # two JPEG copies
_DISK_PER_DEPTH_PIXEL = 16.0   # depth and normal, 32 bit


@dataclass(frozen=True)
class Need:
    """Bytes of memory (peak) and of disk."""

    memory_bytes: int
    disk_bytes: int


def photo_sizes(images: list[Path]) -> list[tuple[int, int]]:
    """Sizes in pixels from the files' headers alone; unreadable ones are left out."""
    sizes = []
    for path in images:
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
            continue
    return sizes


def estimate(sizes: list[tuple[int, int]], options: dict[str, Any], threads: int, work_size: int,
             depth_size: int) -> Need:
    """Peak memory and disk of a run over photos of these sizes."""
    if not sizes:
        return Need(int(_BASE_BYTES), 0)
    pixels, depth_pixels = [], []
    for width, height in sizes:
        scale = min(1.0, work_size / max(width, height))
        pixels.append(width * height * scale * scale)
        scale = min(scale, depth_size / max(width, height))
        depth_pixels.append(width * height * scale * scale)
    largest = max(w * h for w, h in sizes)
    features = options["min-num-features"] * len(sizes) * _BYTES_PER_FEATURE
    fused = sum(depth_pixels) * 0.25 * 60  # points with normals and colours before the doubles are gone
    loaded = min(len(sizes), 12) * max(depth_pixels) * 20
    memory = _BASE_BYTES + threads * max(pixels) * _BYTES_PER_PIXEL_IN_WORK + largest * 6 + features * 0.35 + \
        max(fused, loaded) + options["texturing-size"] ** 2 * 24 + options["mesh-size"] * 600
    disk = sum(pixels) * _DISK_PER_PIXEL + sum(depth_pixels) * _DISK_PER_DEPTH_PIXEL + features + 200e6
    return Need(int(memory), int(disk))


def available_memory() -> int:
    """Bytes the machine could give now (Linux: MemAvailable; a container's limit if that is lower)."""
    available = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists():
        text = limit.read_text().strip()
        if text != "max":
            used = int(Path("/sys/fs/cgroup/memory.current").read_text())
            available = min(available, int(text) - used)
    return available


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def refuse_if_too_large(need: Need, options: dict[str, Any], out: Path, count: int) -> None:
    """Raises EngineError with the figures where memory or disk would not do."""
    allowed = options["max-memory"] * 10**6 or available_memory()
    if need.memory_bytes > allowed:
        raise EngineError(
            f"These {count} photos need about {_gigabytes(need.memory_bytes)} of memory and {_gigabytes(allowed)} may "
            "be used. Choose a lower pc-quality or the preset fast, send fewer photos, or allow more with max-memory.")
    free = shutil.disk_usage(out).free
    if need.disk_bytes > free:
        raise EngineError(
            f"These {count} photos need about {_gigabytes(need.disk_bytes)} of disk for the work and "
            f"{_gigabytes(free)} are free. Free some space, choose a lower pc-quality, or send fewer photos.")
