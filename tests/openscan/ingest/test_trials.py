"""Photo sets as people really send them: what comes in, how many photos are used, what the sender reads, what it costs.

Each row stands for a kind of report from the field; the inputs are made here, small.
"""
import functools
import io
import os
import random
import resource
import struct
import tarfile
import zipfile
from typing import NamedTuple, Optional

import piexif
import pytest
from PIL import Image

from app_extensions.openscan.accounts import books
from app_extensions.openscan.ingest import run
from app_extensions.openscan.ingest.archives import PhotoSet
from app_extensions.openscan.ingest.write import write_set
from app_extensions.openscan.models import Scan, Token
from app_extensions.shared import photo_files
from tests.openscan.flow import photos_of, started_scan, without_nodes
from tests.openscan.helpers import private_token
from tests.openscan.make_sets import cut, jpeg, lay_out, make_zip
from tests.openscan.odd_zips import odd_zip

CREDIT = 100_000_000
APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(120)
PHOTOS = {f"DSC_{number:04d}.JPG": jpeg(number, 64) for number in range(423, 439)}
NAMES, DATA = list(PHOTOS), list(PHOTOS.values())
RAW = [(name.encode(), data) for name, data in PHOTOS.items()]
COPY_AGAIN = "Copy it from the camera again and send the set again."


@functools.lru_cache(None)
def encoded(seed, kind, **options):
    """The photo `seed` in another format."""
    image = Image.open(io.BytesIO(jpeg(seed, 64))).convert(options.pop("mode", "RGB"))
    out = io.BytesIO()
    if kind == "HEIC":
        import pillow_heif

        pillow_heif.from_pillow(image).save(out, quality=70, exif=piexif.dump({"0th": {piexif.ImageIFD.Make: "Apple"}}))
    else:
        image.save(out, kind, **options)
    return out.getvalue()


def heic(count=16, ending="HEIC"):
    return {f"IMG_{4100 + number}.{ending}": encoded(number, "HEIC") for number in range(count)}


def mpo(seed):
    image = Image.open(io.BytesIO(jpeg(seed, 64))).convert("RGB")
    out = io.BytesIO()
    image.save(out, "MPO", save_all=True, append_images=[image.resize((32, 32))])
    return out.getvalue()


def video(size=300_000):
    """What a phone puts behind a photo: no end mark of a JPEG in it."""
    noise = random.Random(5).getrandbits(8 * size).to_bytes(size, "big")
    return b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + noise.replace(b"\xff\xd9", b"\xff\xd8")


def odd_exif(seed):
    make, when = [(b"", "0000:00:00 00:00:00"), ("Kamera «Ü»".encode(), "    :  :     :  :  "), (b"DJI\0\0\0", "gestern")][seed % 3]
    exif = piexif.dump({"0th": {piexif.ImageIFD.Make: make, piexif.ImageIFD.DateTime: when},
                        "Exif": {piexif.ExifIFD.FocalLength: (0, 0), piexif.ExifIFD.MakerNote: b"\0\1\x0b\0\0\0\0\0"}})
    return encoded(seed, "JPEG", exif=exif)


def mask(value=255):
    out = io.BytesIO()
    Image.new("L", (64, 64), value).save(out, "PNG")
    return out.getvalue()


def packed(methods):
    """A zip of the photos, each with its own packing."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for (name, data), method in zip(PHOTOS.items(), methods):
            archive.writestr(name, data, method)
    return out.getvalue()


def twice():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, pytest.warns(UserWarning):
        for name in (*NAMES, NAMES[0]):
            archive.writestr(name, PHOTOS[name])
    return out.getvalue()


def volumes():
    """As `zip -s` cuts: the end record names the third disk."""
    whole = bytearray(make_zip(PHOTOS))
    struct.pack_into("<HH", whole, len(whole) - 18, 2, 2)
    return cut(bytes(whole), 3)


def changed_over(pieces):
    return [pieces[1], pieces[0], *pieces[2:]]


def targz():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in PHOTOS.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def card_copy():
    members = {"DCIM/100D3200/Thumbs.db": bytes(100), "MISC/AUTPRINT.MRK": b"x", "DCIM/100D3200/clip.MOV": bytes(1000)}
    for name, data in PHOTOS.items():
        stem = f"DCIM/100D3200/{name[:-4]}"
        members.update({f"DCIM/100D3200/{name}": data, f"{stem}.NEF": b"II*\0" + bytes(500)})
        members.update({f"{stem}.xmp": b"<x/>", f"{stem}.AAE": b"<p/>"})
    return make_zip(members)


def project(*more):
    members = {f"scan01/scan01_{number:03d}.jpg": data for number, data in enumerate(DATA, 1)}
    members["thumbnail.jpg"] = jpeg(1, 32)
    for path in more:
        members[path] = jpeg(99, 96)
    return make_zip(members)


def vase():
    members = {"vase/openscan_project.json": b"{}", "vase/thumbnail.jpg": jpeg(1, 32)}
    for number, data in enumerate(DATA):
        folder = f"vase/scan{1 + number // 8:02d}"
        members.update({f"{folder}/scan{1 + number // 8:02d}_{number % 8:03d}.jpg": data, f"{folder}/scan.json": b"{}"})
    return make_zip(members, zipfile.ZIP_DEFLATED)


ODD_NAMES = ["Löwe_001.JPG".encode("cp850"), "Größe 2.JPG".encode("cp437"), "写真_003.JPG".encode("shift_jis"),
             "照片_004.JPG".encode("gbk"), b"Ada's \"vase\" 5.JPG", b"a b#c%20&d;6.JPG", b"x" * 180 + b"7.JPG",
             "Café_8.JPG".encode(), "🦁9.JPG".encode(), b"10.JPG", b"-rf 11.JPG", b"con.JPG", b"12..JPG",
             b"13.jpg.JPG", b"..14.JPG", b"15 .JPG"]

ROWS = [f"{576000 + number} {5188000 + 2 * number} 198.5 {400 + 10 * number} {300 + 7 * number} {NAMES[number]}" for number in range(8)]


def with_text(text, name="gcp_list.txt", system="EPSG:32615"):
    data = text if isinstance(text, bytes) else "\n".join([system, *text, ""]).encode()
    return [make_zip({**PHOTOS, name: data})]


GEO = "".join(["EPSG:4326\n", *(f"{name} -91.99 46.84 198.5\n" for name in NAMES)])


def without_ends():
    members = dict(PHOTOS)
    for number in (3, 9):
        members[NAMES[number]] = DATA[number][:-2]
    members[NAMES[12]] = DATA[12][: len(DATA[12]) // 2]
    return make_zip(members)


class Row(NamedTuple):
    """One trial: its parts, photos that are used (None: the set is refused), and sentences that its sender reads."""

    parts: list
    photos: Optional[int]
    says: tuple = ()
    #: Files in the task beyond the photos.
    beside: tuple = ()
    limit_photos: int = 2000


CONVERTED = "16 photos were converted to JPEG (“IMG_4100.{0}”, “IMG_4101.{0}”, “IMG_4102.{0}” …)."
MOSTLY = "photos cannot be used. A model of the rest would not be what you sent, so the set was not processed and costs nothing."
TRIALS = {
    "44 HEIC only": Row([make_zip(heic())], 16, (CONVERTED.format("HEIC"),)),
    "44b 14 HEIC and 2 JPEG": Row([make_zip({**heic(14), "a.jpg": DATA[0], "b.jpg": DATA[1]})], 16, ("14 photos were converted to JPEG",)),
    "01b HEIC named jpg": Row([make_zip(heic(ending="jpg"))], 16, (CONVERTED.format("jpg"),)),
    "02 progressive": Row([make_zip({f"{n}.jpg": encoded(n, "JPEG", progressive=True) for n in range(16)})], 16),
    "03 CMYK, 04 grey": Row([make_zip({f"{n}.jpg": encoded(n, "JPEG", mode="CMYK" if n % 2 else "L") for n in range(16)})], 16),
    "05 MPO": Row([make_zip({f"{n}.jpg": mpo(n) for n in range(16)})], 16),
    "06a trailing zeros": Row([make_zip({name: data + bytes(20_000) for name, data in PHOTOS.items()})], 16),
    "06b motion photos": Row([make_zip({name: data + video() for name, data in PHOTOS.items()})], 16),
    "07 no end mark": Row([without_ends()], 15, (
        f"“DSC_0435.JPG” is a JPEG that breaks off before its end and was left out. {COPY_AGAIN}",
        "2 photos lacked only their end marks, which were added (“DSC_0426.JPG”, “DSC_0432.JPG”).")),
    "08b 16-bit TIFF": Row([make_zip({f"{n}.tif": encoded(n, "TIFF", mode="I;16", compression="tiff_adobe_deflate")
                                      for n in range(16)})], 16),
    "10 BigTIFF": Row([make_zip({f"{n}.tif": encoded(n, "TIFF", big_tiff=True) for n in range(6)})], 6),
    "12 WebP": Row([make_zip({f"{n}.webp": encoded(n, "WEBP") for n in range(16)})], 16, ("16 photos were converted to JPEG",)),
    "13 JPEG endings": Row([make_zip({f"DSC_{n}{(('.jfif', '.jpe', '', '.JPEG')[n % 4])}": DATA[n] for n in range(16)})], 16),
    "13b exiftool backups": Row([make_zip({**PHOTOS, **{f"{name}_original": data for name, data in PHOTOS.items()}})], 16,
                                ("16 files are backup copies and were left out (.JPG_ORIGINAL).",)),
    "14b odd EXIF": Row([make_zip({f"{n}.jpg": odd_exif(n) for n in range(16)})], 16),
    "16 doubles": Row([make_zip({**PHOTOS, **{f"{name[:-4]} (1).JPG": data for name, data in PHOTOS.items()}})], 16,
                      ("16 files are the same photos as others and were left out (“DSC_0423 (1).JPG”, “DSC_0424 (1).JPG”, "
                       "“DSC_0425 (1).JPG” and 13 more).",), limit_photos=16),
    "30 macOS Finder": Row([odd_zip([("Bananen\u0308 Scan/".encode(), b""), ("Bananen\u0308 Scan/.DS_Store".encode(), bytes(6148)),
                                     *(pair for name, data in PHOTOS.items() for pair in (
                                         (f"Bananen\u0308 Scan/{name}".encode(), data),
                                         (f"__MACOSX/Bananen\u0308 Scan/._{name}".encode(), APPLE_DOUBLE)))],
                                    descriptors=True, method=8)], 16),
    "31 Windows backslashes": Row([odd_zip([(b"Scan 1\\", b""), *((b"Scan 1\\" + name, data) for name, data in RAW)], system=0)], 16),
    "32 stored with descriptors": Row([odd_zip(RAW, descriptors=True)], 16),
    "32b descriptors without signature": Row([odd_zip(RAW, descriptors=True, signature=False, method=8)], 16),
    "33 zip64": Row([odd_zip(RAW, zip64=True)], 16),
    "34 junk in front": Row([odd_zip(RAW, in_front=b"MZ" + bytes(5000))], 16),
    "34b zeros behind": Row([odd_zip(RAW, behind=bytes(4096))], 16),
    "34c much behind": Row([odd_zip(RAW, behind=bytes(80_000))], 16),
    "35 LZMA": Row([packed([zipfile.ZIP_LZMA] * 16)], 16),
    "35b bzip2": Row([packed([zipfile.ZIP_BZIP2] * 16)], 16),
    "35c Deflate64": Row([odd_zip(RAW[:4], method=9)], None, (
        "No usable photo was found", "4 files are packed in a way that cannot be read", "Pack the photos as an ordinary zip")),
    "35d Zstandard": Row([odd_zip(RAW[:4], method=93, pack=lambda data: b"(\xb5/\xfd" + data)], None, ("packed in a way",)),
    "35e one member LZMA": Row([packed([zipfile.ZIP_LZMA if n == 7 else zipfile.ZIP_DEFLATED for n in range(16)])], 16),
    "36 ZipCrypto": Row([odd_zip(RAW[:4], flags=1)], None, ("4 files are encrypted", "Pack the photos without a password.")),
    "36b WinZip AES": Row([odd_zip(RAW[:4], flags=1, method=99, extra=struct.pack("<HHHHBH", 0x9901, 7, 2, 0x4541, 3, 8),
                                   pack=lambda data: os.urandom(len(data) + 28))], None, ("4 files are encrypted",)),
    "37 volumes": Row(volumes(), None, ("split by its packer into volumes", "Pack one whole zip and cut that into parts")),
    "37b 7-Zip cuts": Row(cut(make_zip(PHOTOS), 5), 16),
    "37b cuts changed over": Row(changed_over(cut(make_zip(PHOTOS), 3)), None, ("in the order of their links",)),
    "37b last cuts changed over": Row(changed_over(cut(make_zip(PHOTOS), 5)[::-1])[::-1], None, ("in the order of their links",)),
    "38 odd names": Row([odd_zip(list(zip(ODD_NAMES, DATA)))], 16),
    "38b names that only claim to be UTF-8": Row([odd_zip(list(zip(ODD_NAMES, DATA)), flags=0x800)], 16),
    "39 two scans, same names": Row([make_zip({f"scan{1 + n // 8:02d}/scan_{n % 8:03d}.jpg": DATA[n] for n in range(16)})], 16),
    "39b same path twice": Row([twice()], 16, ("“DSC_0423.JPG” is the same photo as “DSC_0423.JPG” and was left out.",)),
    "40 card copy": Row([card_copy()], 16, ("50 files from a camera card were left out (.AAE, .MOV, .MRK, .NEF, .XMP).",)),
    "40b raw files only": Row([make_zip({**{f"{n}.NEF": b"II*\0" + bytes(500) for n in range(9)}, "a.jpg": DATA[0],
                                         "b.jpg": DATA[1]})], None, (
                                             f"9 of 11 {MOSTLY}", "9 files are cameras' raw files", "let the camera save JPEG as well")),
    "41 OpenScan3 project": Row([vase()], 16, ("“vase/thumbnail.jpg” is the rig's own preview picture and was left out.",
                                               "3 files are not photos and were left out (.JSON).")),
    "42 symbolic link": Row([odd_zip([*RAW, (b"latest.jpg", b"DSC_0423.JPG")], modes={b"latest.jpg": 0o120777})], 16,
                            ("“latest.jpg” is a link or a device, not a file and was left out. Pack the files themselves.",)),
    "43 empty": Row([make_zip({})], None, ("No usable photo was found, at least 2 are needed. The archive holds no photos (JPEG, PNG",)),
    "43b texts only": Row([make_zip({"readme.txt": b"hello", "a.json": b"{}"})], None, ("No usable photo was found",)),
    "45 tar.gz": Row([targz()], None, ("What arrived is a gzip (.tar.gz) archive",)),
    "45b RAR": Row([b"Rar!\x1a\x07\x01\0" + os.urandom(5000)], None, ("What arrived is a RAR archive",)),
    "45c 7z": Row([b"7z\xbc\xaf\x27\x1c\0\4" + os.urandom(5000)], None, ("What arrived is a 7z archive",)),
    "46 masks in a folder": Row([make_zip({**{f"photos/{name}": data for name, data in PHOTOS.items()},
                                           **{f"masks/{name[:-4]}_mask.png": mask() for name in NAMES}})], 16,
                                beside=tuple(f"{name[:-4]}_mask.png" for name in NAMES), limit_photos=20),
    "46b a mask without its photo": Row([make_zip({**PHOTOS, "other_mask.png": mask()})], 16, (
        "“other_mask.png” is a mask without its photo and was left out. A mask of a.jpg is named a_mask.png.",)),
    "47 OpenScan3 with thumbnail": Row([project()], 16, ("“thumbnail.jpg” is the rig's own preview picture and was left out.",)),
    "47b OpenScan3, second upload": Row([project("model/odm_textured_model_geo_material0000_map_Kd.jpg")], 16, (
        "“thumbnail.jpg” is the rig's own preview picture and was left out.",
        "“model/odm_textured_model_geo_material0000_map_Kd.jpg” is the texture of a finished model and was left out.")),
    "47c OpenScan3, frames merged by the rig": Row(
        [make_zip({**{f"scan01/scan01_{n:03d}_fs{f:02d}.jpg": jpeg(1000 + 10 * n + f) for n in range(4) for f in range(3)},
                   **{f"scan01/stacked/stacked_{n:03d}.jpg": DATA[n] for n in range(4)}})], 4,
        ("12 files are focus frames that the rig merged itself and were left out",)),
    "48 mostly damaged": Row([cut(make_zip(PHOTOS), 4)[number] for number in (2, 1, 0, 3)], None, (
        MOSTLY, "files are damaged", "Parts in the wrong order look like this: send them in the order of their links.")),
    "50 GCP, BOM and CRLF": Row(with_text(b"\xef\xbb\xbf" + "\r\n".join(["EPSG:32615", *ROWS, ""]).encode()), 16, beside=("gcp_list.txt",)),
    "50b GCP, tabs and labels": Row(with_text([row.replace(" ", "\t") + f"\tgcp{n:02d}" for n, row in enumerate(ROWS)],
                                              system="WGS84 UTM 15N"), 16, beside=("gcp_list.txt",)),
    "50c GCP, names in small letters": Row(with_text([row.lower() for row in ROWS], system="epsg:32615"), 16, beside=("gcp_list.txt",)),
    "50d GCP, WGS84 without a zone": Row(with_text(ROWS, system="WGS84"), 16, (
        "“gcp_list.txt” was left out: line 1 says WGS84, which means degrees, but line 2 gives 576000 5188000. "
        "For meters, name the zone (WGS84 UTM 33N or EPSG:32633).",)),
    "50d GCP, WGS84 in degrees": Row(with_text([f"-91.99 46.84{n} 198.5 400 300 {NAMES[n]}" for n in range(8)], system="WGS84"), 16,
                                     beside=("gcp_list.txt",)),
    "50e GCP, commas": Row(with_text([row.replace(" ", ",") for row in ROWS]), 16, beside=("gcp_list.txt",)),
    "50f GCP, UTF-16": Row(with_text("\r\n".join(["EPSG:32615", *ROWS, ""]).encode("utf-16")), 16, beside=("gcp_list.txt",)),
    "50g GCP, a bad line": Row(with_text([*ROWS, f"576001 5188001 - 12 13 {NAMES[0]}"]), 16, (
        "“gcp_list.txt”: line 10 was left out: “-” is not a number (height).",), beside=("gcp_list.txt",)),
    "50h GCP, prose at the end": Row(with_text([*ROWS, "measured by hand on Tuesday"]), 16, (
        "“gcp_list.txt”: line 10 was left out: it has 5 values, and a point needs 6 (east, north, height, pixel column, pixel row, photo).",
        ), beside=("gcp_list.txt",)),
    "50i GCP, a system that is none": Row(with_text(ROWS, system="Gauß-Krüger 4"), 16, (
        "“gcp_list.txt” was left out: line 1 must name the coordinate system (EPSG:32633, WGS84 UTM 33N or a +proj string), "
        "but it says “Gauß-Krüger 4”.",)),
    "50j GCP, a photo that is not there": Row(with_text([*ROWS, "576001 5188001 198 12 13 DSC_9999.JPG"]), 16, (
        "“gcp_list.txt”: line 10 names a photo that is not in this set.",), beside=("gcp_list.txt",)),
    "51 geo.txt with BOM": Row(with_text(b"\xef\xbb\xbf" + GEO.encode(), "geo.txt"), 16, beside=("geo.txt",)),
    "52 a part per photo, one of them HEIC": Row([*DATA[:15], encoded(16, "HEIC")], 16, ("“part0016.heic” was converted to JPEG.",)),
    "52b a part per photo, one of them WebP": Row([*DATA[:7], encoded(8, "WEBP"), *DATA[8:]], 16, (
        "“part0008.webp” was converted to JPEG.",)),
    "52c a part per photo, one of them a GIF": Row([*DATA[:15], encoded(16, "GIF")], 15, ("“part 16” is a GIF and was left out.",)),
    "53 one photo among pages": Row([*DATA[:2], b"<html>not found</html>", b"<html>try again</html>", b"<html>no</html>"], None, (
        "neither a zip nor a set of photos",)),
}


@pytest.mark.usefixtures("live_db")
@pytest.mark.parametrize("trial", TRIALS)
def test_trial(trial):
    row = TRIALS[trial]
    token, _ = private_token(credit_bytes=CREDIT, owner=without_nodes(), limit_photos=row.limit_photos)
    scan = started_scan(token, row.parts)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    credit = Token.objects.get(pk=token.pk).credit_bytes
    if row.photos is None:
        assert scan.state == Scan.FAILED and scan.charge == Scan.VOIDED and credit == CREDIT
        for sentence in row.says:
            assert sentence in scan.error
        assert scan.error.endswith((".", ")")) and len(scan.error) < 1000
    else:
        assert scan.state == Scan.APPROVED, scan.error
        files = photos_of(scan)
        assert scan.images_count == row.photos and len(files) == row.photos + len(row.beside)
        assert set(row.beside) <= set(files)
        said = scan.set_aside.splitlines()
        assert len(said) == len(row.says), said
        for sentence in row.says:
            assert sentence in scan.set_aside
        assert credit == CREDIT - sum(map(len, row.parts))
        for name in set(files) - set(row.beside):
            photo_files.examine(_written(scan, name))
    assert books.find_discrepancies([token]) == []


def _written(scan, name):
    from app_extensions.host import tasks as host_tasks

    return host_tasks.task_dir(host_tasks.get_task(scan.webodm_task_id)) / name


def test_lists_are_written_as_odm_reads_them(tmp_path):
    for trial in ("50 GCP, BOM and CRLF", "50c GCP, names in small letters", "50e GCP, commas", "50f GCP, UTF-16", "50g GCP, a bad line"):
        written = _write(tmp_path / trial.split(" ")[0], TRIALS[trial].parts)["gcp_list.txt"].decode("ascii").splitlines()
        assert written[0].lower() == "epsg:32615" and len(written) == 9, trial
        assert all(len(line.split()) == 6 and line.split()[5] == name.replace("JPG", "jpg") for line, name in zip(written[1:], NAMES))
    assert _write(tmp_path / "51", TRIALS["51 geo.txt with BOM"].parts)["geo.txt"].startswith(b"EPSG:4326\nDSC_0423.jpg -91.99")


def _write(directory, parts, limit_photos=2000, count=None):
    task, incoming, scratch = directory / "task", directory / "incoming", directory / "scratch"
    for made in (task, incoming, scratch):
        made.mkdir(parents=True)
    with PhotoSet(lay_out(directory / "parts", parts), scratch) as photo_set:
        written = write_set(photo_set, task, incoming, limit_photos=limit_photos, least_photos=2)
    assert count is None or written.photos == count
    return {path.name: path.read_bytes() for path in task.iterdir()}


@pytest.mark.usefixtures("live_db")
@pytest.mark.parametrize("trial", ["44 HEIC only", "44b 14 HEIC and 2 JPEG", "01b HEIC named jpg"])
def test_heic_where_it_cannot_be_decoded(trial, monkeypatch):
    monkeypatch.setattr(photo_files, "pillow_heif", None)
    token, _ = private_token(credit_bytes=CREDIT, owner=without_nodes())
    scan = started_scan(token, TRIALS[trial].parts)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.FAILED and Token.objects.get(pk=token.pk).credit_bytes == CREDIT
    assert "HEIC photos that this server cannot read" in scan.error
    assert "Set the phone to “Most Compatible”, or export the photos as JPEG." in scan.error


def test_1100_parts_within_few_file_descriptors(tmp_path):
    parts = [jpeg(number, 16) for number in range(1100)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 24, hard))
    try:
        files = _write(tmp_path, parts, count=1100)
        zips = _write(tmp_path / "zips", [make_zip({f"{number}.jpg": data}) for number, data in enumerate(parts[:100])], count=100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert files["part1100.jpg"] == parts[-1] and len(zips) == 100


def test_a_set_made_to_be_slow_to_decode_is_given_up(tmp_path, monkeypatch):
    """1,600 photos of flat color without an end mark: each is decoded to see whether it is whole."""
    from app_extensions.openscan.ingest import write
    from app_extensions.openscan.ingest.refusal import Refused

    monkeypatch.setattr(write, "SECONDS_PER_SET", 0.0)
    monkeypatch.setattr(write, "SECONDS_PER_BYTE", 1e-9)
    out = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(out, "JPEG")
    with pytest.raises(Refused, match="takes too long"):
        _write(tmp_path, [make_zip({f"{number}.jpg": out.getvalue()[:-2] for number in range(50)}, zipfile.ZIP_DEFLATED)])


@pytest.mark.slow
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_that_blows_up_stays_small_in_memory(tmp_path, method):
    """`zipfile` unpacks 4 KB of bzip2 at once, which can become gigabytes. The claimed size is what a photo may have."""
    import subprocess
    import sys

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for number in range(2):
            archive.writestr(f"{number}.jpg", bytes(100_000_000))
    data = out.getvalue()
    # The directory claims sizes that are believable; the packed bytes hold more.
    data = data.replace(struct.pack("<I", 100_000_000), struct.pack("<I", 9_000_000))
    (tmp_path / "bomb").write_bytes(data)
    code = """
import resource, sys
from pathlib import Path
from app_extensions.openscan.ingest.archives import PhotoSet
from app_extensions.openscan.ingest.zips import DAMAGE
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with PhotoSet([Path(sys.argv[1])], Path(sys.argv[1]).parent) as photo_set:
    for member in photo_set.photos:
        try:
            with member.open() as source:
                while source.read(1 << 17):
                    pass
        except DAMAGE:
            continue
print(len(photo_set.photos), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "bomb")], capture_output=True, text=True, timeout=300)
    members, megabytes = map(int, done.stdout.split())
    assert members == 2 and megabytes < 60, done.stderr
