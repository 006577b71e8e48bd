"""The preset that scans are processed with unless a site names another: for one object on a turntable."""
from typing import Any

from app_extensions.host import presets

NAME = "OpenScan object"
#: Fit for ODM and for our engine. The photos go round a small object: a full 3D mesh instead of a draped one, limited to what the cameras
#: surround, and no orthophoto, which nobody wants of an object. All values are words: NodeODM 2.2.4 crashes on options that are numbers.
#: Quality stays at each engine's own default, which its makers chose for its speed.
OPTIONS = {"auto-boundary": True, "use-3dmesh": True, "skip-orthophoto": True, "gltf": True}


def ensure_preset(**signal: Any) -> None:
    """After migrations: make the preset where it is missing."""
    presets.ensure_system_preset(NAME, OPTIONS)
