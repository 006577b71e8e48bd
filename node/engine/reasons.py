"""Messages that tell the user why photos cannot become a model, and what to do."""
from collections.abc import Collection, Sequence
from typing import Any, Optional

NO_TEXTURE = ("The object shows too little that can be recognized from photo to photo: its surface is plain, shiny or transparent. Only "
              "what it stands on could be measured. Give the object texture (a matt or speckled coat that washes off) and even, diffuse "
              "light without reflections, and take the photos again.")


def too_few_points(count: int) -> str:
    """The message if the photos give too few points for a surface."""
    return (f"Only {count} points on the surface could be measured: neighbouring photos do not agree. Take photos closer to each other "
            "(15 degrees or less), sharp and in even light. A plain, shiny or transparent surface needs texture: a matt or speckled coat.")


def not_placed(placed: Collection[str], loose: Sequence[str], count: int, background: Optional[dict[str, Any]]) -> str:
    """The message if too few photos could be placed."""
    told = f"Only {len(placed)} of {count} photos could be placed" if placed else f"None of the {count} photos could be placed"
    if background:
        return (f"{told}: the background did not move with the object. In {background['photos']} photos it stays at the same pixels "
                f"({100 * background['share']:.0f} % of all details), and the object itself shows too few details. Put a plain dark "
                "cloth behind the object, hide the background with masks (NAME_mask.png), or move the camera around an object that "
                "stands still. A plain or shiny object also needs texture: a matt or speckled coat.")
    return (f"{told}: the others do not show enough of the same details ({', '.join(loose[:6])}{' …' if len(loose) > 6 else ''}). Take "
            "more photos with at least 60 % overlap between neighbours (a step of 15 degrees or less around the object), sharp and in "
            "even light. A plain or shiny object needs texture: a matt or speckled coat, or a patterned ground.")
