"""The package: one version, a wheel with both commands, any Python from 3.8 on, HEIC photos, and sets as large as a token allows."""
import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from openscan_uploader import Client, __version__
from PIL import Image

import app_extensions
from dev.sandbox.stack import ROOT
from tests.openscan.make_sets import jpeg
from tests.support.original_cloud import TOKEN
from tests.uploader.conftest import SOURCE


def test_the_version_is_the_projects() -> None:
    assert __version__ == app_extensions.__version__


def test_the_wheel_has_all_modules_and_both_commands(tmp_path) -> None:
    code = f"import flit_core.buildapi as build; print(build.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "uploader", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"openscan_uploader-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        commands = archive.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")} <= set(names)
    assert "openscan-upload=openscan_uploader.command:main" in commands and "openscan-uploader=openscan_uploader.window:main" in commands
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [line.split()[1][:8] for line in required] == ["requests"] and "Requires-Python: >=3.8" in metadata
    # It runs from the wheel alone, far from our code.
    script = f"import sys; sys.path.insert(0, {str(wheel)!r}); from openscan_uploader.command import main; main(['--version'])"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == f"openscan-upload {__version__}", done.stderr


def test_the_syntax_is_python_38() -> None:
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "uploader").glob("*.py")]:
        ast.parse(path.read_text(), str(path), feature_version=(3, 8))


def test_the_six_lines_of_the_readme_run(cloud, make_folder, tmp_path, monkeypatch) -> None:
    text = (ROOT / "uploader" / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    folder = make_folder("vase")
    cloud.fault = lambda what: [cloud.finish(name) for name in cloud.projects] and None if what == "getProjectInfo" else None
    code = code.replace("https://example.org", cloud.address).replace("AAAAbbbbCCCCddddEEEEffffGGGG1234", TOKEN)
    code = code.replace("photos/vase", str(folder))
    assert len([line for line in code.splitlines() if line]) <= 6
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert len(list((tmp_path / "models").glob("*.zip"))) == 1


def test_other_kinds_become_jpegs_with_their_exif_for_the_original_server(client, cloud, make_folder) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    folder = make_folder(count=2)
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Phone", "Model 7"
    exif.get_ifd(0x8769)[0x920A] = 4.25  # focal length in mm
    exif.get_ifd(0x8825)[1] = "N"
    image = Image.linear_gradient("L").convert("RGB").resize((64, 48))
    heif = pillow_heif.from_pillow(image)
    heif.save(folder / "IMG_3.HEIC", exif=exif.tobytes(), quality=90)
    exif[0x0112] = 6  # turned by a quarter
    image.save(folder / "IMG_4.webp", exif=exif.tobytes())
    image.save(folder / "IMG_1.bmp")  # beside IMG_1.JPG
    client.upload(folder)
    members = cloud.only().members
    assert set(members) == {"IMG_1.JPG", "IMG_2.JPG", "IMG_1.jpg", "IMG_3.jpg", "IMG_4.jpg"} and cloud.only().photos == 5
    for name, size in (("IMG_3.jpg", (64, 48)), ("IMG_4.jpg", (48, 64))):
        with Image.open(io.BytesIO(members[name])) as made:
            assert made.format == "JPEG" and made.size == size
            read = made.getexif()
            assert (read[0x010F], read[0x0110]) == ("Phone", "Model 7") and read.get(0x0112, 1) == 1
            assert float(read.get_ifd(0x8769)[0x920A]) == 4.25 and read.get_ifd(0x8825)[1] == "N"
    assert not list(client.sets.directory.glob("*.converted")), "the copies are gone once the set is started"


def test_without_the_extra_the_message_says_what_to_install(client, cloud, make_folder, monkeypatch) -> None:
    folder = make_folder()
    (folder / "IMG_9.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(Exception, match=r"openscan-uploader\[heif\]"):
        client.upload(folder)
    assert cloud.projects == {}


def large_folder(tmp_path: Path) -> Path:
    """480 sparse photos of 4.1 MB."""
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(480):
        with (folder / f"IMG_{number:04}.JPG").open("wb") as file:
            file.write(jpeg(number))
            file.truncate(4_100_000)
    return folder


@pytest.mark.long
def test_a_set_of_2_gb(client, cloud, tmp_path) -> None:
    """Memory stays flat."""
    folder = large_folder(tmp_path)
    cloud.keep = False
    script = (f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from openscan_uploader import Client; "
              f"Client({cloud.address!r}, {TOKEN!r}).upload({str(folder)!r}); "
              "print([int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM')][0])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert cloud.only().status == "initialized" and cloud.only().parts == 10 and cloud.only().size_bytes > 1_960_000_000
    assert int(done.stdout) < 100_000, "kB of memory at its peak"


@pytest.mark.long
def test_a_set_of_2_gb_as_photos_on_our_server(stack, live_db, tmp_path) -> None:
    from app_extensions.openscan.models import Scan
    from tests.openscan.helpers import private_token

    folder = large_folder(tmp_path)
    client = Client(stack.address(), private_token(10**12)[1])
    project = client.upload(folder)
    assert Scan.objects.get(name=project).received_bytes == 480 * 4_100_000
    client.reset(project)
