"""``report.pdf``: which photos were used and what came of them, with pictures and figures."""
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import cv2
import numpy as np
from fpdf import FPDF

from . import report_shots, scaling
from .progress import duration
from .scene import Scene

if TYPE_CHECKING:
    from .pipeline import Run


def _plain(text: str) -> str:
    """Text in the characters that the PDF's built-in fonts have."""
    return text.encode("latin-1", "replace").decode("latin-1")


def _table(pdf: FPDF, rows: list[tuple[str, str]]) -> None:
    for name, value in rows:
        pdf.set_font("Helvetica", "", 10)
        pdf.cell(70, 6, _plain(name))
        pdf.set_font("Helvetica", "B", 10)
        pdf.multi_cell(0, 6, _plain(value), new_x="LMARGIN", new_y="NEXT")


def _heading(pdf: FPDF, text: str) -> None:
    pdf.ln(3)
    pdf.set_font("Helvetica", "B", 13)
    pdf.cell(0, 9, _plain(text), new_x="LMARGIN", new_y="NEXT")


def _picture(pdf: FPDF, picture: np.ndarray, most_height: float) -> None:
    """A picture (RGB) across the page, at most ``most_height`` millimetres high."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    if ok:
        height, width = picture.shape[:2]
        shown = min(pdf.epw, most_height * width / height)
        pdf.image(data.tobytes(), x=pdf.l_margin + (pdf.epw - shown) / 2, w=shown)


def figures(run: "Run", scene: Scene) -> list[tuple[str, str]]:
    """Names and values for the first table."""
    facts: dict[str, Any] = run.space.read_json("facts.json", {})
    frame = scene.meta["frame"]
    unit = frame["unit"] or "units without scale"
    rows = [("Photos placed", f"{len(scene.views)} of {scene.meta['photos'] + len(run.left_out)}"),
            ("Reprojection error", f"{scene.meta['reprojection_error_px']:.2f} pixels"),
            ("Sparse points", f"{len(scene.points):,}"), ("Dense points", f"{facts.get('points', 0):,}")]
    if facts.get("faces"):
        edges = facts.get("open_edges", 0)
        rows += [("Triangles", f"{facts['faces']:,} ({'closed surface' if not edges else f'{edges} open edges'})"),
                 ("Texture", f"{facts['texture_size']} x {facts['texture_size']} pixels"),
                 ("Surface shown by photos", f"{100 * facts['textured_share']:.0f} %")]
    if facts.get("size"):
        rows.append(("Size", " x ".join(f"{v:.2f}" for v in facts["size"]) + f" {unit}"))
    if frame["epsg"]:
        rows += [("Coordinate system", f"EPSG:{frame['epsg']}"),
                 ("Distance to the photos' GPS", f"{frame['gps_error_mean_m']:.2f} m mean, "
                                                  f"{frame['gps_error_max_m']:.2f} m at most")]
        if frame.get("gps_notes"):
            rows.append(("Photos with unused or partly used GPS", str(len(frame["gps_notes"]))))
        if frame.get("gps_remark"):
            rows.append(("GPS", frame["gps_remark"]))
    if frame.get("scale_note"):
        rows += [("Scale", frame["scale_note"]), *scaling.described(frame)]
    return rows


def write_report(run: "Run", scene: Scene, picture: Optional[np.ndarray], path: Path) -> None:
    """Write the PDF. ``picture``: RGB, shown on the first page."""
    pdf = FPDF(format="A4")
    pdf.set_margins(18, 16)
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 18)
    pdf.cell(0, 11, "Reconstruction report", new_x="LMARGIN", new_y="NEXT")
    if picture is not None:
        _picture(pdf, picture, 130.0)
    _heading(pdf, "Result")
    _table(pdf, figures(run, scene))
    timings = run.space.read_json("timings.json", {})
    _heading(pdf, "Time")
    _table(pdf, [(name, duration(seconds)) for name, seconds in timings.items()]
           + [("total", duration(sum(timings.values())))])
    notes = [*scene.meta.get("notes", [])]
    notes += [f"{item.name}: left out, {item.reason}" for item in run.left_out]
    notes += [f"{name}: not placed, it overlaps too little with the others" for name in scene.meta["loose"]]
    notes += [f"{p.name}: {', '.join(p.notes)}" for p in run.photos if p.notes]
    if notes:
        _heading(pdf, "Photos to look at")
        pdf.set_font("Helvetica", "", 9)
        for note in notes[:200]:
            pdf.multi_cell(0, 5, _plain(note), new_x="LMARGIN", new_y="NEXT")
    _heading(pdf, "Cameras")
    _table(pdf, report_shots.cameras(run, scene))
    _heading(pdf, "Shots")
    _picture(pdf, report_shots.plan(scene), 110.0)
    pdf.ln(2)
    pdf.set_font("Helvetica", "", 8)
    with pdf.text_columns(ncols=2, gutter=6, text_align="LEFT") as columns:
        columns.write(_plain("\n".join(report_shots.shots(scene))))
    _heading(pdf, "Options")
    pdf.set_font("Helvetica", "", 9)
    pdf.multi_cell(0, 5, _plain(", ".join(f"{k}: {v}" for k, v in run.options.items() if v not in ("", None))))
    pdf.output(str(path))
