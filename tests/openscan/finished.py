"""Models as a node leaves them, and the results packed from them."""
import os
import re

from app_extensions.host import assets
from app_extensions.openscan import part_files
from app_extensions.openscan.results import packing

MODEL = {
    "odm_texturing/odm_textured_model_geo.obj": b"mtllib odm_textured_model_geo.mtl\n" + b"v 0 0 0\n" * 5000,
    "odm_texturing/odm_textured_model_geo.mtl": b"newmtl a\nmap_Kd texture.png\n",
    "odm_texturing/texture.png": os.urandom(200_000),
    "odm_texturing/odm_textured_model_geo.glb": b"glTF" + os.urandom(300_000),
    "odm_texturing/odm_textured_model_geo.conf": b"settings of the program",
    "odm_georeferencing/odm_georeferenced_model.laz": b"LASF",
}


def fill(task, files):
    directory = assets.assets_dir(task)
    for name, data in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


def result_file(scan):
    scan.refresh_from_db()
    return part_files.results_dir() / scan.result_file


def link_text(scan):
    return re.search(r"download/(.+)\.zip$", packing.result_url(scan, "http://x")).group(1)
