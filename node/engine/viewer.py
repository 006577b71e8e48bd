"""``viewer.html``: one file that shows the textured model in any browser, offline."""
import base64
import html
from pathlib import Path

_PAGE = (Path(__file__).parent / "viewer_page.html")


def write_viewer(path: Path, glb: Path, title: str) -> None:
    """Write the page with the GLB inside."""
    page = _PAGE.read_text(encoding="utf-8")
    data = base64.b64encode(glb.read_bytes()).decode("ascii")
    path.write_text(page.replace("@TITLE@", html.escape(title)).replace("@GLB@", data), encoding="utf-8")
