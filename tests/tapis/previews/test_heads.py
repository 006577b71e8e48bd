"""What the first bytes of a photo tell, and what hostile ones do not."""
import io
import struct

import pytest
from PIL import Image

from app_extensions.tapis.sync import heads
from tests.support.exif_photos import exif, jpeg, place, with_exif

COAST = {"make": "DJI", "model": "FC6310", "taken": "2024:05:01 10:20:30", "gps": place(30.2849, -97.7394)}


def size_of(thumbnail):
    with Image.open(io.BytesIO(thumbnail)) as image:
        image.load()
        return image.size


def test_what_a_drone_writes():
    head = heads.read_head(with_exif(jpeg(), exif(**COAST, thumbnail=jpeg((160, 120)))))
    assert (head.is_jpeg, head.taken_at, head.camera) == (True, "2024-05-01T10:20:30", "DJI FC6310")
    assert (head.latitude, head.longitude) == (pytest.approx(30.2849, abs=1e-5), pytest.approx(-97.7394, abs=1e-5))
    assert size_of(head.thumbnail) == (160, 120) and b"Exif" not in head.thumbnail


def test_the_first_bytes_are_enough_where_the_exif_holds_a_thumbnail():
    photo = with_exif(jpeg((2000, 1500), noise=True), exif(**COAST, thumbnail=jpeg((160, 120))))
    assert len(photo) > 300_000
    read = bytearray()
    while not heads.is_enough(read, True):
        read += photo[len(read):len(read) + 1000]
    assert len(read) < 20_000
    assert heads.read_head(bytes(read)) == heads.read_head(photo)


@pytest.mark.parametrize("size, shown", [
    ((6016, 4000), (160, 106)), ((4000, 3000), (160, 120)), ((4000, 2250), (160, 90)), ((3000, 4000), (160, 120)),
    (None, (160, 120)), ((0, 0), (160, 120)), ((2**32 - 1, 1), (160, 120)), ((1, 2**32 - 1), (160, 120))])
def test_the_black_bars_of_a_cameras_thumbnail_are_cut_off(size, shown):
    """Cameras add them to reach 4:3. The size in the EXIF is believed unless it would leave no picture."""
    small = Image.new("RGB", (160, 120), "black")
    if size is not None and 160 * size[1] < 120 * size[0] and shown[1] < 120:
        small.paste("seagreen", (0, (120 - shown[1]) // 2, 160, (120 + shown[1]) // 2))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=95)
    head = heads.read_head(with_exif(jpeg(), exif(**COAST, thumbnail=out.getvalue(), size=size)))
    assert size_of(head.thumbnail) == shown
    if shown[1] < 120:
        with Image.open(io.BytesIO(head.thumbnail)) as image:
            assert all(image.getpixel((80, row))[1] > 90 for row in (1, shown[1] - 2)), "no bar is left"


def test_a_whole_small_image_gives_a_thumbnail_where_the_exif_has_none():
    photo = with_exif(jpeg((800, 600), noise=True), exif(**COAST))
    assert not heads.is_enough(photo, True) and heads.is_enough(photo, False)
    assert size_of(heads.read_head(photo).thumbnail) == (160, 120)
    cut = heads.read_head(photo[:30_000])
    assert cut.camera == "DJI FC6310" and cut.thumbnail == b"", "a picture that breaks off is none"


@pytest.mark.parametrize("orientation, is_upright", [(1, False), (3, False), (6, True), (8, True), (99, False), (0, False)])
def test_thumbnails_are_turned_as_the_exif_says(orientation, is_upright):
    picture = Image.new("RGB", (160, 80), "blue")
    picture.paste("red", (0, 0, 40, 80))  # at the left
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=95)
    head = heads.read_head(with_exif(jpeg(), exif(orientation=orientation, thumbnail=out.getvalue())))
    with Image.open(io.BytesIO(head.thumbnail)) as turned:
        assert turned.size == ((80, 160) if is_upright else (160, 80))
        # where the red edge is after the turn that the EXIF asks for
        x, y = {1: (10, 40), 3: (150, 40), 6: (40, 10), 8: (40, 150)}.get(orientation, (10, 40))
        red, _, blue = turned.getpixel((x, y))
        assert red > 180 and blue < 80


@pytest.mark.parametrize("gps", [
    place(0, 0), place(0.00001, -0.00001), place(91, 0), place(10, 181),
    {1: "N", 2: ((float("nan"), 0), (0, 1), (0, 1)), 3: "E", 4: ((1, 1), (0, 1), (0, 1))},
    {1: "N", 2: ((1, 0), (0, 1), (0, 1)), 3: "E", 4: ((1, 1), (0, 1), (0, 1))},
    {1: "N", 2: ((10, 1), (99, 1), (0, 1)), 3: "E", 4: ((1, 1), (0, 1), (0, 1))},
    {2: ((10, 1), (0, 1), (0, 1)), 4: ((1, 1), (0, 1), (0, 1))},
    {1: "X", 2: ((10, 1), (0, 1), (0, 1)), 3: "E", 4: ((1, 1), (0, 1), (0, 1))},
    {1: "", 2: ((10, 1), (0, 1), (0, 1)), 3: "E", 4: ((1, 1), (0, 1), (0, 1))},
    {1: "N", 2: ((10, 1),), 3: "E", 4: ((1, 1), (0, 1), (0, 1))},
    {1: "N", 2: "ten", 3: "E", 4: "one"}, {1: "N", 2: 10, 3: "E", 4: 1}, {},
])
def test_a_place_that_cannot_be_is_none(gps):
    head = heads.read_head(with_exif(jpeg(), exif(model="A", gps=gps)))
    assert (head.latitude, head.longitude, head.camera) == (None, None, "A")


def test_the_southern_and_western_halves_of_the_world():
    head = heads.read_head(with_exif(jpeg(), exif(gps=place(-33.5, -70.25))))
    assert (head.latitude, head.longitude) == (-33.5, -70.25)


@pytest.mark.parametrize("taken", [
    "0000:00:00 00:00:00", "1970:01:01 00:00:00", "2024:13:01 00:00:00", "2999:01:01 00:00:00", "yesterday", "", "２０２４:05:01 10:20:30"])
def test_a_time_that_cannot_be_is_none(taken):
    assert heads.read_head(with_exif(jpeg(), exif(taken=taken))).taken_at == ""


def test_names_are_cut_and_cleaned():
    head = heads.read_head(with_exif(jpeg(), exif(make="<script>alert(1)</script>", model="\u202eevil\nname\x07" + "x" * 5000)))
    assert head.camera.startswith("<script>alert(1)</script> evil namexxx")
    assert len(head.camera) <= 2 * heads.MOST_LETTERS + 1 and all(letter.isprintable() for letter in head.camera)
    assert heads.read_head(with_exif(jpeg(), exif(make="NIKON CORPORATION", model="NIKON D850"))).camera == "NIKON D850"
    assert heads.read_head(with_exif(jpeg(), exif(make="DJI"))).camera == "DJI"
    assert heads.read_head(with_exif(jpeg(), exif(make="大疆", model="御"))).camera == "大疆 御"


def test_no_bytes_at_all_no_jpeg_and_no_exif():
    for data in (b"", b"\xff", b"GIF89a", b"<html>", bytes(1000)):
        assert heads.read_head(data) == heads.Head(is_jpeg=False)
    assert heads.is_enough(b"<html><body>maintenance", True) and not heads.is_enough(b"", True) and not heads.is_enough(b"\xff", True)
    head = heads.read_head(jpeg())
    assert (head.taken_at, head.camera, head.latitude) == ("", "", None) and head.thumbnail


def test_exif_cut_at_every_byte_and_turned_in_every_bit_breaks_nothing():
    block = exif(**COAST, thumbnail=jpeg((40, 30)))
    picture = jpeg((40, 30))
    for end in range(0, len(block), 11):
        heads.read_head(with_exif(picture, block[:end]))
    for place_of in range(0, min(len(block), 400), 3):
        for value in (0x00, 0xFF, block[place_of] ^ 0x80):
            heads.read_head(with_exif(picture, block[:place_of] + bytes([value]) + block[place_of + 1:]))


def test_a_value_named_thousands_of_times_is_read_a_few_times():
    """5,000 tags with the same 60 kB would be 300 MB."""
    import tracemalloc

    count = 5_000
    entries = b"".join(struct.pack("<HHII", 0x010F, 2, 60_000, 10) for _ in range(count))
    block = b"II*\x00" + struct.pack("<IH", 8, count) + entries
    data = with_exif(b"\xff\xd8\xff\xd9", block.ljust(65_000, b"x"))
    tracemalloc.start()
    try:
        head = heads.read_head(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert head.is_jpeg


def test_both_orders_of_bytes():
    directory = struct.pack(">HHHII", 1, 0x0110, 2, 5, 26) + bytes(4)
    assert heads.read_head(with_exif(jpeg(), b"MM\x00*" + struct.pack(">I", 8) + directory + b"Nikon\x00")).camera == "Nikon"


def test_bombs_are_not_decoded():
    bomb = bytearray(jpeg((64, 64)))
    frame = bomb.index(b"\xff\xc0")
    struct.pack_into(">HH", bomb, frame + 5, 65_500, 65_500)  # four thousand megapixels
    assert heads.read_head(bytes(bomb)).thumbnail == b""
    assert heads.read_head(with_exif(bytes(bomb), exif(model="A", thumbnail=bytes(bomb)))).thumbnail == b""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(out, "JPEG", progressive=True)
    progressive = out.getvalue()
    assert size_of(heads.read_head(progressive).thumbnail) == (64, 64)
    last = progressive.rindex(b"\xff\xda")
    scan = progressive[last:-2]
    assert heads.read_head(progressive[:-2] + scan * heads.MOST_SCANS + progressive[-2:]).thumbnail == b"", "a run over all pixels per scan"
    large = bytearray(progressive)
    struct.pack_into(">HH", large, large.index(b"\xff\xc2") + 5, 6_000, 6_000)
    assert heads.read_head(bytes(large)).thumbnail == b"", "held in memory as a whole"


def test_a_thumbnail_outside_the_exif_is_none():
    for start, length in ((1 << 30, 100), (10, 1 << 30), (0, 10), (8, 0)):
        head = heads.read_head(with_exif(b"\xff\xd8\xff\xd9", exif(model="A", thumbnail=jpeg((20, 20)), thumbnail_at=(start, length))))
        assert (head.camera, head.thumbnail) == ("A", b"")
