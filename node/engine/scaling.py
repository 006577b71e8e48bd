"""Scale from printed tags, by their known edge or by known distances between them. The model is then in millimetres."""
from collections.abc import Callable
from typing import Any, Optional

import numpy as np

from .errors import EngineError
from .lengths import Distance, Lengths, parse
from .scene import Scene
from .tags import Located, Sighting, Tag, find_tags, locate, triangulate

_AGREED = 0.01  # lengths that differ from the given ones by more than this share are reported


def _edges(found: dict[Tag, list[Sighting]]) -> list[float]:
    """The lengths, in the scene's units, of all tag edges on which at least two photos agree."""
    lengths = []
    for sightings in found.values():
        if len(sightings) < 2:
            continue
        corners = [triangulate([(s.P, s.corners[k]) for s in sightings]) for k in range(4)]
        for a, b in zip(corners, corners[1:] + corners[:1]):
            if a is not None and b is not None:
                lengths.append(float(np.linalg.norm(a - b)))
    return lengths


def _spread(lengths: list[float]) -> float:
    """Robust standard deviation as a share of the median."""
    middle = np.median(lengths)
    return float(1.4826 * np.median(np.abs(np.array(lengths) - middle)) / middle)


def robust_factor(given: np.ndarray, measured: np.ndarray) -> tuple[float, np.ndarray]:
    """Millimetres per unit, from lengths known in both, and which of the lengths were used (bool).

    Least squares over the lengths whose ratio lies within three robust standard deviations, or 1 % if that is more, of the median ratio.
    One or two lengths are all used: nothing shows which one is wrong.
    """
    ratios = given / measured
    middle = np.median(ratios)
    off = np.abs(ratios / middle - 1)
    used = off <= max(3 * 1.4826 * float(np.median(off)), _AGREED) if len(ratios) > 2 else np.ones(len(ratios), bool)
    return float((given * measured)[used].sum() / (measured ** 2)[used].sum()), used


def _centre(found: dict[Tag, list[Sighting]], number: int) -> Located:
    """Where the tag of this number lies, in whichever family it was seen."""
    located = {tag.family: locate(sightings) for tag, sightings in found.items() if tag.number == number}
    sure = {family: centre for family, centre in located.items() if centre.point is not None}
    if len(sure) > 1:
        return Located(None, 0, f"was seen in more than one family ({', '.join(sure)}): name the family instead of aruco")
    if sure:
        return next(iter(sure.values()))
    # In a single photo, a pattern is sometimes mistaken for one of another family. The family with the most sightings counts.
    seen = max((tag for tag in found if tag.number == number), key=lambda tag: len(found[tag]), default=None)
    return Located(None, 0, "was seen in fewer than two photos") if seen is None else located[seen.family]


def _signed(share: float) -> str:
    return f"{round(100 * share, 2) + 0.0:+.2f} %"  # + 0.0: no -0.00


def _by_distances(found: dict[Tag, list[Sighting]], asked: Lengths) -> tuple[float, dict[str, Any]]:
    """The factor from distances between tags, and the measured length of each distance."""
    centres = {number: _centre(found, number) for d in asked.distances for number in (d.first, d.second)}
    reasons = {number: f"tag {number} {centre.reason}" for number, centre in centres.items() if centre.point is None}

    def reason(distance: Distance) -> str:
        return "; ".join(reasons[n] for n in (distance.first, distance.second) if n in reasons)

    def length(distance: Distance) -> float:
        return float(np.linalg.norm(centres[distance.first].point - centres[distance.second].point))

    whole = [d for d in asked.distances if not reason(d)]
    if not whole:
        raise EngineError(f"None of the distances of scale-distance could be measured: {'; '.join(reasons.values())}. Lay the tags beside "
                          "the object, flat and fully visible in several photos from different sides, and do not move them; or leave "
                          "scale-distance empty.")
    given, measured = np.array([d.millimetres for d in whole]), np.array([length(d) for d in whole])
    factor, used = robust_factor(given, measured)
    rows, warnings = [], []
    for distance in asked.distances:
        row: dict[str, Any] = {"tags": [distance.first, distance.second], "given_mm": distance.millimetres}
        if distance in whole:
            k = whole.index(distance)
            row.update(measured_mm=float(factor * measured[k]), off=float(factor * measured[k] / distance.millimetres - 1),
                       used=bool(used[k]), photos=[centres[n].photos for n in (distance.first, distance.second)])
        else:
            row.update(measured_mm=None, off=None, used=False, reason=reason(distance))
            warnings.append(f"distance {distance} could not be measured: {row['reason']}")
        rows.append(row)
    off = [f"{d} came out as {factor * m:.2f} mm, given as {d.millimetres:g} mm ({_signed(factor * m / d.millimetres - 1)}"
           f"{'' if taken else '; not used'})" for d, m, taken in zip(whole, measured, used)
           if abs(factor * m / d.millimetres - 1) > _AGREED]
    if off:
        warnings.append(f"distances disagree by more than {100 * _AGREED:g} %: {', '.join(off)}; measure them again, and check the "
                        "tags' numbers")
    note = f"{used.sum()} of {len(rows)} distances between tags" if len(rows) > 1 else "1 distance between tags"
    if used.sum() > 1:
        worst = float(np.abs(factor * measured[used] / given[used] - 1).max())
        note += f", which agree within {100 * worst:.2f} %"
    return factor, {"scale_note": note, "scale_distances": rows, "scale_warnings": warnings}


def _check_edge(edges: list[float], edge: float, factor: float, answer: dict[str, Any]) -> None:
    """Measure the tags' edge at the scale from the distances, and add it to ``answer``."""
    if not edges:
        answer["scale_warnings"].append("the tags' edge could not be measured: no tag was seen sharply in two photos")
        return
    measured = factor * float(np.median(edges))
    off = measured / edge - 1
    answer["scale_edge"] = {"given_mm": edge, "measured_mm": measured, "off": off, "edges": len(edges)}
    if abs(off) > _AGREED:
        answer["scale_warnings"].append(f"the tags' edge came out as {measured:.2f} mm, given as {edge:g} mm ({_signed(off)}); the "
                                        "scale is taken from the distances")


def scale_from_tags(scene: Scene, option: str, log: Callable[[str], None]) -> Optional[dict[str, Any]]:
    """Scale the scene so that one unit is one millimetre. Returns what was found, or None if the option is empty.

    Distances take precedence over the edge, which is then only measured: they are longer, so an error at their ends weighs less.
    Raises EngineError if no tag, or none of the distances, is seen well in two photos.
    """
    asked = parse(option)
    if asked is None:
        return None
    found = find_tags(scene, asked.family)
    lengths = _edges(found) if asked.edge else []
    if asked.distances:
        factor, answer = _by_distances(found, asked)
        if asked.edge:
            _check_edge(lengths, asked.edge, factor, answer)
    else:
        if len(lengths) < 2:
            raise EngineError("No printed tag was seen sharply in two or more photos, so the model cannot be scaled. Lay the tags beside "
                              "the object, flat and fully in the picture, or leave scale-distance empty.")
        factor = asked.edge / float(np.median(lengths))
        answer = {"scale_note": f"{len(lengths)} tag edges of {asked.edge:g} mm, which agree within {100 * _spread(lengths):.2f} %"}
    scene.transform(factor, np.eye(3), np.zeros(3))
    log(f"Scale: {answer['scale_note']}; one unit is one millimetre")
    for name, value in described(answer):
        log(f"{name}: {value}")
    return {"unit": "mm", "scale_factor": factor, **answer}


def described(frame: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines for the console and the report: the measured value of each known length, and warnings."""
    lines = []
    for row in frame.get("scale_distances", []):
        if row["measured_mm"] is not None:
            lines.append((f"Distance of tags {row['tags'][0]} and {row['tags'][1]}",
                          f"{row['measured_mm']:.2f} mm, given as {row['given_mm']:g} mm ({_signed(row['off'])}"
                          f"{'' if row['used'] else '; not used'})"))
    edge = frame.get("scale_edge")
    if edge:
        lines.append(("Edge of the tags", f"{edge['measured_mm']:.2f} mm, given as {edge['given_mm']:g} mm ({_signed(edge['off'])})"))
    return lines + [("Scale warning", warning) for warning in frame.get("scale_warnings", [])]
