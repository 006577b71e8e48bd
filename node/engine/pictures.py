"""Renders the finished model: from all sides for objects, from above for flights."""
import cv2
import numpy as np

from . import raster
from .meshes import Mesh

_OVERSAMPLE = 2


def look_at(eye: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and translation (world to camera) of a camera that looks at a point, with z upwards in the picture."""
    forward = target - eye
    forward = forward / np.linalg.norm(forward)
    up = np.array([0, 0, 1.0]) if abs(forward[2]) < 0.99 else np.array([0, 1.0, 0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(forward, right), forward])
    return R, -R @ eye


def side_view(mesh: Mesh, texture: np.ndarray, azimuth: float, elevation: float, size: int,
              shade: bool = False) -> np.ndarray:
    """The model (RGB) from a direction in degrees, filling the picture."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    middle, radius = (low + high) / 2, float(np.linalg.norm(high - low)) / 2
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    eye = middle + 4.0 * radius * np.array([np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    R, t = look_at(eye, middle)
    camera = mesh.vertices @ R.T + t
    reach = np.abs(camera[:, :2] / camera[:, 2:3]).max()
    big = size * _OVERSAMPLE
    focal = 0.47 * big / reach
    K = np.array([[focal, 0, big / 2], [0, focal, big / 2], [0, 0, 1.0]])
    picture, _ = raster.render(mesh, texture, K, R, t, big, big, background=250, shade=shade)
    return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def contact_sheet(mesh: Mesh, texture: np.ndarray, size: int = 420) -> np.ndarray:
    """A sheet of views (RGB): eight sides, two without texture, from above, and from below."""
    rows = [np.hstack([side_view(mesh, texture, a, 25.0, size) for a in (0, 45, 90, 135)]),
            np.hstack([side_view(mesh, texture, a, 25.0, size) for a in (180, 225, 270, 315)]),
            np.hstack([side_view(mesh, texture, 45.0, 25.0, size, shade=True),
                       side_view(mesh, texture, 225.0, 25.0, size, shade=True),
                       side_view(mesh, texture, 0.0, 89.0, size), side_view(mesh, texture, 0.0, -89.0, size)])]
    return np.vstack(rows)
