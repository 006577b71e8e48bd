"""A small software rasteriser, compiled by numba: the triangle at each pixel, its depth, and the place within it."""
from typing import Optional

import cv2
import numpy as np
from numba import njit, prange

from .meshes import Mesh


@njit(cache=True, fastmath=True)
def _draw(pixels, depth, faces, cull, perspective, zbuffer, index, bary):
    """Perspective-correct z-buffer. ``depth`` <= 0 marks vertices behind the camera. bary: weights of corners 1 and 2."""
    height, width = zbuffer.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if depth[a] <= 0.0 or depth[b] <= 0.0 or depth[c] <= 0.0:
            continue
        ax, ay, bx, by, cx, cy = pixels[a, 0], pixels[a, 1], pixels[b, 0], pixels[b, 1], pixels[c, 0], pixels[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0 or (cull and area > 0.0):
            continue
        x0 = max(0, int(np.ceil(min(ax, bx, cx))))
        x1 = min(width - 1, int(np.floor(max(ax, bx, cx))))
        y0 = max(0, int(np.ceil(min(ay, by, cy))))
        y1 = min(height - 1, int(np.floor(max(ay, by, cy))))
        if x0 > x1 or y0 > y1:
            continue
        ia, ib, ic = 1.0 / depth[a], 1.0 / depth[b], 1.0 / depth[c]
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                wa = 1.0 - wb - wc
                if wa < -1e-7 or wb < -1e-7 or wc < -1e-7:
                    continue
                if perspective:
                    z = 1.0 / (wa * ia + wb * ib + wc * ic)
                    wb, wc = wb * ib * z, wc * ic * z
                else:
                    z = wa * depth[a] + wb * depth[b] + wc * depth[c]
                if z < zbuffer[y, x]:
                    zbuffer[y, x] = z
                    index[y, x] = f
                    bary[y, x, 0] = wb
                    bary[y, x, 1] = wc


def draw(vertices: np.ndarray, faces: np.ndarray, K: np.ndarray, R: np.ndarray, t: np.ndarray, width: int,
         height: int, cull: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel: depth (inf if empty), triangle index (-1 if empty), and the weights of the triangle's corners 1 and 2.

    ``cull`` leaves out triangles seen from behind (their corners run clockwise as seen).
    """
    camera = vertices @ R.T + t
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (camera @ K.T)[:, :2] / camera[:, 2:3]
    zbuffer = np.full((height, width), np.inf, np.float32)
    index = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    _draw(pixels, camera[:, 2].copy(), faces, cull, True, zbuffer, index, bary)
    return zbuffer, index, bary


def draw_flat(pixels: np.ndarray, faces: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangle index and corner weights for triangles that lie in the picture's plane (a texture atlas)."""
    zbuffer = np.full((height, width), np.inf, np.float32)
    index = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    _draw(np.ascontiguousarray(pixels, np.float64), np.ones(len(pixels)), faces, False, False, zbuffer, index,
          bary)
    return index, bary


def draw_from_above(vertices: np.ndarray, faces: np.ndarray, left: float, top: float, resolution: float, width: int,
                    height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The highest surface in each cell of a map: height (nan if empty), triangle index, corner weights.

    ``left``, ``top``: coordinates of the map's upper left corner; ``resolution``: units per cell.
    """
    pixels = np.stack([(vertices[:, 0] - left) / resolution - 0.5, (top - vertices[:, 1]) / resolution - 0.5], axis=1)
    ceiling = float(vertices[:, 2].max()) + 1.0
    zbuffer = np.full((height, width), np.inf, np.float32)
    index = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 2), np.float32)
    _draw(np.ascontiguousarray(pixels), ceiling - vertices[:, 2], faces, False, False, zbuffer, index, bary)
    return np.where(index >= 0, ceiling - zbuffer, np.nan).astype(np.float32), index, bary


@njit(cache=True, parallel=True, fastmath=True)
def rate_faces(vertices, faces, normals, K, R, t, centre, zbuffer, tolerance, quality):
    """How well a view shows each triangle: resolution times squared cosine of the angle, or 0 if the triangle is hidden."""
    height, width = zbuffer.shape
    for f in prange(faces.shape[0]):
        quality[f] = 0.0
        px = np.empty(3, np.float64)
        py = np.empty(3, np.float64)
        mx, my, mz = 0.0, 0.0, 0.0
        inside = True
        for k in range(3):
            v = faces[f, k]
            x = R[0, 0] * vertices[v, 0] + R[0, 1] * vertices[v, 1] + R[0, 2] * vertices[v, 2] + t[0]
            y = R[1, 0] * vertices[v, 0] + R[1, 1] * vertices[v, 1] + R[1, 2] * vertices[v, 2] + t[1]
            z = R[2, 0] * vertices[v, 0] + R[2, 1] * vertices[v, 1] + R[2, 2] * vertices[v, 2] + t[2]
            if z <= 0.0:
                inside = False
                break
            px[k], py[k] = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
            if px[k] < 1.0 or py[k] < 1.0 or px[k] > width - 2.0 or py[k] > height - 2.0:
                inside = False
                break
            zz = zbuffer[int(py[k] + 0.5), int(px[k] + 0.5)]
            if z > zz + 3.0 * tolerance:
                inside = False
                break
            mx, my, mz = mx + x / 3.0, my + y / 3.0, mz + z / 3.0
        if not inside:
            continue
        u, w = K[0, 0] * mx / mz + K[0, 2], K[1, 1] * my / mz + K[1, 2]
        if mz > zbuffer[int(w + 0.5), int(u + 0.5)] + tolerance:
            continue
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        g0 = (vertices[a, 0] + vertices[b, 0] + vertices[c, 0]) / 3.0 - centre[0]
        g1 = (vertices[a, 1] + vertices[b, 1] + vertices[c, 1]) / 3.0 - centre[1]
        g2 = (vertices[a, 2] + vertices[b, 2] + vertices[c, 2]) / 3.0 - centre[2]
        distance = np.sqrt(g0 * g0 + g1 * g1 + g2 * g2)
        cosine = -(normals[f, 0] * g0 + normals[f, 1] * g1 + normals[f, 2] * g2) / distance
        if cosine < 0.15:
            continue
        # Pixels per unit of surface times squared cosine: oblique views smear.
        quality[f] = cosine * cosine * (K[0, 0] / distance) ** 2


def render(mesh: Mesh, texture: Optional[np.ndarray], K: np.ndarray, R: np.ndarray, t: np.ndarray, width: int,
           height: int, background: int = 255, shade: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The model as a camera would see it: RGB (8 bit) and a mask of the model's pixels.

    ``texture`` None draws the vertex colours; ``shade`` draws only the shape, lit from the camera.
    """
    _, index, bary = draw(mesh.vertices, mesh.faces, K, R, t, width, height)
    mask = index >= 0
    face, wb, wc = index[mask], bary[mask][:, 0:1], bary[mask][:, 1:2]
    wa = 1.0 - wb - wc
    picture = np.full((height, width, 3), background, np.uint8)
    if shade:
        normals = mesh.vertex_normals() @ R.T
        n = sum(w * normals[mesh.faces[face, k]] for k, w in enumerate((wa, wb, wc)))
        light = np.clip(np.abs(n[:, 2:3]) / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9), 0, 1)
        picture[mask] = (60 + 180 * light * np.array([[1.0, 0.98, 0.94]])).astype(np.uint8)
    elif texture is None:
        colours = mesh.colours.astype(np.float32)
        picture[mask] = sum(w * colours[mesh.faces[face, k]] for k, w in enumerate((wa, wb, wc)))
    else:
        picture[mask] = sample(mesh, texture, face, wb, wc)
    return picture, mask


def sample(mesh: Mesh, texture: np.ndarray, face: np.ndarray, wb: np.ndarray, wc: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of a textured mesh at places in its triangles; weights of corners 1 and 2 as (N, 1)."""
    weights = (1.0 - wb - wc, wb, wc)
    uv = sum(w * mesh.uvs[mesh.face_uvs[face, k]] for k, w in enumerate(weights))
    size_y, size_x = texture.shape[:2]
    x = (uv[:, 0] * size_x - 0.5).astype(np.float32)
    y = ((1.0 - uv[:, 1]) * size_y - 0.5).astype(np.float32)
    # cv2.remap accepts at most 32767 columns, so the places are folded into a block.
    n = len(x)
    rows = -(-max(n, 1) // 4096)
    fold = [np.pad(a, (0, rows * 4096 - n)).reshape(rows, 4096) for a in (x, y)]
    return cv2.remap(texture, fold[0], fold[1], cv2.INTER_LINEAR).reshape(-1, 3)[:n]
