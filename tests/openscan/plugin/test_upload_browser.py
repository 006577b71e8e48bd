"""Uploads from the browser, in a real one: choose, be told beforehand, send, be cut, continue, and see the scan."""
import io
import json
from datetime import timedelta
from pathlib import Path

import piexif
import pillow_heif
import pytest
import requests
from django.contrib.auth.models import User
from PIL import Image

from app_extensions.openscan.models import Scan
from tests.openscan.flow import photos_of, poke, without_nodes
from tests.openscan.helpers import own_gunicorn, private_token, public_token
from tests.openscan.make_sets import jpeg, make_zip, photos
from tests.support.waiting import until

GO = "#os-go"


@pytest.fixture
def folder(tmp_path, unique):
    """A folder as people have it: photos in two folders, clutter, and files that are no photos."""
    root = tmp_path / f"vase {unique}"
    # Other pictures under the same names: what is in a set twice is left out.
    side = {f"side/IMG_{number:03d}.jpg": jpeg(100 + number) for number in range(1, 3)}
    for name, data in {**photos(6, "top/IMG_"), **side}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "top" / ".DS_Store").write_bytes(b"clutter")
    (root / "notes.md").write_bytes(b"no photo")
    (root / "empty.jpg").write_bytes(b"")
    return root


def sign_in(page, text):
    page.goto("/openscan/")
    page.fill("#token", text)
    page.click('button:has-text("Show credit and scans")')
    page.wait('a:has-text("Upload photos")')
    page.goto("/openscan/upload/")
    page.wait('#os-limits:has-text("At most")')


def scan_of(name):
    return Scan.objects.exclude(state=Scan.RESET).filter(name=name).first()


def done(name):
    def look():
        poke()
        scan = scan_of(name)
        return scan if scan is not None and scan.state in (Scan.DONE, Scan.FAILED) else None

    return until(look, 240, 0.4)


def taken_in(name):
    """The scan, once the server has read its photos. Tests of the sending alone use tokens whose scans reach no node."""
    until(lambda: scan_of(name) is not None and scan_of(name).state not in (Scan.CREATED, Scan.INITIALIZED), 240)
    scan = scan_of(name)
    assert scan.state == Scan.APPROVED, scan.error
    return scan


def test_a_folder_becomes_a_scan_with_its_names(open_page, live_db, folder):
    page = open_page(models=False)
    sign_in(page, private_token(10**10)[1])
    page.assert_fits_everywhere()
    page.choose_files("#os-folder", folder)
    page.wait('#os-facts:has-text("8")')
    assert page.text("#os-left-out summary") == "2 files are left out"
    page.click("#os-left-out summary")
    assert sorted(page.texts("#os-left-out li")) == ["empty.jpg is empty", "notes.md is not a photo in a format that the server accepts"]
    page.wait(".os-thumb img[src^=blob]")
    page.assert_fits_everywhere()
    page.assert_accessible()
    page.click(GO)
    page.wait_url("**/openscan/scans/*/")
    scan = done(folder.name)
    assert scan.state == Scan.DONE, scan.error
    sent = {f"{path.parent.name}_{path.name}": path.read_bytes() for path in folder.rglob("IMG*")}
    kept = photos_of(scan)
    assert len(kept) == 8
    assert set(kept.values()) == set(sent.values())
    assert {"IMG_001.jpg", "IMG_006.jpg"} <= set(kept)
    assert page.complaints == []


def test_why_the_start_was_refused_stays_on_the_page(open_page, live_db, folder):
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    page.instead("**/uploads/*/start", 400, json.dumps({"error": "The start was refused."}), "application/json")
    page.choose_files("#os-folder", folder)
    page.click(GO)
    page.wait('#os-trouble:has-text("The start was refused.")')
    page.evaluate("new Promise(done => setTimeout(done, 1000))")  # five times as long as a report of progress may be put off
    assert "The start was refused." in page.text("#os-trouble") and "8 of 8 files" in page.text("#os-told")


def with_camera_thumbnail(orientation: int) -> bytes:
    """A photo of 3:2 with its upper left quarter red. Its camera's thumbnail is of 4:3, with black bars, and not turned."""
    photo = Image.new("RGB", (600, 400), "white")
    photo.paste("red", (0, 0, 300, 200))
    small = Image.new("RGB", (160, 120), "black")
    small.paste(photo.resize((160, 107)), (0, 6))
    thumbnail = io.BytesIO()
    small.save(thumbnail, "JPEG")
    exif = piexif.dump({"0th": {piexif.ImageIFD.Orientation: orientation}, "1st": {}, "thumbnail": thumbnail.getvalue()})
    out = io.BytesIO()
    photo.save(out, "JPEG", exif=exif)
    return out.getvalue()


THUMBNAILS = """(() => [...document.querySelectorAll(".os-thumb")].map(cell => {
    const image = cell.querySelector("img"), { naturalWidth: width, naturalHeight: height } = image;
    const canvas = new OffscreenCanvas(width, height), on = canvas.getContext("2d");
    on.drawImage(image, 0, 0);
    const seen = (x, y) => [...on.getImageData(Math.round(x * width), Math.round(y * height), 1, 1).data].slice(0, 3);
    const corners = [[0.04, 0.04], [0.96, 0.04], [0.04, 0.96], [0.96, 0.96]].map(at => seen(...at));
    return { name: cell.title, size: [width, height], corners };
}))()"""


#: Which corner the photo's first row and column have (Exif 2.32, 4.6.4).
FIRST_CORNER = {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}


def assert_red(shown: dict, orientation: int) -> None:
    for corner, (r, g, b) in enumerate(shown["corners"]):
        assert r > 180 and (g < 90 and b < 90 if corner == FIRST_CORNER[orientation] else g > 180 and b > 180), (orientation, shown)


def test_a_cameras_thumbnail_is_shown_upright_and_without_its_bars(open_page, live_db, tmp_path, unique):
    folder = tmp_path / f"rig {unique}"
    folder.mkdir()
    for orientation in range(1, 9):
        (folder / f"{orientation}.jpg").write_bytes(with_camera_thumbnail(orientation))
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    page.choose_files("#os-folder", folder)
    until(lambda: page.evaluate("[...document.querySelectorAll('.os-thumb img')].filter(each => each.naturalWidth).length === 8"))
    shown = {int(Path(each["name"]).stem): each for each in page.evaluate(THUMBNAILS)}
    for orientation, each in shown.items():
        assert each["size"] == ([160, 107] if orientation < 5 else [107, 160]), orientation
        assert_red(each, orientation)


def turned(orientation: int) -> bytes:
    """A photo of 3:2 without a thumbnail, with its upper left quarter red, and EXIF that says how it is to be turned."""
    photo = Image.new("RGB", (600, 400), "white")
    photo.paste("red", (0, 0, 300, 200))
    out = io.BytesIO()
    photo.save(out, "JPEG", exif=piexif.dump({"0th": {piexif.ImageIFD.Orientation: orientation}}))
    return out.getvalue()


@pytest.mark.parametrize("decoder", [True, False], ids=["decoder", "no-decoder"])
def test_a_photo_without_a_thumbnail_is_shown_upright(open_page, live_db, tmp_path, unique, decoder):
    folder = tmp_path / f"rig {unique}"
    folder.mkdir()
    for orientation in range(1, 9):
        (folder / f"{orientation}.jpg").write_bytes(turned(orientation))
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    if not decoder:
        page.evaluate("delete window.ImageDecoder")
    page.choose_files("#os-folder", folder)
    until(lambda: page.evaluate("[...document.querySelectorAll('.os-thumb img')].filter(each => each.naturalWidth).length === 8"))
    for each in page.evaluate(THUMBNAILS):
        orientation = int(Path(each["name"]).stem)
        assert each["size"] == ([168, 112] if orientation < 5 else [168, 252]), each
        assert_red(each, orientation)


def test_photos_in_a_phones_formats_are_taken(open_page, live_db, tmp_path, unique):
    """What the page leaves out must be what the server leaves out."""
    folder = tmp_path / f"phone {unique}"
    folder.mkdir()
    for name, data in photos(3).items():
        (folder / name).write_bytes(data)
    picture = Image.open(next(folder.glob("*.jpg")))
    pillow_heif.from_pillow(picture).save(folder / "IMG_1001.HEIC")
    picture.save(folder / "shot.webp")
    picture.save(folder / "scan.bmp")
    (folder / "new.heic").write_bytes(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(100))
    (folder / "raw.tif").write_bytes(b"II*\0\x10\0\0\0CR\x02\0" + bytes(100))
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    page.choose_files("#os-folder", folder)
    page.wait('#os-facts:has-text("6")')
    page.click("#os-left-out summary")
    assert sorted(text.split()[0] for text in page.texts("#os-left-out li")) == ["new.heic", "raw.tif"]
    page.click(GO)
    page.wait_url("**/openscan/scans/*/")
    scan = taken_in(folder.name)
    assert scan.images_count == 6 and page.complaints == []


def test_a_zip_is_cut_into_slices(open_page, live_db, tmp_path, unique):
    path = tmp_path / f"bowl {unique}.zip"
    path.write_bytes(make_zip({**photos(5), "notes.md": b"x"}))
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    page.choose_files("#os-files", path)
    page.wait('#os-facts:has-text("5")')
    page.click(GO)
    page.wait_url("**/openscan/scans/*/")
    scan = taken_in(path.stem)
    assert scan.images_count == 5 and scan.photos == 5


def test_a_webodm_user_sends_under_a_token_whose_text_the_browser_never_has(open_page, stack, live_db, folder, unique):
    user = User.objects.create_user(f"maker-{unique}", password=unique)
    token, text = private_token(10**10, owner=user)
    private_token(10**10, owner=without_nodes())
    page = open_page()
    page.become(user)
    page.goto("/plugins/openscan_cloud/upload/")
    page.wait('#os-limits:has-text("At most")')
    assert page.evaluate("document.querySelectorAll('#os-token option').length") == 1
    page.assert_accessible()
    page.choose_files("#os-folder", folder)
    page.wait(f"{GO}:enabled")
    page.assert_fits()
    page.click(GO)
    page.wait_url("**/plugins/openscan_cloud/scans/*/")
    assert scan_of(folder.name).token_id == token.pk
    assert text not in page.html and page.complaints == []


def test_what_cannot_be_sent_is_said_before_anything_is(open_page, live_db, folder, tmp_path):
    page = open_page()
    token, text = private_token(5_000, limit_photos=5, limit_filesize_bytes=4_000)
    sign_in(page, text)
    page.choose_files("#os-folder", folder)
    page.wait("#os-verdict .os-error")
    verdict = page.text("#os-verdict")
    assert "8" in verdict and "this token allows 5" in verdict
    assert "The set is too large" in verdict and "Not enough credit" in verdict
    assert page.evaluate("document.getElementById('os-go').disabled")
    page.click("#os-clear")
    (tmp_path / "text.txt").write_text("no photo")
    page.choose_files("#os-files", tmp_path / "text.txt")
    page.wait('#os-verdict:has-text("no photos among these files")')
    assert not Scan.objects.filter(token=token).exists()


def test_it_continues_after_a_reload_with_what_is_missing(open_page, live_db, folder):
    page = open_page()
    token, text = private_token(10**10, owner=without_nodes())
    sign_in(page, text)
    page.choose_files("#os-folder", folder)
    page.wait(f"{GO}:enabled")
    page.instead("**/api/openscan/u/*.5.*", 400, json.dumps({"error": "Not this one."}), "application/json")
    page.click(GO)
    page.wait('#os-failed:has-text("Not this one.")')
    until(lambda: Scan.objects.get(token=token).parts.exclude(size_bytes=None).count() == 7)
    before = dict(Scan.objects.get(token=token).parts.exclude(size_bytes=None).values_list("number", "file_name"))
    page.assert_fits()
    page.reload()
    page.wait('#os-unfinished-list:has-text("7 of 8 files arrived")')
    page.instead("**/api/openscan/u/*.5.*", 0, "", times=-1)
    page.assert_accessible()
    page.click('#os-unfinished button:has-text("Continue")')
    page.wait('#os-notice:has-text("Choose the same folder")')
    page.choose_files("#os-folder", folder)
    page.wait_url("**/openscan/scans/*/")
    scan = taken_in(folder.name)
    assert scan.images_count == 8
    assert len(before) == 7
    assert Scan.objects.filter(token=token).count() == 1


def test_a_single_file_is_sent_again_by_its_button(open_page, live_db, folder):
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    page.choose_files("#os-folder", folder)
    page.wait(f"{GO}:enabled")
    page.instead("**/api/openscan/u/*.3.*", 413, json.dumps({"error": "Too large just now."}), "application/json", times=1)
    page.click(GO)
    page.wait('#os-failed:has-text("Too large just now.")')
    page.click('#os-failed button:has-text("Try again") >> nth=0')
    page.wait_url("**/openscan/scans/*/")


def test_a_cut_connection_only_makes_it_wait(open_page, live_db, folder):
    page = open_page()
    token, text = private_token(10**10, owner=without_nodes())
    sign_in(page, text)
    page.choose_files("#os-folder", folder)
    page.wait(f"{GO}:enabled")
    page.instead("**/api/openscan/u/*.8.*", 503, json.dumps({"error": "The server rests."}), "application/json")
    page.click(GO)
    page.wait('#os-trouble:has-text("The server rests.")')
    page.offline()
    page.instead("**/api/openscan/u/*.8.*", 0, "", times=-1)
    page.wait('#os-trouble:has-text("connection to the server was lost")')
    page.offline(False)
    page.wait_url("**/openscan/scans/*/")
    assert taken_in(folder.name).images_count == 8


def test_links_that_ran_out_are_renewed(open_page, stack, live_db, folder):
    with own_gunicorn(stack, "web-short-links", workers=1, WO_OPENSCAN_UPLOAD_LINK_SECONDS="3") as web:
        page = open_page()
        page.web = web.address
        sign_in(page, private_token(10**10, owner=without_nodes())[1])
        page.choose_files("#os-folder", folder)
        page.wait(f"{GO}:enabled")
        page.instead("**/api/openscan/u/*.7.*", 503, json.dumps({"error": "The server rests."}), "application/json", times=4)
        page.click(GO)
        page.wait_url("**/openscan/scans/*/")
    scan = taken_in(folder.name)
    assert scan.images_count == 8
    assert scan.links_expire_at - scan.created_at > timedelta(seconds=5.9), "new links were asked for once the first had run out"


def test_two_tabs_send_one_set_together(open_page, live_db, folder):
    page = open_page()
    token, text = private_token(10**10, owner=without_nodes())
    sign_in(page, text)
    second = page.twin()
    second.goto("/openscan/upload/")
    for tab in (page, second):
        tab.front()
        tab.choose_files("#os-folder", folder)
        tab.wait(f"{GO}:enabled")
    page.click(GO)
    second.click(GO)
    page.front()
    page.wait_url("**/openscan/scans/*/")
    assert taken_in(folder.name).images_count == 8
    assert Scan.objects.filter(token=token).count() == 1


def test_a_public_token_says_what_it_means_and_shows_the_scan_to_its_sender_alone(open_page, stack, live_db, folder):
    page = open_page()
    _, text = public_token(10**10)
    sign_in(page, text)
    page.choose_files("#os-folder", folder)
    page.wait("#os-public")
    assert "may be used for research" in page.text("#os-public")
    page.click(GO)
    page.wait_url("**/openscan/scans/*/")
    key = page.url.rstrip("/").rsplit("/", 1)[1]
    other = open_page()
    sign_in(other, text)
    assert other.evaluate(f"fetch('/openscan/api/uploads/{key.split('.')[0]}').then(answer => answer.status)") == 404


def test_hostile_names_stay_text(open_page, live_db, tmp_path, unique):
    root = tmp_path / f"<img src=x onerror=alert(1)> {unique}"
    root.mkdir()
    for name, data in photos(3, "<b onmouseover=alert(1)>&amp;'\"$(id) ").items():
        (root / name).write_bytes(data)
    (root / "<script>alert(1)<").write_text("no photo")
    page = open_page()
    sign_in(page, private_token(10**10, owner=without_nodes())[1])
    page.choose_files("#os-folder", root)
    page.wait('#os-facts:has-text("3")')
    assert page.evaluate("document.querySelectorAll('#os-main b[onmouseover], #os-main img[onerror], #os-left-out script').length") == 0
    page.click(GO)
    page.wait_url("**/openscan/scans/*/")
    taken_in(root.name)
    assert page.complaints == []


def test_the_api_wants_a_session_and_djangos_token(stack, live_db):
    url = stack.address() + "/openscan/api/"
    assert requests.get(url + "me", timeout=60).status_code == 401
    assert requests.post(url + "uploads", json={}, timeout=60).status_code == 403
    inside = stack.address() + "/plugins/openscan_cloud/api/"
    assert requests.get(inside + "me", timeout=60).status_code == 401


def test_our_pages_say_what_a_browser_may_load(stack, live_db):
    answer = requests.get(stack.address() + "/openscan/", timeout=60)
    policy = answer.headers["Content-Security-Policy"]
    scripts = policy.partition("script-src")[2].partition(";")[0]
    assert "default-src 'none'" in policy and "'unsafe-inline'" not in scripts and "frame-ancestors 'self'" in policy
    # Django's CSRF check under HTTPS wants a Referer, which "no-referrer" would keep from it.
    assert answer.headers["Referrer-Policy"] == "same-origin"
