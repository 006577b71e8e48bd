"""What a task has on disk: its images and its results, by WebODM's names."""
import json
import logging
import os
import shutil
from collections.abc import Iterable
from typing import Optional, Union

from django.core.files.uploadedfile import InMemoryUploadedFile
from zipstream.ng import ZipStream

from app.security import path_traversal_check

logger = logging.getLogger("app.logger")

BYTES_PER_MEGABYTE = 1024 * 1024


def _packed(name: str, directory: str, without: Iterable[str] = ()) -> dict:
    """An asset that is a zip of a directory, made while it is sent."""
    entry = {"deferred_path": name, "deferred_compress_dir": directory}
    if without:
        entry["deferred_exclude_files"] = tuple(without)
    return entry


class TaskAssets:
    """Mixed into Task; needs its ``task_path`` and ``assets_path``."""

    ASSETS_MAP = {
        "all.zip": _packed("all.zip", "."),
        "orthophoto.tif": "odm_orthophoto/odm_orthophoto.tif",
        "orthophoto.png": "odm_orthophoto/odm_orthophoto.png",
        "orthophoto.mbtiles": "odm_orthophoto/odm_orthophoto.mbtiles",
        "orthophoto.kmz": "odm_orthophoto/odm_orthophoto.kmz",
        "cutline.gpkg": "odm_orthophoto/cutline.gpkg",
        "georeferenced_model.las": "odm_georeferencing/odm_georeferenced_model.las",
        "georeferenced_model.laz": "odm_georeferencing/odm_georeferenced_model.laz",
        "georeferenced_model.ply": "odm_georeferencing/odm_georeferenced_model.ply",
        "georeferenced_model.csv": "odm_georeferencing/odm_georeferenced_model.csv",
        "textured_model.zip": _packed("textured_model.zip", "odm_texturing", ["odm_textured_model_geo.glb"]),
        "textured_model.glb": "odm_texturing/odm_textured_model_geo.glb",
        "3d_tiles_model.zip": _packed("3d_tiles_model.zip", "3d_tiles/model"),
        "3d_tiles_pointcloud.zip": _packed("3d_tiles_pointcloud.zip", "3d_tiles/pointcloud"),
        "dtm.tif": "odm_dem/dtm.tif",
        "dsm.tif": "odm_dem/dsm.tif",
        "dtm_tiles.zip": _packed("dtm_tiles.zip", "dtm_tiles"),
        "dsm_tiles.zip": _packed("dsm_tiles.zip", "dsm_tiles"),
        "orthophoto_tiles.zip": _packed("orthophoto_tiles.zip", "orthophoto_tiles"),
        "cameras.json": "cameras.json",
        "shots.geojson": "odm_report/shots.geojson",
        "report.pdf": "odm_report/report.pdf",
        "ground_control_points.geojson": "odm_georeferencing/ground_control_points.geojson",
    }

    def scan_images(self) -> list[str]:
        """Names of all regular files at the top of the task's directory, images or not; none without the directory."""
        try:
            return [entry.name for entry in os.scandir(self.task_path()) if entry.is_file()]
        except OSError:
            return []

    def get_image_path(self, filename: str) -> str:
        """Where an image of that name lies. Raises SuspiciousFileOperation when that is outside the task's directory."""
        return path_traversal_check(self.task_path(filename), self.task_path())

    def handle_images_upload(self, files) -> dict:
        """Moves uploaded files into the task's directory; returns sizes in bytes by name."""
        os.makedirs(self.task_path(), exist_ok=True)
        uploaded = {}
        for file in files:
            if file.name is None:
                continue
            destination = self.get_image_path(file.name)
            if isinstance(file, InMemoryUploadedFile):
                with open(destination, "wb") as out:
                    for chunk in file.chunks():
                        out.write(chunk)
            else:
                shutil.copyfile(file.temporary_file_path(), destination)
            uploaded[file.name] = os.path.getsize(destination)
        return uploaded

    def update_size(self, commit: bool = False) -> None:
        """Sets ``size`` to the megabytes on disk, links left out."""
        total = 0
        for directory, _, names in os.walk(self.task_path()):
            for name in names:
                path = os.path.join(directory, name)
                if not os.path.islink(path):
                    total += os.path.getsize(path)
        self.size = total / BYTES_PER_MEGABYTE
        if commit:
            self.save()
        self.project.owner.profile.clear_used_quota_cache()

    def is_asset_available_slow(self, asset: str) -> bool:
        """Whether the file, or the directory to be packed, exists."""
        entry = self.ASSETS_MAP.get(asset)
        if entry is None:
            return False
        path = entry if isinstance(entry, str) else entry["deferred_compress_dir"]
        return os.path.exists(self.assets_path(path))

    def update_available_assets_field(self, commit: bool = False) -> None:
        """Looks on disk and sets ``available_assets``."""
        self.available_assets = [asset for asset in self.ASSETS_MAP if self.is_asset_available_slow(asset)]
        if commit:
            self.save()

    def get_asset_file_or_stream(self, asset: str) -> Union[str, ZipStream]:
        """A path, or a zip that is made while it is read. Raises FileNotFoundError for unknown names and empty directories."""
        if asset not in self.ASSETS_MAP:
            raise FileNotFoundError(f"{asset} is not a valid asset")
        entry = self.ASSETS_MAP[asset]
        if isinstance(entry, str):
            return self.assets_path(entry)
        top = self.assets_path(entry["deferred_compress_dir"])
        stream = ZipStream(sized=True)
        found = False
        for directory, _, names in os.walk(top):
            for name in names:
                if name not in entry.get("deferred_exclude_files", ()):
                    path = os.path.join(directory, name)
                    stream.add_path(path, os.path.relpath(path, top))
                    found = True
        if not found:
            raise FileNotFoundError("No files available for download")
        return stream

    def get_asset_download_path(self, asset: str) -> str:
        """The path of an asset, or the name of its zip. Raises FileNotFoundError for unknown names."""
        if asset not in self.ASSETS_MAP:
            raise FileNotFoundError(f"{asset} is not a valid asset")
        entry = self.ASSETS_MAP[asset]
        return self.assets_path(entry) if isinstance(entry, str) else entry["deferred_path"]

    def get_check_file_asset_path(self, asset: str) -> Optional[str]:
        """The path of an asset that is a file and exists."""
        entry = self.ASSETS_MAP[asset]
        if isinstance(entry, str) and os.path.isfile(self.assets_path(entry)):
            return self.assets_path(entry)
        return None

    def get_statistics(self) -> dict:
        """Numbers out of the result's report; empty without one."""
        path = self.assets_path("odm_report", "stats.json")
        if not os.path.isfile(path):
            return {}
        try:
            with open(path, encoding="utf-8") as stream:
                report = json.load(stream)
        except ValueError as error:
            logger.warning("%s is no JSON: %s", path, error)
            return {}
        processing = report.get("processing_statistics", {})
        reconstruction = report.get("reconstruction_statistics", {})
        points = reconstruction.get("reconstructed_points_count")
        cloud = report.get("point_cloud_statistics", {})
        if cloud.get("dense"):
            points = cloud.get("stats", {}).get("statistic", [{}])[0].get("count")
        return {
            "pointcloud": {"points": points},
            "gsd": report.get("odm_processing_statistics", {}).get("average_gsd"),
            "area": processing.get("area"),
            "start_date": processing.get("start_date"),
            "end_date": processing.get("end_date"),
            "spatial_refs": ["gps"] if reconstruction.get("has_gps") else [],
        }

    def compact(self) -> None:
        """Deletes the images and keeps the results."""
        for name in self.scan_images():
            os.unlink(self.task_path(name))
        self.compacted = True
        self.update_size(commit=True)
