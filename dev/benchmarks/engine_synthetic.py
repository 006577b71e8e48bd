"""Photo sets of known shape: a textured object on a textured table, and a relief from above with GPS.

Runs in the engine's environment: ``python -m dev.benchmarks.engine_synthetic object|dome|relief DIR [--photos N] [--size W]``.
The renderer is its own (rays marched through implicit shapes); it shares nothing with the engine's rasteriser.
"""
import argparse
import json
import math
from pathlib import Path

import cv2
import numpy as np
from numba import njit, prange
from PIL import Image

OBJECT, RELIEF, DOME = 0, 1, 2  # kinds, for the compiled functions
# Height of the object's middle above the table; its radius is about 1. The object overhangs all round; the dome is the same, half sunk
# in, so that photos from above see all of it and few of them suffice.
OBJECT_Z, DOME_Z = 0.65, 0.05
# A ring of photos at each of a few elevations, as turntable rigs take them: share of the photos, degrees above the table. The object's
# lowest ring looks under the overhang: with 36 photos every part of the surface is seen by three or more at 72 degrees from square or less.
OBJECT_RINGS = ((0.39, 8.0), (0.39, 30.0), (0.22, 55.0))
DOME_RINGS = ((0.67, 24.0), (0.33, 52.0))
RELIEF_LATITUDE, RELIEF_LONGITUDE, RELIEF_ALTITUDE = 47.0, 8.0, 460.0
RELIEF_HALF = 60.0  # metres
RELIEF_HEIGHT = 45.0
OBJECT_REACH, _RELIEF_TOP = 1.31, 12.1  # the object's largest radius; no height of the relief is above this


@njit(cache=True)
def _hash(x, y, z):
    n = (x * 374761393 + y * 668265263 + z * 2147483647 + 144665) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


@njit(cache=True)
def _noise(x, y, z):
    """Value noise in [0, 1]."""
    ix, iy, iz = math.floor(x), math.floor(y), math.floor(z)
    fx, fy, fz = x - ix, y - iy, z - iz
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    value = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                w = (fx if a else 1 - fx) * (fy if b else 1 - fy) * (fz if c else 1 - fz)
                value += w * _hash(int(ix) + a, int(iy) + b, int(iz) + c)
    return value


@njit(cache=True)
def _speckle(x, y, z, f):
    return 0.4 * _noise(f * x, f * y, f * z) + 0.35 * _noise(2.7 * f * x, 2.7 * f * y, 2.7 * f * z) + 0.25 * _noise(
        7 * f * x, 7 * f * y, 7 * f * z)


@njit(cache=True)
def object_radius(x, y, z):
    """Radius of the star-shaped object in a unit direction."""
    # With the angle a about the upright axis: 1 + 0.14 sin(3a) (1 - z^2) + 0.1 sin(5z + 1) + 0.06 cos(2a + 4z) (1 - z^2).
    three = (3 * x * x - y * y) * y / math.sqrt(max(x * x + y * y, 1e-12))
    return 1.0 + 0.14 * three + 0.1 * math.sin(5 * z + 1.0) + 0.06 * ((x * x - y * y) * math.cos(4 * z) - 2 * x * y * math.sin(4 * z))


@njit(cache=True)
def relief_height(x, y):
    """Height in metres of the relief at metres from its middle."""
    h = 4.0 * math.sin(x / 17.0) * math.cos(y / 13.0) + 2.0 * math.sin((x + y) / 8.0)
    d = math.sqrt((x - 12) ** 2 + (y + 8) ** 2)
    return h + 6.0 / (1.0 + math.exp((d - 14.0) * 0.8))


@njit(cache=True)
def _field(kind, x, y, z):
    """Signed distance bound: negative inside."""
    if kind == RELIEF:
        return (z - relief_height(x, y)) * 0.55
    qz = z - (OBJECT_Z if kind == OBJECT else DOME_Z)
    d = math.sqrt(x * x + y * y + qz * qz)
    if d < 1e-6:
        return -0.5
    return min((d - object_radius(x / d, y / d, qz / d)) * 0.6, z)


@njit(cache=True)
def _march(kind, eye, dx, dy, dz, extent):
    """Distance along a ray to what it meets, or -1. Only where it may meet the relief or the object are steps needed."""
    table, end = -1.0, 30.0 * extent
    if kind == RELIEF:
        t = max(0.0, (_RELIEF_TOP - eye[2]) / dz) if dz < 0.0 else 0.0
    else:
        if dz < 0.0 and -eye[2] / dz < end:
            table = end = -eye[2] / dz
        z = eye[2] - (OBJECT_Z if kind == OBJECT else DOME_Z)
        along = -(eye[0] * dx + eye[1] * dy + z * dz)
        half = OBJECT_REACH ** 2 - (eye[0] ** 2 + eye[1] ** 2 + z * z - along * along)
        if half <= 0.0:
            return table
        half = math.sqrt(half)
        t, end = max(0.0, along - half), min(end, along + half)
    while t < end:
        s = _field(kind, eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz)
        if s < 2e-5 * extent:
            return t
        t += s
    return table


@njit(parallel=True, cache=True)
def render(kind, eye, R, focal, width, height, extent):
    """RGB (float 0..255) seen by a pinhole camera; R: world to camera."""
    out = np.zeros((height, width, 3), np.float32)
    for v in prange(height):
        for u in range(width):
            cx, cy = (u + 0.5 - width / 2) / focal, (v + 0.5 - height / 2) / focal
            n = math.sqrt(cx * cx + cy * cy + 1.0)
            dx = (R[0, 0] * cx + R[1, 0] * cy + R[2, 0]) / n
            dy = (R[0, 1] * cx + R[1, 1] * cy + R[2, 1]) / n
            dz = (R[0, 2] * cx + R[1, 2] * cy + R[2, 2]) / n
            t = _march(kind, eye, dx, dy, dz, extent)
            if t < 0.0:
                out[v, u, 0], out[v, u, 1], out[v, u, 2] = 200.0, 205.0, 210.0
                continue
            x, y, z = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
            f = 30.0 / extent if kind == RELIEF else 9.0 / extent
            p = _speckle(x, y, z, f)
            if kind != RELIEF and z < 1e-3:  # the table, which is flat
                light, r, gg, b = 0.72 + 0.28 * 0.93, 60 + 150 * p, 65 + 150 * p, 75 + 140 * p
            else:
                e = 1e-3 * extent
                gx = _field(kind, x + e, y, z) - _field(kind, x - e, y, z)
                gy = _field(kind, x, y + e, z) - _field(kind, x, y - e, z)
                gz = _field(kind, x, y, z + e) - _field(kind, x, y, z - e)
                g = max(math.sqrt(gx * gx + gy * gy + gz * gz), 1e-12)
                light = 0.72 + 0.28 * max(0.0, (0.3 * gx + 0.2 * gy + 0.93 * gz) / g)
                q = _speckle(x + 11.3, y - 7.7, z + 3.1, 0.6 * f)
                if kind != RELIEF:
                    r, gg, b = 90 + 160 * p, 40 + 120 * q, 30 + 90 * p * q
                else:
                    r, gg, b = 50 + 140 * p, 60 + 150 * q, 40 + 90 * p
            out[v, u, 0], out[v, u, 1], out[v, u, 2] = light * r, light * gg, light * b
    return out


def looking(eye, target, up):
    """World-to-camera rotation of a camera at ``eye`` that looks at ``target``."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, up)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _rational(value: float):
    return (int(round(value * 10**6)), 10**6)


def _gps_exif(latitude: float, longitude: float, altitude: float, focal_35mm: float) -> Image.Exif:
    def parts(degrees):
        minutes = (degrees % 1) * 60
        return (float(int(degrees)), float(int(minutes)), (minutes % 1) * 60)

    exif = Image.Exif()
    exif[271], exif[272] = "Synthetic", "Flight"
    exif.get_ifd(0x8769)[41989] = round(focal_35mm)
    gps = exif.get_ifd(0x8825)
    gps.update({1: "N", 2: parts(latitude), 3: "E", 4: parts(longitude), 5: b"\0", 6: altitude})
    return exif


def _write(path: Path, picture: np.ndarray, seed: int, exif=None) -> None:
    noisy = picture + np.random.default_rng(seed).normal(0, 1.5, picture.shape)
    image = Image.fromarray(np.clip(cv2.GaussianBlur(noisy, (0, 0), 0.5), 0, 255).astype(np.uint8))
    image.save(path, quality=95, **({"exif": exif} if exif is not None else {}))


def make_object(directory: Path, photos: int, width: int, kind: str) -> dict:
    """Photos around the object or the dome in rings, each ring half a step further than the one below it."""
    height, focal = width * 3 // 4, width * 1.35
    shape, rings, middle = (OBJECT, OBJECT_RINGS, 0.6) if kind == "object" else (DOME, DOME_RINGS, 0.4)
    counts = [round(share * photos) for share, _ in rings[:-1]]
    counts.append(photos - sum(counts))
    poses = []
    for ring, (count, (_, degrees)) in enumerate(zip(counts, rings)):
        for k in range(count):
            i, angle, elevation = len(poses), 2 * math.pi * (k + 0.5 * (ring % 2)) / count, math.radians(degrees)
            eye = 4.6 * np.array([math.cos(angle) * math.cos(elevation), math.sin(angle) * math.cos(elevation),
                                  math.sin(elevation)]) + [0, 0, 0.3]
            R = looking(eye, np.array([0, 0, middle]), np.array([0, 0, 1.0]))
            _write(directory / f"object_{i:03d}.jpg", render(shape, eye, R, focal, width, height, 1.0), i)
            poses.append({"name": f"object_{i:03d}.jpg", "eye": eye.tolist(), "R": R.tolist()})
    return {"kind": kind, "poses": poses, "focal": focal}


def make_relief(directory: Path, photos: int, width: int) -> dict:
    """Photos in lines above the relief, with GPS in their EXIF (north up, metres to degrees on a local plane)."""
    height, focal = width * 3 // 4, width * 0.75
    columns = max(2, round(math.sqrt(photos * 1.2)))
    rows = -(-photos // columns)
    poses = []
    for i in range(photos):
        r, c = divmod(i, columns)
        c = c if r % 2 == 0 else columns - 1 - c
        wobble = np.random.default_rng(i).normal(0, 1.2, 3)
        eye = np.array([(c / max(columns - 1, 1) - 0.5) * 1.1 * RELIEF_HALF,
                        (r / max(rows - 1, 1) - 0.5) * 1.1 * RELIEF_HALF, RELIEF_HEIGHT]) + wobble
        R = looking(eye, np.array([eye[0] + 0.5 * wobble[1], eye[1] + 0.5 * wobble[2], 0.0]), np.array([0, 1.0, 0]))
        picture = render(RELIEF, eye, R, focal, width, height, RELIEF_HALF)
        latitude = RELIEF_LATITUDE + eye[1] / 111_174.0
        longitude = RELIEF_LONGITUDE + eye[0] / (111_320.0 * math.cos(math.radians(RELIEF_LATITUDE)) * 1.0015)
        exif = _gps_exif(latitude, longitude, RELIEF_ALTITUDE + eye[2], focal / width * 36)
        _write(directory / f"flight_{i:03d}.jpg", picture, i, exif)
        poses.append({"name": f"flight_{i:03d}.jpg", "eye": eye.tolist(), "R": R.tolist()})
    return {"kind": "relief", "poses": poses, "focal": focal}


def true_surface(kind: str, count: int = 60000) -> np.ndarray:
    """Points (N, 3) spread over the true surface: above the table, or the relief's photographed part."""
    random = np.random.default_rng(5)
    if kind == "relief":
        xy = random.uniform(-0.55 * RELIEF_HALF, 0.55 * RELIEF_HALF, (count, 2))
        return np.c_[xy, [relief_height(x, y) for x, y in xy]]
    d = random.normal(size=(count, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    points = d * np.array([object_radius(*v) for v in d])[:, None] + [0, 0, OBJECT_Z if kind == "object" else DOME_Z]
    return points[points[:, 2] > 0]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["object", "dome", "relief"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--size", type=int, default=800)
    arguments = parser.parse_args()
    images = arguments.directory / "images"
    images.mkdir(parents=True, exist_ok=True)
    if arguments.kind == "relief":
        truth = make_relief(images, arguments.photos, arguments.size)
    else:
        truth = make_object(images, arguments.photos, arguments.size, arguments.kind)
    (arguments.directory / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main()
