"""``python -m dev.pictures [MODEL.glb]``: take the pictures of the pages in ``docs/images/pages``, by running the tests' own tour.

Give a model to see it on the scan's page; without one it is the quick engine's cube.
"""
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "images" / "pages"


def main() -> int:
    """The tests' exit code."""
    PAGES.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PICTURES": str(PAGES), "PICTURES_MODEL": str(Path(sys.argv[1]).resolve()) if sys.argv[1:] else ""}
    tours = [f"tests/{plugin}/plugin/test_pictures.py" for plugin in ("openscan", "tapis")]
    return subprocess.call([sys.executable, "-m", "pytest", "-q", *tours], cwd=ROOT, env=environment)


if __name__ == "__main__":
    sys.exit(main())
