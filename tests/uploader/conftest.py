"""Fixtures of the uploader's tests. The uploader is no part of the product, so it is imported from its own directory."""
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "uploader" / "src"
sys.path.insert(0, str(SOURCE))

from openscan_uploader import Client, waits  # noqa: E402

from tests.openscan.make_sets import jpeg  # noqa: E402
from tests.support.original_cloud import TOKEN, BadLine, OriginalCloud, bad_line, original_cloud  # noqa: E402


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch) -> None:
    """No test reads or writes the settings and sets of whoever runs it, and waits are short."""
    monkeypatch.setenv("OPENSCAN_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("OPENSCAN_CONFIG", str(tmp_path / "config.ini"))
    monkeypatch.setenv("OPENSCAN_KEYRING", "no")
    for name in ("OPENSCAN_SERVER", "OPENSCAN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(waits, "FIRST_WAIT", 0.02)


@pytest.fixture
def cloud(tmp_path) -> Iterator[OriginalCloud]:
    """A server that knows only the original protocol."""
    directory = tmp_path / "cloud"
    directory.mkdir()
    with original_cloud(directory) as running:
        yield running


@pytest.fixture
def client(cloud) -> Client:
    """A client of that server."""
    return Client(cloud.address, TOKEN)


@pytest.fixture
def line(cloud) -> Iterator[BadLine]:
    """A line in front of that server, over which its links lead as well."""
    with bad_line(cloud.port) as running:
        cloud.public = running.address
        yield running


@pytest.fixture
def make_folder(tmp_path) -> Callable[..., Path]:
    """make_folder(name="vase", count=4, size=48) -> a folder of small photos."""
    def make(name: str = "vase", count: int = 4, size: int = 48) -> Path:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(1, count + 1):
            (folder / f"IMG_{number}.JPG").write_bytes(jpeg(number, size))
        return folder

    return make
