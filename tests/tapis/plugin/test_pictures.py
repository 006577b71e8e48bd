"""A tour of the flights page with a picture of each step at both widths. `python -m dev.pictures` keeps them for the documentation."""
import base64

from tests.openscan.make_sets import PHOTOS
from tests.support.flights import Flyer

PAGE = "/plugins/tapis_storage/"
#: Name of each flight, and which photos of the beach it has.
FLIGHTS = {"Brighton Beach": slice(None), "Brighton Beach north": slice(9), "Brighton Beach south": slice(9, None)}


def test_researchers(camera, stack, tapis, live_db, unique):
    page, take = camera
    ada = Flyer(stack.address(), tapis, f"ada-{unique[:4]}")
    photos = [(photo.name, base64.b64encode(photo.read_bytes()).decode()) for photo in sorted((PHOTOS / "brighton_beach").glob("*.JPG"))]
    for flight, which in FLIGHTS.items():
        for name, content in photos[which]:
            tapis.file(ada.system, f"{flight}/code/images/{name}", content=content)
    page.become(ada.user)
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
