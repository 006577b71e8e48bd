"""Photos to a textured model on the CPU, behind ``python -m node.engine --images DIR --out DIR --options FILE``.

Packages do most of the work (pycolmap, OpenCV, numba …); the modules here join them. Each stage reads what the stage before it
wrote to disk, so an interrupted run continues with the first unfinished stage.
"""
from app_extensions import __version__

__all__ = ["__version__"]
