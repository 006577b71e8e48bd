"""The uploader against our live server: photos as they are, names kept, checksums, what the server has is not sent again."""
import datetime
import random
import threading
import zlib

import pytest
import requests
from django.utils import timezone
from openscan_uploader import Client, NotPossible, Refused, Unreachable, WrongToken, sending

from app_extensions.openscan.models import BrowserUpload, Scan
from dev.sandbox.processes import free_port
from tests.openscan.flow import photos_of, poke, without_nodes
from tests.openscan.helpers import Rig, own_gunicorn, private_token, public_token
from tests.openscan.make_sets import make_zip, photos
from tests.support.original_cloud import BadLine
from tests.support.waiting import until


@pytest.fixture
def token(stack, live_db) -> str:
    """Its scans reach no node."""
    return private_token(10**12, owner=without_nodes())[1]


@pytest.fixture
def client(stack, token) -> Client:
    return Client(stack.address(), token)


def scan_of(project: str) -> Scan:
    return Scan.objects.filter(name=project).latest("pk")  # an uploader's names differ by the second, and tests are faster than that


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
    scan = approved(project)
    assert scan.images_count == 4 and not BrowserUpload.objects.filter(scan=scan).exists()


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


@pytest.fixture(scope="module")
def line_server(stack):
    """A live web server whose links lead over a line that tests may break."""
    port = free_port()
    line = BadLine(port)
    with own_gunicorn(stack, "web-line", workers=1, port=port, WO_OPENSCAN_PUBLIC_URL=line.address):
        yield line
    line.stop()


@pytest.fixture
def line(line_server) -> BadLine:
    line_server.heal()
    return line_server


@pytest.mark.parametrize("how", ["files", "zip"])
def test_only_what_the_server_lacks_is_sent_after_a_restart(line, token, make_folder, how):
    """The first program gives up in the middle; the second one has the state file, and the server has the last word."""
    folder = make_folder(count=6, size=200)
    part_bytes = 20_000 if how == "zip" else None
    first = Client(line.address, token, patience_seconds=0)
    line.down_after = 60_000
    with pytest.raises(Unreachable, match="Start again to continue"):
        first.upload(folder, project=f"restarted {token[:8]}", at_once=1, part_bytes=part_bytes)
    project = first.past()[0].project
    before = scan_of(project).received_bytes
    there = scan_of(project).parts.count()
    assert 0 < there < scan_of(project).parts_count and scan_of(project).state == Scan.CREATED
    line.heal()
    for known in first.past():  # what a crash leaves: the file does not know what was sent last
        known.done = []
        first.sets.save(known)
    assert Client(line.address, token).upload(folder) == project
    asking = 15_000  # bytes of the other calls
    assert before > asking and line.sent_bytes < scan_of(project).declared_bytes - before + asking
    assert approved(project).images_count == 6


def test_a_lost_answer_does_not_send_a_part_twice(line, token, make_folder):
    folder, client = make_folder(size=200), Client(line.address, token)
    client.token_info()
    line.lose_answers = 2
    project = client.upload(folder, at_once=1)
    assert line.lose_answers == 0 and line.was_cut == 2
    assert line.sent_bytes < scan_of(project).declared_bytes + 15_000
    assert approved(project).images_count == 4


def test_cuts_at_random_bytes(line, token, make_folder):
    folder, client = make_folder(count=6, size=200), Client(line.address, token)
    client.token_info()
    rng = random.Random(7)
    line.cuts[:] = [rng.randrange(1, 25_000) for _ in range(8)]
    project = client.upload(folder, at_once=3)
    assert line.was_cut >= 4 and approved(project).images_count == 6
    sent = {path.read_bytes() for path in folder.iterdir()}
    assert {data for name, data in photos_of(approved(project)).items() if name.lower().endswith("jpg")} == sent


def test_links_that_have_expired_are_renewed(client, token, make_folder, monkeypatch):
    """Asked for anew when the server says so, and before it does."""
    folder = make_folder(count=4)
    expired = []

    def expire(report) -> None:
        if report.stage == "sending" and not expired:
            expired.append(Scan.objects.filter(name=report.project).update(links_expire_at=timezone.now() - datetime.timedelta(seconds=1)))

    monkeypatch.setattr(sending, "LINK_SECONDS", 0)
    assert approved(client.upload(folder, progress=expire)).images_count == 4


def test_a_part_that_arrives_changed_is_sent_again(line, token, make_folder):
    folder, client = make_folder(count=4, size=200), Client(line.address, token)
    client.token_info()
    line.alter_once = True
    project = client.upload(folder, at_once=1)
    assert not line.alter_once
    sent = {path.read_bytes() for path in folder.iterdir()}
    assert {data for name, data in photos_of(approved(project)).items() if name.lower().endswith("jpg")} == sent


def cut_off(line, client, folder) -> None:
    """An upload whose line breaks after a part or two, and works again afterwards."""
    line.down_after = 60_000
    with pytest.raises(Unreachable):
        client.upload(folder, at_once=1)
    line.heal()


def test_a_project_that_was_reset_meanwhile_is_sent_whole(line, token, make_folder):
    folder, client = make_folder(count=6, size=200), Client(line.address, token, patience_seconds=0)
    cut_off(line, client, folder)
    lost = client.past()[0].project
    Client(line.address, token, state_directory=folder.parent / "elsewhere").reset(lost)
    assert approved(client.upload(folder)).images_count == 6


def test_photos_that_change_meanwhile_start_nothing_and_cost_nothing(line, token, make_folder):
    folder, client = make_folder(count=6, size=200), Client(line.address, token, patience_seconds=0)
    cut_off(line, client, folder)
    with (folder / "IMG_6.JPG").open("ab") as file:
        file.write(b"more")
    project = client.past()[0].project
    again = client.upload(folder)
    assert Scan.objects.filter(name=project, state=Scan.RESET).exists() and approved(again).images_count == 6
    assert client.token_info().credit == 10**12 - scan_of(again).declared_bytes


def test_the_servers_reason_reaches_people(stack, client, token, make_folder):
    limited = private_token(2_000)[1]
    with pytest.raises(NotPossible, match="of credit left"):
        Client(stack.address(), limited).upload(make_folder())
    with pytest.raises(WrongToken):
        Client(stack.address(), "B" * 32).token_info()
    with pytest.raises(Refused, match="not known under this token"):
        client.status("never sent")


def test_files_of_create_project(stack, token, unique):
    """What the server makes of the list; the uploader's own lists are right."""
    rig = Rig(stack.address(), token)
    for files, status, words in (("[", 400, "is not JSON"), ("[]", 400, "no files"), ('[["a.jpg"]]', 400, "name of at most"),
                                 ('[["a.jpg", 5], ["a.jpg", 5]]', 400, "twice"), ('[["a.jpg", 300000000]]', 400, "too large")):
        answer = rig.get("createProject", project=unique, files=files)
        assert answer.status_code == status and words in answer.json()["error"], answer.text
    answer = rig.get("createProject", project=unique, files='[["a.jpg", 5], ["b.jpg", 6]]')
    assert answer.status_code == 200 and len(answer.json()["ulink"]) == 2 and answer.json()["credit"] == 11
    sent = requests.post(answer.json()["ulink"][0], data=b"12345", timeout=120)
    assert sent.json() == {"status": "uploaded", "part": 1, "received": 5, "crc32": f"{zlib.crc32(b'12345'):08x}"}
    other = rig.get("createProject", project=unique, files='[["c.jpg", 5], ["d.jpg", 6]]')
    assert other.status_code == 409 and "other files" in other.json()["error"]


def test_public_tokens_work(stack, live_db, make_folder):
    client = Client(stack.address(), public_token(10**12)[1])
    assert approved(client.upload(make_folder())).images_count == 4


def test_from_a_folder_to_a_model_on_the_disk(stack, live_db, make_folder, tmp_path):
    client = Client(stack.address(), private_token(10**12)[1])
    project = client.upload(make_folder())
    stop = threading.Event()
    poking = threading.Thread(target=lambda: [poke() for _ in iter(lambda: stop.wait(0.5), True)])
    poking.start()
    try:
        status = client.wait(project, every_seconds=0.3, timeout_seconds=240)
    finally:
        stop.set()
        poking.join()
    assert status.page
    folder = client.download(project, tmp_path / "out", unpack=True)
    assert list(folder.glob("*.obj"))
