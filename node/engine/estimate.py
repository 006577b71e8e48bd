"""Estimates the memory and disk that a run will need. A run is planned so that it fits, or refused with the figures."""
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app_extensions.shared import photo_files
from app_extensions.shared.formatting import format_bytes

from .errors import EngineError
from .settings import FEATURE_SIZE, MOST_POINTS

# Memory that each stage holds at its peak, in bytes, measured on runs of 15 to 256 photos and rounded up (docs/admin/engine.md,
# "Size of a set").
_BASE = 450e6                  # interpreter, libraries, compiled code
_READING_PIXEL = 14            # per pixel of the largest original and per thread: as read, decoded, turned, and written
_FEATURE_PIXEL = 250           # SIFT's pyramid of the doubled photo in floats; two photos at a time
_MATCHING_BLOCK = 64           # photos whose descriptors are in memory at once, 512 bytes each (matching.py)
_MATCHING_THREAD = 2048        # per feature: part of the similarity table, and the transposed descriptors
_SHORTLIST_PHOTO = 150_000     # bytes per photo, for its largest features
_MAPPING_FEATURE = 400         # keypoint, observations, matches, and what the bundle adjustment keeps of them
_DEPTH_PIXEL = 24 * 16 + 60 * 1 + 220  # cached maps and photos, and the fusion of one photo with eight others
_TAKEN_PIXEL = 1               # per pixel of every photo: whether its depth is merged already
_FUSED_SHARE = 0.12            # share of the depth pixels that become points of the cloud …
_FUSED_POINT = 400             # … with normals, colours, and the nearest neighbours that reveal stray points
_SURFACE_PROCESS = 230e6       # the process that builds the Poisson surface: interpreter, libraries, solver
_SURFACE_POINT = 60            # the cloud, there and here
_SURFACE_DETAIL = 640          # per point: octree and triangles, but not more than the octree's finest cells have:
_SURFACE_CELL = 12 * 270       # triangles at a cell of one side of the octree, in bytes (measured: 2 to 5 triangles of 264 bytes)
_TEXEL = 45                    # per texel of the atlas: triangle, place in it, colours of one photo and of all (measured: 13 to 17)
_TRIANGLE = 1000               # with its eight best photos, charts and texture coordinates
_WORK_PIXEL = 30               # per pixel of the photo that colours the texture
_DISK_PER_PIXEL = 1.3          # two JPEG copies
_DISK_PER_DEPTH_PIXEL = 10.0   # depth in 32 bit, normal in 16
_DISK_POINT = 160              # per point of the cloud: fused, cut, PLY, LAZ and tiles; 104 bytes each, and up to half as many again
_DISK_FEATURE = 128 + 16 + 60  # descriptor, keypoint, matches
_DISK_TRIANGLE = 450           # in the OBJ, the GLB and the viewer
_DISK_TEXEL = 2.4              # JPEG in the same three
_DISK_RESULTS = 15e6           # report, orthophoto and surface model of a small set
# Tried in turn if a set would not fit.
_FEWER_POINTS = (8_000_000, 5_000_000, 3_000_000, 2_000_000)
_SMALLER_DEPTH = (2500, 2000, 1600, 1300, 1000, 800, 640, 500, 400)

_most_with_child = 0  # peak memory in bytes of this process together with one that it started


@dataclass(frozen=True)
class Need:
    """Bytes of memory (peak) and of disk."""

    memory_bytes: int
    disk_bytes: int


def photo_sizes(images: list[Path]) -> list[tuple[int, int]]:
    """Photo sizes in pixels, read from the file headers only; unusable files are left out."""
    sizes = []
    for path in images:
        try:
            photo = photo_files.examine(path)
        except (OSError, photo_files.NotUsable):
            continue
        sizes.append((photo.width, photo.height))
    return sizes


def estimate(sizes: list[tuple[int, int]], options: dict[str, Any], threads: int, work_size: int,
             depth_size: int, most_points: int = MOST_POINTS) -> Need:
    """Memory and disk of a run on photos of these sizes. Memory is that of the most demanding stage."""
    if not sizes:
        return Need(int(_BASE), 0)
    pixels, depth_pixels, feature_pixels = ([_shrunk(size, limit) for size in sizes] for limit in (
        work_size, min(work_size, depth_size), min(work_size, FEATURE_SIZE[options["feature-quality"]])))
    features = options["min-num-features"] * len(sizes)
    points = min(sum(depth_pixels) * _FUSED_SHARE, most_points)
    stages = {
        "reading": threads * max(w * h for w, h in sizes) * _READING_PIXEL,
        "features": min(2, threads) * max(feature_pixels) * _FEATURE_PIXEL,
        "matching": options["min-num-features"] * (min(len(sizes), _MATCHING_BLOCK) * 512 + threads * _MATCHING_THREAD)
        + len(sizes) * _SHORTLIST_PHOTO,
        "mapping": features * _MAPPING_FEATURE,
        "depth": max(depth_pixels) * _DEPTH_PIXEL + points * _FUSED_POINT + sum(depth_pixels) * _TAKEN_PIXEL,
        "surface": _SURFACE_PROCESS + points * _SURFACE_POINT
        + min(points * _SURFACE_DETAIL, 4 ** options["mesh-octree-depth"] * _SURFACE_CELL),
        "texture": options["texturing-size"] ** 2 * _TEXEL + options["mesh-size"] * _TRIANGLE + max(pixels) * _WORK_PIXEL,
    }
    disk = (sum(pixels) * _DISK_PER_PIXEL + sum(depth_pixels) * _DISK_PER_DEPTH_PIXEL + features * _DISK_FEATURE
            + points * _DISK_POINT + options["mesh-size"] * _DISK_TRIANGLE + options["texturing-size"] ** 2 * _DISK_TEXEL + _DISK_RESULTS)
    return Need(int(_BASE + max(stages.values())), int(disk))


def _shrunk(size: tuple[int, int], limit: int) -> float:
    """Pixels of a photo whose longer side is at most ``limit``."""
    scale = min(1.0, limit / max(size))
    return size[0] * size[1] * scale * scale


def available_memory(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that are available now: Linux's MemAvailable, or what a container's limit leaves if that is less.

    A cgroup counts cached files as used memory, although the kernel drops them when memory is needed. After an upload they may fill the
    cgroup, so they are counted as available here (cgroup-v2, memory.stat).
    """
    available = 0
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            available = int(line.split()[1]) * 1024
    limit = cgroup / "memory.max"
    if limit.exists() and limit.read_text().strip() != "max":
        kept = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        given_up = int(kept.get("inactive_file", 0)) + int(kept.get("active_file", 0))
        used = int((cgroup / "memory.current").read_text()) - given_up
        available = min(available, int(limit.read_text()) - used)
    return available


def memory_of_process(name: str) -> int:
    """Bytes of memory of this process: ``VmHWM`` is its peak, ``VmRSS`` the present use."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[name].split()[0]) * 1024


def peak_memory() -> int:
    """Peak memory of the engine in bytes; for a continued run, since it was continued."""
    return max(memory_of_process("VmHWM"), _most_with_child)


def note_child(memory_bytes: int) -> None:
    """Count the memory of a child process on top of what this process uses now.

    The child measures itself: the system's figure for an ended child includes what its parent used when it started the child.
    """
    global _most_with_child
    _most_with_child = max(_most_with_child, memory_of_process("VmRSS") + memory_bytes)


def processor_seconds() -> float:
    """Processor time of the engine so far, including child processes that have ended."""
    return sum(os.times()[:4])


@dataclass(frozen=True)
class Plan:
    """The limits with which a run fits: threads, longer side in pixels of the photos for the depth search, and points at most."""

    threads: int
    depth_size: int
    most_points: int
    need: Need

    def changes(self, threads: int, depth_size: int) -> list[str]:
        """What was reduced compared with the request, for the console."""
        told = []
        if self.threads < threads:
            told.append(f"{self.threads} of {threads} threads")
        if self.most_points < MOST_POINTS:
            told.append(f"at most {self.most_points / 1e6:.1f} million points")
        if self.depth_size < depth_size:
            told.append(f"depth in photos of {self.depth_size} instead of {depth_size} pixels")
        return told


def adapted(sizes: list[tuple[int, int]], options: dict[str, Any], threads: int, work_size: int, depth_size: int, memory: int, disk: int
            ) -> Plan:
    """The plan with the fewest reductions that fits into ``memory`` and ``disk`` bytes, or the smallest plan if none fits.

    It reduces threads first, which costs only time, then points, then the photos in which depth is searched.
    """
    steps = [(count, depth_size, MOST_POINTS) for count in range(threads, 0, -1)]
    steps += [(1, depth_size, most) for most in _FEWER_POINTS]
    steps += [(1, size, _FEWER_POINTS[-1]) for size in _SMALLER_DEPTH if size < depth_size]
    plans = (Plan(*step, estimate(sizes, options, step[0], work_size, *step[1:])) for step in steps)
    smallest = None
    for plan in plans:
        smallest = plan
        if plan.need.memory_bytes <= memory and plan.need.disk_bytes <= disk:
            break
    # Undo reductions that did not help.
    for gentler in (Plan(threads, smallest.depth_size, smallest.most_points, smallest.need),
                    Plan(smallest.threads, smallest.depth_size, MOST_POINTS, smallest.need)):
        need = estimate(sizes, options, gentler.threads, work_size, gentler.depth_size, gentler.most_points)
        if need.memory_bytes <= memory and need.disk_bytes <= disk:
            return Plan(gentler.threads, gentler.depth_size, gentler.most_points, need)
    return smallest


def plan_run(sizes: list[tuple[int, int]], options: dict[str, Any], threads: int, work_size: int, depth_size: int, out: Path) -> Plan:
    """The plan for a set of photos within max-memory or this machine's memory. Raises EngineError if even the smallest does not fit."""
    memory = options["max-memory"] * 10**6 or available_memory()
    plan = adapted(sizes, options, threads, work_size, depth_size, memory, shutil.disk_usage(out).free)
    refuse_if_too_large(plan.need, memory, out, len(sizes))
    return plan


def refuse_if_too_large(need: Need, allowed: int, out: Path, count: int) -> None:
    """Raise EngineError with the figures if memory (``allowed`` bytes) or disk is not enough."""
    if need.memory_bytes > allowed:
        raise EngineError(
            f"These {count} photos need about {format_bytes(need.memory_bytes)} of memory, even with one thread and depth in small photos, "
            f"but only {format_bytes(allowed)} may be used. Choose the preset fast, send fewer photos, or allow more with max-memory.")
    free = shutil.disk_usage(out).free
    if need.disk_bytes > free:
        raise EngineError(
            f"These {count} photos need about {format_bytes(need.disk_bytes)} of disk space, but only "
            f"{format_bytes(free)} are free. Free some space, choose a lower pc-quality, or send fewer photos.")
