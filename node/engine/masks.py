"""Prepares masks (``NAME_mask.png`` beside the photos, as in ODM): white where the photo counts, black where it does not."""
from pathlib import Path
from typing import Optional

import cv2
import numpy as np
from PIL import ExifTags, Image, ImageOps

from .imagefile import write_image

_LEAST_SHOWN = 0.01  # share of a photo that a mask should leave


def turned_upright(image: Image.Image, orientation: int) -> Image.Image:
    """A picture turned upright by an EXIF orientation (1 to 8; EXIF 2.3, 0x0112)."""
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(image)


def read_mask(path: str) -> np.ndarray:
    """Which pixels of a prepared mask count (bool). Raises OSError if it cannot be read."""
    mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise OSError(f"cannot read {path}")
    return mask > 127


def resized_mask(path: str, width: int, height: int) -> np.ndarray:
    """A prepared mask at another size, 1 where the photo counts (uint8)."""
    return cv2.resize(read_mask(path).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)


def alpha_mask(source: Path, width: int, height: int, target: Path) -> bool:
    """Write a mask of the transparent parts of a photo (PNG, TIFF, WebP), in the size of its prepared, upright copy.

    Returns whether there are transparent parts and a mask was written.
    """
    with Image.open(source) as image:
        if "A" not in image.getbands() and "transparency" not in image.info:
            return False
        alpha = ImageOps.exif_transpose(image).convert("RGBA").getchannel("A")
    shown = np.asarray(alpha) > 127
    if shown.all() or shown.mean() < _LEAST_SHOWN:  # if nearly all is transparent, the alpha means something else
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, cv2.resize(shown.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_NEAREST))
    return True


def prepare_mask(source: Path, orientation: int, width: int, height: int, target: Path) -> tuple[bool, Optional[str]]:
    """Write a mask in the size of its photo's prepared, upright copy.

    ``orientation``: the photo's EXIF orientation. As in ODM, a mask is for the pixels as the camera stored them, unless the mask
    has an EXIF orientation itself or fits only the upright photo. Returns whether the mask can be used, and a remark.
    """
    try:
        with Image.open(source) as image:
            own = image.getexif().get(ExifTags.Base.Orientation, 1)
        grey = cv2.imread(str(source), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        grey = None
    if grey is None:
        return False, f"its mask {source.name} cannot be read and is not used"
    fits_upright = abs(np.log(grey.shape[1] / grey.shape[0] * height / width)) < 0.05
    if own in range(2, 9):
        orientation = own
    elif orientation in range(5, 9) and fits_upright and abs(np.log(width / height)) > 0.05:
        orientation = 1
    if orientation in range(2, 9):
        grey = np.asarray(turned_upright(Image.fromarray(grey), orientation))
    remark = None
    if abs(np.log(grey.shape[1] / grey.shape[0] * height / width)) > 0.05:
        remark = f"its mask {source.name} has another shape than the photo and was stretched"
    mask = cv2.resize((grey > 127).astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_NEAREST)
    if (mask > 0).mean() < _LEAST_SHOWN:
        remark = f"its mask {source.name} hides nearly all of it (white is what counts)"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(target, mask)
    return True, remark
