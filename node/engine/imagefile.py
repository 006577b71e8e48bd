"""Writes pictures and raises errors with a reason. OpenCV's own writer only reports that it failed."""
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from .errors import WriteError


def write_image(path: Path, image: np.ndarray, parameters: Sequence[int] = ()) -> None:
    """Write a picture (OpenCV's channel order) in the format of its file extension. Raises WriteError, for example if the disk is full."""
    ok, data = cv2.imencode(path.suffix, image, list(parameters))
    if not ok:
        raise WriteError(f"{path.name} cannot be encoded")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise WriteError(error.errno, error.strerror, path.name) from error
