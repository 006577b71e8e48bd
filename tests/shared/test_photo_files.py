"""The one definition of a photo: by name, by content, and in sentences."""
import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app_extensions.shared import photo_files
from app_extensions.shared.photo_files import LeftOut, NotUsable
from tests.openscan.make_sets import jpeg, png, real_photos, tiff


def look(tmp_path, data):
    path = tmp_path / "photo"
    path.write_bytes(data)
    return photo_files.examine(path)


@pytest.mark.parametrize("data, kind, size", [(jpeg(), "jpeg", 48), (png(), "png", 32), (tiff(), "tiff", 32)])
def test_whole_photos(tmp_path, data, kind, size):
    assert look(tmp_path, data)[:3] == (kind, size, size)


def test_real_photos_are_whole(tmp_path):
    for name, data in {**real_photos("banana", 4), **real_photos("brighton_beach", 4)}.items():
        photo = look(tmp_path, data)
        assert photo.kind == "jpeg" and photo.width > 500, name


def test_progressive_and_trailing_bytes(tmp_path):
    out = io.BytesIO()
    Image.effect_noise((64, 48), 80).save(out, "JPEG", progressive=True)
    assert look(tmp_path, out.getvalue())[:4] == ("jpeg", 64, 48, False)
    assert look(tmp_path, out.getvalue() + b"\0" * 5000)[:4] == ("jpeg", 64, 48, False)


@given(cut=st.floats(0, 0.999))
def test_a_photo_that_breaks_off_is_never_taken(tmp_path_factory, cut):
    for data in (jpeg(3), png(3), tiff(3)):
        # A TIFF's directory may stand before its pixels or behind them; either way the end must be missed. The last two
        # bytes of a JPEG are its end mark, and it may lack that.
        short = data[: int(len(data) * cut)]
        if data[:2] == b"\xff\xd8":
            short = short[: len(data) - 200]
        with pytest.raises(NotUsable):
            look(tmp_path_factory.mktemp("cut"), short)


def test_an_exif_preview_does_not_stand_for_the_end(tmp_path):
    """The preview in the EXIF ends in FFD9 too; a photo cut in its own pixels has that one only."""
    import piexif

    preview = jpeg(9, exif=False)
    data = piexif.dump({"0th": {}, "1st": {piexif.ImageIFD.Compression: 6}, "thumbnail": preview})
    out = io.BytesIO()
    Image.effect_noise((300, 300), 90).save(out, "JPEG", exif=data)
    assert look(tmp_path, out.getvalue()).width == 300
    with pytest.raises(NotUsable, match="breaks off"):
        look(tmp_path, out.getvalue()[: len(out.getvalue()) // 2])


@pytest.mark.parametrize("data, says", [
    (b"", "empty"),
    (b"<html>not found</html>", "not a photo"),
    (b"\xff\xd8\xff", "breaks off"),
    (b"\xff\xd8\xff\xd9", "without a picture"),
    (b"\xff\xd8\xff\xe0" + b"\0" * 500, "damaged JPEG"),
    (b"\xff\xd8\xff\xda\x00\x04xx\xff\xd9", "without a picture"),
    (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0IEND\xaeB`\x82", "without a picture"),
    (b"II*\0" + b"\xff" * 60, "TIFF"),
    (b"GIF89a" + b"\0" * 60, "is a GIF"),
    (b"\0\0\0\x1cftypqt  " + b"\0" * 60, "is a video"),
    (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + b"\0" * 60, "AVIF"),
    (b"II*\0\x10\0\0\0CR\x02\0" + b"\0" * 60, "raw file"),
    (b"FUJIFILMCCD-RAW 0201" + b"\0" * 60, "raw file"),
    (b"\xff\xd8\xff\xc3\0\x0b\x08\0\x10\0\x10\1\1\x11\0\xff\xda\0\4xx\xff\xd9", "rare kind"),
])
def test_what_is_no_photo(tmp_path, data, says):
    with pytest.raises(NotUsable, match=says):
        look(tmp_path, data)


def test_absurd_sizes(tmp_path):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(NotUsable, match="megapixels"):
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
    with pytest.raises(NotUsable, match="TIFF"):
        look(tmp_path, with_strip_places_of_type(kind))


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
       st.sampled_from([jpeg(1), png(1), tiff(1)]))
def test_any_damage_to_a_photo_gives_a_photo_or_a_reason(tmp_path_factory, changes, data):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    try:
        look(tmp_path_factory.mktemp("damaged"), bytes(damaged))
    except NotUsable as reason:
        assert str(reason)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"]))
def test_any_bytes_give_a_photo_or_a_reason(tmp_path_factory, data, head):
    try:
        look(tmp_path_factory.mktemp("any"), head + data)
    except NotUsable as reason:
        assert str(reason)


def saved(fmt, size=(64, 48), mode="RGB", **options):
    out = io.BytesIO()
    Image.effect_noise(size, 80).convert(mode).save(out, fmt, **options)
    return out.getvalue()


def heic(size=(64, 48), **options):
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(Image.effect_noise(size, 80).convert("RGB")).save(out, quality=70, **options)
    return out.getvalue()


@pytest.mark.parametrize("data, kind", [
    (heic(), "heic"), (saved("WEBP"), "webp"), (saved("WEBP", lossless=True), "webp"), (saved("BMP"), "bmp"),
    (saved("TIFF", big_tiff=True), "tiff"), (saved("TIFF", compression="tiff_lzw"), "tiff"), (saved("JPEG", mode="CMYK"), "jpeg"),
], ids=["heic", "webp", "lossless webp", "bmp", "bigtiff", "tiff lzw", "cmyk"])
def test_more_kinds_of_photos_and_where_they_break_off(tmp_path, data, kind):
    photo = look(tmp_path, data)
    assert photo.kind == kind and photo.width == 64
    assert photo.height == 48 or kind == "heic"  # whose encoder pads small pictures and crops them again
    for short in (data[:-20], data[: len(data) // 2], data[:40]):
        if kind == "jpeg":
            short = short[: len(data) - 200]
        with pytest.raises(NotUsable):
            look(tmp_path, short)


def test_a_jpeg_that_lacks_only_its_last_two_bytes(tmp_path):
    for data in real_photos("banana", 3).values():
        photo = look(tmp_path, data[:-2])
        assert photo.without_end and (photo.width, photo.height) == (1600, 1064)
        assert not look(tmp_path, data).without_end
        for missing in (100, 5000, len(data) // 2):
            with pytest.raises(NotUsable, match="breaks off"):
                look(tmp_path, data[:-missing])
            with pytest.raises(NotUsable, match="breaks off"):  # a card leaves zeros where data should be
                look(tmp_path, data[:-missing] + bytes(missing))


def test_a_video_or_zeros_behind_a_jpeg(tmp_path):
    video = b"\0\0\0\x18ftypmp42" + bytes(range(255)) * 12_000
    for behind in (bytes(30_000), video, video + bytes(70_000)):
        assert look(tmp_path, jpeg(3) + behind)[:4] == ("jpeg", 48, 48, False)


def chunks(count):
    return b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXt\0\0\0\0" * count


@pytest.mark.parametrize("data", [
    b"\xff\xd8\xff\xe0\0\0" + bytes(40_000_000),
    b"\xff\xd8" + b"\xff\xe0\0\2" * 10_000_000,
    b"\xff\xd8" + b"\xff" * 40_000_000,
    b"\xff\xd8" + b"\xff\xd0" * 20_000_000,
    chunks(3_400_000),
    b"II*\0\x08\0\0\0\xff\xff" + b"\x11\1\4\0\xff\xff\xff\0\0\0\0\0" * 65_535,
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * 5_000_000,
], ids=["zeros", "short segments", "fill bytes", "restart marks", "chunks", "tiff entries", "boxes"])
def test_a_header_made_to_be_slow_is_given_up(tmp_path, monkeypatch, data):
    """Counted, not timed: the walk may read only so many places of the file."""
    reads = []

    class Counting(bytes):
        def __getitem__(self, place):
            reads.append(place)
            return bytes.__getitem__(self, place)

    path = tmp_path / "slow"
    path.write_bytes(data)
    monkeypatch.setattr(photo_files.mmap, "mmap", lambda *_, **__: _Closing(Counting(data)))
    with pytest.raises(NotUsable):
        photo_files.examine(path)
    assert len(reads) < 50_000


class _Closing:
    def __init__(self, data):
        self.data = data

    def __enter__(self):
        return self.data

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("name, role", [
    ("a/DSC_1.JPG", "photo"), ("DSC_1", "photo"), ("..14.JPG", "photo"), ("a.jfif", "photo"), ("a.jpe", "photo"), ("scan.001", "photo"),
    ("x.HEIC", "photo"), ("a_mask.png", "mask"), ("_mask.png", "photo"), ("a/._DSC_1.JPG", "clutter"), ("__MACOSX/a/b.jpg", "clutter"),
    ("a\\Thumbs.db", "clutter"), (".trashed-1-a.jpg", "clutter"), ("DSC_1.JPG_original", "backup"), ("a.jpg.bak", "backup"),
    ("DSC_1.NEF", "card"), ("clip.MOV", "card"), ("a.xmp", "card"), ("a.THM", "card"), ("gcp_list.txt", "text"), ("a.zip", "archive"),
    ("scan.json", "other"), ("model.obj", "other"),
])
def test_roles_by_name(name, role):
    assert photo_files.role_of(name) == role


def test_what_an_openscan_rig_packs_beside_its_photos():
    project = ["thumbnail.jpg", "scan01/scan01_001.jpg", "scan01/scan01_002.jpg", "model/odm_textured_model_geo_material0000_map_Kd.jpg"]
    assert photo_files.rig_extras(project) == {project[0]: "rig_thumbnail", project[3]: "model_texture"}
    inner = [f"vase/{path}" for path in project]
    assert photo_files.rig_extras(inner) == {inner[0]: "rig_thumbnail", inner[3]: "model_texture"}
    flat = ["scan01_001.jpg", "thumbnail.jpg"]
    assert photo_files.rig_extras(flat) == {"thumbnail.jpg": "rig_thumbnail"}
    assert photo_files.rig_extras(["holiday/thumbnail.jpg", "holiday/a.jpg", "model/b.jpg"]) == {}


def test_frames_that_the_rig_merged_itself():
    frames = [f"scan01/scan01_{position:03d}_fs{focus:02d}.jpg" for position in (1, 2, 3) for focus in (0, 1)]
    other = ["scan02/scan02_001_fs00.jpg", "scan02/scan02_001_fs01.jpg"]
    merged = ["scan01/stacked/stacked_001.jpg", "scan01/stacked/stacked_002.jpg"]
    assert photo_files.rig_extras([*frames, *other, *merged]) == {path: "stacked_frame" for path in frames[:4]}
    assert photo_files.rig_extras([*frames, "scan01/stacked/result.jpg"]) == {path: "stacked_frame" for path in frames}


def test_sentences_by_kind():
    left_out = [LeftOut(f"DCIM/{number}.{ending}", "card") for number in range(25) for ending in ("MOV", "THM")]
    left_out += [LeftOut("cut.jpg", "broken_off", "is a JPEG that breaks off before its end")]
    left_out += [LeftOut(f"IMG_{number}.HEIC", "heic") for number in range(5)] + [LeftOut("a\n.jpg_original", "backup")]
    assert photo_files.summarize(left_out) == [
        "50 files from a camera card were left out (.MOV, .THM).",
        "“cut.jpg” is a JPEG that breaks off before its end and was left out. Copy it from the camera again and send the set again.",
        "5 files are HEIC photos that this server cannot read and were left out (“IMG_0.HEIC”, “IMG_1.HEIC”, “IMG_2.HEIC” and 2 more). "
        "Set the phone to “Most Compatible”, or export the photos as JPEG.",
        "“a�.jpg_original” is a backup copy and was left out.",
    ]
    assert photo_files.summarize([]) == []


@pytest.mark.parametrize("make", [heic, lambda **options: saved("WEBP", **options)], ids=["heic", "webp"])
def test_conversion_keeps_size_and_exif(tmp_path, make):
    import piexif

    gps = {piexif.GPSIFD.GPSLatitudeRef: "N", piexif.GPSIFD.GPSLatitude: ((48, 1), (8, 1), (3, 1))}
    exif = piexif.dump({"0th": {piexif.ImageIFD.Model: "iPhone 15"}, "Exif": {piexif.ExifIFD.FocalLengthIn35mmFilm: 26}, "GPS": gps})
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(make(exif=exif))
    written = photo_files.write_usable(source, photo_files.examine(source), target)
    assert written[:3] == ("jpeg", 64, 48) and photo_files.examine(target)[:3] == ("jpeg", 64, 48)
    kept = piexif.load(str(target))
    assert kept["0th"][piexif.ImageIFD.Model] == b"iPhone 15" and kept["Exif"][piexif.ExifIFD.FocalLengthIn35mmFilm] == 26
    assert kept["GPS"][piexif.GPSIFD.GPSLatitude] == ((48, 1), (8, 1), (3, 1))


def test_exif_that_no_jpeg_can_hold_loses_its_makers_notes(tmp_path):
    import piexif

    notes = {piexif.ExifIFD.MakerNote: bytes(80_000), piexif.ExifIFD.FocalLengthIn35mmFilm: 26}
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(saved("WEBP", exif=b"Exif\0\0" + _long_exif(notes)))
    photo_files.write_usable(source, photo_files.examine(source), target)
    assert piexif.load(str(target))["Exif"] == {piexif.ExifIFD.FocalLengthIn35mmFilm: 26}


def _long_exif(details):
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(details)
    return exif.tobytes()[6:]


def test_a_transparent_webp_becomes_a_png(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    image = Image.new("RGBA", (64, 48), (200, 30, 30, 0))
    image.paste((10, 200, 30, 255), (10, 10, 50, 40))
    image.save(source, "WEBP")
    assert photo_files.usable_kind(source.read_bytes()[:512]) == "png"
    assert photo_files.write_usable(source, photo_files.examine(source), target).kind == "png"
    with Image.open(target) as written:
        assert written.getpixel((0, 0))[3] == 0 and written.getpixel((20, 20))[3] == 255


def test_a_heic_photo_where_no_decoder_is_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_files, "pillow_heif", None)
    with pytest.raises(NotUsable) as reason:
        look(tmp_path, heic())
    assert photo_files.summarize([LeftOut("a.jpg", reason.value.code)]) == [
        "“a.jpg” is a HEIC photo that this server cannot read and was left out. "
        "Set the phone to “Most Compatible”, or export the photos as JPEG."]


def test_the_definition_needs_no_django():
    import subprocess
    import sys

    code = "import sys; from app_extensions.shared import photo_files; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
