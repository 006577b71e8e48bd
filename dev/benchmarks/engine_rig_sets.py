"""The rendered rigs: what each set shows, and how it is photographed."""
from dataclasses import dataclass, replace

FIGURE, FACADE = 0, 1
NOTHING, DISC, PIN = 0, 1, 2                  # what the object stands on
PLAIN, PATTERNED, STATIC = 0, 1, 2            # what is behind it


@dataclass(frozen=True)
class Rig:
    """One set: the scene and how it is photographed. Lengths in units of about the figure's radius."""

    shape: int = FIGURE
    plain: bool = False          # an object without any texture
    ground: int = DISC
    radius: float = 1.7          # of the disc
    ground_texture: float = 0.0  # 0 plain, 1 as much as the object
    ground_shade: float = 24.0
    background: int = PLAIN
    shade: float = 6.0
    rings: tuple[tuple[float, float], ...] = ((0.44, 10.0), (0.37, 34.0), (0.19, 60.0))  # share of the photos, elevation
    scans: int = 1               # 2: a second one with the object turned over
    photos: int = 32
    message: str = ""            # what the run has to end with where no model can be made


BLACK = Rig()
SETS: dict[str, Rig] = {
    "black": BLACK,
    "plain": replace(BLACK, shade=150.0, ground_shade=230.0),
    "patterned": replace(BLACK, background=PATTERNED),
    "static": replace(BLACK, background=STATIC),
    "dark-table": replace(BLACK, ground_shade=14.0, radius=2.2),
    "patterned-table": replace(BLACK, ground_texture=1.0, ground_shade=150.0),
    "large-table": replace(BLACK, ground_texture=1.0, ground_shade=150.0, radius=9.0, shade=90.0),
    "pin": replace(BLACK, ground=PIN, ground_shade=120.0, rings=((0.25, -28.0), (0.31, 5.0), (0.25, 36.0), (0.19, 62.0))),
    "turned": replace(BLACK, scans=2, photos=56),
    "turned-patterned": replace(BLACK, scans=2, photos=56, ground_texture=1.0, ground_shade=150.0),
    "facade": replace(BLACK, shape=FACADE, ground=NOTHING, shade=225.0, photos=18),
    "plain-object": replace(BLACK, plain=True, message="texture"),
    "plain-object-static": replace(BLACK, plain=True, background=STATIC, message="background"),
}
