"""The demonstration of a scan against a live sandbox, from the token to the checked model."""
import argparse
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.demo import scan
from dev.sandbox.stack import ROOT, Stack


@pytest.fixture
def beating(stack: Stack) -> Iterator[Stack]:
    """The live stack with its periodic jobs running, as a user's sandbox has them."""
    stack.start(["beat"])
    yield stack
    stack.services.pop("beat").stop()


def test_photos_become_a_model(beating: Stack, capsys: pytest.CaptureFixture) -> None:
    options = argparse.Namespace(photos=scan.PHOTOS)
    assert scan.run(beating, options) == 0
    told = capsys.readouterr().out
    assert "createProject banana-" in told and "16 photos" in told and "in 2 parts" in told
    assert "processing done" in told
    assert "300 faces, 1 texture(s)" in told
    assert f"{beating.address()}/3d/project/" in told
    for client in ("OpenScan3", "OpenScan2", "uploader.py"):
        assert client in told

    kept = beating.data / "demo" / "token"
    token = kept.read_text().strip()
    assert len(token) == 32 and token not in told
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    (result,) = (path for path in (beating.data / "demo").iterdir() if path.is_dir())
    assert {"model.zip", "odm_textured_model_geo.obj", "odm_textured_model_geo.glb"} <= {path.name for path in result.iterdir()}

    assert scan.demo_token(beating, f"{beating.address()}/api/openscan", kept) == token
    kept.write_text("0" * 32)
    other = scan.demo_token(beating, f"{beating.address()}/api/openscan", kept)
    assert other not in (token, "0" * 32) and kept.read_text().strip() == other


def test_a_failure_is_told(beating: Stack, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number, photo in enumerate(sorted(scan.PHOTOS.glob("*.JPG"))[:3]):
        name = photo.name if number else "quick-fail.jpg"
        (tmp_path / name).write_bytes(photo.read_bytes())
    assert scan.run(beating, argparse.Namespace(photos=tmp_path)) == 1
    assert "Processing failed: Only 3 of 16 photos could be placed" in capsys.readouterr().err


def test_too_few_photos(stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert scan.run(stack, argparse.Namespace(photos=tmp_path)) == 1
    assert "holds 0 photos" in capsys.readouterr().err
    assert scan.run(stack, argparse.Namespace(photos=tmp_path / "nothing")) == 1


def test_without_a_sandbox(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-m", "dev.demo", "scan", "--data", str(tmp_path)], cwd=ROOT, capture_output=True)
    assert ended.returncode == 1
    assert b"No sandbox runs in" in ended.stderr and b"Traceback" not in ended.stderr
