"""Previews on the flights page in a real browser: thumbnails, dates, cameras, the map; and what goes wrong with each."""
import base64

import pytest

from tests.support.chromium import DESK, PHONE
from tests.support.exif_photos import exif, jpeg, place, with_exif

PAGE = "/plugins/tapis_storage/"
TILE = ('<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256">'
        '<rect width="256" height="256" fill="#9cc" stroke="#688"/></svg>')
FACTS = "{} .tapis-preview-facts > div > div"
COLORS = ("seagreen", "peru", "steelblue", "olivedrab", "sienna", "slategray")


def photo(number=0, **more):
    """A photo as a drone takes it: each a bit further along the coast."""
    fields = {"make": "DJI", "model": "FC6310", "taken": f"2024:05:{1 + number:02d} 10:20:30",
              "gps": place(28.3 + number / 1000, -96.4 + number / 900), **more}
    color = COLORS[number % len(COLORS)]
    return with_exif(jpeg((200, 150), color=color), exif(**fields, thumbnail=jpeg((160, 120), color=color)))


def lay(flyer, name, photos, image="IMG_{:03d}.JPG"):
    """A flight of such photos."""
    for number, content in enumerate(photos):
        flyer.tapis.file(flyer.system, f"{name}/code/images/{image.format(number)}", content=base64.b64encode(content).decode())


def shown(flight):
    """Selects what the page shows of a flight's preview."""
    return f'#tapis-found tr:has(td:text-is("{flight}")) .tapis-preview'


@pytest.fixture
def see(flyer, open_page):
    """see() -> the page of the flyer, whose catalog is up to date."""

    def opened():
        flyer.post("tapis-storage/discover-flights/")
        page = open_page()
        page.become(flyer.user)
        page.goto(PAGE)
        return page

    return opened


def test_a_flight_is_seen_before_it_is_imported(see, flyer):
    lay(flyer, "Coast", [photo(number) for number in range(6)])
    lay(flyer, "Harbour", [photo(3, gps=None, make="Canon", model="Canon EOS R5")])
    lay(flyer, "Plain", [jpeg((300, 200))])
    page = see()
    page.wait(shown("Coast") + ' img >> nth=3')
    page.until("[...document.querySelectorAll('.tapis-strip img')].filter(each => each.naturalWidth > 0).length === 6")
    assert page.text(FACTS.format(shown("Coast"))).replace("\u2009", " ") == "May 1 – 6, 2024\nDJI FC6310"
    assert page.attribute(shown("Coast") + " img >> nth=1", "alt") == "IMG_002.JPG"
    assert page.text(FACTS.format(shown("Harbour"))) == "May 4, 2024\nCanon EOS R5" and not page.texts(shown("Harbour") + " button")
    assert page.text(FACTS.format(shown("Plain"))) == "No date or camera in the images."
    page.assert_fits_everywhere()
    page.assert_accessible()
    assert page.complaints == []


def test_the_map_of_a_flight(see, flyer):
    lay(flyer, "Coast", [*(photo(number) for number in range(3)), photo(3, gps=place(0, 0))])
    page = see()
    page.wait(shown("Coast") + ' button:has-text("Map")')
    assert not page.evaluate("performance.getEntriesByType('resource').some(each => each.name.includes('leaflet'))"), "only with a map"
    page.evaluate("document.querySelector('.tapis-preview button').focus()")
    page.press("Enter")
    page.wait(".tapis-map-dialog .tapis-map-list button >> nth=2")
    page.until("document.querySelectorAll('.tapis-map path.leaflet-interactive').length === 3")
    said = page.text(".tapis-map-dialog")
    assert "Where the images of Coast were taken" in said and "28.30100, -96.39889 · May 2, 2024" in said
    assert "1 image has no position." in said
    page.assert_fits_everywhere()
    page.assert_accessible()
    page.click('.tapis-map-list button:has-text("IMG_001.JPG")')
    page.wait('.leaflet-popup:has-text("IMG_001.JPG")')
    page.until("document.querySelector('.leaflet-popup img').naturalWidth === 160")
    page.assert_fits_everywhere()
    page.press("Escape")
    page.wait_gone(".tapis-map-dialog")
    assert page.evaluate("document.activeElement === document.querySelector('.tapis-preview button')"), "the focus is where it was"
    page.resize(PHONE)
    page.press("Enter")
    page.wait(".tapis-map-dialog .tapis-map-list button")
    page.until("document.querySelectorAll('.tapis-map path.leaflet-interactive').length === 3")
    page.assert_fits()
    page.assert_accessible()
    page.click('.tapis-map-dialog button[aria-label="Close the map"]')
    page.wait_gone(".tapis-map-dialog")
    assert page.complaints == []


def test_the_map_has_a_background_where_the_site_names_one(see, flyer):
    lay(flyer, "Coast", [photo(), photo(1)])
    page = see()
    page.wait(shown("Coast") + " button")
    page.instead("**/tiles/**", 200, TILE, "image/svg+xml")
    page.evaluate("Object.assign(document.querySelector('#tapis-flights').dataset, "
                  "{tiles: location.origin + '/tiles/{z}/{x}/{y}.png', attribution: '© <b>Somebody</b>'})")
    page.click(shown("Coast") + " button")
    page.until("[...document.querySelectorAll('.leaflet-tile')].some(each => each.naturalWidth === 256)")
    assert "© <b>Somebody</b>" in page.text(".tapis-map-dialog") and not page.texts(".tapis-map-dialog b")
    page.press("Escape")
    page.wait_gone(".tapis-map-dialog")
    page.instead("**/tiles/**", 503, "")
    page.evaluate("document.querySelector('#tapis-flights').dataset.tiles = location.origin + '/tiles/other/{z}/{x}/{y}.png'")
    page.click(shown("Coast") + " button")
    page.wait('.tapis-map-dialog [role=status]:has-text("background cannot be loaded")')
    assert page.evaluate("document.querySelectorAll('.tapis-map path.leaflet-interactive').length") == 2, "the points are there without it"


def test_the_map_without_leaflet_is_still_a_list(see, flyer):
    lay(flyer, "Coast", [photo()])
    page = see()
    page.wait(shown("Coast") + " button")
    page.instead("**/leaflet.js", 503, "")
    page.click(shown("Coast") + " button")
    page.wait('.tapis-map-dialog [role=status]:has-text("The map cannot be loaded.")')
    assert "28.30000, -96.40000" in page.text(".tapis-map-list")
    page.press("Escape")
    page.wait_gone(".tapis-map-dialog")
    page.instead("**/leaflet.js", 503, "", times=-1)
    page.click(shown("Coast") + " button")
    page.until("document.querySelectorAll('.tapis-map path.leaflet-interactive').length === 1")


def test_the_map_takes_the_colors_of_a_dark_theme(see, flyer):
    lay(flyer, "Coast", [photo()])
    page = see()
    page.wait(shown("Coast") + " button")
    page.evaluate("document.head.append(Object.assign(document.createElement('style'), {textContent: "
                  "'#page-wrapper, body { background: rgb(20, 26, 32) !important; color: rgb(230, 235, 240) !important; } "
                  ".text-muted { color: rgb(170, 180, 190) !important; } .btn { color: #fff !important; background: #345 !important; } "
                  "a { color: #9cd !important; } .form-control { background: #234 !important; color: #fff !important; }'}))")
    page.click(shown("Coast") + " button")
    page.wait(".tapis-map-list button")
    assert page.evaluate("getComputedStyle(document.querySelector('.tapis-map-dialog')).backgroundColor") == "rgb(20, 26, 32)"
    assert page.evaluate("getComputedStyle(document.querySelector('.tapis-map-dialog h4')).color") == "rgb(230, 235, 240)"
    page.assert_fits()


def test_only_rows_about_to_be_seen_are_asked_for(see, flyer):
    from app_extensions.tapis.models import FlightPreview

    names = [f"Row{number:02d}" for number in range(40)]
    flyer.tapis._call("POST", "flights", {"system": flyer.system, "flights": names, "count": 1, "smallest": True})
    page = see()
    page.wait(shown("Row00") + " img")
    mine = FlightPreview.objects.filter(seen__user=flyer.user)
    page.evaluate("new Promise(done => setTimeout(done, 1000))")
    assert 3 <= mine.count() < 30 and not mine.filter(seen__name="Row39").exists()
    calls = page.evaluate("performance.getEntriesByType('resource').filter(each => /flight-previews\\/$/.test(each.name)).length")
    assert calls <= 2, "one call asks for many"
    for width in (PHONE, DESK):
        page.resize(width)
        heights = page.evaluate("[...document.querySelectorAll('.tapis-preview')].map(each => each.getBoundingClientRect().height)")
        assert heights[0] == heights[-1], "a row does not grow when its preview comes, as the next row would move away from a click"
    page.evaluate("document.querySelector('#tapis-found tbody tr:last-child').scrollIntoView()")
    page.wait(shown("Row39") + " img")


def test_flights_that_the_list_no_longer_shows_are_not_asked_about(see, flyer, tapis):
    """The list changed while previews were fetched, and the page asked about none."""
    lay(flyer, "Coast", [photo()])
    tapis.fault("slow", operation="content", seconds=5)
    page = see()
    page.wait(shown("Coast") + ':has-text("The preview is being fetched.")')
    page.until("performance.getEntriesByType('resource').some(each => /flight-previews\\/$/.test(each.name))")
    page.fill("#tapis-found-search", "nothing like it")
    page.wait('#tapis-found :has-text("No flight fits this search.")')
    page.fill("#tapis-found-search", "")
    page.wait(shown("Coast") + " img")
    assert page.complaints == []


def test_what_goes_wrong_is_said_and_can_be_tried_again(see, flyer, tapis):
    lay(flyer, "Coast", [photo()])
    tapis.fault("status", operation="content", status=500, body='{"message": "<b>SSH</b> trouble"}')
    page = see()
    page.wait(shown("Coast") + ':has-text("None of the images could be read. IMG_000.JPG: Tapis answers 500 (2 attempts)")')
    page.assert_fits()
    tapis.end_faults()
    page.click(shown("Coast") + ' button:has-text("Try again")')
    page.wait(shown("Coast") + " img")


def test_a_login_that_ended_leads_to_the_login(see, flyer, tapis):
    lay(flyer, "Coast", [photo()])
    tapis.settings(refresh="refused")
    flyer.store_token()
    tapis.fault("expire", operation="content", user=flyer.name)
    page = see()
    page.wait(shown("Coast") + ':has-text("Log in to Tapis again") a:has-text("Log in with Tapis")')
    page.assert_fits()


def test_a_server_that_does_not_answer(see, flyer):
    lay(flyer, "Coast", [photo()])
    page = see()
    page.wait(shown("Coast") + " img")
    page.instead("**/flight-previews/**", 502, "<html>Bad gateway</html>")
    page.reload()
    page.wait(shown("Coast") + ':has-text("WebODM cannot be reached at the moment (status 502).") button:has-text("Try again")')
    page.instead("**/flight-previews/**", 502, "", times=-1)
    page.click(shown("Coast") + " button")
    page.wait(shown("Coast") + " img")


def test_hostile_names_stay_text(see, flyer):
    name, image = "<img src=x onerror=alert(1)>", "<b onclick=alert(2)>{:03d}.jpg"
    lay(flyer, name, [photo(make="<script>alert(3)</script>", model="\u202eevil")], image)
    page = see()
    page.wait(".tapis-preview img")
    assert "<script>alert(3)</script> evil" in page.text(".tapis-preview")
    page.click(".tapis-preview button")
    page.wait(".tapis-map-list button")
    page.click(".tapis-map-list button")
    page.wait(".leaflet-popup")
    assert f"Where the images of {name} were taken" in page.text(".tapis-map-dialog h4")
    assert page.evaluate("document.querySelector('#tapis-flights').querySelectorAll('script, b, [onerror], [onclick]').length") == 0
    page.assert_fits()
    assert page.complaints == []


def test_the_page_says_what_it_loads(flyer, browser, stack):
    flyer.user.set_password("Pa55-word!")
    flyer.user.save()
    browser.sign_in(flyer.name, "Pa55-word!")
    answer = browser.get(stack.address() + PAGE)
    policy = answer.headers["Content-Security-Policy"]
    assert "img-src 'self' blob: data:;" in policy and "object-src 'none'" in policy and 'data-tiles=""' in answer.text


def test_the_policy_names_the_origin_of_the_tiles(settings):
    from app_extensions.host.page_policy import policy
    from plugins.tapis_storage.views.pages import _origin

    assert _origin("") == ""
    assert _origin("https://tile.openstreetmap.org/{z}/{x}/{y}.png") == "https://tile.openstreetmap.org"
    assert _origin("http://{s}.tiles.example.org:8080/{z}/{x}/{y}.png") == "http://*.tiles.example.org:8080"
    assert "img-src 'self' blob: data:; " in policy() and "{" not in policy()
    assert "img-src 'self' blob: data: https://tile.example.org; " in policy(images_from="https://tile.example.org")


@pytest.mark.parametrize("value", [
    "tiles", "https://a.example/{z}/{x}.png", "https://a.example;script-src */{z}/{x}/{y}.png", "javascript:{z}{x}{y}"])
def test_tiles_that_are_no_address_are_refused(settings, value):
    from django.core.exceptions import ImproperlyConfigured

    from app_extensions.tapis.conf import conf

    settings.TAPIS_MAP_TILES = value
    with pytest.raises(ImproperlyConfigured):
        getattr(conf, "map_tiles")  # noqa: B009 (reading it is what is tested)
    settings.TAPIS_MAP_TILES = "none"
    assert conf.map_tiles == ""


#: Marks what goes through translation.
MARKING = """const marked = (text, values) => "«" + text.replace(/\\{(\\w+)\\}/g,
    (whole, name) => name in values ? String(values[name]) : whole) + "»";
export const shown = String;
export const t = (text, values = {}) => marked(text, values);
export const tn = (one, many, n, values = {}) => marked(n === 1 ? one : many, { ...values, n });"""


def test_the_texts_that_scripts_write_are_marked_for_translation(flyer, open_page):
    lay(flyer, "Coast", [photo()])
    flyer.flight("Imported", 1)
    flyer.import_all()
    page = open_page()
    page.become(flyer.user)
    page.instead("**/flights/i18n.js", 200, MARKING, "text/javascript")
    page.goto(PAGE)
    page.wait('#tapis-projects button:has-text("«Fetch images»")')
    page.click("#tapis-discover")
    page.wait('#tapis-found-notice:has-text("«2 flights found.»")')
    page.wait(shown("Coast") + ' button:has-text("«Map»")')
    page.click(shown("Coast") + " button")
    page.wait('.tapis-map-dialog h4:text-is("«Where the images of Coast were taken»")')
    written = page.texts("#tapis-found tbody button, #tapis-projects button, #tapis-projects .tapis-actions a, #tapis-account button, "
                         "#tapis-found-totals, #tapis-projects td:nth-child(2)")
    written = [text.strip() for text in written if text.strip()]
    assert len(written) >= 6 and all(text.startswith("«") and text.endswith("»") for text in written), written


def test_an_import_chooses_preset_and_node(see, flyer):
    from app_extensions.host import nodes
    from app_extensions.tapis.models import Flight

    node = nodes.nodes_for(flyer.user)[0].id
    lay(flyer, "Coast", [photo()])
    lay(flyer, "Later", [photo()])
    page = see()
    page.wait(shown("Coast") + " img")
    page.choose("#tapis-import-processing", "preset:Fast Orthophoto")
    page.choose("#tapis-import-node", str(node))
    page.assert_fits_everywhere()
    page.assert_accessible()
    page.click('#tapis-found button[aria-label^="Import Coast ("]')
    page.wait('#tapis-found-notice:has-text("imported. The images are being fetched.")')
    assert Flight.objects.get(user=flyer.user, name="Coast").processing == {"process": True, "preset": "Fast Orthophoto", "node": node}
    page.choose("#tapis-import-processing", "no")
    assert page.evaluate("document.querySelector('#tapis-import-node').disabled")
    page.click('#tapis-found button[aria-label^="Import Later ("]')
    page.wait('#tapis-found tr:has(td:text-is("Later")):has-text("imported")')
    assert Flight.objects.get(user=flyer.user, name="Later").processing == {"process": False}
