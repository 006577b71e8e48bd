"""What a set of parts holds, and every archive that is turned down."""
import io
import stat
import struct
import zipfile
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_extensions.openscan.ingest.archives import Limits, PhotoSet
from app_extensions.openscan.ingest.refusal import Refused
from app_extensions.shared.photo_files import LeftOut
from tests.openscan.make_sets import cut, jpeg, lay_out, make_zip, photos, png, raw_zip, tiff


@pytest.fixture
def listing(tmp_path):
    """Lists parts: listing([bytes, …], limits) -> PhotoSet, closed after the test."""
    opened = []
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def call(parts, limits=None):
        photo_set = PhotoSet(lay_out(tmp_path / "parts", parts), scratch, limits)
        opened.append(photo_set)
        return photo_set

    yield call
    for photo_set in opened:
        photo_set.__exit__()


def contents(photo_set):
    result = {}
    for member in photo_set.photos:
        with member.open() as source:
            result[member.path] = source.read()
            assert len(result[member.path]) == member.size_bytes
    return result


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("parts", [1, 2, 7])
def test_one_zip_in_consecutive_ranges(listing, method, parts):
    members = photos(12)
    assert contents(listing(cut(make_zip(members, method), parts))) == members


def test_zip64(listing):
    members = photos(3)
    assert contents(listing(cut(make_zip(members, force_zip64=True), 3))) == members
    ended = raw_zip([{"name": name.encode(), "data": data} for name, data in members.items()], zip64_end=True)
    assert contents(listing(cut(ended, 4))) == members


def test_each_part_a_zip_of_its_own(listing):
    first, second = photos(3, "a_"), photos(2, "b_")
    found = contents(listing([make_zip(first), make_zip(second, zipfile.ZIP_DEFLATED)]))
    assert list(found.values()) == [*first.values(), *second.values()]


def test_each_part_a_zip_whose_names_repeat(listing):
    first, second = {"1.jpg": jpeg(1)}, {"1.jpg": jpeg(2)}
    assert list(contents(listing([make_zip(first), make_zip(second)])).values()) == [jpeg(1), jpeg(2)]


def test_each_part_a_bare_photo(listing):
    found = contents(listing([jpeg(1), png(2), tiff(3)]))
    assert found == {"part0001.jpg": jpeg(1), "part0002.png": png(2), "part0003.tif": tiff(3)}


def test_bare_photos_beside_a_zip(listing):
    assert len(contents(listing([jpeg(1), make_zip(photos(2))]))) == 3


def test_a_zip_with_bytes_before_it(listing):
    members = photos(2)
    assert contents(listing([b"#!self-extracting" * 9 + make_zip(members)])) == members


def test_a_zip_with_a_comment(listing):
    out = io.BytesIO(make_zip(photos(2)))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"from the rig in the kitchen" * 50
    assert len(listing(cut(out.getvalue(), 3)).photos) == 2


@pytest.mark.parametrize("outer", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("inner", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_of_zips(listing, outer, inner):
    first, second = photos(2, "a_"), photos(2, "b_")
    data = make_zip({"one.zip": make_zip(first, inner), "deep/two.zip": make_zip(second, inner), "x.jpg": jpeg(9)}, outer)
    found = contents(listing(cut(data, 3)))
    assert list(found.values()) == [*first.values(), *second.values(), jpeg(9)]


def test_only_one_level_of_zips(listing):
    data = make_zip({"b.zip": make_zip({"c.zip": make_zip(photos(1))})})
    with pytest.raises(Refused, match="“b.zip/c.zip” is a zip in a zip in a zip"):
        listing([data])


def test_clutter_and_other_files_are_set_aside(listing):
    photo_set = listing([make_zip({
        "set/": b"", "set/1.jpg": jpeg(1), "__MACOSX/set/._1.jpg": b"Mac", "set/.DS_Store": b"\0", "Thumbs.db": b"x",
        "set/readme.md": b"hello", "set/gcp_list.txt": b"EPSG:4326\n",
    })])
    assert [member.path for member in photo_set.photos] == ["set/1.jpg"]
    assert [member.path for member in photo_set.texts] == ["set/gcp_list.txt"]
    assert photo_set.clutter == 3
    assert photo_set.left_out == [LeftOut("set/readme.md", "other")]


@pytest.mark.parametrize("raw, flags, shown", [
    ("grün.jpg".encode(), 0x800, "grün.jpg"),
    ("grün.jpg".encode(), 0, "grün.jpg"),  # UTF-8 without saying so
    ("grün.jpg".encode("cp437"), 0, "grün.jpg"),
    ("grün.jpg".encode("latin-1"), 0, None),  # undecidable, must only survive
    (b"scan 1 (kitchen).jpg", 0, "scan 1 (kitchen).jpg"),
    (b"set\\sub\\1.jpg", 0, "set/sub/1.jpg"),
])
def test_names_in_many_encodings(listing, raw, flags, shown):
    photo_set = listing([raw_zip([{"name": raw, "data": jpeg(1), "flags": flags}])])
    if shown:
        assert photo_set.photos[0].path == shown
    assert contents(photo_set)[photo_set.photos[0].path] == jpeg(1)


ONE = {"name": b"1.jpg", "data": jpeg(1)}
HOSTILE = {
    "traversal": ([ONE, {"name": b"../../etc/cron.d/x.jpg", "data": b"x"}], "“../../etc/cron.d/x.jpg” leads out"),
    "traversal with backslashes": ([{"name": b"a\\..\\..\\x.jpg", "data": b"x"}], "leads out of its folder"),
    "absolute": ([{"name": b"/etc/passwd.jpg", "data": b"x"}], "“/etc/passwd.jpg” has an absolute path"),
    "drive": ([{"name": b"C:/x.jpg", "data": b"x"}], "“C:/x.jpg” has an absolute path"),
    "claimed size": ([{"name": b"x.jpg", "data": b"x" * 20, "size": 2_000_000_000, "method": 8}], "“x.jpg” unpacks to 2000000000"),
    "ratio": ([{"name": b"x.jpg", "data": b"x" * 20, "size": 20_000_000, "method": 8}], "“x.jpg” unpacks from 20 to 20000000"),
    "overlap": ([{"name": b"a.jpg", "data": b"x" * 99}, {"name": b"b.jpg", "data": b"x" * 99, "offset": 0}], "share the same bytes"),
    "two at one place": ([ONE, {"name": b"2.jpg", "data": jpeg(1), "offset": 0}], "share the same bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_by_the_member(listing, case):
    entries, says = HOSTILE[case]
    with pytest.raises(Refused) as refused:
        listing([raw_zip(entries)])
    assert says in str(refused.value)
    assert str(refused.value).count(".") and str(refused.value).endswith(".")


@pytest.mark.parametrize("entry, code", [
    ({"data": b"/etc/passwd", "mode": stat.S_IFLNK | 0o777}, "link"),
    ({"data": b"", "mode": stat.S_IFCHR | 0o666}, "link"),
    ({"data": b"x" * 20, "flags": 1}, "encrypted"),
    ({"data": b"x" * 20, "method": 9}, "packing"),
])
def test_one_unreadable_member_is_left_out_and_the_set_kept(listing, entry, code):
    photo_set = listing([raw_zip([ONE, {"name": b"x.jpg", **entry}])])
    assert list(contents(photo_set)) == ["1.jpg"] and photo_set.left_out == [LeftOut("x.jpg", code)]


def test_a_bomb_of_many_members(listing):
    data = make_zip({f"{number}.jpg": b"x" for number in range(300)})
    with pytest.raises(Refused, match="lists 300 members; at most 100"):
        listing([data], Limits(members=100))


def test_a_bomb_of_many_members_that_its_end_record_denies(listing):
    data = bytearray(make_zip({f"{number}.jpg": b"x" for number in range(300)}))
    struct.pack_into("<HH", data, len(data) - 14, 1, 1)
    with pytest.raises(Refused, match="more than 100 members"):
        listing([bytes(data)], Limits(members=100))


def test_a_directory_too_large_to_read(listing):
    data = make_zip({f"{number:0200d}.jpg": b"x" for number in range(300)})
    with pytest.raises(Refused, match="lists 300 members"):
        listing([data], Limits(directory_bytes=10_000))


def test_a_bomb_in_total(listing):
    data = make_zip({f"{number}.jpg": b"\0" * 5000 for number in range(100)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(Refused, match=r"more than 100000 bytes \(reached at member “20.jpg”\)"):
        listing([data], Limits(total_bytes=100_000))


@pytest.mark.parametrize("outer", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bombs_in_nested_zips_count_together(listing, outer):
    inner = make_zip({"x.jpg": b"\0" * 40_000}, zipfile.ZIP_DEFLATED)
    data = make_zip({f"{number}.zip": inner for number in range(9)}, outer)
    with pytest.raises(Refused, match=r"reached at member “2.zip/x.jpg”"):
        listing([data], Limits(total_bytes=100_000))
    with pytest.raises(Refused, match="more than 5 zips"):
        listing([data], Limits(inner_zips=5))


def test_an_inner_zip_that_is_a_bomb_of_zeros(listing):
    """A deflated inner "zip" of zeros must not fill the scratch directory."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(b"\0" * 30_000_000) + packed.flush()
    entries = [{"name": b"x.zip", "data": data, "method": 8, "size": 30_000_000, "crc": zlib.crc32(b"\0" * 30_000_000)}]
    with pytest.raises(Refused, match="“x.zip” unpacks from"):
        listing([raw_zip(entries)])


@pytest.mark.parametrize("parts", [1, 3])
def test_a_truncated_zip(listing, parts):
    data = make_zip(photos(10))
    with pytest.raises(Refused, match="not complete: its directory at the end is missing"):
        listing(cut(data[:-200], parts))


def test_a_zip_whose_middle_part_is_missing(listing):
    pieces = cut(make_zip(photos(10)), 3)
    with pytest.raises(Refused, match="damaged|not complete"):
        listing([pieces[0], pieces[2]])


def test_a_zip_in_volumes(listing):
    data = bytearray(make_zip(photos(2)))
    struct.pack_into("<H", data, len(data) - 18, 3)
    with pytest.raises(Refused, match="volumes"):
        listing([bytes(data)])


@pytest.mark.parametrize("data, says", [
    (b"hello world", "neither a zip nor a set of photos"), (b"\x1f\x8b\x08" + b"\0" * 90, "a gzip"),
    (b"7z\xbc\xaf'\x1c" + b"\0" * 90, "a 7z"), (b"Rar!\x1a\x07\x01\0" + b"\0" * 90, "a RAR"),
], ids=["text", "gzip", "7z", "rar"])
def test_what_is_no_zip_at_all(listing, data, says):
    with pytest.raises(Refused, match=says):
        listing([data])


def test_an_empty_zip_lists_nothing(listing):
    photo_set = listing([make_zip({})])
    assert not photo_set.photos and not photo_set.left_out


@pytest.mark.parametrize("name", [b"", b"\0photo.jpg"])
@pytest.mark.parametrize("mode", [0o100644, 0])
def test_a_member_without_a_name_is_left_out(listing, name, mode):
    photo_set = listing([raw_zip([{"name": b"a.jpg", "data": jpeg(1)}, {"name": name, "data": jpeg(2), "mode": mode}])])
    assert list(contents(photo_set)) == ["a.jpg"]
    assert photo_set.left_out == [LeftOut("", "unnamed")]


names = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    members=st.lists(st.tuples(names, st.sampled_from([".jpg", ".png", ".txt", ".zip", ".md", ""]), st.binary(max_size=60)),
                     max_size=6),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    parts=st.integers(1, 4),
    damage=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    keep=st.integers(1, 5000),
)
def test_any_zip_however_damaged_is_listed_or_refused(tmp_path_factory, members, method, parts, damage, keep):
    data = bytearray(make_zip({name + extension: content for name, extension, content in members}, method))
    for place, value in damage:
        data[place % len(data)] = value
    data = bytes(data[:keep]) if damage else bytes(data)
    directory = tmp_path_factory.mktemp("any")
    try:
        with PhotoSet(lay_out(directory / "parts", cut(data, parts)), directory) as photo_set:
            for member in [*photo_set.photos, *photo_set.texts]:
                assert ".." not in member.path.split("/") and not member.path.startswith("/")
    except Refused as refused:
        assert str(refused).endswith(".")
