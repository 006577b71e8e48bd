"""How photos come in: in one request, in pieces, from an address; names, memory, cuts, kills."""
import io
import json
import socket
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.node.harness import JPEG, ROOT, NodeProgram, wait_for

PHOTOS = sorted((ROOT / "tests" / "data" / "photos" / "banana").glob("*.JPG"))


def image(name: str, data: bytes = JPEG) -> tuple:
    return ("images", (name, data, "image/jpeg"))


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_pyodm_in_pieces(node: NodeProgram) -> None:
    seen = []
    task = node.pyodm().create_task(
        [str(photo) for photo in PHOTOS], {"mesh-size": 1000, "unknown-option": 1}, "Bananen für Äpfel", progress_callback=seen.append,
        parallel_uploads=8,
    )
    task.wait_for_completion(interval=0.1)
    info = task.info()
    assert info.name == "Bananen für Äpfel" and info.images_count == 16
    assert {"name": "mesh-size", "value": 1000} in info.options
    assert "unknown-option" not in str(info.options)
    assert seen[-1] == 100.0
    sent = node.task_directory(task.uuid) / "images"
    assert [path.read_bytes() for path in sorted(sent.iterdir())] == [photo.read_bytes() for photo in PHOTOS]
    assert not (node.data / "uploads" / task.uuid).exists()


def test_pyodm_in_one_request(node: NodeProgram) -> None:
    task = node.pyodm().create_task_fallback([str(photo) for photo in PHOTOS[:3]], {"pc-quality": "low"}, "one")
    task.wait_for_completion(interval=0.1)
    assert names_in(node.task_directory(task.uuid) / "images") == [photo.name for photo in PHOTOS[:3]]


def test_form_fields(node: NodeProgram) -> None:
    body = {"name": "  ", "dateCreated": "1600000000000", "skipPostProcessing": "true", "options": "[]"}
    task = node.post("/task/new", files=[image("a.jpg")], data=body).json()["uuid"]
    info = node.wait_status(task, 40)
    assert info["dateCreated"] == 1600000000000
    assert info["name"].startswith("Task of 20")
    assert info["options"] == []
    task = node.post("/task/new", files=[image("a.jpg")], data={"dateCreated": "yesterday"}).json()["uuid"]
    info = node.wait_status(task, 40)
    assert abs(info["dateCreated"] / 1000 - time.time()) < 60
    assert info["options"] == [{"name": "gltf", "value": True}]


NAMES = [
    ("../../../etc/passwd.jpg", "passwd.jpg"),
    (".hidden.jpg", "hidden.jpg"),
    ("with space.jpg", "with space.jpg"),
    ("Äpfel 北.jpg", "Äpfel 北.jpg"),
    ("a;rm -rf $(x)|y*?.jpg", "a;rm -rf $(x)_y__.jpg"),
    ("x" * 300 + ".jpeg", "x" * 195 + ".jpeg"),
]


@pytest.mark.parametrize(("sent", "kept"), NAMES)
def test_names_are_made_safe(node: NodeProgram, sent: str, kept: str) -> None:
    head = f'--b\r\nContent-Disposition: form-data; name="images"; filename="{sent}"\r\n\r\n'.encode()
    data = head + JPEG + b"\r\n--b--\r\n"
    task = node.post("/task/new", data=data, headers={"Content-Type": "multipart/form-data; boundary=b"}).json()["uuid"]
    node.wait_status(task, 40)
    assert names_in(node.task_directory(task) / "images") == [kept]


def test_requests_own_coding_of_names(node: NodeProgram) -> None:
    task = node.new_task("Äpfel 北.jpg")
    node.wait_status(task, 40)
    assert names_in(node.task_directory(task) / "images") == ["Äpfel 北.jpg"]


def test_two_photos_of_one_name_are_both_kept(node: NodeProgram) -> None:
    files = [image("one/a.jpg", b"first"), image("two/a.jpg", b"second")]
    task = node.post("/task/new", files=files).json()["uuid"]
    node.wait_status(task, 40)
    kept = node.task_directory(task) / "images"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {"a.jpg": b"first", "a_.jpg": b"second"}


def test_a_photo_sent_again_is_kept_once(node: NodeProgram) -> None:
    task = node.post("/task/new/init").json()["uuid"]
    for _ in range(3):
        assert node.post(f"/task/new/upload/{task}", files=[image("a.jpg")]).json() == {"success": True}
    node.post(f"/task/new/commit/{task}")
    assert node.wait_status(task, 40)["imagesCount"] == 1


def test_ground_files_and_zips_are_no_images(node: NodeProgram) -> None:
    files = [image("a.jpg"), image("gcp_list.txt", b"EPSG:4326"), image("geo.txt", b"EPSG:4326"), image("align.laz"), image("old.zip")]
    task = node.post("/task/new", files=files).json()["uuid"]
    assert node.wait_status(task, 40)["imagesCount"] == 1
    directory = node.task_directory(task)
    assert names_in(directory / "images") == ["a.jpg"]
    assert names_in(directory / "gcp") == ["align.laz", "gcp_list.txt", "geo.txt"]
    options = {option["name"]: option["value"] for option in json.loads((directory / "options.json").read_text())}
    assert options["gcp"] == str(directory / "gcp" / "gcp_list.txt")
    assert options["geo"].endswith("geo.txt") and options["align"].endswith("align.laz")


def test_only_ground_files_is_a_failure_that_says_so(node: NodeProgram) -> None:
    task = node.post("/task/new", files=[image("gcp_list.txt")]).json()["uuid"]
    assert node.wait_status(task, 30)["status"]["errorMessage"] == "There are no images among the files that were sent."


def test_max_images(make_node) -> None:
    node = make_node("--max-images", "2")
    assert node.get("/info").json()["maxImages"] == 2
    files = [image(f"{number}.jpg", bytes([number])) for number in range(3)]
    sentence = "3 images uploaded, but this node can only process up to 2."
    assert node.post("/task/new", files=files).json() == {"error": sentence}
    assert names_in(node.data / "uploads") == []
    task = node.post("/task/new/init").json()["uuid"]
    node.post(f"/task/new/upload/{task}", files=files)
    assert node.post(f"/task/new/commit/{task}").json() == {"uuid": task}
    assert node.wait_status(task, 30)["status"]["errorMessage"] == sentence
    assert node.wait_status(node.new_task("a.jpg", "b.jpg"), 40)["imagesCount"] == 2


def test_a_big_upload_takes_no_memory_and_all_its_bytes_arrive(make_node) -> None:
    node = make_node()
    status = Path(f"/proc/{node.process.pid}/status")

    def peak_kb() -> int:
        return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")))

    node.new_task()
    before = peak_kb()
    size = 150_000_000
    block = bytes(range(256)) * 4096
    head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="big.jpg"\r\n\r\n'

    def body():
        yield head
        for start in range(0, size, len(block)):
            yield block[: size - start]
        yield b"\r\n--b--\r\n"

    task = node.post("/task/new", data=body(), headers={"Content-Type": "multipart/form-data; boundary=b"}).json()["uuid"]
    node.wait_status(task, 40)
    assert (node.task_directory(task) / "images" / "big.jpg").stat().st_size == size
    assert peak_kb() - before < 32_000


def test_a_cut_upload_leaves_nothing(node: NodeProgram) -> None:
    task = node.post("/task/new/init").json()["uuid"]
    before = set(names_in(node.data / "uploads"))
    for path in (f"/task/new/upload/{task}", "/task/new"):
        port = int(node.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as connection:
            head = '--b\r\nContent-Disposition: form-data; name="images"; filename="cut.jpg"\r\n\r\n'
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
                f"Content-Length: 9000000\r\n\r\n{head}".encode() + b"x" * 3_000_000
            )
            wait_for(lambda: any((node.data / "uploads").glob("*/incoming/*")))
        wait_for(lambda: not any((node.data / "uploads").glob("*/incoming/*")))
    assert names_in(node.data / "uploads" / task / "images") == []
    assert "failed unexpectedly" not in node.log.read_text()
    wait_for(lambda: set(names_in(node.data / "uploads")) <= before)


def test_an_upload_goes_on_after_a_kill(make_node) -> None:
    node = make_node()
    task = node.post("/task/new/init", data={"name": "patience"}).json()["uuid"]
    node.post(f"/task/new/upload/{task}", files=[image("a.jpg", b"a")])
    unfinished = node.data / "uploads" / task / "incoming" / "half"
    unfinished.write_bytes(b"half")
    node.kill()
    node.start()
    assert not unfinished.exists()
    node.post(f"/task/new/upload/{task}", files=[image("b.jpg", b"b")])
    assert node.post(f"/task/new/commit/{task}").json() == {"uuid": task}
    info = node.wait_status(task, 40)
    assert (info["name"], info["imagesCount"]) == ("patience", 2)


@pytest.fixture
def web(tmp_path: Path):
    """A web server over a directory: (directory, address)."""
    directory = tmp_path / "web"
    directory.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(directory))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield directory, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def zipped(**members: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target.getvalue()


def test_zipurl(node: NodeProgram, web) -> None:
    directory, address = web
    (directory / "set.zip").write_bytes(zipped(**{
        "one/a.jpg": b"1", "two/a.jpg": b"2", "__MACOSX/._a.jpg": b"x", ".DS_Store": b"x", "../../b.jpg": b"3", "gcp_list.txt": b"x",
    }))
    task = node.post("/task/new", data={"zipurl": address + "/set.zip", "name": "from afar"}).json()["uuid"]
    assert node.wait_status(task, 40)["imagesCount"] == 3
    assert names_in(node.task_directory(task) / "images") == ["a.jpg", "a_.jpg", "b.jpg"]


def test_zipurl_failures(node: NodeProgram, web) -> None:
    directory, address = web
    (directory / "no.zip").write_bytes(b"not a zip")
    (directory / "empty.zip").write_bytes(zipped())
    broken = bytearray(zipped(**{"a.jpg": bytes(range(256)) * 40}))
    broken[60] ^= 0xFF
    (directory / "broken.zip").write_bytes(broken)
    for url, sentence in [
        (address + "/missing.zip", "it answered 404"),
        (address + "/no.zip", "is not a zip file"),
        (address + "/empty.zip", "There are no images"),
        (address + "/broken.zip", "'a.jpg' cannot be unpacked"),
        ("http://127.0.0.1:1/x.zip", "Cannot fetch the zip file from 127.0.0.1"),
        ("file:///etc/passwd", "zipurl must be an http or https address"),
    ]:
        task = node.post("/task/new", data={"zipurl": url}).json()["uuid"]
        assert sentence in node.wait_status(task, 30)["status"]["errorMessage"]


def test_a_failed_fetch_can_be_tried_again(node: NodeProgram, web) -> None:
    directory, address = web
    task = node.post("/task/new", data={"zipurl": address + "/late.zip"}).json()["uuid"]
    node.wait_status(task, 30)
    (directory / "late.zip").write_bytes(zipped(**{"a.jpg": b"1"}))
    assert node.post("/task/restart", data={"uuid": task}).json() == {"success": True}
    assert node.wait_status(task, 40)["imagesCount"] == 1


def test_seed(node: NodeProgram) -> None:
    seed = zipped(**{"cameras.json": b"{}", "opensfm/features/x": b"y"})
    task = node.post("/task/new", files=[image("a.jpg"), image("seed.zip", seed)]).json()["uuid"]
    assert node.wait_status(task, 40)["imagesCount"] == 1
    assert (node.task_directory(task) / "opensfm" / "features" / "x").read_bytes() == b"y"
    evil = zipped(**{"../../../evil": b"x"})
    task = node.post("/task/new", files=[image("a.jpg"), image("seed.zip", evil)]).json()["uuid"]
    assert "would be written outside the task's directory" in node.wait_status(task, 30)["status"]["errorMessage"]
    assert not list(node.data.parent.rglob("evil"))
