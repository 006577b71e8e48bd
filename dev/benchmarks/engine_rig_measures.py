"""How well a delivered model is the object that a rendered rig photographed; prints one JSON object.

``python -m dev.benchmarks.engine_rig_measures RESULT TRUTH.json``, in the engine's environment. It judges what is published: the mesh in
``odm_texturing`` and the camera positions in ``odm_report/shots.geojson``, which are aligned to the known cameras by a similarity.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from dev.benchmarks.engine_foreign import read_obj
from dev.benchmarks.engine_measures import points_on
from dev.benchmarks.engine_rigs import photographed, surface
from node.engine.georef import similarity
from node.engine.meshes import Mesh

_SAMPLES = 300_000
_FOREIGN = 0.02  # of the object's diagonal: surface farther from the object than this is something else


def measure(result: Path, truth: dict) -> dict:
    """Shares from 0 to 1, errors in per cent of the object's diagonal, tilt in degrees."""
    shots = json.loads((result / "odm_report" / "shots.geojson").read_text())["features"]
    eyes = {p["name"]: np.array(p["eye"]) for p in truth["poses"]}
    source = np.array([shot["properties"]["translation"] for shot in shots])
    target = np.array([eyes[shot["properties"]["filename"]] for shot in shots])
    scale, R, t = similarity(source, target)
    camera_error = np.linalg.norm(scale * source @ R.T + t - target, axis=1)
    vertices, faces, *_ = read_obj(result / "odm_texturing" / "odm_textured_model_geo.obj")
    ours = Mesh(scale * vertices @ R.T + t, faces)
    real = Mesh(*surface(truth["rig"]["shape"]))
    points = points_on(real, 20_000)
    tree = cKDTree(real.vertices[real.faces].mean(axis=1))
    normals = real.face_normals()[tree.query(points)[1]]
    shown = points[photographed(truth, points, normals)]
    diagonal = float(np.linalg.norm(np.ptp(shown, axis=0)))
    on_ours = points_on(ours, _SAMPLES)
    to_ours = cKDTree(on_ours).query(shown)[0] / diagonal
    to_real = cKDTree(points_on(real, _SAMPLES)).query(on_ours)[0] / diagonal
    own = to_real < _FOREIGN
    return {"placed": len(shots), "photos": len(eyes), "camera_error_percent": float(100 * camera_error.mean() / diagonal),
            "photographed_share": len(shown) / len(points), "complete_within_1_percent": float((to_ours < 0.01).mean()),
            "accurate_within_1_percent": float((to_real[own] < 0.01).mean()) if own.any() else 0.0,
            "median_error_percent": float(100 * np.median(to_real[own])) if own.any() else 100.0,
            "foreign": float(1 - own.mean()), "tilt_degrees": float(np.degrees(np.arccos(np.clip(R[2, 2], -1, 1)))),
            "open_edges": len(ours.boundary_edges()), "faces": len(faces)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path)
    parser.add_argument("truth", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.result, json.loads(arguments.truth.read_text())), indent=1))


if __name__ == "__main__":
    main()
