"""Rules that need no server: names, verification, waits, quoting."""
import pytest

from app_extensions.shared.retry import pause, retry_after, waits
from app_extensions.tapis.catalog.listing import Entry, quoted
from app_extensions.tapis.sync.names import safe_name, unique_name
from app_extensions.tapis.sync.verify import NotAnImage, check_image
from tests.plugin import ROOT

PHOTOS = sorted((ROOT / "tests" / "data" / "photos").glob("*/*.JPG"))


@pytest.mark.parametrize("name, safe", [
    ("DJI_0001.JPG", "DJI_0001.JPG"), ("a#1?.jpg", "a_1_.jpg"), ("..jpg", "image.jpg"), ("-dash.jpeg", "dash.jpeg"),
    ("ünï.JpEg", "uni.JpEg"), ("with space.jpg", "with_space.jpg"), ("../../etc/passwd.jpg", "_.._etc_passwd.jpg"),
    ("100%20.jpg", "100_20.jpg"), ("☃.jpg", "_.jpg"),
])
def test_safe_names(name, safe):
    assert safe_name(name) == safe


def test_long_names_stay_apart():
    first, second = safe_name("x" * 300 + "1.jpg"), safe_name("x" * 300 + "2.jpg")
    assert first != second and len(first) <= 204 and first.endswith(".jpg")


def test_unique_names_without_case_and_beside_foreign_files():
    taken = set()
    given = [unique_name(name, taken, lambda text: text == "b.jpg") for name in ("a.jpg", "A.JPG", "a.JPG", "b.jpg")]
    assert given == ["a.jpg", "A_2.JPG", "a_3.JPG", "b_2.jpg"]


def test_every_real_photo_is_a_whole_jpeg_and_no_part_of_it_is(tmp_path):
    for photo in PHOTOS:
        check_image(photo)
    whole = PHOTOS[0].read_bytes()
    part = tmp_path / "part.jpg"
    for length in [0, 1, 2, 3, 100, *range(1000, len(whole) - 2, 7919), len(whole) - 200]:
        part.write_bytes(whole[:length])
        with pytest.raises(NotAnImage):
            check_image(part)


def test_data_behind_the_end_is_allowed_and_other_files_are_not(tmp_path):
    path = tmp_path / "x.jpg"
    for behind in (b"maker" * 1000, b"\0\0\0\x18ftypmp42" + b"video" * 600_000, bytes(20_000)):
        path.write_bytes(PHOTOS[0].read_bytes() + behind)
        check_image(path)
    path.write_bytes(PHOTOS[0].read_bytes()[:-2])  # small cameras leave out the end mark
    check_image(path)
    for other in (b"<html></html>" * 100, b"\x89PNG\r\n" + b"0" * 100, b"\xff\xd8" + b"\0" * 1000, b"\xff\xd8\xff\xe0\0\0"):
        path.write_bytes(other)
        with pytest.raises(NotAnImage):
            check_image(path)


def test_waits_grow_are_jittered_and_bounded():
    assert list(waits(5, 1.0, 4.0, draw=lambda: 1.0)) == [1.0, 2.0, 4.0, 4.0]
    assert list(waits(4, 1.0, 4.0, draw=lambda: 0.0)) == [0.5, 1.0, 2.0]
    assert list(waits(1)) == [] and len(set(waits(10))) > 1


def test_a_pause_ends_when_it_is_told_to():
    asked = []
    pause(60, lambda: asked.append(1) or len(asked) > 2, step=0.01)
    assert len(asked) == 3


@pytest.mark.parametrize("header, seconds", [(None, 0), ("3", 3), ("1e9", 60), ("-5", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)])
def test_retry_after(header, seconds):
    assert retry_after(header) == seconds


@pytest.mark.parametrize("path, asked", [("/", "/"), ("", "/"), ("a#1?/b c", "a%231%3F/b%20c"), ("100%/%20", "100%25/%2520")])
def test_paths_are_quoted(path, asked):
    assert quoted(path) == asked


@pytest.mark.parametrize("name, kind, image", [
    ("a.jpg", "file", True), ("a.JPEG", "file", True), ("a.jpg", "dir", False), ("a.jpg.txt", "file", False),
    ("jpg", "file", False), ("a.jpg", "symbolic_link", True), ("a.jpg\n", "file", False),
    ("._a.jpg", "file", False), (".trashed-1-a.jpg", "file", False), ("..jpg", "file", True),
])
def test_what_is_an_image(name, kind, image):
    assert Entry(name, "x/" + name, kind, 1, "").is_image is image
