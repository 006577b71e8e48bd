"""From oriented points to a clean triangle mesh: COLMAP's Poisson reconstruction, trimming and decimation."""
import ctypes
import errno
import multiprocessing
import os
import shutil
import signal
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import fast_simplification
import numpy as np
import pycolmap
from scipy.spatial import cKDTree

from .cloud import Cloud, read_ply, write_ply
from .errors import EngineError
from .estimate import memory_of_process, note_child
from .meshes import Mesh, largest_part, without_degenerate

_LEAST_ROOM = 16_000_000  # bytes of disk for the surface of a small cloud
_SOURCE, _TARGET = "poisson_in.ply", "poisson_out.ply"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_MOST_LOST = 0.01  # share of a surface's corners


def estimate_normals(points: np.ndarray, towards: np.ndarray, neighbours: int = 16) -> np.ndarray:
    """Unit normals from each point's neighbours, facing ``towards`` (N, 3: a camera that sees the point)."""
    _, near = cKDTree(points).query(points, k=min(neighbours, len(points)))
    local = points[near] - points[near].mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", local, local))
    normals = vectors[:, :, 0]
    flip = np.einsum("ni,ni->n", normals, towards - points) < 0
    normals[flip] *= -1
    return normals.astype(np.float32)


def without_outliers(cloud: Cloud, deviations: float, neighbours: int = 12) -> Cloud:
    """The cloud without points that are unusually far from their neighbours: by more than ``deviations`` sigma on average."""
    if deviations <= 0 or len(cloud) < neighbours * 2:
        return cloud
    distance, _ = cKDTree(cloud.points).query(cloud.points, k=neighbours + 1, workers=-1)
    mean = distance[:, 1:].mean(axis=1)
    return cloud.keep(mean < mean.mean() + deviations * mean.std())


def _build(work: Path, depth: int, trim: float, memory_bytes: "Synchronized[int]") -> None:
    """Run COLMAP's Poisson reconstruction. This runs in a separate process; scratch files (``PR_…``) go to its working directory.

    :param memory_bytes: is set to the process's peak memory
    """
    # If the run is killed, this process must not continue and disturb the next run.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not multiprocessing.parent_process().is_alive():
        return
    os.chdir(work)
    options = pycolmap.PoissonMeshingOptions()
    # With two threads it takes twice as long, its result differs from run to run, and sometimes it crashes or returns NaN.
    options.depth, options.trim, options.num_threads = depth, trim, 1
    pycolmap.poisson_meshing(_SOURCE, _TARGET, options)
    memory_bytes.value = memory_of_process("VmHWM")


def poisson(cloud: Cloud, work: Path, depth: int, trim: float) -> Mesh:
    """Screened Poisson surface with vertex colours. ``trim`` cuts parts that few points support (0 leaves the surface closed).

    :raises EngineError: COLMAP crashed, or its surface is empty or has many corners that are not finite
    """
    source, target = work / _SOURCE, work / _TARGET
    centre = cloud.points.mean(axis=0)
    write_ply(source, Cloud(cloud.points - centre, cloud.colours, cloud.normals))
    need = 4 * source.stat().st_size + _LEAST_ROOM
    if shutil.disk_usage(work).free < need:  # COLMAP's writer would end the process without an error message
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target.name)
    for left in (target, *work.glob("PR_*")):
        left.unlink(missing_ok=True)
    spawn = multiprocessing.get_context("spawn")
    memory_bytes = spawn.Value("q", 0)
    builder = spawn.Process(target=_build, args=(work, depth, trim, memory_bytes))
    builder.start()
    builder.join()
    note_child(memory_bytes.value)
    if builder.exitcode:
        raise _not_built(cloud, f"exit code {builder.exitcode}")
    if not target.exists():
        raise _not_built(cloud, "no result")
    rows, faces = read_ply(target)
    colours = np.stack([rows[a] for a in ("red", "green", "blue")], axis=1).astype(np.uint8)
    built = Mesh(np.stack([rows[a] for a in "xyz"], axis=1).astype(np.float64) + centre, faces, colours)
    built = built.keep_faces(np.ones(len(faces), bool))  # drops unused vertices
    vertices, lost = between_neighbours(built.vertices, built.faces)
    if not len(faces) or lost > _MOST_LOST * len(vertices) or not np.isfinite(vertices).all():
        raise _not_built(cloud, f"{len(faces)} triangles, {lost} of {len(vertices)} corners are not finite")
    source.unlink()
    target.unlink()
    return Mesh(vertices, built.faces, built.colours)


def between_neighbours(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, int]:
    """The vertices (N, 3), with each that is not finite moved to the middle of its finite neighbours, and how many were not finite.

    COLMAP divides by zero where a cell's edge lies in the surface: in one set for 7 of 238,525 vertices, each time. Without their triangles
    the surface would have holes.
    """
    vertices = vertices.copy()
    lost = ~np.isfinite(vertices).all(axis=1)
    pairs = faces[lost[faces].any(axis=1)][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    still = lost.copy()
    while still.any():
        usable = pairs[still[pairs[:, 0]] & ~still[pairs[:, 1]]]
        if not len(usable):
            break
        which, place = np.unique(usable[:, 0], return_inverse=True)
        total = np.zeros((len(which), 3))
        np.add.at(total, place, vertices[usable[:, 1]])
        vertices[which] = total / np.bincount(place)[:, None]
        still[which] = False
    return vertices, int(lost.sum())


def _not_built(cloud: Cloud, reason: str) -> EngineError:
    return EngineError(f"The surface could not be built from {len(cloud)} points ({reason}). "
                       "If memory is short, choose a lower mesh-octree-depth or pc-quality.")


def decimate(mesh: Mesh, count: int) -> Mesh:
    """Reduce a mesh to at most ``count`` triangles, by quadric error. Vertex colours come from the nearest old vertex."""
    if len(mesh.faces) <= count:
        return mesh
    centre = mesh.vertices.mean(axis=0)
    vertices, faces = fast_simplification.simplify(
        (mesh.vertices - centre).astype(np.float32), mesh.faces.astype(np.int32),
        target_reduction=1.0 - count / len(mesh.faces), agg=4)
    vertices = vertices.astype(np.float64) + centre
    colours = None
    if mesh.colours is not None:
        _, near = cKDTree(mesh.vertices).query(vertices)
        colours = mesh.colours[near]
    return without_degenerate(Mesh(vertices, faces.astype(np.int64), colours))


def clean(mesh: Mesh) -> Mesh:
    """One connected part without degenerate triangles."""
    return largest_part(without_degenerate(mesh))


def main_part(mesh: Mesh, cloud: Cloud) -> Mesh:
    """The connected part with most of the measured surface. Surface that only closes gaps does not count."""
    labels = mesh.components()
    area = mesh.areas()
    total = np.bincount(labels, weights=area)
    if (total > 0.1 * total.max()).sum() < 2:
        return mesh.keep_faces(labels == np.argmax(total))
    measured = np.bincount(labels, weights=area * near_points(mesh, cloud))
    return mesh.keep_faces(labels == np.argmax(measured))


def shown_part(mesh: Mesh, cloud: Cloud, most_gap: float) -> Mesh:
    """The mesh without triangles with a corner farther than ``most_gap`` (share of the cloud's diagonal) from every measured point."""
    diagonal = float(np.linalg.norm(np.ptp(np.percentile(cloud.points, [0.5, 99.5], axis=0), axis=0)))
    distance, _ = cKDTree(cloud.points).query(mesh.vertices, distance_upper_bound=most_gap * diagonal, workers=-1)
    return mesh.keep_faces(np.isfinite(distance)[mesh.faces].all(axis=1))


def flat_base(mesh: Mesh, height: float) -> Mesh:
    """Flatten everything below ``height``: the closed underside that no photo shows becomes a flat base."""
    vertices = mesh.vertices.copy()
    vertices[:, 2] = np.maximum(vertices[:, 2], height)
    return Mesh(vertices, mesh.faces, mesh.colours)


def near_points(mesh: Mesh, cloud: Cloud, share: float = 0.008) -> np.ndarray:
    """Which triangles (F) have a measured point within ``share`` of the model's diagonal, or within their own size if that is larger."""
    corners = mesh.vertices[mesh.faces]
    middle = corners.mean(axis=1)
    reach = np.linalg.norm(corners - middle[:, None], axis=2).max(axis=1)
    diagonal = float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))
    distance, _ = cKDTree(cloud.points).query(middle, workers=-1)
    return distance < np.maximum(share * diagonal, reach)
