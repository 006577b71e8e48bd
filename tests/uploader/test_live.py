"""The uploader against our live server: photos as they are, names kept, checksums, what the server has is not sent again."""
import io
import zipfile

import pytest
import requests
from openscan_uploader import Client, NotPossible, Refused, WrongToken

from app_extensions.openscan import part_files
from app_extensions.openscan.models import BrowserUpload, Scan
from tests.openscan.flow import photos_of, poke, until
from tests.openscan.helpers import Rig, private_token, public_token
from tests.openscan.make_sets import make_zip, photos
from tests.support.original_cloud import bad_line


@pytest.fixture
def token(stack, live_db) -> str:
    return private_token(10**12)[1]


@pytest.fixture
def client(stack, token) -> Client:
    return Client(stack.address(), token)


def scan_of(project: str) -> Scan:
    return Scan.objects.get(name=project)


def approved(project: str) -> Scan:
    """The scan, once the server has read its photos."""
    until(lambda: scan_of(project).state not in (Scan.CREATED, Scan.INITIALIZED))
    scan = scan_of(project)
    assert scan.state != Scan.FAILED, scan.error
    return scan


@pytest.mark.parametrize("below", ["", "/", "/openscan/", "/api/openscan", "/api/openscan/", "/api/plugins/openscan_cloud"])
def test_any_address_that_people_know_will_do(stack, token, below):
    client = Client(stack.address() + below, token)
    info = client.token_info()
    assert info.credit == 10**12 and info.assigned_to == "Ada Lovelace" and "files" in info.features
    assert token not in client.server.base


def test_the_token_is_in_no_log(stack, client, token, make_folder):
    client.upload(make_folder())
    assert token not in stack.log_path("web").read_text(errors="replace")


def test_a_folder_goes_as_photos_with_their_names(client, make_folder):
    folder = make_folder("Große Vase 🏺")
    (folder / "oben").mkdir()
    (folder / "IMG_4.JPG").rename(folder / "oben" / "Ansicht ü 🌻.jpg")
    project = client.upload(folder)
    assert project.startswith("Große Vase 🏺 20")
    scan = approved(project)
    upload = BrowserUpload.objects.get(scan=scan)
    assert [name for name, _ in upload.file_list()] == ["IMG_1.JPG", "IMG_2.JPG", "IMG_3.JPG", "oben/Ansicht ü 🌻.jpg"]
    assert scan.parts_count == 4 and scan.posted_bytes == sum(path.stat().st_size for path in folder.rglob("*.[jJ]*"))
    sent = {path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {data for name, data in photos_of(scan).items() if name.lower().endswith("jpg")} == sent


def test_control_points_and_masks_go_in_a_zip_with_the_photos(client, make_folder):
    folder = make_folder()
    (folder / "geo.txt").write_text("EPSG:4326\nIMG_1.JPG 9.1 48.2 300\n")
    project = client.upload(folder)
    assert not BrowserUpload.objects.filter(scan__name=project).exists()
    assert approved(project).images_count == 4


def test_a_zip_is_cut_into_parts(client, tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(make_zip(photos(6)))
    project = client.upload(path, part_bytes=2_000)
    assert approved(project).images_count == 6 and scan_of(project).parts_count > 4


def test_heic_photos_go_as_they_are(client, make_folder):
    pillow_heif = pytest.importorskip("pillow_heif")
    from PIL import Image

    folder = make_folder()
    heif = pillow_heif.from_pillow(Image.new("RGB", (64, 64), (200, 10, 10)))
    heif.save(folder / "IMG_5.HEIC")
    project = client.upload(folder)
    assert approved(project).images_count == 5


def test_only_what_the_server_lacks_is_sent_after_a_restart(stack, client, token, make_folder):
    """The first program dies in the middle; the second one has nothing but the state file, and the server has the last word."""
    folder = make_folder(count=6)
    with bad_line(stack.port) as line:
        first = Client(line.address, token, patience_seconds=0)
        first.token_info()
        info = first.token_info()
        made = first.upload  # noqa: F841 - the call below is the one that dies
        del info
        line.cuts[:] = []
        line.down = False
        with pytest.raises(Exception, match="lost|not answer"):
            _die_in_the_middle(first, folder, line)
    scan = Scan.objects.get(token__prefix=token[:len(Scan.objects.filter(name__startswith="vase").last().token.prefix)], name__startswith="vase")
    there = set(scan.parts.exclude(size_bytes=None).values_list("number", flat=True))
    assert scan.state == Scan.CREATED and 0 < len(there) < 6
    files = {part.number: part.file_name for part in scan.parts.all()}
    project = client.upload(folder)
    assert project == scan.name and approved(project).images_count == 6
    assert {part.number: part.file_name for part in scan.parts.all() if part.number in there} in ({number: files[number] for number in there}, {})


def _die_in_the_middle(client, folder, line) -> None:
    def note(report) -> None:
        if report.stage == "sending" and report.done_bytes > report.total_bytes / 3:
            line.down = True

    client.upload(folder, at_once=1, progress=note)
