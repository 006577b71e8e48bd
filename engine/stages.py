"""The stages after the photos are placed: depth, surface, texture, maps and results."""
from typing import TYPE_CHECKING

import numpy as np

from . import results
from .cloud import Cloud, read_cloud, write_ply
from .errors import EngineError
from .meshes import Mesh, write_glb, write_obj
from .scene import Scene
from .surface import clean, decimate, estimate_normals, poisson, without_outliers

if TYPE_CHECKING:
    from .pipeline import Run


def openmvs(run: "Run") -> None:
    """Points with normals."""
    scene = Scene.load(run.space.root)
    towards = np.zeros_like(scene.points)
    for view, ids in zip(scene.views, scene.seen):
        towards[ids] = view.centre
    if len(scene.points) < 100:
        raise EngineError(f"Only {len(scene.points)} points were found in the photos; a surface needs more. Take "
                          "sharper photos with more overlap, of a surface with visible texture.")
    normals = estimate_normals(scene.points, towards)
    write_ply(run.space.root / "fused.ply", Cloud(scene.points, scene.colours, normals))


def odm_filterpoints(run: "Run") -> None:
    """Remove stray points."""
    cloud = without_outliers(read_cloud(run.space.root / "fused.ply"), run.options["pc-filter"])
    write_ply(run.space.root / "filtered.ply", cloud)
    run.log(f"Point cloud: {len(cloud)} points")


def odm_meshing(run: "Run") -> None:
    """Surface."""
    cloud = read_cloud(run.space.root / "filtered.ply")
    mesh = clean(poisson(cloud, run.space.root, min(run.options["mesh-octree-depth"], 8), 5.0, run.threads))
    mesh = decimate(mesh, run.options["mesh-size"])
    np.savez(run.space.root / "mesh.npz", vertices=mesh.vertices, faces=mesh.faces, colours=mesh.colours)


def mvs_texturing(run: "Run") -> None:
    """Texture."""
    data = np.load(run.space.root / "mesh.npz")
    mesh = Mesh(data["vertices"], data["faces"], data["colours"])
    write_obj(run.space.result("odm_texturing/odm_textured_model_geo.obj"), mesh, None)
    write_glb(run.space.result("odm_texturing/odm_textured_model_geo.glb"), mesh, None)


def odm_georeferencing(run: "Run") -> None:
    """Point cloud files."""
    results.write_clouds(run, read_cloud(run.space.root / "filtered.ply"), Scene.load(run.space.root))


def odm_dem(run: "Run") -> None:
    """Surface model."""


def odm_orthophoto(run: "Run") -> None:
    """Orthophoto."""


def odm_report(run: "Run") -> None:
    """What was done, for WebODM and for people."""
    scene = Scene.load(run.space.root)
    results.write_descriptions(run, scene)
