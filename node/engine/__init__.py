"""Photos to a textured model on the CPU, behind ``python -m node.engine --images DIR --out DIR --options FILE``.

The packages do the work (pycolmap, OpenCV, numba, xatlas …); the modules here join them. Each stage reads what the
stage before left on disk, so that a run that was cut goes on with the first stage that is not finished.
"""
from app_extensions import __version__

__all__ = ["__version__"]
