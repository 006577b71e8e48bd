"""Photos are told from what only looks like one."""
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app_extensions.openscan.ingest import images
from app_extensions.openscan.ingest.refusal import SetAside
from tests.openscan.make_sets import jpeg, png, real_photos, tiff


def look(tmp_path, data):
    path = tmp_path / "photo"
    path.write_bytes(data)
    return images.inspect(path)


@pytest.mark.parametrize("data, kind, size", [(jpeg(), "jpeg", 48), (png(), "png", 32), (tiff(), "tiff", 32)])
def test_whole_photos(tmp_path, data, kind, size):
    assert look(tmp_path, data) == (kind, size, size)


def test_real_photos_are_whole(tmp_path):
    for name, data in {**real_photos("banana", 4), **real_photos("brighton_beach", 4)}.items():
        photo = look(tmp_path, data)
        assert photo.kind == "jpeg" and photo.width > 500, name


def test_progressive_and_trailing_bytes(tmp_path):
    out = io.BytesIO()
    Image.effect_noise((64, 48), 80).save(out, "JPEG", progressive=True)
    assert look(tmp_path, out.getvalue()) == ("jpeg", 64, 48)
    assert look(tmp_path, out.getvalue() + b"\0" * 5000) == ("jpeg", 64, 48)


@given(cut=st.floats(0, 0.999))
def test_a_photo_that_breaks_off_is_never_taken(tmp_path_factory, cut):
    for data in (jpeg(3), png(3), tiff(3)):
        # A TIFF's directory may stand before its pixels or behind them; either way the end must be missed. The last two
        # bytes of a JPEG are its end mark.
        short = data[: int(len(data) * cut)]
        with pytest.raises(SetAside):
            look(tmp_path_factory.mktemp("cut"), short)


def test_an_exif_preview_does_not_stand_for_the_end(tmp_path):
    """The preview in the EXIF ends in FFD9 too; a photo cut in its own pixels has that one only."""
    import piexif

    preview = jpeg(9, exif=False)
    data = piexif.dump({"0th": {}, "1st": {piexif.ImageIFD.Compression: 6}, "thumbnail": preview})
    out = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(out, "JPEG", exif=data)
    assert look(tmp_path, out.getvalue()).width == 300
    with pytest.raises(SetAside, match="breaks off"):
        look(tmp_path, out.getvalue()[: len(out.getvalue()) // 2])


@pytest.mark.parametrize("data, says", [
    (b"", "empty"),
    (b"<html>not found</html>", "not a JPEG"),
    (b"\xff\xd8\xff", "breaks off"),
    (b"\xff\xd8\xff\xd9", "without a picture"),
    (b"\xff\xd8\xff\xe0" + b"\0" * 500, "header"),
    (b"\xff\xd8\xff\xda\x00\x04xx\xff\xd9", "without a picture"),
    (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82", "without a picture"),
    (b"II*\0" + b"\xff" * 60, "TIFF"),
    (b"GIF89a" + b"\0" * 60, "not a JPEG"),
])
def test_what_is_no_photo(tmp_path, data, says):
    with pytest.raises(SetAside, match=says):
        look(tmp_path, data)


def test_absurd_sizes(tmp_path):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(SetAside, match="megapixels"):
        look(tmp_path, bomb)


def with_strip_places_of_type(kind: int) -> bytes:
    """A TIFF whose StripOffsets are declared as another type: 2 is text, 5 a fraction, 7 bytes (TIFF 6.0, section 2)."""
    data = bytearray(tiff())
    directory = struct.unpack("<I", data[4:8])[0]
    for number in range(struct.unpack("<H", data[directory:directory + 2])[0]):
        entry = directory + 2 + 12 * number
        if struct.unpack("<H", data[entry:entry + 2])[0] == 273:
            data[entry + 2:entry + 4] = struct.pack("<H", kind)
    return bytes(data)


@pytest.mark.parametrize("kind", [2, 5, 7, 11, 12])
def test_a_tiff_whose_places_are_no_numbers(tmp_path, kind):
    assert with_strip_places_of_type(4) == tiff()
    with pytest.raises(SetAside, match="TIFF"):
        look(tmp_path, with_strip_places_of_type(kind))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
       st.sampled_from([jpeg(1), png(1), tiff(1)]))
def test_any_damage_to_a_photo_gives_a_photo_or_a_reason(tmp_path_factory, changes, data):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        look(tmp_path_factory.mktemp("damaged"), bytes(damaged))
    except SetAside as reason:
        assert str(reason)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"]))
def test_any_bytes_give_a_photo_or_a_reason(tmp_path_factory, data, head):
    try:
        look(tmp_path_factory.mktemp("any"), head + data)
    except SetAside as reason:
        assert str(reason)
