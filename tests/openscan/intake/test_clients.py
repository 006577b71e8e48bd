"""Each client of the field, request by request as its source sends them, from the token to the started scan."""
import io
import zipfile

import pytest
import requests

from app_extensions.openscan import part_files
from app_extensions.openscan.models import Scan
from tests.openscan.helpers import private_token
from tests.openscan.make_sets import cut, photos
from tests.support.waiting import until

BASES = ["/api/openscan", "/api/plugins/openscan_cloud"]
PAIR = ("openscan", "free")


@pytest.fixture
def token(stack, live_db) -> str:
    return private_token(10**12)[1]


@pytest.fixture(params=BASES)
def base(request, stack) -> str:
    return stack.address() + request.param


def archive(method: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as packed:
        for name, photo in photos(4).items():
            packed.writestr(name, photo)
    return content.getvalue()


def arrived(project: str, body: bytes) -> None:
    """The set lies on the disk byte for byte, or has been read in already."""
    scan = Scan.objects.get(name=project)
    paths = part_files.part_paths(scan)
    assert scan.started_at is not None and scan.received_bytes == len(body)
    if scan.state == Scan.INITIALIZED and paths:
        try:
            assert b"".join(path.read_bytes() for path in paths) == body
        except FileNotFoundError:
            scan.refresh_from_db()
            assert scan.state != Scan.INITIALIZED


def test_openscan3(base, token, unique):
    def ask(command: str, **parameters) -> dict:
        answer = requests.request("get", f"{base.rstrip('/')}/{command}", auth=PAIR, params=parameters, timeout=120)
        answer.raise_for_status()
        return answer.json()

    body = archive(zipfile.ZIP_DEFLATED)
    pieces = cut(body, 3)
    assert ask("status") == {"status": "online"}
    about, estimate = ask("getTokenInfo", token=token), ask("getQueueEstimate", token=token)
    assert isinstance(about["credit"], int) and isinstance(estimate["estimated_time_seconds"], int)
    # What its page shows.
    assert about["message"].startswith("1 TB of credit left.") and about["assigned_to"] == "Ada Lovelace" and about["expires_at"] == ""
    assert estimate["message"].endswith(".")
    created = ask("createProject", token=token, photos=4, filesize=len(body), parts=3, project=unique)
    assert isinstance(created["ulink"], list) and len(created["ulink"]) == 3
    for link, piece in zip(created["ulink"], pieces):
        stream = (piece[start:start + 4096] for start in range(0, len(piece), 4096))
        requests.post(link, data=stream, headers={"Content-Type": "application/octet-stream"}, timeout=120).raise_for_status()
    assert ask("startProject", token=token, project=unique) == {"status": "started"}
    arrived(unique, body)
    info = ask("getProjectInfo", token=token, project=unique)
    assert info["status"] == info["status"].lower() and info["dlink"] == "" or info["dlink"].startswith("http")
    assert ask("resetProject", token=token, project=unique) == {}
    assert ask("resetProject", token=token, project=unique) == {}
    gone = requests.get(f"{base}/getProjectInfo", auth=PAIR, params={"token": token, "project": unique}, timeout=120)
    assert gone.status_code == 401


def test_uploader_py(base, token, unique):
    """It keeps all it knows in one dictionary and sends that with every call; a list becomes a repeated parameter."""
    state = {"token": token}
    server, body, project = base + "/", archive(zipfile.ZIP_STORED), f"{unique}-OSC.zip"

    def ask(command: str) -> requests.Response:
        return requests.get(server + command, auth=PAIR, params=state, timeout=120)

    info = ask("getTokenInfo").json()
    assert len(body) <= info["limit_filesize"] and info["limit_photos"] >= 4 and info["credit"] > len(body)
    pieces = cut(body, 10)
    state.update(photos=4, project=project, filesize=len(body), parts=10,
                 partslist=[f"/home/pi/OpenScan/tmp/{project}_{number}" for number in range(1, 11)])
    created = ask("createProject")
    assert created.status_code == 200
    state["ulink"] = created.json()["ulink"]
    for link, piece in zip(state["ulink"], pieces):
        sent = requests.post(url=link, data=piece, headers={"Content-type": "application/octet-stream"}, timeout=120)
        assert sent.status_code == 200
    started = ask("startProject")
    assert len(started.request.url) > 1500 and started.status_code == 200
    arrived(project, body)


@pytest.mark.parametrize("count", [200, 400])
def test_windows_uploader_py(base, token, unique, count):
    """It sends its folder and the name of every photo as well, which makes request lines of up to 9 kB."""
    body, project = archive(zipfile.ZIP_STORED), f"{unique}-OSC.zip"
    state = {"token": token, "filesize": len(body), "folder": "C:/Users/Ada Müller/Pictures/scan 1/",
             "filelist": [f"IMG_{number:04}.JPG" for number in range(count)], "photos": count, "project": project,
             "partslist": [f"C:\\Users\\Ada\\tmp/{project}"], "parts": 1}

    def ask(command: str) -> requests.Response:
        return requests.get(base + "/" + command, auth=PAIR, params=state, timeout=120)

    info = ask("getTokenInfo").json()
    assert state["filesize"] <= info["credit"] and state["filesize"] <= info["limit_filesize"]
    state["ulink"] = ""
    created = ask("createProject")
    assert created.status_code == 200 and len(created.request.url) > 20 * count
    state["ulink"] = created.json()["ulink"]
    sent = requests.post(url=state["ulink"][0], data=body, headers={"Content-type": "application/octet-stream"}, timeout=120)
    assert sent.status_code == 200
    assert ask("startProject").status_code == 200
    arrived(project, body)


def test_openscan2(base, token, unique):
    """Its flows ask by GET, take each link as it is into a shell, start whatever curl said, and show "Invalid Token" for 400."""
    def ask(command: str, **parameters) -> requests.Response:
        return requests.get(f"{base}/{command}", auth=PAIR, params={"token": token, **parameters}, timeout=120)

    assert requests.get(f"{base}/getTokenInfo", auth=PAIR, params={"token": "x" * 20}, timeout=120).status_code == 400
    body = archive(zipfile.ZIP_STORED)
    links = ask("createProject", project=unique, photos="4", parts="2", filesize=str(len(body))).json()["ulink"]
    assert ask("startProject", project=unique).status_code == 400, "nothing was uploaded: it has to stay created"
    assert ask("getProjectInfo", project=unique).json()["status"] == "created"
    for link, piece in zip(links, cut(body, 2)):
        assert not set(link) & set("&?;#|<>()$`\"'*~!{}[] \\"), "the link goes into a shell unquoted"
        assert requests.post(link, data=piece, timeout=120).status_code == 200
    assert ask("startProject", project=unique).json() == {"status": "started"}
    arrived(unique, body)


def test_a_client_that_declares_the_sum_of_its_photos_and_sends_one_zip(base, token, unique):
    """The zip is larger than its photos. The client pays for what it declared."""
    body, declared = archive(zipfile.ZIP_STORED), sum(map(len, photos(4).values()))
    asked = {"token": token, "project": unique}
    created = requests.get(f"{base}/createProject", auth=PAIR, timeout=120,
                           params={**asked, "photos": 4, "parts": 1, "filesize": declared}).json()
    assert len(body) > declared
    sent = requests.post(created["ulink"][0], data=body, headers={"Content-Type": "application/octet-stream"}, auth=PAIR, timeout=120)
    assert sent.status_code == 200, sent.text
    assert requests.get(f"{base}/startProject", auth=PAIR, params=asked, timeout=120).json() == {"status": "started"}
    until(lambda: Scan.objects.get(name=unique).state not in (Scan.CREATED, Scan.INITIALIZED))
    scan = Scan.objects.get(name=unique)
    assert scan.state != Scan.FAILED, scan.error
    assert scan.images_count == 4 and (scan.posted_bytes, scan.received_bytes) == (declared, len(body))


@pytest.mark.parametrize("more, parts, status", [(1_024 * 5 + 1, 1, 413), (1, 2, 413)])
def test_more_than_a_zip_adds_is_refused(base, token, unique, more, parts, status):
    created = requests.get(f"{base}/createProject", auth=PAIR, timeout=120,
                           params={"token": token, "project": unique, "photos": 4, "parts": parts, "filesize": 10_000}).json()
    answer = requests.post(created["ulink"][0], data=bytes(10_000 + more), timeout=120)
    assert answer.status_code == status and "larger than declared" in answer.json()["error"]


def test_a_client_that_puts_each_photo_as_a_part(base, token, unique):
    pieces, asked = list(photos(5).values()), {"token": token, "project": unique}
    created = requests.get(f"{base}/createProject", auth=PAIR, timeout=120,
                           params={**asked, "photos": 5, "parts": 5, "filesize": sum(map(len, pieces))}).json()
    for link, piece in zip(created["ulink"], pieces):
        assert requests.put(link, data=piece, headers={"Content-Type": "image/jpeg"}, timeout=120).status_code == 200
    assert requests.get(f"{base}/startProject", auth=PAIR, params=asked, timeout=120).json() == {"status": "started"}
    until(lambda: Scan.objects.get(name=unique).state not in (Scan.CREATED, Scan.INITIALIZED))
    assert Scan.objects.get(name=unique).images_count == 5
