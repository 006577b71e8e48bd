"""A model that another program made, brought into the form that dev.benchmarks.engine_measures reads.

``python -m dev.benchmarks.engine_foreign OUT PHOTOS HELD,OUT``: OUT holds ``model.obj`` with its picture, ``cameras`` (COLMAP's text
model) and ``centres.csv`` (label, x, y, z in the model's own coordinates). Prints photos placed and triangles as JSON.
"""
import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pycolmap

from dev.benchmarks.engine_measures import ATLAS_DIRECTORY
from node.engine.georef import similarity
from node.engine.scene import build
from node.engine.workspace import WORK_NAME


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Path]:
    """Vertices, triangles, texture coordinates, triangles of those, and the picture of a textured OBJ."""
    vertices, uvs, faces, face_uvs = [], [], [], []
    for line in path.read_text().splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append([float(x) for x in words[1:4]])
        elif words[0] == "vt":
            uvs.append([float(x) for x in words[1:3]])
        elif words[0] == "f":
            corners = [word.split("/") for word in words[1:4]]
            faces.append([int(c[0]) - 1 for c in corners])
            face_uvs.append([int(c[1]) - 1 for c in corners])
    mtl = next(path.parent.glob("*.mtl")).read_text()
    picture = next(line.split(maxsplit=1)[1].strip() for line in mtl.splitlines() if line.strip().startswith("map_Kd"))
    return np.array(vertices), np.array(faces), np.array(uvs, np.float32), np.array(face_uvs), path.parent / picture


def main() -> None:
    """Command line."""
    out, photos, held_out = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(",")
    work = out / WORK_NAME
    work.mkdir(exist_ok=True)
    model = pycolmap.Reconstruction(str(out / "cameras"))
    scene = build(model, photos, work / "undistorted", [name[:-4] for name in held_out], 2)
    with open(out / "centres.csv", newline="") as file:
        centres = {Path(row["path"]).stem: [float(row[a]) for a in "xyz"] for row in csv.DictReader(file)}
    known = [view for view in scene.views if view.name in centres]
    scale, R, t = similarity(np.array([v.centre for v in known]), np.array([centres[v.name] for v in known]))
    scene.transform(scale, R, t)
    scene.save(work)
    vertices, faces, uvs, face_uvs, picture = read_obj(out / "model.obj")
    (out / ATLAS_DIRECTORY).mkdir(exist_ok=True)
    cv2.imwrite(str(out / ATLAS_DIRECTORY / "atlas.jpg"), cv2.imread(str(picture)), [cv2.IMWRITE_JPEG_QUALITY, 95])
    np.savez(work / "textured.npz", vertices=vertices, faces=faces, uvs=uvs, face_uvs=face_uvs)
    print(json.dumps({"placed": len(scene.views), "faces": len(faces)}))


if __name__ == "__main__":
    main()
