"""Focus stacks with a known sharp picture: a real photo seen through a lens of little depth of field that breathes."""
from pathlib import Path
from typing import Any, Optional

import cv2
import numpy as np

#: Blur in pixels (sigma) per unit of distance from the plane in focus; depths are from 0 to 1.
BLUR = 12.0
#: How much the picture grows from the nearest focus to the farthest.
BREATHING = 0.03
_LEVELS = (0, 1, 2, 3.5, 5, 7, 10)


def warp(focus: float, shape: "tuple[int, ...]") -> Any:
    """How the lens moves pixels at a focus setting from 0 to 1."""
    height, width = shape[:2]
    scale = 1 + BREATHING * (focus - 0.5)
    return np.array([[scale, 0, (1 - scale) * width / 2], [0, scale, (1 - scale) * height / 2]])


def sharp_at(picture: Any, focus: float) -> Any:
    """The whole picture in focus, as the lens shows it at this setting."""
    return cv2.warpAffine(picture, warp(focus, picture.shape), picture.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def blurred(picture: Any) -> "list[Any]":
    """The picture at each level of blur. All frames of a stack are mixed from these."""
    return [cv2.GaussianBlur(picture, (0, 0), sigma) if sigma else picture for sigma in _LEVELS]


def frame(picture: Any, focus: float, seed: int = 0, blur: float = BLUR, levels: "Optional[list[Any]]" = None) -> Any:
    """The picture with only what lies at `focus` sharp. Near at the top, far at the bottom, with waves across."""
    height, width = picture.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    depth = 0.6 * rows / height + 0.4 * (0.5 + 0.5 * np.sin(columns / width * 6))
    level = np.interp(np.abs(depth - focus) * blur, _LEVELS, range(len(_LEVELS)))
    out = np.zeros(picture.shape, np.float32)
    for index, shown in enumerate(levels or blurred(picture)):
        out += np.clip(1 - np.abs(level - index), 0, 1)[:, :, None] * shown
    noise = np.random.default_rng(seed).normal(0, 2.0, out.shape)
    return np.clip(sharp_at(out, focus) + noise, 0, 255).astype(np.uint8)


def write_stack(picture: Any, paths: "list[Path]", seed: int = 0, exif: bytes = b"") -> None:
    """Write the frames of one position, from near to far."""
    levels = blurred(picture)
    for index, path in enumerate(paths):
        shown = frame(picture, index / (len(paths) - 1), seed + index, levels=levels)
        data = cv2.imencode(".jpg", shown, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        if exif:
            data = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
        path.write_bytes(data)


def psnr(picture: Any, truth: Any, border: int = 40) -> float:
    """Likeness in decibels, without the border, where the lens shows more or less of the scene."""
    inside = (slice(border, -border), slice(border, -border))
    difference = picture[inside].astype(float) - truth[inside].astype(float)
    return float(10 * np.log10(255**2 / (difference**2).mean()))
