"""The zip that is made while it is sent: as zipfile reads it, the same each time, at the size that was told beforehand."""
import io
import os
import random
import tracemalloc
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openscan_uploader import ChangedPhotos, NotPossible
from openscan_uploader.photos import Photo, collect, kind_of
from openscan_uploader.sets import Sets, token_mark
from openscan_uploader.sources import Part, Source, bare_photos, crc_of, stored_zip

from app_extensions.shared import photo_files
from tests.openscan.make_sets import jpeg, png, tiff


def read(source: Source, start: int = 0, count: int = -1) -> bytes:
    count = source.size_bytes - start if count < 0 else count
    return b"".join(bytes(block) for block in source.blocks(Part(1, start, count)))


def lay_out(tmp_path, contents: dict) -> "list[Photo]":
    photos = []
    for number, (name, content) in enumerate(contents.items()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        about = path.stat()
        photos.append(Photo(name, str(path), about.st_size, about.st_mtime_ns, "jpeg"))
    return photos


def zip_of(photos) -> Source:
    return stored_zip(photos, {photo.name: crc_of(photo, lambda _: None) for photo in photos})


CONTENTS = {"a b.jpg": b"first", "ü/🌻.jpg": bytes(300_000), "ß.png": random.Random(1).randbytes(700_000)}


def test_zipfile_reads_it(tmp_path):
    source = zip_of(lay_out(tmp_path, CONTENTS))
    content = read(source)
    assert len(content) == source.size_bytes
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENTS
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)


def test_it_is_the_same_in_another_time_zone(tmp_path, monkeypatch):
    import time

    photos = lay_out(tmp_path, CONTENTS)
    made = []
    for zone in ("UTC", "Pacific/Auckland"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        made.append(read(zip_of(photos)))
    monkeypatch.undo()
    time.tzset()
    assert made[0] == made[1]


@given(st.integers(1, 400_000), st.lists(st.binary(min_size=1, max_size=200_000), min_size=1, max_size=4))
@settings(max_examples=30)
def test_parts_of_any_size_give_the_whole(tmp_path_factory, part_bytes, contents):
    source = zip_of(lay_out(tmp_path_factory.mktemp("set"), {f"{number}.jpg": content for number, content in enumerate(contents)}))
    part_bytes = max(part_bytes, source.size_bytes // 200 + 1)
    parts = source.parts_of(part_bytes)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1)) and all(part.size_bytes <= part_bytes for part in parts)
    assert b"".join(read(source, part.start, part.size_bytes) for part in parts) == read(source)


def test_more_than_4_gb_is_a_zip64(tmp_path):
    """Three sparse photos of 2 GB; only what lies around their bytes is looked at."""
    photos = []
    for number in range(3):
        path = tmp_path / f"{number}"
        with path.open("wb") as file:
            file.truncate(2_000_000_000)
        about = path.stat()
        photos.append(Photo(f"{number}.jpg", str(path), about.st_size, about.st_mtime_ns, "jpeg"))
    source = stored_zip(photos, {photo.name: 7 for photo in photos})

    class Lazy(io.RawIOBase):
        """The source as a file: zipfile reads its end and its headers."""

        position = 0

        def seekable(self) -> bool:
            return True

        def tell(self) -> int:
            return self.position

        def seek(self, offset: int, whence: int = 0) -> int:
            self.position = offset + {0: 0, 1: self.position, 2: source.size_bytes}[whence]
            return self.position

        def read(self, count: int = -1) -> bytes:
            count = source.size_bytes - self.position if count < 0 else min(count, source.size_bytes - self.position)
            data = read(source, self.position, count)
            self.position += count
            return data

    with zipfile.ZipFile(Lazy()) as archive:
        assert [(info.filename, info.file_size) for info in archive.infolist()] == [(f"{number}.jpg", 2_000_000_000) for number in range(3)]
        with archive.open("2.jpg") as member:
            assert member.read(10) == bytes(10)


@pytest.mark.long
def test_many_files_are_a_zip64(tmp_path):
    path = tmp_path / "one"
    path.write_bytes(b"x")
    about = path.stat()
    photos = [Photo(f"{number}.jpg", str(path), 1, about.st_mtime_ns, "jpeg") for number in range(70_000)]
    content = read(stored_zip(photos, dict.fromkeys((photo.name for photo in photos), zlib.crc32(b"x"))))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(archive.namelist()) == 70_000 and archive.read("69999.jpg") == b"x"


def test_memory_stays_flat(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(300_000_000)
    about = path.stat()
    source = bare_photos([Photo("a.jpg", str(path), about.st_size, about.st_mtime_ns, "jpeg")])
    tracemalloc.start()
    try:
        assert sum(len(block) for block in source.blocks(source.part_per_piece()[0])) == 300_000_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("change", ["longer", "shorter", "gone", "touched", "a directory"])
def test_a_file_that_changed_is_reported(tmp_path, change):
    photos = lay_out(tmp_path, {"a.jpg": bytes(1000)})
    source, path = bare_photos(photos), tmp_path / "0"
    if change == "longer":
        path.write_bytes(bytes(1001))
    elif change == "shorter":
        path.write_bytes(bytes(999))
    elif change == "touched":
        os.utime(path)
    else:
        path.unlink()
        if change == "a directory":
            path.mkdir()
    with pytest.raises(ChangedPhotos, match="nothing was started"):
        read(source)


def test_a_photo_beyond_4_gb_is_refused():
    with pytest.raises(NotPossible, match="more than 4 GB"):
        stored_zip([Photo("a.jpg", "/nowhere", 5_000_000_000, 0, "jpeg")], {"a.jpg": 0})


@pytest.mark.parametrize("head, kind", [
    (jpeg()[:32], "jpeg"), (png()[:32], "png"), (tiff()[:32], "tiff"), (b"\0\0\0\x18ftypheic\0\0\0\0", "heif"), (b"\0\0\0\x14ftypqt  ", ""),
    (b"RIFF\0\0\0\0WEBPVP8 ", "webp"), (b"RIFF\0\0\0\0WAVEfmt ", ""), (b"BM\0\0\0\0\0\0\0\0", "bmp"), (b"BMW is a car", ""), (b"", "")])
def test_kinds(head, kind):
    assert kind_of(head) == kind


@pytest.mark.parametrize("brands", [
    "heic", "heix", "heim", "heis", "mif1", "mif2", "hevc", "msf1", "avif", "avis", "mif1avif", "mif1heic", "qt  ", "crx ", "isom"])
def test_the_server_takes_the_same_of_the_heif_family(brands):
    """What is sent and then left out there would have been sent for nothing."""
    head = (b"\0\0\0" + bytes([16 + len(brands)]) + b"ftyp" + brands[:4].encode() + bytes(4) + brands.encode()).ljust(512, b"\0")
    assert (kind_of(head[:64]) == "heif") == (photo_files.kind_of(head) == photo_files.HEIC)


def test_sets_of_another_program_are_seen_at_once(tmp_path):
    """Files are read once, and again as soon as somebody has written them."""
    ours, other = Sets(tmp_path), Sets(tmp_path)
    one = ours.new(server="s", token_mark=token_mark("t"), source="f", project="p", how="zip", photos=1, size_bytes=1,
                   part_bytes=1, files=[])
    ours.save(one)
    assert other.of_project("t", "p").status == ""
    for status in ("a", "b"):
        one.status = status
        ours.save(one)
        assert other.of_project("t", "p").status == status
    other.of_project("t", "p").status = "only in memory"
    assert other.of_project("t", "p").status == "b"
    ours.forget(one)
    assert other.all() == []


def test_names_that_are_no_text(tmp_path):
    (tmp_path / os.fsdecode(b"gr\xfcn.jpg")).write_bytes(jpeg(1))
    (tmp_path / "line\nbreak.jpg").write_bytes(jpeg(2))
    names = [photo.name for photo in collect(tmp_path).photos]
    assert names == ["gr\ufffdn.jpg", "line_break.jpg"]
    assert zip_of(collect(tmp_path).photos).size_bytes
