"""The stages after the photos are placed: depth, surface, texture, maps and results."""
import shutil
from typing import TYPE_CHECKING, Optional

import cv2
import numpy as np

from . import dense, ept, isolate, maps, pictures, results, texture, viewer
from .cloud import Cloud, joined, read_cloud, write_ply
from .errors import EngineError
from .imagefile import write_image
from .meshes import Mesh, closed, write_glb, write_obj
from .reasons import too_few_points
from .scene import Scene
from .surface import clean, decimate, flat_base, main_part, near_points, poisson, shown_part, without_outliers

if TYPE_CHECKING:
    from .pipeline import Run

TEXTURE_NAME = "odm_textured_model_geo_material0000_map_Kd.jpg"

_MOST_GAP = 0.012  # of a scene's diagonal; surface farther than this from every measured point was not shown by any photo


def _depth_scale(run: "Run", scene: Scene, whole: bool) -> float:
    """The scale of the photos in which depth is searched. It is smaller if whole frames are searched."""
    size = run.depth_size * (0.65 if whole else 1.0)
    return min(1.0, size / max(max(v.width, v.height) for v in scene.views))


def openmvs(run: "Run") -> None:
    """Find the depth of every photo and fuse it into one cloud with normals."""
    scene = Scene.load(run.space.root)
    region = isolate.object_region(scene, run.options["background"], run.log)
    scale = _depth_scale(run, scene, region is None)
    near = dense.choose_neighbours(scene, dense.FUSION_NEIGHBOURS)
    if region is None:
        near = dense.cover_photos(scene, near, dense.NEIGHBOURS)
    maps = dense.DepthMaps(run.space.directory("depth"))
    # A map that an interrupted run finished is kept if it was made from the same input.
    token = [run.space.token, scale]
    if run.space.read_json("depth.json") != token:
        maps = dense.DepthMaps(run.space.directory("depth", empty=True))
        run.space.write_json("depth.json", token)
    pictures = dense.Pictures()
    for done, (i, others) in enumerate(near.items(), 1):
        if others and not maps.path(i).exists():
            depth, normal, cost = dense.depth_map(scene, i, others[:dense.NEIGHBOURS], scale, 2, region,
                                                  pictures)
            depth[cost > dense.MOST_COST] = 0
            maps.write(i, depth, normal)
        run.progress.update(0.93 * done / len(near))
    near = {i: [j for j in others if maps.path(j).exists()] for i, others in near.items() if maps.path(i).exists()}
    isolate.cut_scans(scene, maps, near, scale, region, run.log)
    cloud = dense.fuse(scene, maps, near, scale, 3 if len(near) > 4 else 2,
                       lambda done, total: run.progress.update(0.93 + 0.07 * done / total), run.most_points)
    if len(cloud) < 1000:
        raise EngineError(too_few_points(len(cloud)))
    run.log(f"Depth at {scale * max(scene.views[0].width, scene.views[0].height):.0f} px: {len(cloud)} points")
    run.space.write_json("region.json", None if region is None else [region.low.tolist(), region.high.tolist()])
    run.space.write_json("facts.json", {"dense_points": len(cloud), "depth_scale": scale})
    write_ply(run.space.root / "fused.ply", cloud)


def odm_filterpoints(run: "Run") -> None:
    """Remove stray points and, if wanted, the background."""
    scene = Scene.load(run.space.root)
    cloud = read_cloud(run.space.root / "fused.ply")
    box, cut = run.space.read_json("region.json"), None
    if box is not None:
        region = dense.Region(np.array(box[0]), np.array(box[1]))
        cloud, cut, base = isolate.object_alone(cloud, scene, region, run.log)
        write_ply(run.space.root / "base.ply", base)
    cloud = without_outliers(cloud, run.options["pc-filter"])
    write_ply(run.space.root / "filtered.ply", cloud)
    run.space.update_facts(points=len(cloud), cut=cut)
    run.log(f"Point cloud: {len(cloud)} points")


def odm_meshing(run: "Run") -> None:
    """Make a surface of at most mesh-size triangles, without islands."""
    run.space.update_facts(faces=None, vertices=None, open_edges=None)
    if run.options["skip-3dmodel"]:
        return
    cloud = read_cloud(run.space.root / "filtered.ply")
    cut = run.space.read_json("facts.json").get("cut")
    if cut is not None:
        cloud = joined(cloud, read_cloud(run.space.root / "base.ply"))
    depth = run.options["mesh-octree-depth"]
    # An object that the photos go round is closed below. A scene stays open where no photo shows it.
    frame = Scene.load(run.space.root).meta["frame"]
    whole = cut is not None and frame.get("around", False)
    mesh = poisson(cloud, run.space.root, depth, 0.0 if whole else 7.0)
    run.progress.update(0.6)
    if cut is not None:
        mesh = flat_base(mesh, cut)
    if not whole and frame["kind"] == "local":
        mesh = shown_part(mesh, cloud, _MOST_GAP)
    mesh = main_part(mesh, cloud)
    mesh = decimate(clean(mesh), int(0.985 * run.options["mesh-size"]))  # closing holes adds a few
    mesh = clean(mesh)
    if whole:
        mesh = closed(mesh)
    open_edges = len(mesh.boundary_edges())
    run.space.update_facts(faces=len(mesh.faces), vertices=len(mesh.vertices), open_edges=open_edges)
    run.log(f"Surface: {len(mesh.faces)} triangles, {'closed' if not open_edges else f'{open_edges} open edges'}")
    np.savez(run.space.root / "mesh.npz", vertices=mesh.vertices, faces=mesh.faces, colours=mesh.colours)


def load_mesh(run: "Run") -> Mesh:
    """The surface that odm_meshing made."""
    data = np.load(run.space.root / "mesh.npz")
    return Mesh(data["vertices"], data["faces"], data["colours"])


def mvs_texturing(run: "Run") -> None:
    """Unwrap and colour the surface, and write OBJ and GLB."""
    run.space.update_facts(texture_size=None, textured_share=None)
    if run.options["skip-3dmodel"]:
        return
    scene, mesh = Scene.load(run.space.root), load_mesh(run)
    options = run.options
    cloud = read_cloud(run.space.root / "filtered.ply")
    measured = near_points(mesh, cloud)
    mesh, atlas, share = texture.make(scene, mesh, measured, options["texturing-size"],
                                      not options["texturing-skip-global-seam-leveling"],
                                      options["texturing-keep-unseen-faces"], run.progress.update)
    run.space.update_facts(texture_size=atlas.shape[0], textured_share=share)
    run.log(f"Texture: {atlas.shape[1]} x {atlas.shape[0]}; photos show {100 * share:.0f} % of the surface")
    jpeg = texture.to_jpeg(atlas)
    run.space.result(f"odm_texturing/{TEXTURE_NAME}").write_bytes(jpeg)
    write_obj(run.space.result("odm_texturing/odm_textured_model_geo.obj"), mesh, TEXTURE_NAME)
    offset = np.array(scene.meta["frame"]["offset"])
    write_glb(run.space.result("odm_texturing/odm_textured_model_geo.glb"), mesh, jpeg,
              offset if offset.any() else None)
    np.savez(run.space.root / "textured.npz", vertices=mesh.vertices, faces=mesh.faces, uvs=mesh.uvs,
             face_uvs=mesh.face_uvs)


def load_textured(run: "Run") -> Optional[tuple[Mesh, np.ndarray]]:
    """The textured mesh and its atlas (RGB), or None if none was made."""
    path = run.space.root / "textured.npz"
    if run.options["skip-3dmodel"] or not path.exists():
        return None
    data = np.load(path)
    atlas = cv2.imread(str(run.space.result(f"odm_texturing/{TEXTURE_NAME}")), cv2.IMREAD_COLOR)
    mesh = Mesh(data["vertices"], data["faces"], None, data["uvs"], data["face_uvs"])
    return mesh, cv2.cvtColor(atlas, cv2.COLOR_BGR2RGB)


def odm_georeferencing(run: "Run") -> None:
    """Write the point cloud's files, and the tiles that the 3D view streams."""
    cloud, scene = read_cloud(run.space.root / "filtered.ply"), Scene.load(run.space.root)
    results.write_clouds(run, cloud, scene)
    tiles = run.space.out / "entwine_pointcloud"
    shutil.rmtree(tiles, ignore_errors=True)
    frame = scene.meta["frame"]
    ept.write_ept(tiles, Cloud(cloud.points + np.array(frame["offset"]), cloud.colours), frame["epsg"])


def odm_dem(run: "Run") -> None:
    """Make the surface model of a flight."""
    run.space.update_facts(area_m2=None, dsm_resolution_m=None)
    scene, textured = Scene.load(run.space.root), load_textured(run)
    if scene.meta["frame"]["epsg"] is None or textured is None:
        return
    if run.options["dsm"] or not run.options["skip-orthophoto"]:
        run.space.update_facts(**maps.surface_model(run, scene, textured[0]))


def odm_orthophoto(run: "Run") -> None:
    """Make the orthophoto of a flight."""
    run.space.update_facts(gsd_cm=None, orthophoto_resolution_m=None)
    scene, textured = Scene.load(run.space.root), load_textured(run)
    if scene.meta["frame"]["epsg"] is None or textured is None or run.options["skip-orthophoto"]:
        return
    run.space.update_facts(gsd_cm=100 * maps.ground_sample(scene), **maps.orthophoto(run, scene, *textured))


def odm_report(run: "Run") -> None:
    """Describe the run for WebODM and for people: statistics, pictures, report, viewer."""
    scene, textured = Scene.load(run.space.root), load_textured(run)
    picture = None
    run.space.update_facts(size=None)
    if textured is not None:
        mesh, atlas = textured
        run.space.update_facts(size=np.ptp(mesh.vertices, axis=0).tolist())
        if scene.meta["frame"]["epsg"] is None:
            picture = pictures.contact_sheet(mesh, atlas)
        else:
            picture = pictures.side_view(mesh, atlas, -60.0, 45.0, 1200)
        write_image(run.space.result("odm_report/preview.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        viewer.write_viewer(run.space.result("viewer.html"),
                            run.space.result("odm_texturing/odm_textured_model_geo.glb"), "3D model")
    run.progress.update(0.6)
    results.write_descriptions(run, scene)
    if not run.options["skip-report"]:
        from . import report  # its library takes a while to load
        report.write_report(run, scene, picture, run.space.result("odm_report/report.pdf"))
