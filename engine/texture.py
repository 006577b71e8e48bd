"""The photo texture: every texel takes the fine detail of one photo and the brightness that all photos agree on."""
from typing import Callable, Optional

import cv2
import numpy as np

from . import charts, raster
from .meshes import Mesh
from .scene import Scene, View

_FULL_SIZE_FOR_VISIBILITY = 1600  # pixels of the longer side
_BASE_SIGMA = 0.012               # blur that parts detail from brightness, of the photo's longer side


def rate_views(scene: Scene, mesh: Mesh, normals: np.ndarray, on_done: Callable[[int, int], None]
               ) -> tuple[np.ndarray, np.ndarray]:
    """The best views of each triangle and their quality (F, CANDIDATES); 0 quality where there is none."""
    count = len(mesh.faces)
    best_view = np.full((count, charts.CANDIDATES), -1, np.int32)
    best_quality = np.zeros((count, charts.CANDIDATES), np.float32)
    quality = np.zeros(count, np.float32)
    edge = float(np.sqrt(np.median(mesh.areas())))
    used = scene.used()
    for done, i in enumerate(used, 1):
        view = scene.views[i]
        scale = min(1.0, _FULL_SIZE_FOR_VISIBILITY / max(view.width, view.height))
        K = view.scaled_K(scale)
        width, height = view.size(scale)
        zbuffer, _, _ = raster.draw(mesh.vertices, mesh.faces, K, view.R, view.t, width, height)
        distance = float(np.median(zbuffer[np.isfinite(zbuffer)])) if np.isfinite(zbuffer).any() else 1.0
        tolerance = max(0.7 * edge, 2.0 * distance / K[0, 0])
        raster.rate_faces(mesh.vertices, mesh.faces, normals, K, view.R, view.t, view.centre, zbuffer, tolerance,
                          quality)
        charts.insert_view(i, quality, best_view, best_quality)
        on_done(done, len(used))
    return best_view, best_quality


def _corner_pixels(scene: Scene, mesh: Mesh, labels: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Each triangle's corners (F, 3, 2) in the photo that colours it; unseen ones in a plane of their own."""
    out = np.zeros((len(mesh.faces), 3, 2))
    for i in np.unique(labels[labels >= 0]):
        which = labels == i
        pixels, _ = scene.views[i].project(mesh.vertices[mesh.faces[which]].reshape(-1, 3))
        out[which] = pixels.reshape(-1, 3, 2)
    unseen = labels < 0
    if unseen.any():
        seen_area = mesh.areas()[~unseen].sum()
        a, b, c = (out[~unseen][:, k] for k in range(3))
        pixel_area = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum()
        # A quarter of the seen surface's resolution: there is no detail to keep.
        density = 0.25 * np.sqrt(pixel_area / seen_area) if seen_area > 0 else 1.0
        corners = mesh.vertices[mesh.faces[unseen]] * density
        axis = np.argmax(np.abs(normals[unseen]), axis=1)
        planes = np.array([[1, 2], [0, 2], [0, 1]])[axis]
        out[unseen] = np.take_along_axis(corners, planes[:, None, :].repeat(3, axis=1), axis=2)
    return out


def _remap(picture: np.ndarray, x: np.ndarray, y: np.ndarray, method: int) -> np.ndarray:
    """Samples (N, 3) of a picture at any number of places."""
    n = len(x)
    if not n:
        return np.zeros((0, 3), picture.dtype)
    rows = -(-n // 8192)
    fold = [np.pad(a.astype(np.float32), (0, rows * 8192 - n), mode="edge").reshape(rows, 8192) for a in (x, y)]
    return cv2.remap(picture, fold[0], fold[1], method, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 3)[:n]


def _base(picture: np.ndarray, view: View, mesh: Mesh) -> np.ndarray:
    """The photo without detail, at a quarter of its size; what is not the model does not bleed into it."""
    scale = 0.25
    small = cv2.resize(picture, view.size(scale), interpolation=cv2.INTER_AREA).astype(np.float32)
    _, index, _ = raster.draw(mesh.vertices, mesh.faces, view.scaled_K(scale), view.R, view.t, *view.size(scale))
    inside = cv2.erode((index >= 0).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.float32)
    sigma = _BASE_SIGMA * max(view.width, view.height) * scale
    weight = cv2.GaussianBlur(inside, (0, 0), sigma)
    blurred = cv2.GaussianBlur(small * inside[:, :, None], (0, 0), sigma)
    plain = cv2.GaussianBlur(small, (0, 0), sigma)
    return np.where(weight[:, :, None] > 0.02, blurred / np.maximum(weight, 1e-6)[:, :, None], plain)


def _spread(atlas: np.ndarray, known: np.ndarray, rounds: int) -> None:
    """Continue colours into the gaps between charts, in place, so that filtering finds no seam."""
    for _ in range(rounds):
        weight = cv2.boxFilter(known.astype(np.float32), -1, (3, 3), normalize=False)
        total = cv2.boxFilter(atlas * known[:, :, None], -1, (3, 3), normalize=False)
        grow = (weight > 0) & ~known
        atlas[grow] = total[grow] / weight[grow][:, None]
        known |= grow


def _vertex_colours(mesh: Mesh, unseen: np.ndarray, corner_colours: np.ndarray) -> np.ndarray:
    """Vertex colours (V, 3): the mean of the seen corners, then spread over the unseen ones by diffusion."""
    total = np.zeros((len(mesh.vertices), 3))
    count = np.zeros(len(mesh.vertices))
    for k in range(3):
        np.add.at(total, mesh.faces[~unseen, k], corner_colours[~unseen, k])
        np.add.at(count, mesh.faces[~unseen, k], 1)
    known = count > 0
    colours = np.zeros_like(total)
    colours[known] = total[known] / count[known][:, None]
    open_faces = mesh.faces[unseen]
    edges = np.concatenate([open_faces[:, [0, 1]], open_faces[:, [1, 2]], open_faces[:, [2, 0]]])
    edges = np.concatenate([edges, edges[:, ::-1]])
    have = known.copy()
    for _ in range(400):
        use = have[edges[:, 0]]
        if have[open_faces].all() and _ > 60:
            break
        s, c = np.zeros_like(colours), np.zeros(len(colours))
        np.add.at(s, edges[use, 1], colours[edges[use, 0]])
        np.add.at(c, edges[use, 1], 1)
        change = (c > 0) & ~known
        colours[change] = s[change] / c[change][:, None]
        have |= change
    return colours


def make(scene: Scene, mesh: Mesh, measured: np.ndarray, size: int, level: bool, keep_unseen: bool,
         on_fraction: Callable[[float], None]) -> tuple[Mesh, np.ndarray, float]:
    """Unwrap and colour the mesh.

    ``measured`` (F): which triangles lie on measured points; the others only close the surface, and what the photos
    show in their place is something else. ``size``: side of the atlas at most; ``level``: even out brightness between
    photos. Returns the mesh with texture coordinates, the atlas (RGB, 8 bit) and the share of the surface that photos
    show.
    """
    normals = mesh.face_normals()
    best_view, best_quality = rate_views(scene, mesh, normals, lambda d, t: on_fraction(0.25 * d / t))
    best_quality[~measured] = 0
    seen = best_quality[:, 0] > 0
    if not keep_unseen and not seen.all():
        mesh = mesh.keep_faces(seen)
        best_view, best_quality, normals = best_view[seen], best_quality[seen], normals[seen]
        seen = seen[seen]
    areas = mesh.areas()
    share = float(areas[seen].sum() / max(areas.sum(), 1e-30))
    neighbours = charts.face_neighbours(mesh.faces)
    labels = charts.choose_labels(best_view, best_quality, neighbours)
    chart = charts.grow(labels, neighbours, normals)
    corners, side = charts.lay_out(_corner_pixels(scene, mesh, labels, normals), chart, size)
    on_fraction(0.35)

    flat = corners.reshape(-1, 2) - 0.5
    index, bary = raster.draw_flat(flat, np.arange(len(flat)).reshape(-1, 3), side, side)
    known = index >= 0
    rows, columns = np.nonzero(known)
    face = index[known]
    wb, wc = bary[known][:, 0:1].astype(np.float64), bary[known][:, 1:2].astype(np.float64)
    weights = np.concatenate([1 - wb - wc, wb, wc], axis=1)
    points = np.einsum("nk,nkd->nd", weights, mesh.vertices[mesh.faces[face]])
    detail = np.zeros((len(face), 3), np.float32)
    agreed = np.zeros((len(face), 3), np.float32)
    own = np.zeros((len(face), 3), np.float32)
    total = np.zeros(len(face), np.float32)
    views = np.unique(best_view[best_view >= 0])
    for done, i in enumerate(views, 1):
        view = scene.views[i]
        mine = labels[face] == i
        quality = np.where(best_view == i, best_quality, 0).sum(axis=1)
        smooth = _smooth_weight(mesh, quality)
        weight = np.einsum("nk,nk->n", weights, smooth[mesh.faces[face]]).astype(np.float32)
        weight[quality[face] <= 0] = 0
        use = (weight > 0) | mine
        if not use.any():
            continue
        picture = view.load()
        pixels, _ = view.project(points[use])
        if level:
            base = _base(picture, view, mesh)
            low = _remap(base, (pixels[:, 0] + 0.5) * 0.25 - 0.5, (pixels[:, 1] + 0.5) * 0.25 - 0.5,
                         cv2.INTER_LINEAR)
            w = weight[use] ** 2
            agreed[use] += low * w[:, None]
            total[use] += w
        of_mine = mine[use]
        fine = _remap(picture, pixels[of_mine, 0], pixels[of_mine, 1], cv2.INTER_CUBIC).astype(np.float32)
        detail[mine] = fine - low[of_mine] if level else fine
        if level:
            own[mine] = low[of_mine]
        on_fraction(0.35 + 0.6 * done / len(views))
    colours = detail
    if level:
        good = total > 0
        colours[good] += agreed[good] / total[good][:, None]
        colours[~good] += own[~good]
    atlas = np.zeros((side, side, 3), np.float32)
    atlas[rows, columns] = np.clip(colours, 0, 255)
    unseen = labels < 0
    if unseen.any():
        # Corners lie on the charts' very edge, where colours are least sure: read halfway to the triangle's middle.
        dark = unseen[face]
        shown = known.copy()
        shown[rows[dark], columns[dark]] = False
        _spread(atlas, shown, 2)
        inward = 0.5 * (corners + corners.mean(axis=1, keepdims=True))
        place = np.clip(inward.astype(np.int64), 0, side - 1)
        vertex = _vertex_colours(mesh, unseen, atlas[place[..., 1], place[..., 0]])
        atlas[rows[dark], columns[dark]] = np.einsum("nk,nkd->nd", weights[dark], vertex[mesh.faces[face[dark]]])
    _spread(atlas, known, 6)
    uvs = flat + 0.5
    uvs = np.stack([uvs[:, 0] / side, 1.0 - uvs[:, 1] / side], axis=1).astype(np.float32)
    out = Mesh(mesh.vertices, mesh.faces, mesh.colours, uvs, np.arange(len(uvs)).reshape(-1, 3))
    on_fraction(1.0)
    return out, np.clip(atlas + 0.5, 0, 255).astype(np.uint8), share


def _smooth_weight(mesh: Mesh, quality: np.ndarray) -> np.ndarray:
    """A view's quality at the vertices: the least of the triangles around, so that it fades to 0 where it ends."""
    out = np.full(len(mesh.vertices), np.inf)
    for k in range(3):
        np.minimum.at(out, mesh.faces[:, k], quality)
    out[~np.isfinite(out)] = 0
    return out


def to_jpeg(atlas: np.ndarray, quality: int = 92) -> Optional[bytes]:
    """The atlas as a JPEG file's bytes."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(atlas, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes() if ok else None
