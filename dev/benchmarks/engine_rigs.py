"""Photo sets as turntable rigs take them, of known shape and with known cameras: ``python -m dev.benchmarks.engine_rigs SET DIR``.

Runs in the engine's environment. Each set is a scene that has gone wrong before: what stands behind the object, what it stands on, and
how it was turned. The renderer casts rays at an implicit shape and shares nothing with the engine but the numbers in its files.
"""
import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Optional

import numpy as np
from numba import njit, prange

from dev.benchmarks.engine_rig_sets import DISC, FACADE, NOTHING, PATTERNED, SETS, STATIC, Rig
from dev.benchmarks.engine_synthetic import OBJECT_REACH, _speckle, _write, looking, object_radius

BOTTOM, TOP = -0.65, 0.75                     # the figure is cut flat there, so that it stands on either end
_PIN_RADIUS, _RIM = 0.07, 0.12
_FACADE_HALF = (7.0, 2.0)                     # of its width and height: no photo shows its sides
DISTANCE = 5.4                                # of the cameras


@njit(cache=True)
def _facade_depth(x, z):
    """How far the facade stands out at a place: windows in rows, ledges between them, a round bay in the middle."""
    a, b = math.sin(2.6 * x), math.sin(3.4 * z)
    window = 1.0 / (1.0 + math.exp(-14.0 * (a * b - 0.35)))
    bay = 0.55 / (1.0 + math.exp((math.sqrt(x * x + 0.5 * z * z) - 0.9) * 9.0))
    return 0.06 * math.sin(7.0 * z) - 0.22 * window + bay


@njit(cache=True)
def _field(shape, x, y, z):
    """Bound of the signed distance: negative inside."""
    if shape == FACADE:
        front = -(y + _facade_depth(x, z)) * 0.5
        return max(max(front, y - 1.0), max(abs(x) - 7.0, abs(z) - 2.0))
    d = math.sqrt(x * x + y * y + z * z)
    if d < 1e-6:
        return -0.5
    return max((d - object_radius(x / d, y / d, z / d)) * 0.6, max(BOTTOM - z, z - TOP))


@njit(cache=True)
def _march(shape, ox, oy, oz, dx, dy, dz, start):
    """Distance along a ray to the object from ``start`` on, or -1."""
    reach = 7.5 if shape == FACADE else OBJECT_REACH
    along = -(ox * dx + oy * dy + oz * dz)
    off = ox * ox + oy * oy + oz * oz - along * along
    if off > reach * reach:
        return -1.0
    half = math.sqrt(reach * reach - off)
    t, end = max(start, along - half), along + half
    if shape != FACADE and abs(dz) > 1e-12:  # the object is between two planes
        low, high = (BOTTOM - oz) / dz, (TOP - oz) / dz
        t, end = max(t, min(low, high)), min(end, max(low, high))
    for _ in range(300):
        if t > end:
            return -1.0
        s = _field(shape, ox + t * dx, oy + t * dy, oz + t * dz)
        if s < 3e-5:
            return t
        t += s
    return t


@njit(cache=True)
def _wall(a, b):
    p = _speckle(a, b, 3.7, 1.6)
    q = _speckle(a + 5.0, b - 3.0, 1.1, 0.7)
    return 30 + 190 * p, 45 + 150 * q, 40 + 170 * p * q


@njit(parallel=True, cache=True)
def render(shape, plain, pose, eye, R, focal, width, height, ground, table, radius, texture, ground_shade, background, shade, station):
    """RGB (float, 0 to 255) seen by a pinhole camera at ``eye``.

    ``pose``: rotation from the table's frame to the object's; ``table``: height of its top; ``station``: the angle by which the table
    stands turned before the camera (radians), which turns the light and a static background with the camera.
    """
    out = np.zeros((height, width, 3), np.float32)
    cs, sn = math.cos(station), math.sin(station)
    for v in prange(height):
        for u in range(width):
            cx, cy = (u + 0.5 - width / 2) / focal, (v + 0.5 - height / 2) / focal
            n = math.sqrt(cx * cx + cy * cy + 1.0)
            dx = (R[0, 0] * cx + R[1, 0] * cy + R[2, 0]) / n
            dy = (R[0, 1] * cx + R[1, 1] * cy + R[2, 1]) / n
            dz = (R[0, 2] * cx + R[1, 2] * cy + R[2, 2]) / n
            best, what = 1e9, 0
            ox = pose[0, 0] * eye[0] + pose[0, 1] * eye[1] + pose[0, 2] * eye[2]
            oy = pose[1, 0] * eye[0] + pose[1, 1] * eye[1] + pose[1, 2] * eye[2]
            oz = pose[2, 0] * eye[0] + pose[2, 1] * eye[1] + pose[2, 2] * eye[2]
            ax = pose[0, 0] * dx + pose[0, 1] * dy + pose[0, 2] * dz
            ay = pose[1, 0] * dx + pose[1, 1] * dy + pose[1, 2] * dz
            az = pose[2, 0] * dx + pose[2, 1] * dy + pose[2, 2] * dz
            t = _march(shape, ox, oy, oz, ax, ay, az, 0.0)
            if t > 0.0:
                best, what = t, 1
            if ground == DISC:
                t = (table - eye[2]) / dz if abs(dz) > 1e-9 else -1.0
                x, y = eye[0] + t * dx, eye[1] + t * dy
                if 0.0 < t < best and x * x + y * y < radius * radius:
                    best, what = t, 2
            if ground != NOTHING:  # an upright cylinder: the disc's rim, or the pin
                r = radius if ground == DISC else _PIN_RADIUS
                a2 = dx * dx + dy * dy
                b2 = eye[0] * dx + eye[1] * dy
                c2 = eye[0] * eye[0] + eye[1] * eye[1] - r * r
                if b2 * b2 > a2 * c2 and a2 > 1e-12:
                    t = (-b2 - math.sqrt(b2 * b2 - a2 * c2)) / a2
                    z = eye[2] + t * dz
                    if 0.0 < t < best and z < table and z > (table - _RIM if ground == DISC else -6.0):
                        best, what = t, 3
            x, y, z = eye[0] + best * dx, eye[1] + best * dy, eye[2] + best * dz
            r_, g_, b_ = shade, shade, shade
            if what == 0 and background == PATTERNED:  # a round room around the table
                a2 = dx * dx + dy * dy
                b2 = eye[0] * dx + eye[1] * dy
                c2 = eye[0] * eye[0] + eye[1] * eye[1] - 81.0
                t = (-b2 + math.sqrt(b2 * b2 - a2 * c2)) / a2
                angle = math.atan2(eye[1] + t * dy, eye[0] + t * dx)
                r_, g_, b_ = _wall(9.0 * angle, eye[2] + t * dz)
            elif what == 0 and background == STATIC:  # a flat wall opposite the camera, wherever the table stands
                fx, fy = cs * dx + sn * dy, -sn * dx + cs * dy
                ex, ey = cs * eye[0] + sn * eye[1], -sn * eye[0] + cs * eye[1]
                if fx < -1e-6:
                    t = (-6.0 - ex) / fx
                    r_, g_, b_ = _wall(ey + t * fy, eye[2] + t * dz)
            elif what >= 2:
                lit = ground_shade if what == 2 else 0.75 * ground_shade
                if what == 2:
                    lit *= 1.0 - 0.25 * math.exp(-((math.sqrt(x * x + y * y) - 0.5) / 0.45) ** 2) if ground_shade > 40.0 else 1.0
                p = 0.6 + 0.8 * _speckle(x, y, z + 2.0, 9.0) if texture > 0.0 else 1.0
                lit *= (1.0 - texture) + texture * p
                r_, g_, b_ = lit, lit, 0.96 * lit
            elif what == 1:
                px, py, pz = ox + best * ax, oy + best * ay, oz + best * az
                e = 1e-3
                gx = _field(shape, px + e, py, pz) - _field(shape, px - e, py, pz)
                gy = _field(shape, px, py + e, pz) - _field(shape, px, py - e, pz)
                gz = _field(shape, px, py, pz + e) - _field(shape, px, py, pz - e)
                g = max(math.sqrt(gx * gx + gy * gy + gz * gz), 1e-12)
                wx = (pose[0, 0] * gx + pose[1, 0] * gy + pose[2, 0] * gz) / g
                wy = (pose[0, 1] * gx + pose[1, 1] * gy + pose[2, 1] * gz) / g
                wz = (pose[0, 2] * gx + pose[1, 2] * gy + pose[2, 2] * gz) / g
                sx, sy = cs * wx + sn * wy, -sn * wx + cs * wy  # the lamp stands beside the camera and does not turn
                light = 0.74 + 0.26 * max(0.0, 0.62 * sx + 0.35 * sy + 0.7 * wz)
                if plain:
                    r_, g_, b_ = 205.0 * light, 205.0 * light, 200.0 * light
                else:
                    p = _speckle(px, py, pz, 9.0)
                    q = _speckle(px + 11.3, py - 7.7, pz + 3.1, 5.4)
                    r_, g_, b_ = light * (80 + 170 * p), light * (45 + 140 * q), light * (40 + 110 * p * q)
            out[v, u, 0], out[v, u, 1], out[v, u, 2] = r_, g_, b_
    return out


@njit(parallel=True, cache=True)
def _times_seen(shape, points, normals, eyes, rotations, focal, half_width, half_height, pose_rows, table, ground, radius):
    """By how many cameras each point of the object is seen at 75 degrees from square or less; all in the object's frame."""
    out = np.zeros(len(points), np.int64)
    for i in prange(len(points)):
        for c in range(len(eyes)):
            gx, gy, gz = eyes[c, 0] - points[i, 0], eyes[c, 1] - points[i, 1], eyes[c, 2] - points[i, 2]
            d = math.sqrt(gx * gx + gy * gy + gz * gz)
            gx, gy, gz = gx / d, gy / d, gz / d
            if gx * normals[i, 0] + gy * normals[i, 1] + gz * normals[i, 2] < 0.26:
                continue
            qx, qy, qz = -gx * d, -gy * d, -gz * d
            z = rotations[c, 2, 0] * qx + rotations[c, 2, 1] * qy + rotations[c, 2, 2] * qz
            x = rotations[c, 0, 0] * qx + rotations[c, 0, 1] * qy + rotations[c, 0, 2] * qz
            y = rotations[c, 1, 0] * qx + rotations[c, 1, 1] * qy + rotations[c, 1, 2] * qz
            if abs(x / z * focal) > half_width or abs(y / z * focal) > half_height:
                continue
            if _march(shape, points[i, 0] + 0.01 * normals[i, 0], points[i, 1] + 0.01 * normals[i, 1],
                      points[i, 2] + 0.01 * normals[i, 2], gx, gy, gz, 0.0) > 0.0:
                continue
            up = pose_rows[c, 2]  # the table's own up, in the object's frame
            here = up[0] * points[i, 0] + up[1] * points[i, 1] + up[2] * points[i, 2] - table[c]
            if ground == DISC and here < 0.004:
                continue  # it stands on it
            out[i] += 1
    return out


def _pose(scan: int) -> np.ndarray:
    """Rotation from the table's frame to the object's: the second scan is turned over."""
    return np.eye(3) if scan == 0 else np.diag([1.0, -1.0, -1.0])


def cameras(rig: Rig) -> list[dict]:
    """Each photo's name, scan, camera position and rotation (in the table's frame) and the table's angle."""
    rows: list[dict] = []
    if rig.shape == FACADE:
        for i in range(rig.photos):
            upper, k = divmod(i, rig.photos // 2)
            angle = math.radians(-48 + 96 * k / (rig.photos // 2 - 1))
            eye = np.array([9.5 * math.sin(angle), -9.5 * math.cos(angle), -1.2 + 1.6 * upper])
            rows.append({"name": f"facade_{i:03d}.jpg", "scan": 0, "eye": eye, "station": 0.0,
                         "R": looking(eye, np.array([0.0, 0, 0.2]), np.array([0, 0, 1.0]))})
        return rows
    each = rig.photos // rig.scans
    counts = [round(share * each) for share, _ in rig.rings[:-1]]
    counts.append(each - sum(counts))
    for scan in range(rig.scans):
        for ring, (count, (_, degrees)) in enumerate(zip(counts, rig.rings)):
            for k in range(count):
                angle, elevation = 2 * math.pi * (k + 0.5 * (ring % 2)) / count, math.radians(degrees)
                flat, high = DISTANCE * math.cos(elevation), DISTANCE * math.sin(elevation)
                eye = np.array([flat * math.cos(angle), flat * math.sin(angle), high])
                number = sum(row["scan"] == scan for row in rows)
                rows.append({"name": f"scan{scan + 1:02d}_{number:03d}.jpg", "scan": scan, "eye": eye, "station": angle,
                             "R": looking(eye, np.array([0.0, 0, -0.05]), np.array([0, 0, 1.0]))})
    return rows


def make(directory: Path, rig: Rig, width: int) -> None:
    """Write ``images`` and ``truth.json`` (cameras in the object's frame)."""
    images = directory / "images"
    images.mkdir(parents=True, exist_ok=True)
    height, focal = width * 3 // 4, width * 1.35
    rows = cameras(rig)
    for i, row in enumerate(rows):
        pose = _pose(row["scan"])
        table = BOTTOM if row["scan"] == 0 else -TOP
        picture = render(rig.shape, rig.plain, pose, row["eye"], row["R"], focal, width, height, rig.ground, table, rig.radius,
                         rig.ground_texture, rig.ground_shade, rig.background, rig.shade, row["station"])
        _write(images / row["name"], picture, i)
    poses = [{"name": row["name"], "scan": row["scan"], "eye": (_pose(row["scan"]) @ row["eye"]).tolist(),
              "R": (row["R"] @ _pose(row["scan"]).T).tolist()} for row in rows]
    (directory / "truth.json").write_text(json.dumps({"rig": vars(rig), "poses": poses, "focal": focal, "size": [width, height]}))


def surface(shape: int, steps: int = 260) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of the true surface; of a facade its front alone."""
    if shape == FACADE:
        x, z = np.meshgrid(np.linspace(-_FACADE_HALF[0], _FACADE_HALF[0], steps), np.linspace(-_FACADE_HALF[1], _FACADE_HALF[1], steps))
        flat = np.c_[x.ravel(), z.ravel()]
        vertices = np.c_[flat[:, 0], [-_facade_depth(a, b) for a, b in flat], flat[:, 1]]
        rows, columns, wrap = steps, steps, False
    else:
        turn, polar = np.meshgrid(np.linspace(0, 2 * np.pi, 2 * steps, endpoint=False), np.linspace(0.001, np.pi - 0.001, steps))
        d = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=-1).reshape(-1, 3)
        r = np.array([object_radius(*v) for v in d])
        with np.errstate(divide="ignore"):
            r = np.minimum(r, np.where(d[:, 2] > 0, TOP, BOTTOM) / d[:, 2])
        vertices = d * r[:, None]
        rows, columns, wrap = steps, 2 * steps, True
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(columns if wrap else columns - 1), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d_ = a + columns, b + columns
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d_], -1).reshape(-1, 3)])
    return vertices, faces[:, ::-1] if shape == FACADE else faces  # seen from outside, corners run anticlockwise


def photographed(truth: dict, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Which points (N, 3; in the object's frame) at least three photos show well enough to be measured."""
    rig, poses = truth["rig"], truth["poses"]
    scans = np.array([p["scan"] for p in poses])
    ups = np.array([_pose(s) for s in scans])  # its third column is the table's up in the object's frame
    rows = np.ascontiguousarray(ups.transpose(0, 2, 1))
    tables = np.where(scans == 0, BOTTOM, -TOP)
    seen = _times_seen(rig["shape"], points, normals, np.array([p["eye"] for p in poses]), np.array([p["R"] for p in poses]),
                       truth["focal"], truth["size"][0] / 2 - 2, truth["size"][1] / 2 - 2, rows, tables, rig["ground"], rig["radius"])
    return seen >= 3


def main(arguments: Optional[list[str]] = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--photos", type=int, help="in all; each set has its own number")
    parser.add_argument("--size", type=int, default=720, help="width in pixels")
    given = parser.parse_args(arguments)
    rig = SETS[given.set]
    make(given.directory, replace(rig, photos=given.photos) if given.photos else rig, given.size)


if __name__ == "__main__":
    main()
