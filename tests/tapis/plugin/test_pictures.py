"""A tour of the flights page with a picture of each step at both widths. `python -m dev.pictures` keeps them for the documentation."""
import base64

from tests.openscan.make_sets import PHOTOS

PAGE = "/plugins/tapis_storage/"


def test_researchers(camera, flyer):
    page, take = camera
    for photo in sorted((PHOTOS / "brighton_beach").glob("*.JPG")):
        flyer.tapis.file(flyer.system, f"Brighton Beach/code/images/{photo.name}", content=base64.b64encode(photo.read_bytes()).decode())
    flyer.flight("Dune survey in spring", 240, size_bytes=5_200_000)
    flyer.flight("Marsh, north", 1_200, size_bytes=4_700_000)
    page.become(flyer.user)
    page.goto(PAGE)
    page.wait("#tapis-discover")
    take("flights-empty")
    page.click("#tapis-discover")
    page.wait('#tapis-found-notice:has-text("3 flights found.")')
    page.until("[...document.querySelectorAll('.tapis-strip img')].filter(each => each.naturalWidth > 0).length >= 6", 180)
    take("flights")
    page.click('button[aria-label^="Import Brighton Beach ("]')
    page.wait('#tapis-projects tr:has-text("All 18 images are here")', 180)
    take("flights-imported")
