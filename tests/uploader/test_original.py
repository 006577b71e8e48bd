"""The uploader against a strict server that knows only the original protocol."""
import io
import zipfile

import pytest
from openscan_uploader import (
    Client,
    Control,
    NotPossible,
    NoUsablePhotos,
    ProcessingFailed,
    Progress,
    Refused,
    WrongToken,
)

from tests.openscan.make_sets import make_zip, photos
from tests.support.original_cloud import TOKEN


def contents(folder) -> dict:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.quick
def test_a_folder_becomes_a_started_set_of_one_zip(client, cloud, make_folder):
    folder, reports = make_folder(), []
    project = client.upload(folder, progress=reports.append)
    assert cloud.only().status == "initialized" and list(cloud.projects) == [project]
    assert cloud.only().members == contents(folder) and cloud.only().photos == 4
    assert project.startswith("vase-") and cloud.problems == []
    assert reports[0].stage == "looking" and reports[-1].done_bytes == reports[-1].total_bytes == cloud.only().size_bytes
    assert all(isinstance(report, Progress) for report in reports)


def test_the_members_lie_in_the_order_of_their_numbers(client, cloud, make_folder):
    folder = make_folder(count=11)
    client.upload(folder)
    assert list(cloud.only().members) == [f"IMG_{number}.JPG" for number in range(1, 12)]


def test_a_set_in_several_parts(client, cloud, make_folder):
    folder = make_folder(count=8)
    client.upload(folder, part_bytes=3_000, at_once=4)
    project = cloud.only()
    assert project.parts == -(-project.size_bytes // 3_000) > 4
    assert project.members == contents(folder) and sorted(number for _, number in cloud.sent_parts) == list(range(1, project.parts + 1))


def test_names_with_spaces_umlauts_and_emoji(client, cloud, tmp_path, make_folder):
    folder = make_folder("Große Vase 🏺")
    (folder / "Tür links").mkdir()
    (folder / "IMG_1.JPG").rename(folder / "Tür links" / "Ansicht 1 🌻 ü.jpg")
    (folder / "IMG_2.JPG").rename(folder / "Gru\u0308n.jpg")  # as macOS splits it
    project = client.upload(folder)
    assert project.isascii() and project.startswith("Groe-Vase-") and cloud.problems == []
    assert set(cloud.only().members) == {"IMG_3.JPG", "IMG_4.JPG", "Tür links/Ansicht 1 🌻 ü.jpg", "Grün.jpg"}


def test_a_list_of_photos_from_several_folders(client, cloud, make_folder):
    one, two = make_folder("one", 2), make_folder("two", 2)
    client.upload([*one.iterdir(), *two.iterdir()])
    assert set(cloud.only().members) == {"one/IMG_1.JPG", "one/IMG_2.JPG", "two/IMG_1.JPG", "two/IMG_2.JPG"}


def test_a_zip_goes_as_it_is(client, cloud, tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(make_zip(photos(5), zipfile.ZIP_DEFLATED))
    client.upload(path, part_bytes=3_000)
    assert cloud.only().members == photos(5) and cloud.only().photos == 5
    assert cloud.only().size_bytes == path.stat().st_size


def test_a_broken_zip_is_refused(client, cloud, tmp_path):
    path = tmp_path / "set.zip"
    path.write_bytes(make_zip(photos(3))[:-30])
    with pytest.raises(NotPossible, match="not a zip that can be read"):
        client.upload(path)
    assert cloud.commands == [] and cloud.projects == {}


def test_a_read_only_folder(client, cloud, make_folder):
    folder = make_folder()
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    try:
        client.upload(folder)
    finally:
        folder.chmod(0o755)
    assert cloud.only().members == contents(folder) and sorted(folder.iterdir()) == before


def test_what_is_no_photo_stays_here_with_a_reason(client, cloud, make_folder):
    folder = make_folder()
    (folder / "notes.txt").write_text("hello")
    (folder / "fake.jpg").write_bytes(b"not a photo at all")
    (folder / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  ")
    (folder / "IMG_9.NEF").write_bytes(b"II*\0raw")
    (folder / "empty.jpg").touch()
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "Thumbs.db").write_bytes(b"x")
    plan = client.plan(folder)
    assert {left.name: left.why for left in plan.found.left_out} == {
        "notes.txt": "is not a photo (JPEG, PNG, TIFF, HEIC, WebP or BMP)",
        "fake.jpg": "is not a photo (JPEG, PNG, TIFF, HEIC, WebP or BMP)",
        "film.mov": "is a video; take photos, or extract frames", "IMG_9.NEF": "is a raw file; export it as JPEG", "empty.jpg": "is empty"}
    client.upload(folder)
    assert len(cloud.only().members) == 4


def test_an_earlier_model_in_the_folder_is_not_sent(client, cloud, make_folder):
    folder = make_folder()
    (folder / "model").mkdir()
    (folder / "model" / "model.obj").write_text("v 0 0 0")
    (folder / "model" / "texture.jpg").write_bytes((folder / "IMG_1.JPG").read_bytes())
    client.upload(folder)
    assert len(cloud.only().members) == 4


@pytest.mark.parametrize("count, words", [(0, "no photos"), (1, "only one photo")])
def test_too_few_photos(client, cloud, make_folder, count, words):
    with pytest.raises(NoUsablePhotos, match=words):
        client.upload(make_folder(count=count))
    assert cloud.projects == {}


def test_a_folder_that_is_not_there(client, tmp_path):
    with pytest.raises(NotPossible, match="does not exist"):
        client.upload(tmp_path / "nowhere")


@pytest.mark.parametrize("limit, value, words", [
    ("credit", 5_000, "of credit left"), ("limit_filesize", 5_000, "per set"), ("limit_photos", 3, "4 photos.*allows 3")])
def test_limits_and_credit_are_checked_before_a_byte_is_sent(client, cloud, make_folder, limit, value, words):
    setattr(cloud, limit, value)
    with pytest.raises(NotPossible, match=words):
        client.upload(make_folder())
    assert cloud.projects == {} and cloud.sent_parts == []
    assert words.split(".*")[-1] in client.plan(make_folder("other")).problem


def test_a_wrong_token(cloud, make_folder):
    client = Client(cloud.address, "WrongWrongWrongWrongWrongWrong12")
    with pytest.raises(WrongToken, match="does not know this token"):
        client.upload(make_folder())
    with pytest.raises(WrongToken, match="32 letters and digits"):
        Client(cloud.address, "***abcd")


def test_the_model_is_waited_for_and_downloaded(client, cloud, make_folder, tmp_path):
    project = client.upload(make_folder())
    cloud.fault = lambda what: cloud.finish(project) if what == "getProjectInfo" and cloud.commands.count(what) == 3 else None
    assert client.status(project).text == "initialized"
    status = client.wait(project, every_seconds=0.05)
    assert status.is_done and status.is_final
    path = client.download(project, tmp_path / "out")
    assert path.read_bytes() == cloud.model and path.parent == tmp_path / "out" and len(list(path.parent.iterdir())) == 1
    folder = client.download(project, tmp_path / "out", unpack=True)
    assert {each.name for each in folder.iterdir()} == {"model.obj", "model.mtl", "texture.jpg"}


def test_a_failed_set_and_an_unknown_one(client, cloud, make_folder, tmp_path):
    project = client.upload(make_folder())
    with pytest.raises(NotPossible, match="not ready yet"):
        client.download(project, tmp_path)
    with pytest.raises(TimeoutError):
        client.wait(project, every_seconds=0.02, timeout_seconds=0.1)
    cloud.only().status = "processing failed"
    with pytest.raises(ProcessingFailed):
        client.wait(project)
    with pytest.raises(Refused):
        client.status("nothing-1.zip")
    client.reset(project)
    assert cloud.projects == {} and client.past() == []


def test_a_model_that_would_land_elsewhere_is_not_unpacked(client, cloud, make_folder, tmp_path):
    project = client.upload(make_folder())
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../evil.txt", "x")
    cloud.model = out.getvalue()
    cloud.finish(project)
    with pytest.raises(NotPossible, match="would be written outside the folder"):
        client.download(project, tmp_path / "out", unpack=True)
    assert not (tmp_path / "evil.txt").exists() and not (tmp_path / "out" / "evil.txt").exists()


def test_photos_that_were_sent_are_not_sent_again_unless_asked(client, cloud, make_folder):
    folder = make_folder()
    first = client.upload(folder)
    assert client.upload(folder) == first and len(cloud.projects) == 1
    second = client.upload(folder, again=True)
    assert second != first and len(cloud.projects) == 2
    cloud.projects[second].status = "processing failed"
    cloud.projects[first].status = "expired"
    assert client.upload(folder) not in (first, second)


def test_two_programs_do_not_send_the_same_folder_at_once(client, cloud, make_folder):
    folder = make_folder()
    with client.sets.lock(str(folder)), pytest.raises(NotPossible, match="Another window or command is sending"):
        client.upload(folder)
    assert client.upload(folder)


def test_the_state_holds_neither_token_nor_link(client, cloud, make_folder, tmp_path):
    client.upload(make_folder())
    (path,) = (tmp_path / "state").glob("*.json")
    text = path.read_text()
    assert TOKEN not in text and "/upload/" not in text and path.stat().st_mode & 0o077 == 0


def test_no_error_shows_the_token(make_folder, cloud):
    port = cloud.port
    cloud.stop()
    client = Client(f"http://127.0.0.1:{port}", TOKEN, patience_seconds=0)
    with pytest.raises(Exception) as caught:
        client.upload(make_folder())
    shown = repr(caught.value) + repr(caught.value.__cause__)
    assert TOKEN not in shown and "lost" in shown


@pytest.mark.parametrize("url", ["", "ftp://example.org", "https://user:secret@example.org", "https://example.org/?a=b", "http://["])
def test_an_address_that_is_none(url):
    with pytest.raises(NotPossible):
        Client(url, TOKEN)


def test_cancel_from_another_thread(client, cloud, make_folder):
    control = Control()
    control.cancel()
    with pytest.raises(Exception, match="Canceled"):
        client.upload(make_folder(), control=control)
    assert cloud.sent_parts == []
