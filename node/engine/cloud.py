"""Point clouds and plain meshes as arrays; PLY and LAZ on disk."""
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import laspy
import numpy as np
import pyproj


@dataclass
class Cloud:
    """Points with colours and, once known, unit normals."""

    points: np.ndarray                    # (N, 3) float64
    colours: np.ndarray                   # (N, 3) uint8
    normals: Optional[np.ndarray] = None  # (N, 3) float32

    def __len__(self) -> int:
        return len(self.points)

    def keep(self, which: np.ndarray) -> "Cloud":
        """The points that a mask or index array selects."""
        return Cloud(self.points[which], self.colours[which], None if self.normals is None else self.normals[which])


def joined(*clouds: Cloud) -> Cloud:
    """All points of several clouds that have normals."""
    return Cloud(np.concatenate([c.points for c in clouds]), np.concatenate([c.colours for c in clouds]),
                 np.concatenate([c.normals for c in clouds]))


_TYPES = {"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8", "uchar": "u1", "uint8": "u1",
          "int": "<i4", "int32": "<i4", "uint": "<u4", "char": "i1", "short": "<i2", "ushort": "<u2"}


def _dtype(cloud: Cloud, double: bool) -> np.dtype:
    real = "<f8" if double else "<f4"
    fields = [(axis, real) for axis in "xyz"]
    if cloud.normals is not None:
        fields += [(name, "<f4") for name in ("nx", "ny", "nz")]
    return np.dtype(fields + [(name, "u1") for name in ("red", "green", "blue")])


def write_ply(path: Path, cloud: Cloud, double: bool = False, comments: Sequence[str] = ()) -> None:
    """Write binary PLY; ``double`` is for coordinates that are too large for 32 bit (UTM)."""
    rows = np.empty(len(cloud), _dtype(cloud, double))
    for i, axis in enumerate("xyz"):
        rows[axis] = cloud.points[:, i]
    if cloud.normals is not None:
        for i, name in enumerate(("nx", "ny", "nz")):
            rows[name] = cloud.normals[:, i]
    for i, name in enumerate(("red", "green", "blue")):
        rows[name] = cloud.colours[:, i]
    names = {"<f4": "float", "<f8": "double", "|u1": "uchar", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0"] + [f"comment {c}" for c in comments]
    header += [f"element vertex {len(rows)}"]
    header += [f"property {names[rows.dtype[name].str]} {name}" for name in rows.dtype.names]
    with open(path, "wb") as out:
        out.write(("\n".join(header + ["end_header"]) + "\n").encode("ascii"))
        out.write(rows.tobytes())


def _header(data: bytes):
    end = data.index(b"end_header") + len(b"end_header\n")
    elements = []
    for line in data[:end].decode("ascii").splitlines():
        words = line.split()
        if words[:1] == ["element"]:
            elements.append([words[1], int(words[2]), []])
        elif words[:1] == ["property"]:
            elements[-1][2].append(words[1:])
    return elements, end


def read_ply(path: Path):
    """Vertices as a structured array and faces (M, 3), or None without faces, of a binary little-endian PLY."""
    data = Path(path).read_bytes()
    elements, at = _header(data)
    vertices, faces = None, None
    for name, count, properties in elements:
        if name == "face":
            kind = np.dtype([("n", _TYPES[properties[0][1]]), ("v", _TYPES[properties[0][2]], (3,))])
            faces = np.frombuffer(data, kind, count, at)["v"].astype(np.int64)
            at += kind.itemsize * count
        else:
            kind = np.dtype([(p[1], _TYPES[p[0]]) for p in properties])
            rows = np.frombuffer(data, kind, count, at)
            at += kind.itemsize * count
            if name == "vertex":
                vertices = rows
    return vertices, faces


def read_cloud(path: Path) -> Cloud:
    """A point cloud from a PLY file that we or COLMAP wrote."""
    rows, _ = read_ply(path)
    points = np.stack([rows[a] for a in "xyz"], axis=1).astype(np.float64)
    colours = np.stack([rows[a] for a in ("red", "green", "blue")], axis=1).astype(np.uint8)
    normals = None
    if "nx" in rows.dtype.names:
        normals = np.stack([rows[a] for a in ("nx", "ny", "nz")], axis=1).astype(np.float32)
    return Cloud(points, colours, normals)


def write_laz(path: Path, cloud: Cloud, epsg: Optional[int] = None) -> None:
    """Write LAZ 1.2 with colours (16 bit in this format), and with the coordinate system if there is one."""
    header = laspy.LasHeader(point_format=2 if epsg is None else 3, version="1.2")
    points = cloud.points
    header.offsets = np.floor(points.min(axis=0)) if len(points) else np.zeros(3)
    extent = float((points.max(axis=0) - points.min(axis=0)).max()) if len(points) else 1.0
    header.scales = np.full(3, 0.001 if epsg is not None else max(extent / 2e8, 1e-9))
    if epsg is not None:
        header.add_crs(pyproj.CRS.from_epsg(epsg), keep_compatibility=True)
    las = laspy.LasData(header)
    las.x, las.y, las.z = points[:, 0], points[:, 1], points[:, 2]
    las.red, las.green, las.blue = (cloud.colours[:, i].astype(np.uint16) * 257 for i in range(3))
    las.write(str(path))
