"""Photos into the task's directory: once, whole, with names that work."""
import errno
import io
import os
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_extensions.openscan.ingest.archives import PhotoSet
from app_extensions.openscan.ingest.names import Names
from app_extensions.openscan.ingest.refusal import Refused
from app_extensions.openscan.ingest.write import write_set
from tests.openscan.make_sets import cut, jpeg, lay_out, make_zip, photos, png, raw_zip, real_photos, tiff


class Place:
    """A task's directory and the one beside it."""

    def __init__(self, root: Path) -> None:
        self.root, self.task, self.incoming = root, root / "task", root / "incoming"
        for directory in (self.task, self.incoming, root / "scratch"):
            directory.mkdir()

    def write(self, parts, limit_photos=2000, least_photos=1, before_each=lambda: None, merge_seconds=0):
        with PhotoSet(lay_out(self.root / "parts", parts), self.root / "scratch") as photo_set:
            return write_set(photo_set, self.task, self.incoming, limit_photos=limit_photos, least_photos=least_photos,
                             before_each=before_each, merge_seconds=merge_seconds)

    def files(self):
        return {path.name: path.read_bytes() for path in self.task.iterdir()}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_photos_arrive_byte_for_byte_with_their_exif(place):
    members = real_photos("banana", 5)
    written = place.write(cut(make_zip(members), 3))
    assert place.files() == {name.replace("JPG", "jpg"): data for name, data in members.items()}
    assert written == (5, sum(map(len, members.values())), ())
    assert not list(place.incoming.iterdir())


def test_duplicate_base_names_in_different_folders(place):
    place.write([make_zip({"a/1.jpg": jpeg(1), "b/1.jpg": jpeg(2), "b/c/1.JPG": jpeg(3), "b_1.jpg": jpeg(4)})])
    files = place.files()
    assert sorted(files.values()) == sorted(jpeg(n) for n in (1, 2, 3, 4))
    assert files["1.jpg"] == jpeg(1) and files["b_1.jpg"] == jpeg(2) and files["c_1.jpg"] == jpeg(3)
    assert files["b_1-2.jpg"] == jpeg(4)


def test_the_same_name_twice_in_one_folder(place):
    place.write([raw_zip([{"name": b"1.jpg", "data": jpeg(1)}, {"name": b"1.jpg", "data": jpeg(2)}])])
    assert sorted(place.files().values()) == sorted([jpeg(1), jpeg(2)])


def test_png_beside_jpeg_and_wrong_endings(place):
    place.write([make_zip({"1.jpg": jpeg(1), "1.png": png(1), "2.jpg": png(2), "3.TIFF": tiff(3), "Grün 4.JPEG": jpeg(4)})])
    assert place.files() == {"1.jpg": jpeg(1), "1.png": png(1), "2.png": png(2), "3.tiff": tiff(3), "Grun_4.jpeg": jpeg(4)}


def test_bad_members_are_set_aside_by_name_and_the_rest_goes_on(place):
    entries = [{"name": b"1.jpg", "data": jpeg(1)}, {"name": b"cut.jpg", "data": jpeg(2)[:-90]},
               {"name": b"fake.jpg", "data": b"GIF89a not a photo"}, {"name": b"empty.jpg", "data": b""},
               {"name": b"crc.jpg", "data": jpeg(3), "crc": 1}, {"name": b"text.jpg", "data": b"no photo"},
               *({"name": b"%d.jpg" % number, "data": jpeg(number)} for number in range(6, 11))]
    written = place.write([raw_zip(entries)])
    assert place.files() == {f"{number}.jpg": jpeg(number) for number in (1, *range(6, 11))}
    assert written.photos == 6
    again = "Copy it from the camera again and send the set again."
    assert written.set_aside == (
        f"“cut.jpg” is a JPEG that breaks off before its end and was left out. {again}",
        "“fake.jpg” is a GIF and was left out. Export it as JPEG.",
        f"“empty.jpg” is empty and was left out. {again}",
        f"“crc.jpg” is damaged and was left out. {again}",
        "“text.jpg” is not a photo and was left out. Photos are JPEG, PNG, TIFF, WebP, HEIC or BMP.",
    )
    assert not list(place.incoming.iterdir())


def test_a_member_that_unpacks_to_less_than_it_claims(place):
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(jpeg(1)) + packed.flush()
    written = place.write([raw_zip([{"name": b"x.jpg", "data": data, "method": 8, "size": len(jpeg(1)) + 50,
                                     "crc": zlib.crc32(jpeg(1))}, {"name": b"2.jpg", "data": jpeg(2)}])])
    assert written.photos == 1 and "“x.jpg”" in written.set_aside[0]


def test_a_member_that_unpacks_to_more_than_it_claims(place):
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(jpeg(1) + b"\0" * 5_000_000) + packed.flush()
    written = place.write([raw_zip([{"name": b"x.jpg", "data": data, "method": 8, "size": len(jpeg(1)),
                                     "crc": zlib.crc32(jpeg(1) + b"\0" * 5_000_000)}, {"name": b"2.jpg", "data": jpeg(2)}])])
    assert written.photos == 1 and "“x.jpg”" in written.set_aside[0]
    assert sum(map(len, place.files().values())) < 100_000


def test_too_few_photos_are_refused_with_the_reasons(place):
    with pytest.raises(Refused) as refused:
        place.write([make_zip({"1.jpg": jpeg(1), "fake.jpg": b"nope", "b.jpg": b"nope", "c.gif": b"x", "d.gif": b"x"})], least_photos=2)
    assert str(refused.value).startswith("Only 1 usable photo was found, at least 2 are needed. ")
    assert "2 files are not photos and were left out (“fake.jpg” and “b.jpg”)" in str(refused.value)
    with pytest.raises(Refused, match="The archive holds no photos"):
        place.write([make_zip({})])


def test_more_photos_than_the_token_allows(place):
    with pytest.raises(Refused, match="holds 5 photos; this token allows 4"):
        place.write([make_zip(photos(5))], limit_photos=4)
    assert not place.files()


GCP = "EPSG:32633\n544256.7 5320919.9 5 3044 2622 Bild ü\\1.jpg gcp01\n".replace("Bild ü\\1.jpg", "IMG(1).jpg")


def test_control_points_are_kept_and_follow_their_photos_names(place):
    place.write([make_zip({"set/IMG(1).jpg": jpeg(1), "set/2.jpg": jpeg(2), "points.txt": GCP,
                           "geo.txt": "EPSG:4326\n2.jpg 11 48 300\n", "readme.txt": "hello\nworld\n"})])
    files = place.files()
    assert files["gcp_list.txt"].decode() == GCP.replace("IMG(1).jpg", "IMG_1_.jpg")
    assert files["geo.txt"] == b"EPSG:4326\n2.jpg 11 48 300\n"
    assert sorted(files) == ["2.jpg", "IMG_1_.jpg", "gcp_list.txt", "geo.txt"]


def test_texts_that_are_no_control_points_never_reach_webodm(place):
    written = place.write([make_zip({"IMG(1).jpg": jpeg(1), "notes.txt": "turntable 40 rpm", "gcp.txt": GCP, "gcp2.txt": GCP})])
    assert sorted(place.files()) == ["IMG_1_.jpg", "gcp_list.txt"]
    assert written.set_aside == ("“notes.txt” is a text file but not a list of ground control points, and was left out.",
                                 "“gcp2.txt” is a second gcp_list.txt and was left out.")


class Cut(Exception):
    pass


@pytest.mark.parametrize("stop_at", [0, 1, 3, 6])
def test_a_run_that_was_cut_goes_on_without_writing_anything_twice(place, stop_at):
    members = {**photos(3, "a/"), **{f"b/{number}.jpg": jpeg(10 + number) for number in range(3)}}
    calls = iter(range(100))

    def cutting():
        if next(calls) == stop_at:
            raise Cut

    parts = cut(make_zip(members), 2)
    if stop_at < 6:
        with pytest.raises(Cut):
            place.write(parts, before_each=cutting)
    else:
        place.write(parts, before_each=cutting)
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in place.task.iterdir()}
    assert len(before) == stop_at
    (place.incoming / "half.part").write_bytes(b"left by a killed worker")
    assert place.write(parts).photos == 6
    after = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in place.task.iterdir()}
    assert sorted(place.files().values()) == sorted(members.values())
    assert before.items() <= after.items()
    assert not list(place.incoming.iterdir())


def test_a_full_disk_is_no_refusal_and_leaves_no_half_file(place, monkeypatch):
    real, calls = os.replace, iter(range(100))

    def full(source, target):
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        place.write([make_zip(photos(5))])
    assert len(place.files()) == 2 and not list(place.incoming.iterdir())
    monkeypatch.undo()
    assert place.write([make_zip(photos(5))]).photos == 5


def test_bytes_are_written_once(place):
    """Counted by the kernel: what this process caused to be written, for ten stored photos of 2 MB."""
    members = {f"{n}.jpg": jpeg(n)[:-2] + os.urandom(2_000_000).replace(b"\xff", b"\xfe") + b"\xff\xd9" for n in range(10)}
    parts = cut(make_zip(members), 4)
    paths = lay_out(place.root / "parts", parts)

    def written():
        with open("/proc/self/io") as counters:
            return int(dict(line.split(": ") for line in counters.read().splitlines())["wchar"])

    with PhotoSet(paths, place.root / "scratch") as photo_set:
        before = written()
        write_set(photo_set, place.task, place.incoming, limit_photos=100, least_photos=1)
        assert written() - before <= 1.05 * sum(map(len, members.values()))


path_names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0/"), min_size=1, max_size=150)


@given(st.lists(st.lists(path_names, min_size=1, max_size=3), max_size=12))
def test_names_are_safe_and_unique_on_any_file_system(paths):
    names = Names()
    given_names = [names.give("/".join(path), ".jpg") for path in paths]
    assert len({name.lower() for name in given_names}) == len(given_names)
    for name in given_names:
        assert len(name) <= 100 and name.endswith(".jpg") and not name.startswith((".", "-"))
        assert name.isascii() and "/" not in name and " " not in name
    again = Names()
    assert [again.give("/".join(path), ".jpg") for path in paths] == given_names


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(
    members=st.dictionaries(path_names.map(lambda name: name.replace("\\", "")).filter(bool), st.integers(0, 30), max_size=8),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]), parts=st.integers(1, 5),
)
def test_every_photo_of_any_zip_arrives_once(tmp_path_factory, members, method, parts):
    place = Place(tmp_path_factory.mktemp("every"))
    contents = {f"x{name}.jpg": jpeg(seed, 16) for name, seed in members.items()}
    try:
        place.write(cut(make_zip(contents, method), parts), least_photos=0)
    except Refused as refused:
        assert "absolute" in str(refused)
        return
    assert sorted(place.files().values()) == sorted(set(contents.values()))


def stack_set(positions=3, frames=3, name="scan01/scan01_{0:03d}_fs{1:02d}.jpg"):
    """Frames as a rig names them, of real photos, each sharp in another third."""
    from PIL import Image, ImageFilter

    members = {}
    for position, data in enumerate(list(real_photos("banana", positions).values())):
        sharp = Image.open(io.BytesIO(data)).convert("RGB").resize((480, 320))
        soft = sharp.filter(ImageFilter.GaussianBlur(5))
        for number in range(frames):
            image, third = soft.copy(), (0, 320 * number // frames, 480, 320 * (number + 1) // frames)
            image.paste(sharp.crop(third), third[:2])
            out = io.BytesIO()
            image.save(out, "JPEG", quality=92)
            members[name.format(position, number)] = out.getvalue()
    return members


def test_focus_stacks_become_one_photo_per_position(place):
    members = {**stack_set(), "scan01/scan01_900.jpg": jpeg(5)}
    written = place.write([make_zip(members)], merge_seconds=600)
    assert sorted(place.files()) == ["scan01_000.jpg", "scan01_001.jpg", "scan01_002.jpg", "scan01_900.jpg"]
    assert written.photos == 4 and written.photo_bytes == sum(map(len, members.values()))
    assert written.set_aside == ("9 frames of focus stacks were merged into 3 photos, one per position.",)
    before = {path.name: path.stat().st_ino for path in place.task.iterdir()}
    again = place.write([make_zip(members)], merge_seconds=600)
    assert again == written and {path.name: path.stat().st_ino for path in place.task.iterdir()} == before


def test_focus_stacks_under_other_names(place):
    written = place.write([make_zip(stack_set(name="IMG_{0}{1:02d}.JPG"))], merge_seconds=600)
    assert written.photos == 3 and sorted(place.files()) == ["IMG_000.jpg", "IMG_100.jpg", "IMG_200.jpg"]


def test_focus_stacks_where_merging_is_switched_off(place):
    written = place.write([make_zip(stack_set())])
    assert written.photos == 9 and written.set_aside == ()


def test_frames_that_are_not_whole_or_do_not_fit(place):
    members = stack_set()
    members["scan01/scan01_000_fs01.jpg"] = members["scan01/scan01_000_fs01.jpg"][:-3000]
    members["scan01/scan01_001_fs01.jpg"] = jpeg(7, 64)
    written = place.write([make_zip(members)], merge_seconds=600)
    frames = [f"scan01_001_fs{number:02d}.jpg" for number in range(3)]
    assert sorted(place.files()) == ["scan01_000.jpg", *frames, "scan01_002.jpg"]
    assert written.photos == 5 and written.set_aside == (
        "“scan01/scan01_000_fs01.jpg” is a JPEG that breaks off before its end and was left out.",
        "5 frames of focus stacks were merged into 2 photos, one per position.")
