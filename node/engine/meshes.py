"""Triangle meshes: cleaning, and OBJ, GLB and PLY files."""
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


@dataclass
class Mesh:
    """Triangles, and vertex colours or a texture atlas once they are made.

    Texture coordinates follow OBJ (v upwards). Each triangle corner has its own, because charts cut through vertices.
    """

    vertices: np.ndarray                  # (V, 3) float64
    faces: np.ndarray                     # (F, 3) int64
    colours: Optional[np.ndarray] = None  # (V, 3) uint8
    uvs: Optional[np.ndarray] = None      # (T, 2) float32
    face_uvs: Optional[np.ndarray] = None  # (F, 3) int64, rows of uvs

    def face_normals(self) -> np.ndarray:
        """Unit normals (F, 3)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        n = np.cross(b - a, c - a)
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-30)

    def vertex_normals(self) -> np.ndarray:
        """Area-weighted unit normals (V, 3)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        n = np.cross(b - a, c - a)
        total = np.zeros_like(self.vertices)
        for i in range(3):
            np.add.at(total, self.faces[:, i], n)
        return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-30)

    def areas(self) -> np.ndarray:
        """Triangle areas (F,)."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)

    def keep_faces(self, which: np.ndarray) -> "Mesh":
        """The mesh of the selected faces, without unused vertices and without a texture."""
        faces = self.faces[which]
        used, inverse = np.unique(faces, return_inverse=True)
        return Mesh(self.vertices[used], inverse.reshape(-1, 3).astype(np.int64),
                    None if self.colours is None else self.colours[used])

    def components(self) -> np.ndarray:
        """Label of the connected part that each face belongs to (F,)."""
        n = len(self.vertices)
        rows = np.concatenate([self.faces[:, 0], self.faces[:, 1]])
        columns = np.concatenate([self.faces[:, 1], self.faces[:, 2]])
        _, labels = connected_components(coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n)),
                                         directed=False)
        return labels[self.faces[:, 0]]

    def boundary_edges(self) -> np.ndarray:
        """Edges (E, 2) that belong to only one face, with that face's direction."""
        edges = np.concatenate([self.faces[:, [0, 1]], self.faces[:, [1, 2]], self.faces[:, [2, 0]]])
        _, index, counts = np.unique(np.sort(edges, axis=1), axis=0, return_index=True, return_counts=True)
        return edges[index[counts == 1]]


def largest_part(mesh: Mesh) -> Mesh:
    """The connected part with the largest area."""
    if not len(mesh.faces):
        return mesh
    labels = mesh.components()
    area = np.bincount(labels, weights=mesh.areas())
    return mesh.keep_faces(labels == np.argmax(area))


def _loops(edges: np.ndarray) -> list[list[int]]:
    """Closed rings of directed edges. Rings that touch in a vertex are separated."""
    following: dict[int, list[int]] = {}
    for a, b in edges.tolist():
        following.setdefault(a, []).append(b)
    rings = []
    while following:
        start = next(iter(following))
        ring, at = [], start
        while following.get(at):
            ring.append(at)
            after = following[at].pop()
            if not following[at]:
                del following[at]
            at = after
            if at in ring:
                cut = ring.index(at)
                rings.append(ring[cut:])
                ring = ring[:cut]
    return rings


def fill_holes(mesh: Mesh, most_edges: int = 10**9) -> Mesh:
    """Close every hole of at most ``most_edges`` edges with a fan around its middle."""
    vertices, faces, colours = [mesh.vertices], [mesh.faces], [mesh.colours]
    count = len(mesh.vertices)
    for ring in _loops(mesh.boundary_edges()):
        if not 3 <= len(ring) <= most_edges:
            continue
        r = np.array(ring)
        following = np.roll(r, -1)
        if len(ring) == 3:
            faces.append(np.array([[r[1], r[0], r[2]]]))
            continue
        vertices.append(mesh.vertices[r].mean(axis=0, keepdims=True))
        if mesh.colours is not None:
            colours.append(mesh.colours[r].mean(axis=0, keepdims=True).astype(np.uint8))
        faces.append(np.stack([following, r, np.full(len(r), count)], axis=1))
        count += 1
    return Mesh(np.concatenate(vertices), np.concatenate(faces),
                None if mesh.colours is None else np.concatenate(colours))


def closed(mesh: Mesh, tries: int = 5) -> Mesh:
    """The mesh without open edges: holes are filled. If a fan does not fit, its surroundings are cut out first."""
    for _ in range(tries):
        mesh = largest_part(fill_holes(mesh))
        edges = mesh.boundary_edges()
        if not len(edges):
            break
        torn = np.isin(mesh.faces, edges.ravel()).any(axis=1)
        mesh = largest_part(mesh.keep_faces(~torn))
    return mesh


def without_degenerate(mesh: Mesh) -> Mesh:
    """The mesh without triangles that use a vertex twice, and without duplicate triangles."""
    f = mesh.faces
    good = (f[:, 0] != f[:, 1]) & (f[:, 1] != f[:, 2]) & (f[:, 2] != f[:, 0])
    _, first = np.unique(np.sort(f, axis=1), axis=0, return_index=True)
    single = np.zeros(len(f), bool)
    single[first] = True
    return mesh.keep_faces(good & single)


def write_mesh_ply(path: Path, mesh: Mesh) -> None:
    """Write binary PLY, with vertex colours if there are any."""
    fields = [(a, "<f4") for a in "xyz"]
    if mesh.colours is not None:
        fields += [(a, "u1") for a in ("red", "green", "blue")]
    rows = np.empty(len(mesh.vertices), np.dtype(fields))
    for i, a in enumerate("xyz"):
        rows[a] = mesh.vertices[:, i]
    if mesh.colours is not None:
        for i, a in enumerate(("red", "green", "blue")):
            rows[a] = mesh.colours[:, i]
    faces = np.empty(len(mesh.faces), np.dtype([("n", "u1"), ("v", "<i4", (3,))]))
    faces["n"], faces["v"] = 3, mesh.faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in fields]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    with open(path, "wb") as out:
        out.write(("\n".join(header) + "\n").encode("ascii") + rows.tobytes() + faces.tobytes())


def _rows(form: str, values: np.ndarray) -> list[str]:
    return [form.format(*row) for row in values.tolist()]


def write_obj(path: Path, mesh: Mesh, texture: Optional[str], material: str = "material0000") -> None:
    """Write OBJ and MTL. ``texture``: the file name of the texture; if None, vertex colours are written."""
    lines: list[str] = []
    mtl = path.with_suffix(".mtl")
    lines.append(f"mtllib {mtl.name}")
    if mesh.colours is not None and texture is None:
        c = mesh.colours / 255.0
        lines += _rows("v {:.6f} {:.6f} {:.6f} {:.4f} {:.4f} {:.4f}", np.c_[mesh.vertices, c])
    else:
        lines += _rows("v {:.6f} {:.6f} {:.6f}", mesh.vertices)
    lines += _rows("vn {:.4f} {:.4f} {:.4f}", mesh.vertex_normals())
    lines.append(f"usemtl {material}")
    if mesh.uvs is not None:
        lines += _rows("vt {:.6f} {:.6f}", mesh.uvs)
        f, u = mesh.faces + 1, mesh.face_uvs + 1
        lines += _rows("f {}/{}/{} {}/{}/{} {}/{}/{}", np.c_[f[:, 0], u[:, 0], f[:, 0], f[:, 1], u[:, 1], f[:, 1],
                                                             f[:, 2], u[:, 2], f[:, 2]])
    else:
        lines += _rows("f {}//{} {}//{} {}//{}", np.repeat(mesh.faces + 1, 2, axis=1))
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    rows = [f"newmtl {material}", "Ka 1.000000 1.000000 1.000000", "Kd 1.000000 1.000000 1.000000",
            "Ks 0.000000 0.000000 0.000000", "illum 1", "d 1.000000"]
    if texture is not None:
        rows.append(f"map_Kd {texture}")
    mtl.write_text("\n".join(rows) + "\n", encoding="ascii")


def corners_split(mesh: Mesh) -> dict[str, np.ndarray]:
    """Position, uv (v downwards, as in glTF), normal and triangles, with vertices duplicated where the texture is cut."""
    normals = mesh.vertex_normals()
    if mesh.uvs is None:
        return {"position": mesh.vertices, "normal": normals, "faces": mesh.faces}
    pairs = np.stack([mesh.faces.ravel(), mesh.face_uvs.ravel()], axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    uv = mesh.uvs[unique[:, 1]].copy()
    uv[:, 1] = 1.0 - uv[:, 1]
    return {"position": mesh.vertices[unique[:, 0]], "normal": normals[unique[:, 0]], "uv": uv,
            "faces": inverse.reshape(-1, 3)}


def write_glb(path: Path, mesh: Mesh, jpeg: Optional[bytes], centre: Optional[np.ndarray] = None) -> None:
    """Write binary glTF 2.0 with the texture inside, or with vertex colours.

    Coordinates are z-up as in the OBJ: ODM writes them and WebODM's 3D view expects them this way. ``centre`` must be added
    to the coordinates to get UTM. It goes into the CESIUM_RTC extension, which WebODM reads.
    """
    parts = corners_split(mesh)
    blobs: list[bytes] = []
    views: list[dict] = []
    accessors: list[dict] = []

    def add(array: np.ndarray, kind: str, component: int, target: int, limits: bool = False, normalised=False) -> int:
        data = np.ascontiguousarray(array).tobytes()
        offset = sum(len(b) for b in blobs)
        blobs.append(data + b"\0" * (-len(data) % 4))
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(data), "target": target})
        accessor = {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind}
        if kind == "SCALAR":
            accessor["count"] = array.size
        if limits:
            accessor["min"], accessor["max"] = array.min(axis=0).tolist(), array.max(axis=0).tolist()
        if normalised:
            accessor["normalized"] = True
        accessors.append(accessor)
        return len(accessors) - 1

    attributes = {"POSITION": add(parts["position"].astype("<f4"), "VEC3", 5126, 34962, limits=True),
                  "NORMAL": add(parts["normal"].astype("<f4"), "VEC3", 5126, 34962)}
    material: dict = {"name": "material0000", "doubleSided": True, "extensions": {"KHR_materials_unlit": {}},
                      "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}
    document: dict = {"asset": {"version": "2.0", "generator": "engine"}, "scene": 0, "scenes": [{"nodes": [0]}],
                      "extensionsUsed": ["KHR_materials_unlit"], "materials": [material]}
    if "uv" in parts and jpeg is not None:
        attributes["TEXCOORD_0"] = add(parts["uv"].astype("<f4"), "VEC2", 5126, 34962)
    elif mesh.colours is not None:
        rgba = np.c_[mesh.colours, np.full(len(mesh.colours), 255)].astype(np.uint8)
        attributes["COLOR_0"] = add(rgba, "VEC4", 5121, 34962, normalised=True)
    indices = add(parts["faces"].astype("<u4").ravel(), "SCALAR", 5125, 34963)
    if jpeg is not None:
        offset = sum(len(b) for b in blobs)
        blobs.append(jpeg + b"\0" * (-len(jpeg) % 4))
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(jpeg)})
        document["images"] = [{"bufferView": len(views) - 1, "mimeType": "image/jpeg"}]
        document["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
        document["textures"] = [{"source": 0, "sampler": 0}]
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
    node: dict = {"mesh": 0}
    if centre is not None:
        document["extensionsUsed"].append("CESIUM_RTC")
        document["extensions"] = {"CESIUM_RTC": {"center": [float(v) for v in centre]}}
    document.update({"nodes": [node], "meshes": [{"primitives": [{"attributes": attributes, "indices": indices,
                                                                    "material": 0}]}],
                     "accessors": accessors, "bufferViews": views,
                     "buffers": [{"byteLength": sum(len(b) for b in blobs)}]})
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(blobs)
    with open(path, "wb") as out:
        out.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(binary)))
        out.write(struct.pack("<I4s", len(text), b"JSON") + text)
        out.write(struct.pack("<I4s", len(binary), b"BIN\0") + binary)
