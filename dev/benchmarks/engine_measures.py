"""Measures of a finished model, run in the engine's environment; prints one JSON object.

``python -m dev.benchmarks.engine_measures held-out RESULT`` renders the textured model into the poses of the photos that
were held out, and compares inside the object. ``… shape RESULT TRUTH.json`` compares with a known shape.
"""
import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree

from dev.benchmarks import engine_synthetic
from node.engine import raster
from node.engine.georef import similarity
from node.engine.meshes import Mesh
from node.engine.scene import Scene
from node.engine.workspace import WORK_NAME

ATLAS_DIRECTORY = "odm_texturing"
EVALUATION_WIDTH = 1504  # pixels of the longer side at which photos are compared: half of the banana set's


def load(result: Path) -> tuple[Scene, Mesh, np.ndarray]:
    """Scene, textured mesh and atlas (RGB) of a result directory whose intermediate files are still there."""
    work = result / WORK_NAME
    data = np.load(work / "textured.npz")
    mesh = Mesh(data["vertices"], data["faces"], None, data["uvs"], data["face_uvs"])
    atlas = cv2.imread(str(next((result / ATLAS_DIRECTORY).glob("*.jpg"))))
    return Scene.load(work), mesh, cv2.cvtColor(atlas, cv2.COLOR_BGR2RGB)


def object_mask(photo: np.ndarray) -> np.ndarray:
    """The object in a photo by colour alone (GrabCut from its saturated middle); the model plays no part in it."""
    small = cv2.resize(photo, None, fx=(s := 500 / max(photo.shape)), fy=s, interpolation=cv2.INTER_AREA)
    saturation = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2HSV)[:, :, 1], (0, 0), 2)
    seed = np.full(small.shape[:2], cv2.GC_PR_BGD, np.uint8)
    seed[saturation > 90] = cv2.GC_PR_FGD
    seed[saturation > 140] = cv2.GC_FGD
    seed[saturation < 35] = cv2.GC_BGD
    cv2.setRNGSeed(1)
    cv2.grabCut(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), seed, None, np.zeros((1, 65)), np.zeros((1, 65)), 5,
                cv2.GC_INIT_WITH_MASK)
    mask = ((seed == cv2.GC_FGD) | (seed == cv2.GC_PR_FGD)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count > 1:
        mask = (labels == 1 + np.argmax(stats[1:, cv2.CC_STAT_AREA])).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    return cv2.resize(mask, photo.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """SSIM a pixel of two grey pictures (Wang et al. 2004: Gaussian window of 1.5, K1 0.01, K2 0.03)."""
    a, b = a.astype(np.float64), b.astype(np.float64)

    def blur(x):
        return cv2.GaussianBlur(x, (11, 11), 1.5)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))


def held_out(result: Path, picture: Path) -> dict:
    """Mean PSNR, SSIM and coverage over the photos that were held out; writes the comparison as a picture."""
    scene, mesh, atlas = load(result)
    rows, strips = [], []
    for view in scene.views:
        if not view.held_out:
            continue
        scale = min(1.0, EVALUATION_WIDTH / max(view.width, view.height))
        photo = view.load(scale)
        shown, drawn = raster.render(mesh, atlas, view.scaled_K(scale), view.R, view.t, *view.size(scale))
        mask = object_mask(photo)
        both = mask & drawn
        error = (photo[both].astype(float) - shown[both].astype(float)) ** 2
        similar = ssim_map(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY))
        rows.append({"photo": view.name, "psnr_db": float(10 * np.log10(255 ** 2 / max(error.mean(), 1e-9))),
                     "ssim": float(similar[both].mean()), "ssim_of_whole_object": float(similar[mask].mean()),
                     "covered": float(both.sum() / mask.sum()),
                     "beyond": float((drawn & ~mask).sum() / mask.sum())})
        outline = photo.copy()
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(outline, contours, -1, (255, 0, 255), 2)
        strips.append(np.hstack([cv2.resize(p, (600, round(600 * p.shape[0] / p.shape[1]))) for p in (outline, shown)]))
    if strips:
        cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(strips), cv2.COLOR_RGB2BGR))
    names = ("psnr_db", "ssim", "ssim_of_whole_object", "covered", "beyond")
    return {"photos": rows, **{n: float(np.mean([r[n] for r in rows])) for n in names if rows}}


def points_on(mesh: Mesh, count: int = 60000) -> np.ndarray:
    """Points (N, 3) spread evenly over a mesh."""
    random = np.random.default_rng(3)
    areas = mesh.areas()
    face = random.choice(len(areas), count, p=areas / areas.sum())
    u, v = np.sqrt(random.random(count)), random.random(count)
    a, b, c = (mesh.vertices[mesh.faces[face, k]] for k in range(3))
    return (1 - u)[:, None] * a + (u * (1 - v))[:, None] * b + (u * v)[:, None] * c


def shape(result: Path, truth_file: Path) -> dict:
    """Completeness and accuracy in per cent of the object's diagonal, after a similarity between camera positions."""
    truth = json.loads(truth_file.read_text())
    scene, mesh, _ = load(result)
    eyes = {p["name"]: np.array(p["eye"]) for p in truth["poses"]}
    source = np.array([v.centre for v in scene.views])
    target = np.array([eyes[v.name] for v in scene.views])
    scale, R, t = similarity(source, target)
    camera_error = np.linalg.norm(scale * source @ R.T + t - target, axis=1)
    real = engine_synthetic.true_surface(truth["kind"])
    placed = Mesh(scale * mesh.vertices @ R.T + t, mesh.faces)
    ours = points_on(placed, 400000)
    diagonal = float(np.linalg.norm(np.ptp(real, axis=0)))
    to_ours = cKDTree(ours).query(real)[0] / diagonal
    dense_real = engine_synthetic.true_surface(truth["kind"], 400000)
    if truth["kind"] != "relief":
        # The base that closes the model below is no part of the true surface: judged is what lies above it.
        above = ours[ours[:, 2] > placed.vertices[:, 2].min() + 0.005 * diagonal]
    else:
        half = 0.55 * engine_synthetic.RELIEF_HALF
        above = ours[(np.abs(ours[:, :2]) < half).all(axis=1)]
    to_real = cKDTree(dense_real).query(above)[0] / diagonal
    return {"placed": len(scene.views), "photos": len(eyes), "camera_error_percent": float(
                100 * camera_error.mean() / diagonal),
            "complete_within_1_percent": float((to_ours < 0.01).mean()),
            "accurate_within_1_percent": float((to_real < 0.01).mean()),
            "median_error_percent": float(100 * np.median(to_real)), "open_edges": len(mesh.boundary_edges()),
            "parts": len(np.unique(mesh.components())), "faces": len(mesh.faces)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("measure", choices=["held-out", "shape"])
    parser.add_argument("result", type=Path)
    parser.add_argument("truth", type=Path, nargs="?")
    arguments = parser.parse_args()
    if arguments.measure == "held-out":
        print(json.dumps(held_out(arguments.result, arguments.result / "held_out.png"), indent=1))
    else:
        print(json.dumps(shape(arguments.result, arguments.truth), indent=1))


if __name__ == "__main__":
    main()
