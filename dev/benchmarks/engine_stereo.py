"""Photos to a textured model the plain way, to compare the engine with: ``python -m dev.benchmarks.engine_stereo IMAGES OUT``.

COLMAP's own features and mapping, OpenCV's semi-global matching on rectified pairs, Open3D's fusion, Poisson surface and
decimation, xatlas' charts, and for each texel the photo that sees it most squarely. Needs the engine's packages and
``open3d`` and ``xatlas`` in one environment. Leaves in OUT what ``dev.benchmarks.engine_measures`` reads; prints one JSON object.
"""
import argparse
import json
import resource
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import open3d
import pycolmap
import xatlas

from dev.benchmarks.engine_measures import ATLAS_DIRECTORY
from node.engine import raster
from node.engine.frame import focus_point
from node.engine.meshes import Mesh
from node.engine.scene import Scene, View, build
from node.engine.surface import clean
from node.engine.texture import to_jpeg
from node.engine.workspace import WORK_NAME

DEPTH_SIZE = 1000    # pixels of the longer side, as the engine's default
FACES = 150_000      # the engine's default
OCTREE_DEPTH = 9     # the engine's default
ATLAS = 4096         # pixels, the engine's default
PARTNERS = 3         # pairs a photo
_ANGLES = (3.0, 35.0)  # degrees between the two cameras of a pair


class Clock:
    """Wall clock and processor seconds of the stages."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._wall, self._cpu = time.monotonic(), self._used()

    @staticmethod
    def _used() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    def lap(self, name: str) -> None:
        """The stage that ends here."""
        wall, cpu = time.monotonic(), self._used()
        self.stages[name] = {"wall_s": round(wall - self._wall, 1), "cpu_s": round(cpu - self._cpu, 1)}
        self._wall, self._cpu = wall, cpu


def place(images: Path, work: Path) -> pycolmap.Reconstruction:
    """COLMAP with its own settings: SIFT on the CPU, all pairs, incremental mapping; one camera for all photos."""
    database = work / "database.db"
    pycolmap.extract_features(str(database), str(images), camera_mode=pycolmap.CameraMode.SINGLE, device=pycolmap.Device.cpu)
    pycolmap.match_exhaustive(str(database), device=pycolmap.Device.cpu)
    models = pycolmap.incremental_mapping(str(database), str(images), str(work))
    best = max(models, key=lambda number: models[number].num_reg_images())
    return pycolmap.Reconstruction(str(work / str(best)))  # as written: what the binding returned dies with the others


def partners(scene: Scene, i: int) -> list[int]:
    """The nearest photos that look from a useful angle."""
    centre = np.median(scene.points[scene.seen[i]], axis=0)

    def angle(j: int) -> float:
        a, b = scene.views[i].centre - centre, scene.views[j].centre - centre
        return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))

    angles = sorted((angle(j), j) for j in scene.used() if j != i)
    return [j for a, j in angles if _ANGLES[0] < a < _ANGLES[1]][:PARTNERS]


def _turned(view: View) -> View:
    """The view after a quarter turn of the camera, so that pairs above each other become pairs side by side."""
    quarter = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    K = np.array([[view.K[1, 1], 0, view.K[1, 2]], [0, view.K[0, 0], view.width - 1 - view.K[0, 2]], [0, 0, 1]])
    return View(view.name, view.height, view.width, K, quarter @ view.R, quarter @ view.t, view.image, view.held_out)


def pair_points(scene: Scene, i: int, j: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """World points (N, 3) and colours of one rectified pair."""
    left, right = scene.views[i], scene.views[j]
    shift = right.R @ (left.centre - right.centre)
    turn = abs(shift[1]) > abs(shift[0])
    pictures = [v.load(scale) for v in (left, right)]
    if turn:
        left, right = _turned(left), _turned(right)
        pictures = [cv2.rotate(p, cv2.ROTATE_90_COUNTERCLOCKWISE) for p in pictures]
    if (right.R @ (left.centre - right.centre))[0] > 0:  # the matcher wants the left photo first
        left, right, pictures = right, left, pictures[::-1]
    size = pictures[0].shape[1::-1]
    R = right.R @ left.R.T
    K1, K2 = left.scaled_K(scale), right.scaled_K(scale)
    # Without CALIB_ZERO_DISPARITY the pictures are shifted towards each other: these pairs are so far apart that their disparities
    # would be wider than the pictures.
    R1, R2, P1, P2, Q, _, _ = cv2.stereoRectify(K1, None, K2, None, size, R, right.t - R @ left.t, alpha=0, flags=0)
    straight = [cv2.remap(p, *cv2.initUndistortRectifyMap(K, None, r, P, size, cv2.CV_32FC1), cv2.INTER_LINEAR)
                for p, K, r, P in zip(pictures, (K1, K2), (R1, R2), (P1, P2))]
    seen = scene.points[scene.seen[i]]
    depth = ((seen @ left.R.T + left.t) @ R1.T)[:, 2]
    near, far = np.percentile(depth[depth > 0], [1, 99])
    reach, shift = abs(P2[0, 3]), P1[0, 2] - P2[0, 2]
    low, high = int(reach / (far * 1.1) + shift) - 8, int(reach / (near * 0.9) + shift) + 8
    count = -(-(high - low) // 16) * 16
    if max(abs(low), abs(low + count)) >= size[0]:  # OpenCV breaks off with a wild allocation, or a crash
        return np.empty((0, 3)), np.empty((0, 3), np.uint8)
    matcher = cv2.StereoSGBM_create(low, count, 5, P1=8 * 3 * 25, P2=32 * 3 * 25, disp12MaxDiff=1, uniquenessRatio=10,
                                    speckleWindowSize=100, speckleRange=2, mode=cv2.STEREO_SGBM_MODE_SGBM)
    disparity = matcher.compute(straight[0], straight[1]).astype(np.float32) / 16.0
    good = disparity > low - 0.5
    points = cv2.reprojectImageTo3D(disparity, Q)[good].astype(np.float64)
    return ((points @ R1) - left.t) @ left.R, straight[0][good]


def fuse(scene: Scene, scale: float) -> open3d.geometry.PointCloud:
    """All pairs' points near what the photos look at, one per cell, without stray ones, with normals."""
    middle = focus_point(scene)
    distance = float(np.median([np.linalg.norm(v.centre - middle) for v in scene.views]))
    cell = distance * 1.5 / scene.views[0].scaled_K(scale)[0, 0]
    cloud = open3d.geometry.PointCloud()
    for i in scene.used():
        for j in partners(scene, i):
            points, colours = pair_points(scene, i, j, scale)
            near = np.linalg.norm(points - middle, axis=1) < 0.45 * distance
            part = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points[near]))
            part.colors = open3d.utility.Vector3dVector(colours[near] / 255.0)
            towards = scene.views[i].centre
            part = part.voxel_down_sample(cell)
            if len(part.points) < 100:
                continue
            part.estimate_normals(open3d.geometry.KDTreeSearchParamHybrid(4 * cell, 20))
            part.orient_normals_towards_camera_location(towards)
            cloud += part
    cloud = cloud.voxel_down_sample(cell)
    cloud, _ = cloud.remove_statistical_outlier(20, 1.5)
    return cloud


def surface(cloud: open3d.geometry.PointCloud) -> Mesh:
    """Poisson surface without what no points support, decimated."""
    made, density = open3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=OCTREE_DEPTH, n_threads=-1)
    made.remove_vertices_by_mask(np.asarray(density) < np.quantile(np.asarray(density), 0.05))
    made = made.simplify_quadric_decimation(FACES)
    made.remove_degenerate_triangles()
    return clean(Mesh(np.asarray(made.vertices), np.asarray(made.triangles).astype(np.int64)))


def unwrap(mesh: Mesh) -> Mesh:
    """Charts by xatlas; texture coordinates upwards."""
    mapping, faces, uvs = xatlas.parametrize(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    uvs = np.stack([uvs[:, 0], 1.0 - uvs[:, 1]], axis=1).astype(np.float32)
    return Mesh(mesh.vertices[mapping], faces.astype(np.int64), None, uvs, faces.astype(np.int64))


def texture(scene: Scene, mesh: Mesh) -> np.ndarray:
    """Atlas (RGB): every texel from the photo that sees it most squarely."""
    flat = np.stack([mesh.uvs[:, 0], 1.0 - mesh.uvs[:, 1]], axis=1) * ATLAS - 0.5
    index, bary = raster.draw_flat(flat, mesh.face_uvs, ATLAS, ATLAS)
    rows, columns = np.nonzero(index >= 0)
    face, weight = index[rows, columns], bary[rows, columns].astype(np.float64)
    corners = mesh.faces[face]
    points = ((1 - weight.sum(1))[:, None] * mesh.vertices[corners[:, 0]] + weight[:, :1] * mesh.vertices[corners[:, 1]]
              + weight[:, 1:] * mesh.vertices[corners[:, 2]])
    normals = mesh.face_normals()[face]
    best = np.full(len(face), 0.1)
    colours = np.full((len(face), 3), 128, np.uint8)
    for i in scene.used():
        view = scene.views[i]
        zbuffer, _, _ = raster.draw(mesh.vertices, mesh.faces, view.K, view.R, view.t, view.width, view.height)
        pixels, depth = view.project(points)
        ray = view.centre - points
        cosine = (normals * ray).sum(1) / np.linalg.norm(ray, axis=1)
        at = np.round(np.nan_to_num(pixels, nan=-1)).astype(int)
        inside = (at >= 0).all(1) & (at < [view.width, view.height]).all(1) & (depth > 0) & (cosine > best)
        seen = np.flatnonzero(inside)
        seen = seen[depth[seen] < 1.005 * zbuffer[at[seen, 1], at[seen, 0]]]
        best[seen] = cosine[seen]
        colours[seen] = view.load()[at[seen, 1], at[seen, 0]]
    atlas = np.full((ATLAS, ATLAS, 3), 128, np.uint8)
    atlas[rows, columns] = colours
    known = (index >= 0).astype(np.uint8)
    for _ in range(4):  # beyond the charts' edges, so that no grey is drawn in by interpolation
        grown, wider = cv2.dilate(atlas * known[:, :, None], np.ones((3, 3))), cv2.dilate(known, np.ones((3, 3)))
        fresh = (wider > 0) & (known == 0)
        atlas[fresh], known = grown[fresh], wider
    return atlas


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hold-out", default="")
    arguments = parser.parse_args()
    work = arguments.out / WORK_NAME
    shutil.rmtree(arguments.out, ignore_errors=True)
    work.mkdir(parents=True)
    clock = Clock()
    model = place(arguments.images, work)
    clock.lap("placing")
    held_out = [name[:-4] for name in arguments.hold_out.split(",") if name]
    scene = build(model, arguments.images, work / "undistorted", held_out, 2)
    scale = min(1.0, DEPTH_SIZE / max(max(v.width, v.height) for v in scene.views))
    cloud = fuse(scene, scale)
    clock.lap("depth and fusion")
    mesh = surface(cloud)
    open_edges = len(mesh.boundary_edges())
    clock.lap("surface")
    mesh = unwrap(mesh)
    clock.lap("charts")
    atlas = texture(scene, mesh)
    clock.lap("texture")
    scene.save(work)
    (arguments.out / ATLAS_DIRECTORY).mkdir(exist_ok=True)
    (arguments.out / ATLAS_DIRECTORY / "atlas.jpg").write_bytes(to_jpeg(atlas))
    np.savez(work / "textured.npz", vertices=mesh.vertices, faces=mesh.faces, uvs=mesh.uvs, face_uvs=mesh.face_uvs)
    print(json.dumps({"stages": clock.stages, "placed": len(scene.views), "points": len(cloud.points),
                      "faces": len(mesh.faces), "open_edges": open_edges}))


if __name__ == "__main__":
    main()
