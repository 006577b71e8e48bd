"""A small engine program for tests of queues and failures: speaks the command line of ``python -m node.engine``, needs only Python.

It really writes a result in ODM's layout, a textured cube and its coloured points, within a tenth of a second, but reconstructs nothing.
Its behavior is set, the later before the earlier, by ``--mode`` and ``--seconds``; by ``--control FILE``, a JSON file with
``{"mode", "seconds"}`` that is read at each run; by the task's options ``quick-mode`` and ``quick-seconds``; by an image named
``quick-MODE.jpg`` or ``quick-MODE-SECONDS.jpg``.

Modes: ``ok`` (after ``seconds`` of working), ``fail`` (says why), ``crash`` (a signal), ``mute`` (fails without a word), ``silent``
(ends well without a result line), ``empty`` (says ok, leaves nothing), ``hang`` (for ever), ``stubborn`` (hangs and ignores SIGTERM, and
so does a child),
``noise`` (odd console lines, then ok), ``once`` (fails at first, is ok when the task is run again).
"""
import argparse
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

MODES = ("ok", "fail", "crash", "mute", "silent", "empty", "hang", "stubborn", "noise", "once")
FAILURE = "only 3 of 16 photos could be placed: take more photos with more overlap"
STAGES = ("dataset", "opensfm", "odm_meshing", "mvs_texturing", "odm_report")


def option(name: str, kind: str, value: str, domain: Any, text: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "value": value, "domain": domain, "help": text}


OPTIONS = [
    option("quick-mode", "enum", "ok", list(MODES), "how this engine behaves"),
    option("quick-seconds", "float", "0", "positive float", "how long it works"),
    option("feature-quality", "enum", "high", ["ultra", "high", "medium", "low", "lowest"], "as in ODM"),
    option("mesh-size", "int", "200000", "positive integer", "as in ODM"),
    option("mesh-octree-depth", "int", "11", "integer: 1 <= x <= 14", "as in ODM"),
    option("pc-quality", "enum", "medium", ["ultra", "high", "medium", "low", "lowest"], "as in ODM"),
    option("orthophoto-resolution", "float", "5", "float > 0.0", "as in ODM"),
    option("use-3dmesh", "bool", "false", "", "as in ODM"),
    option("auto-boundary", "bool", "false", "", "as in ODM"),
    option("gltf", "bool", "false", "", "as in ODM"),
    option("rerun-from", "enum", "", ["", *STAGES], "as in ODM"),
]


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


# What the engine writes

_FACES = [  # corners of each face, anticlockwise from outside
    ((0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 0, 0)), ((0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)),
    ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)), ((1, 1, 0), (0, 1, 0), (0, 1, 1), (1, 1, 1)),
    ((0, 1, 0), (0, 0, 0), (0, 0, 1), (0, 1, 1)), ((1, 0, 0), (1, 1, 0), (1, 1, 1), (1, 0, 1)),
]
GRID = 5
_CORNERS_UV = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


def png(size: int, seed: int) -> bytes:
    """A square chequered RGB picture whose colours follow from the seed."""
    colour = bytes((64 + (seed * 37) % 128, 64 + (seed * 59) % 128, 64 + (seed * 83) % 128))
    rows = b"".join(
        b"\0" + b"".join(colour if (x // 8 + y // 8) % 2 else bytes((230, 220, 60)) for x in range(size)) for y in range(size)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def obj() -> str:
    """The cube with texture coordinates, each side a grid of squares of two triangles."""
    lines = ["mtllib odm_textured_model_geo.mtl", "usemtl material0000"]
    steps = [i / GRID for i in range(GRID + 1)]
    for a, b, _, d in _FACES:
        for u in steps:
            for v in steps:
                x, y, z = (a[i] + u * (b[i] - a[i]) + v * (d[i] - a[i]) for i in range(3))
                lines += [f"v {x} {y} {z}", f"vt {u} {v}"]
    row = GRID + 1
    for face in range(len(_FACES)):
        for u in range(GRID):
            for v in range(GRID):
                a = face * row * row + u * row + v + 1
                b, c, d = a + row, a + row + 1, a + 1
                lines += [f"f {a}/{a} {b}/{b} {c}/{c}", f"f {a}/{a} {c}/{c} {d}/{d}"]
    return "\n".join(lines) + "\n"


def glb(texture: bytes) -> bytes:
    """The same cube as binary glTF 2.0 with its texture inside."""
    positions = b"".join(struct.pack("<3f", *corner) for face in _FACES for corner in face)
    uv = b"".join(struct.pack("<2f", u, 1 - v) for _ in _FACES for u, v in _CORNERS_UV)
    indices = b"".join(struct.pack("<6H", *(face * 4 + i for i in (0, 1, 2, 0, 2, 3))) for face in range(len(_FACES)))
    views, binary = [], b""
    for data in (positions, uv, indices, texture):
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data)})
        binary += data + b"\0" * (-len(data) % 4)
    document = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0}}],
        "textures": [{"source": 0}], "images": [{"bufferView": 3, "mimeType": "image/png"}],
        "buffers": [{"byteLength": len(binary)}], "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 24, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 1]},
            {"bufferView": 1, "componentType": 5126, "count": 24, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 36, "type": "SCALAR"},
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


def cloud() -> list[tuple[float, float, float, int, int, int]]:
    """Coloured points on the cube's sides."""
    steps = [i / 9 for i in range(10)]
    points = []
    for fixed in range(3):
        for side in (0.0, 1.0):
            for a in steps:
                for b in steps:
                    xyz = [a, b]
                    xyz.insert(fixed, side)
                    points.append((*xyz, int(255 * xyz[0]), int(255 * xyz[1]), int(255 * xyz[2])))
    return points


def ply(points: list) -> bytes:
    names = "".join(f"property float {axis}\n" for axis in "xyz")
    names += "".join(f"property uchar {colour}\n" for colour in ("red", "green", "blue"))
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{names}end_header\n"
    return header.encode() + b"".join(struct.pack("<3f3B", *point) for point in points)


def las(points: list) -> bytes:
    """LAS 1.2, point format 2 (with colours), in millimetres."""
    scale, record = 0.001, struct.Struct("<iiiHBBbBHHHH")
    low = [min(point[axis] for point in points) for axis in range(3)]
    high = [max(point[axis] for point in points) for axis in range(3)]
    header = struct.pack(
        "<4sHHIHH8sBB32s32sHHHIIBHI5I3d3d6d", b"LASF", 0, 0, 0, 0, 0, bytes(8), 1, 2, b"", b"quick_engine", 1, 2026, 227, 227, 0, 2,
        record.size, len(points), len(points), 0, 0, 0, 0, scale, scale, scale, 0, 0, 0,
        high[0], low[0], high[1], low[1], high[2], low[2],
    )
    body = b"".join(
        record.pack(*(round(v / scale) for v in point[:3]), 0, 9, 1, 0, 0, 0, *(c * 257 for c in point[3:])) for point in points
    )
    return header + body


def write_results(images: Path, out: Path, options: list[dict[str, Any]]) -> None:
    photos = sorted(path.name for path in images.iterdir() if path.is_file())
    texture = png(64, sum(map(ord, "".join(photos))))
    points = cloud()
    files: dict[str, Any] = {
        "odm_texturing/odm_textured_model_geo.obj": obj(),
        "odm_texturing/odm_textured_model_geo.mtl":
            "newmtl material0000\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd odm_textured_model_geo_material0000_map_Kd.png\n",
        "odm_texturing/odm_textured_model_geo_material0000_map_Kd.png": texture,
        "odm_texturing/odm_textured_model_geo.glb": glb(texture),
        "odm_georeferencing/odm_georeferenced_model.ply": ply(points),
        "odm_georeferencing/odm_georeferenced_model.las": las(points),
        "cameras.json": {"quick camera 64 64 perspective 0.85":
                         {"projection_type": "perspective", "width": 64, "height": 64, "focal": 0.85, "k1": 0, "k2": 0}},
        "images.json": [{"filename": name, "camera_make": "quick", "camera_model": "camera", "width": 64, "height": 64} for name in photos],
        "log.json": {"options": {option["name"]: option["value"] for option in options}, "success": True},
        "odm_report/stats.json": {
            "processing_statistics": {"start_date": "01/01/2026 at 00:00:00", "end_date": "01/01/2026 at 00:00:00", "area": 0},
            "reconstruction_statistics": {"reconstructed_points_count": len(points), "has_gps": False, "has_gcp": False,
                                          "reconstructed_shots_count": len(photos), "initial_shots_count": len(photos)},
        },
    }
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, (dict, list)):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


# How it behaves


def behaviour(arguments: argparse.Namespace, options: list[dict[str, Any]]) -> tuple[str, float]:
    """The mode and the seconds that hold for this run."""
    mode, seconds = arguments.mode, arguments.seconds
    if arguments.control and arguments.control.is_file():
        told = json.loads(arguments.control.read_text())
        mode, seconds = told.get("mode", mode), float(told.get("seconds", seconds))
    values = {option["name"]: option["value"] for option in options}
    mode, seconds = values.get("quick-mode", mode), float(values.get("quick-seconds", seconds))
    for path in arguments.images.iterdir():
        told_by_name = re.match(r"quick-([a-z]+)(?:-([\d.]+))?\.\w+$", path.name)
        if told_by_name:
            mode = told_by_name.group(1)
            seconds = float(told_by_name.group(2) or seconds)
    if mode not in MODES:
        raise SystemExit(f"unknown mode {mode!r}: {', '.join(MODES)}")
    return mode, seconds


def work(seconds: float) -> None:
    """Pass the time with progress lines, as an engine does."""
    say(type="log", message="quick engine: nothing is reconstructed")
    steps = max(len(STAGES), int(seconds * 10))
    for step in range(steps):
        time.sleep(seconds / steps)
        stage = STAGES[step * len(STAGES) // steps]
        done = (step + 1) / steps
        say(type="progress", stage=stage, progress=100 * done, eta_seconds=seconds * (1 - done))


def run(arguments: argparse.Namespace) -> int:
    options = json.loads(arguments.options.read_text())
    mode, seconds = behaviour(arguments, options)
    runs = arguments.out / "quick_engine_runs"
    earlier = int(runs.read_text()) if runs.is_file() else 0
    runs.write_text(str(earlier + 1))
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # The directory in its command line lets tests find it. It inherits that SIGTERM is ignored.
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)", str(arguments.out)])
    if mode == "noise":
        print("\x1b[33mcolours\x1b[0m, then a brace {not json")
        print("{not json either")
        print("bytes \udcff", flush=True)
        print("x" * 3_000_000)
        print("on stderr", file=sys.stderr, flush=True)
    work(seconds)
    if mode in ("hang", "stubborn"):
        while True:
            time.sleep(1)
    if mode == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "mute":
        return 1
    if mode == "fail" or (mode == "once" and not earlier):
        say(type="result", ok=False, error=FAILURE)
        return 1
    if mode != "empty":
        write_results(arguments.images, arguments.out, options)
    if mode != "silent":
        say(type="result", ok=True, error=None)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="version", version="quick 1.0.0")
    parser.add_argument("--list-options", action="store_true")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--options", type=Path)
    parser.add_argument("--mode", default="ok")
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--control", type=Path)
    arguments = parser.parse_args()
    sys.stdout.reconfigure(errors="surrogateescape")
    if arguments.list_options:
        print(json.dumps(OPTIONS))
        return 0
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
