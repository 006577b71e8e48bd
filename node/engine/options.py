"""The engine's options, under ODM's names where the meaning is the same, and the values that the presets give them."""
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from . import lengths
from .errors import EngineError

QUALITIES = ["ultra", "high", "medium", "low", "lowest"]
RERUN = ["dataset", "opensfm", "openmvs", "odm_filterpoints", "odm_meshing", "mvs_texturing", "odm_georeferencing",
         "odm_dem", "odm_orthophoto", "odm_report"]

_RANGE = re.compile(r"(?:integer|float): (\S+) <= x <= (\S+)")  # as ODM words it


@dataclass(frozen=True)
class Option:
    """One option as NodeODM's ``/options`` lists it; ``value`` is the default, which is always text there."""

    name: str
    type: str
    value: Any
    domain: Union[str, list[str]]
    help: str
    check: Optional[Callable[[str], Any]] = None  # checks a string; raises EngineError

    def listed(self) -> dict[str, Any]:
        """The option in NodeODM's form."""
        value = self.value
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        return {"name": self.name, "type": self.type, "value": text, "domain": self.domain, "help": self.help}

    def parse(self, value: Any) -> Any:
        """Check and convert a given value. Raises EngineError with the option's name and what is allowed."""
        try:
            if self.type == "bool":
                if isinstance(value, bool):
                    return value
                return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
            if self.type == "int":
                number: Any = int(str(value))
            elif self.type == "float":
                number = float(value)
            elif self.type == "enum":
                if value not in self.domain:
                    raise ValueError(value)
                return value
            else:
                if self.check is not None:
                    self.check(str(value))
                return str(value)
        except (ValueError, KeyError, TypeError):
            allowed = ", ".join(self.domain) if isinstance(self.domain, list) else self.domain or self.type
            raise EngineError(f"Option {self.name}: {value!r} is not allowed; use one of: {allowed}.") from None
        if not math.isfinite(number):
            raise EngineError(f"Option {self.name}: {value!r} is not allowed; it must be a finite number.")
        if self.domain.startswith("positive") and number < 0:
            raise EngineError(f"Option {self.name}: {value!r} is not allowed; it must not be negative.")
        limits = _RANGE.fullmatch(self.domain)
        if limits and not float(limits[1]) <= number <= float(limits[2]):
            raise EngineError(f"Option {self.name}: {value!r} is not allowed; it must lie between {limits[1]} and {limits[2]}.")
        return number


OPTIONS: list[Option] = [
    Option("preset", "enum", "default", ["fast", "default", "high"],
           "How much time to spend. On two cores, 16 photos take about one minute (fast), two to four (default) or up to thirty "
           "(high). Options that you set yourself take precedence."),
    Option("feature-quality", "enum", "high", QUALITIES,
           "Size of the photos in which features are searched. Higher places more photos and takes longer."),
    Option("min-num-features", "int", 8000, "integer: 100 <= x <= 100000",
           "Features to search in each photo. More features help if photos have little texture or overlap."),
    Option("matcher-neighbors", "int", 0, "positive integer",
           "Match each photo with this many neighbours, by position or likeness. 0 lets the engine choose: in small sets it matches all "
           "pairs."),
    Option("camera-lens", "enum", "auto", ["auto", "perspective", "brown", "fisheye"],
           "Lens model. auto uses a radial model for objects and Brown's model for flights."),
    Option("pc-quality", "enum", "medium", QUALITIES,
           "Size of the photos in which depth is measured. Each step up takes about four times as long."),
    Option("pc-filter", "float", 2.5, "positive float",
           "Remove points farther from their neighbours than this many standard deviations. 0 keeps all."),
    Option("background", "enum", "auto", ["auto", "keep", "remove"],
           "Keep or remove what the object stands on and what is behind it. auto removes both if the photos go round "
           "an object on a plane, and keeps them in flights."),
    Option("bg-removal", "bool", False, "bool", "Remove the background; the same as background: remove."),
    Option("skip-3dmodel", "bool", False, "bool", "Make no surface and no texture, only the point cloud."),
    Option("use-3dmesh", "bool", False, "bool",
           "Accepted so that ODM's presets work. It changes nothing: the surface is always full 3D."),
    Option("mesh-octree-depth", "int", 9, "integer: 1 <= x <= 14",
           "Detail of the surface. Each step doubles it; values below 6 count as 6."),
    Option("mesh-size", "int", 150000, "integer: 1000 <= x <= 20000000", "Maximum number of triangles in the model."),
    Option("texturing-size", "int", 4096, "integer: 256 <= x <= 16384", "Maximum width and height of the texture, in pixels."),
    Option("texturing-skip-global-seam-leveling", "bool", False, "bool",
           "Do not even out brightness and colour between photos."),
    Option("texturing-keep-unseen-faces", "bool", True, "bool",
           "Keep the parts of the surface that no photo shows; they take the colour of their surroundings."),
    Option("scale-distance", "string", "", "FAMILY:MILLIMETRES or FAMILY:TAG-TAG=MILLIMETRES,...",
           "Known lengths of printed tags beside the object, so that the model is in millimetres: the tags' edge, as in "
           "aruco:30.0, or distances between the centres of two tags, as in aruco:3-17=250,3-20=180.5. "
           "If you give both, the distances set the scale.", lengths.parse),
    Option("focus-stacks", "enum", "auto", ["auto", "off"],
           "Merge the frames of a focus stack (NAME_fs00.jpg ..., or several photos per view) into one sharp photo per position."),
    Option("gps", "enum", "auto", ["auto", "on", "off"],
           "Place the model on the map by the photos' GPS: if the positions agree with the photos (auto), whenever there are three "
           "different positions (on), or never (off)."),
    Option("force-gps", "bool", False, "bool", "Use GPS positions for an object as well; the same as gps: on."),
    Option("orthophoto-resolution", "float", 5.0, "positive float",
           "Orthophoto resolution in centimetres per pixel. It is never finer than what the photos show."),
    Option("dem-resolution", "float", 5.0, "positive float",
           "Surface model resolution in centimetres per pixel. It is never finer than what the photos show."),
    Option("dsm", "bool", False, "bool",
           "Make a surface model of a flight. Flights with an orthophoto always get one."),
    Option("skip-orthophoto", "bool", False, "bool", "Make no orthophoto."),
    Option("skip-report", "bool", False, "bool", "Make no report.pdf."),
    Option("max-concurrency", "int", 0, "positive integer", "Maximum number of threads. 0 uses every core."),
    Option("max-memory", "int", 0, "positive integer",
           "Memory in megabytes that a run may use. 0 allows all memory that is free. A set that needs more is "
           "processed with fewer threads, points or pixels, and refused only if that is not enough."),
    Option("optimize-disk-space", "bool", False, "bool",
           "Delete intermediate files at the end. The task can then not be continued from a middle stage."),
    Option("rerun-from", "enum", "", [""] + RERUN,
           "Run again from this stage on, with the earlier results of the stages before it."),
]
BY_NAME = {option.name: option for option in OPTIONS}

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"feature-quality": "medium", "min-num-features": 4000, "pc-quality": "low", "mesh-size": 60000,
             "mesh-octree-depth": 8, "texturing-size": 2048},
    "default": {},
    "high": {"feature-quality": "ultra", "min-num-features": 12000, "pc-quality": "high", "mesh-size": 500000,
             "mesh-octree-depth": 11, "texturing-size": 8192},
}


def listed_options() -> list[dict[str, Any]]:
    """All options in the form of NodeODM's ``/options``."""
    return [option.listed() for option in OPTIONS]


def load_options(path: Optional[Path]) -> dict[str, Any]:
    """Values of all options: the defaults, overridden by the preset, overridden by the file (``[{name, value}]``).

    Options that only ODM knows are ignored, as in NodeODM. Raises EngineError on a malformed file or value.
    """
    given: dict[str, Any] = {}
    if path is not None:
        try:
            rows = json.loads(Path(path).read_text(encoding="utf-8") or "[]")
            given = {str(row["name"]): row["value"] for row in rows}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise EngineError(f"The options file {path} is not a list of names and values: {error}.") from None
    parsed = {name: BY_NAME[name].parse(value) for name, value in given.items() if name in BY_NAME}
    preset = parsed.get("preset", "default")
    values = {option.name: option.value for option in OPTIONS}
    values.update(PRESETS[preset])
    values.update(parsed)
    values["mesh-octree-depth"] = max(values["mesh-octree-depth"], 6)
    if values["force-gps"]:
        values["gps"] = "on"
    if values["bg-removal"]:
        values["background"] = "remove"
    return values
