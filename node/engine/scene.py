"""The solved scene: undistorted photos with their poses and the sparse points, as plain arrays on disk."""
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
import pycolmap

from .imagefile import write_image
from .masks import resized_mask
from .photos import photo_name


@dataclass
class View:
    """An undistorted photo. Pixel coordinates have (0, 0) at the centre of the first pixel, as OpenCV does."""

    name: str
    width: int
    height: int
    K: np.ndarray  # 3x3, pixels
    R: np.ndarray  # world to camera
    t: np.ndarray  # world to camera, scene units
    image: str     # path of the undistorted JPEG
    held_out: bool = False
    mask: Optional[str] = None  # path of the undistorted mask, white where the photo counts

    @property
    def centre(self) -> np.ndarray:
        """Camera position in the world."""
        return -self.R.T @ self.t

    def scaled_K(self, scale: float) -> np.ndarray:
        """Calibration for the photo resized by ``scale``."""
        K = self.K.copy()
        K[:2, 2] += 0.5
        K[:2] *= scale
        K[:2, 2] -= 0.5
        return K

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels (N, 2) and depths (N) of world points."""
        camera = points @ self.R.T + self.t
        pixels = camera @ self.K.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return pixels[:, :2] / pixels[:, 2:3], camera[:, 2]

    def load(self, scale: float = 1.0, grey: bool = False) -> np.ndarray:
        """Pixels, RGB or grey, 8 bit, resized by ``scale`` to (round(h*s), round(w*s))."""
        flag = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
        image = cv2.imread(self.image, flag)
        if image is None:
            raise OSError(f"cannot read {self.image}")
        if scale != 1.0:
            image = cv2.resize(image, self.size(scale), interpolation=cv2.INTER_AREA)
        return image if grey else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def size(self, scale: float) -> tuple[int, int]:
        """(width, height) at a scale."""
        return max(1, round(self.width * scale)), max(1, round(self.height * scale))


@dataclass
class Scene:
    """All placed views and the sparse points."""

    views: list[View]
    points: np.ndarray       # (N, 3)
    colours: np.ndarray      # (N, 3) uint8
    seen: list[np.ndarray]   # per view: indices of the points that it sees
    errors: np.ndarray       # (N,) mean reprojection error in pixels
    meta: dict[str, object] = field(default_factory=dict)

    def used(self) -> list[int]:
        """Indices of the views that depth and texture may use (all but those held out)."""
        return [i for i, view in enumerate(self.views) if not view.held_out]

    def save(self, directory: Path) -> None:
        """Write ``scene.npz`` and ``scene.json``."""
        rows = [{"name": v.name, "width": v.width, "height": v.height, "K": v.K.tolist(), "R": v.R.tolist(),
                 "t": v.t.tolist(), "image": v.image, "held_out": v.held_out, "mask": v.mask} for v in self.views]
        np.savez(directory / "scene.npz", points=self.points, colours=self.colours, errors=self.errors,
                 seen=np.concatenate(self.seen) if self.seen else np.zeros(0, np.int64),
                 counts=np.array([len(s) for s in self.seen]))
        (directory / "scene.json").write_text(json.dumps({"views": rows, "meta": self.meta}))

    @classmethod
    def load(cls, directory: Path) -> "Scene":
        """The opposite of save."""
        data = np.load(directory / "scene.npz")
        rows = json.loads((directory / "scene.json").read_text())
        views = [View(r["name"], r["width"], r["height"], np.array(r["K"]), np.array(r["R"]), np.array(r["t"]),
                      r["image"], r["held_out"], r["mask"]) for r in rows["views"]]
        seen = np.split(data["seen"], np.cumsum(data["counts"])[:-1]) if len(views) else []
        return cls(views, data["points"], data["colours"], seen, data["errors"], rows["meta"])

    def transform(self, scale: float, R: np.ndarray, t: np.ndarray) -> None:
        """Move the world: X' = scale * R @ X + t. Depths grow by ``scale``."""
        self.points = scale * self.points @ R.T + t
        for view in self.views:
            view.R = view.R @ R.T
            view.t = scale * view.t - view.R @ t


def mask_path(image: Path) -> Path:
    """Where the mask of an undistorted photo is."""
    return image.with_name(f"{image.name}.mask.png")


def _undistort_one(camera: pycolmap.Camera, source: Path, target: Path, mask: Optional[str]) -> tuple[int, int, np.ndarray]:
    """Write the undistorted photo and, if it has a mask, the undistorted mask. Returns width, height and calibration."""
    options = pycolmap.UndistortCameraOptions()
    options.blank_pixels = 0.0
    options.max_scale = 1.3
    straight = pycolmap.undistort_camera(options, camera)
    K_new = np.array(straight.calibration_matrix())
    K_new[:2, 2] -= 0.5
    height, width = int(straight.height), int(straight.width)
    # The place of each undistorted pixel in the photo, by COLMAP's camera model on a grid, interpolated for all pixels.
    step = 8
    gx, gy = np.meshgrid(np.arange(0, width + step, step), np.arange(0, height + step, step))
    rays = np.stack([(gx.ravel() - K_new[0, 2]) / K_new[0, 0], (gy.ravel() - K_new[1, 2]) / K_new[1, 1],
                     np.ones(gx.size)], axis=1)
    grid = np.asarray(camera.img_from_cam(rays), np.float64).reshape(*gx.shape, 2) - 0.5
    shift = np.array([[1.0 / step, 0, 0], [0, 1.0 / step, 0]])
    dense = cv2.warpAffine(grid.astype(np.float32), shift, (width, height),
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    image = cv2.imread(str(source), cv2.IMREAD_COLOR)
    out = cv2.remap(image, dense[:, :, 0], dense[:, :, 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    write_image(target, out, [cv2.IMWRITE_JPEG_QUALITY, 96])
    if mask is not None:
        shown = resized_mask(mask, image.shape[1], image.shape[0])
        straight_mask = cv2.remap(shown * 255, dense[:, :, 0], dense[:, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        write_image(mask_path(target), straight_mask)
    return width, height, K_new


def build(reconstruction: pycolmap.Reconstruction, images: Path, target: Path, held_out: Sequence[str], threads: int,
          masks: Optional[dict[str, str]] = None) -> Scene:
    """Undistort the placed photos into ``target`` and collect poses and points. ``masks``: paths by photo name."""
    masks = masks or {}
    target.mkdir(parents=True, exist_ok=True)
    registered = sorted((reconstruction.images[i] for i in reconstruction.reg_image_ids()), key=lambda im: im.name)
    index_of: dict[int, int] = {}
    points, colours, errors = [], [], []
    for row, (point_id, point) in enumerate(reconstruction.points3D.items()):
        index_of[point_id] = row
        points.append(point.xyz)
        colours.append(point.color)
        errors.append(point.error)

    def work(image: pycolmap.Image) -> View:
        camera = reconstruction.cameras[image.camera_id]
        out = target / image.name
        name = photo_name(image.name)
        width, height, K = _undistort_one(camera, images / image.name, out, masks.get(name))
        pose = image.cam_from_world()
        return View(name, width, height, K, np.array(pose.rotation.matrix()), np.array(pose.translation), str(out),
                    name in set(held_out), str(mask_path(out)) if name in masks else None)

    views, seen = [], []
    with ThreadPoolExecutor(max(1, threads)) as pool:
        for image, view in zip(registered, pool.map(work, registered)):
            views.append(view)
            seen.append(np.array([index_of[p.point3D_id] for p in image.points2D if p.has_point3D()], np.int64))
    return Scene(views, np.array(points).reshape(-1, 3), np.array(colours, np.uint8).reshape(-1, 3), seen,
                 np.array(errors))
