"""The default preset for scans, unless a site sets another: for one object on a turntable."""
from typing import Any

from app_extensions.host import presets

NAME = "OpenScan object"
#: Works with ODM and with our engine. The photos surround a small object, so we want a full 3D mesh instead of a draped one, limited to
#: what the cameras surround, and no orthophoto. No value is a number, because NodeODM 2.2.4 crashes on options that are numbers.
#: Quality stays at each engine's own default, which its makers chose for its speed.
OPTIONS = {"auto-boundary": True, "use-3dmesh": True, "skip-orthophoto": True, "gltf": True}


def ensure_preset(**signal: Any) -> None:
    """Create the preset if it is missing. Called after migrations."""
    presets.ensure_system_preset(NAME, OPTIONS)
