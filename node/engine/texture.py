"""Makes the texture: each texel takes fine detail from one photo and brightness from all photos."""
from collections.abc import Iterator
from typing import Callable, Optional

import cv2
import numpy as np

from . import charts, raster
from .masks import resized_mask
from .meshes import Mesh
from .scene import Scene, View

_FULL_SIZE_FOR_VISIBILITY = 1600  # pixels of the longer side
_IN_FRONT = -1e30
_AS_SHARP = 0.45                  # of the detail in the sharpest photo of a place; with less, a photo counts as blurred there
_SHARPNESS_POWER = 4.0            # how strongly blur lowers a photo's quality
_BASE_SIGMA = 0.012               # of the photo's longer side: the blur that separates brightness from detail


def rate_views(scene: Scene, mesh: Mesh, normals: np.ndarray, on_done: Callable[[int, int], None]
               ) -> tuple[np.ndarray, np.ndarray]:
    """The best views of each triangle and their quality (F, CANDIDATES); 0 quality where there is none.

    Quality is resolution times squared cosine. It is lowered only if a photo is blurred compared with the sharpest one of the same place:
    among sharp photos, the amount of detail also depends on light and direction, and does not make one better than another.
    """
    count = len(mesh.faces)
    best_view = np.full((count, charts.CANDIDATES), -1, np.int32)
    best_quality = np.zeros((count, charts.CANDIDATES), np.float32)
    quality = np.zeros(count, np.float32)
    edge = float(np.sqrt(np.median(mesh.areas())))
    used = scene.used()
    most = np.zeros(count, np.float32)
    for done, i in enumerate(used, 1):
        _rate(scene.views[i], mesh, normals, edge, quality)
        seen, detail = _detail_at(scene.views[i], mesh, quality)
        most[seen] = np.maximum(most[seen], detail)
        on_done(done, 2 * len(used))
    for done, i in enumerate(used, len(used) + 1):
        _rate(scene.views[i], mesh, normals, edge, quality)
        seen, detail = _detail_at(scene.views[i], mesh, quality)
        quality[seen] *= np.minimum(1.0, detail / (_AS_SHARP * most[seen])) ** _SHARPNESS_POWER
        charts.insert_view(i, quality, best_view, best_quality)
        on_done(done, 2 * len(used))
    return best_view, best_quality


def _rate(view: View, mesh: Mesh, normals: np.ndarray, edge: float, quality: np.ndarray) -> None:
    """Fill in how well a photo shows each triangle (0 if it does not). ``edge``: the usual length of a triangle's side."""
    scale = min(1.0, _FULL_SIZE_FOR_VISIBILITY / max(view.width, view.height))
    K = view.scaled_K(scale)
    width, height = view.size(scale)
    zbuffer, _, _ = raster.draw(mesh.vertices, mesh.faces, K, view.R, view.t, width, height)
    distance = float(np.median(zbuffer[np.isfinite(zbuffer)])) if np.isfinite(zbuffer).any() else 1.0
    tolerance = max(0.7 * edge, 2.0 * distance / K[0, 0])
    if view.mask is not None:  # treat masked pixels as hidden behind something very near
        zbuffer[resized_mask(view.mask, width, height) == 0] = _IN_FRONT
    raster.rate_faces(mesh.vertices, mesh.faces, normals, K, view.R, view.t, view.centre, zbuffer, tolerance, quality)


def _detail_at(view: View, mesh: Mesh, quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which triangles (F; bool) a photo shows, and how much fine detail it shows around each of these."""
    scale = min(1.0, _FULL_SIZE_FOR_VISIBILITY / max(view.width, view.height))
    width, height = view.size(scale)
    seen = quality > 0
    pixels, _ = view.project(mesh.vertices[mesh.faces[seen]].mean(axis=1))
    column, row = np.clip(np.rint(pixels * scale).astype(int), 0, [width - 1, height - 1]).T
    return seen, _detail(view, width, height)[row, column]


def _detail(view: View, width: int, height: int) -> np.ndarray:
    """How much fine detail a photo shows around each pixel of its smaller copy, from 1 (hardly any) up.

    The photo with the most detail of a place is the sharpest one there. The others may be blurred or out of focus.
    """
    grey = view.load(grey=True)
    fine = cv2.absdiff(grey, cv2.GaussianBlur(grey, (0, 0), 1.2))
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    return 1.0 + cv2.GaussianBlur(small, (0, 0), 0.012 * max(width, height))


def _corner_pixels(scene: Scene, mesh: Mesh, labels: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Each triangle's corners (F, 3, 2) in the photo that colours it; for unseen triangles, in a coordinate plane."""
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
    """Samples (N, 3) of a picture at any number of places, which cv2.remap alone does not allow."""
    n = len(x)
    if not n:
        return np.zeros((0, 3), picture.dtype)
    rows = -(-n // 8192)
    fold = [np.pad(a.astype(np.float32), (0, rows * 8192 - n), mode="edge").reshape(rows, 8192) for a in (x, y)]
    return cv2.remap(picture, fold[0], fold[1], method, borderMode=cv2.BORDER_REPLICATE).reshape(-1, 3)[:n]


def _base(picture: np.ndarray, view: View, mesh: Mesh) -> np.ndarray:
    """The photo without detail, at a quarter of its size. Colours from outside the model do not bleed into it."""
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
    """Extend colours into the gaps between charts, in place, so that texture filtering shows no seams."""
    side = len(atlas)
    for _ in range(rounds):
        before = known.copy()
        for top in range(0, side, 512):
            low, high = max(top - 1, 0), min(top + 513, side)
            band = before[low:high].astype(np.float32)
            weight = cv2.boxFilter(band, -1, (3, 3), normalize=False)
            grow = (weight > 0) & ~before[low:high]
            grow[:top - low] = grow[min(top + 512, side) - low:] = False
            if not grow.any():
                continue
            # ``band`` masks out what grew in the band above, which was not known before this round.
            total = cv2.boxFilter(atlas[low:high] * band[:, :, None], -1, (3, 3), normalize=False)
            atlas[low:high][grow] = np.clip(total[grow] / weight[grow][:, None] + 0.5, 0, 255)
            known[low:high] |= grow


def _vertex_colours(mesh: Mesh, unseen: np.ndarray, corner_colours: np.ndarray) -> np.ndarray:
    """Vertex colours (V, 3): the mean of the seen corners, spread over the unseen vertices by diffusion."""
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

    ``measured`` (F): which triangles lie on measured points. The others only close the surface, and the photos show
    something else in their place. ``size``: maximum side of the atlas; ``level``: even out brightness between photos.
    Returns the mesh with texture coordinates, the atlas (RGB, 8 bit) and the share of the surface that photos show.
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
    texels = _Texels(index[known], bary[known])
    del index, bary
    views = np.unique(best_view[best_view >= 0])
    for done, i in enumerate(views, 1):
        _add_view(texels, scene.views[i], mesh, np.where(best_view == i, best_quality, 0).sum(axis=1), labels == i, level)
        on_fraction(0.35 + 0.6 * done / len(views))
    atlas = np.zeros((side, side, 3), np.uint8)
    atlas[known] = texels.colours(level)
    unseen = labels < 0
    if unseen.any():
        # Corners lie at the edge of a chart, where colours are least reliable, so read halfway to the triangle's middle.
        dark = unseen[texels.face]
        shown = known.copy()
        shown[known] = ~dark
        _spread(atlas, shown, 2)
        inward = 0.5 * (corners + corners.mean(axis=1, keepdims=True))
        place = np.clip(inward.astype(np.int64), 0, side - 1)
        vertex = _vertex_colours(mesh, unseen, atlas[place[..., 1], place[..., 0]].astype(np.float64))
        rows, columns = np.nonzero(known)
        rows, columns = rows[dark], columns[dark]
        for block in _blocks(len(rows)):
            which = np.flatnonzero(dark)[block]
            colours = np.einsum("nk,nkd->nd", texels.weights(which), vertex[mesh.faces[texels.face[which]]])
            atlas[rows[block], columns[block]] = np.clip(colours + 0.5, 0, 255)
    _spread(atlas, known, 6)
    uvs = flat + 0.5
    uvs = np.stack([uvs[:, 0] / side, 1.0 - uvs[:, 1] / side], axis=1).astype(np.float32)
    out = Mesh(mesh.vertices, mesh.faces, mesh.colours, uvs, np.arange(len(uvs)).reshape(-1, 3))
    on_fraction(1.0)
    return out, atlas, share


class _Texels:
    """The texels of the atlas that lie in a triangle, and their values from the photos. Small types, because there are millions."""

    def __init__(self, face: np.ndarray, bary: np.ndarray) -> None:
        count = len(face)
        self.face, self.bary = face, bary
        self.detail = np.zeros((count, 3), np.float16)  # of the one photo that colours the texel
        self.own = np.zeros((count, 3), np.float16)     # that photo's brightness
        self.agreed = np.zeros((count, 3), np.float32)  # all photos' brightness, weighted
        self.total = np.zeros(count, np.float32)        # the weights' sum

    def weights(self, which: np.ndarray) -> np.ndarray:
        """Weights (N, 3) of the corners of the texels' triangles."""
        rest = self.bary[which].astype(np.float64)
        return np.concatenate([1.0 - rest.sum(axis=1, keepdims=True), rest], axis=1)

    def colours(self, level: bool) -> np.ndarray:
        """Colours (N, 3), 8 bit."""
        out = np.zeros((len(self.face), 3), np.uint8)
        for block in _blocks(len(out)):
            total = self.total[block, None]
            value = self.detail[block].astype(np.float32)
            if level:
                value += np.where(total > 0, self.agreed[block] / np.maximum(total, 1e-12), self.own[block])
            out[block] = np.clip(value + 0.5, 0, 255)
        return out


def _blocks(count: int, size: int = 1 << 20) -> Iterator[slice]:
    """Slices that cover ``count`` rows, so that intermediate results for one block at a time stay small."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _add_view(texels: _Texels, view: View, mesh: Mesh, quality: np.ndarray, labelled: np.ndarray, level: bool) -> None:
    """Take fine detail from a photo for its own triangles, and brightness for all triangles that it shows."""
    smooth = _smooth_weight(mesh, quality)
    picture = view.load()
    base = _base(picture, view, mesh) if level else None
    for block in _blocks(len(texels.face)):
        face = texels.face[block]
        candidates = np.flatnonzero((quality[face] > 0) | labelled[face])
        if not len(candidates):
            continue
        face, which = face[candidates], candidates + block.start
        corner_weights = texels.weights(which)
        weight = np.einsum("nk,nk->n", corner_weights, smooth[mesh.faces[face]]).astype(np.float32)
        weight[quality[face] <= 0] = 0
        mine = labelled[face]
        use = (weight > 0) | mine
        which, mine, weight = which[use], mine[use], weight[use]
        points = np.einsum("nk,nkd->nd", corner_weights[use], mesh.vertices[mesh.faces[face[use]]])
        pixels, _ = view.project(points)
        fine = _remap(picture, pixels[mine, 0], pixels[mine, 1], cv2.INTER_CUBIC).astype(np.float32)
        if base is None:
            texels.detail[which[mine]] = fine
            continue
        low = _remap(base, (pixels[:, 0] + 0.5) * 0.25 - 0.5, (pixels[:, 1] + 0.5) * 0.25 - 0.5, cv2.INTER_LINEAR)
        w = weight ** 2
        texels.agreed[which] += low * w[:, None]
        texels.total[which] += w
        texels.detail[which[mine]] = fine - low[mine]
        texels.own[which[mine]] = low[mine]


def _smooth_weight(mesh: Mesh, quality: np.ndarray) -> np.ndarray:
    """A view's quality at the vertices: the lowest of the surrounding triangles, so that it fades to 0 at its border."""
    out = np.full(len(mesh.vertices), np.inf)
    for k in range(3):
        np.minimum.at(out, mesh.faces[:, k], quality)
    out[~np.isfinite(out)] = 0
    return out


def to_jpeg(atlas: np.ndarray, quality: int = 92) -> Optional[bytes]:
    """The atlas as a JPEG file's bytes."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(atlas, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes() if ok else None
