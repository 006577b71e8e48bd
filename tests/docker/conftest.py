"""The Docker engine and the ways to run Compose on it."""
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from tests.docker import images, wrappers
from tests.docker.engine import Engine, EngineMissing, cache_dir, check_machine
from tests.docker.trial import path_without


def missing(why: str) -> None:
    """Skip by name what this machine lacks, or fail when REQUIRE_TOOLS=1."""
    if os.environ.get("REQUIRE_TOOLS") == "1":
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A running Docker engine with the stand-in images; what a test leaves on it is removed."""
    try:
        check_machine()
        found = Engine(cache_dir() / "docker")
        found.start()
    except EngineMissing as lacking:
        missing(f"no Docker engine: {lacking}")
    try:
        try:
            images.build(found)
        except EngineMissing as lacking:
            missing(f"no base images: {lacking}")
        found.clear(images.KEPT)
        yield found
        found.clear(images.KEPT)
    finally:
        found.stop()


@pytest.fixture(params=["v1", "v2"])
def compose(request: pytest.FixtureRequest, engine: Engine, tmp_path: Path) -> str:
    """A PATH with Compose v1 (`docker-compose`) or v2 (`docker compose`) alone."""
    plugins = engine.config / "cli-plugins"
    for link in plugins.iterdir():
        link.unlink()
    programs = {"docker": str(shutil.which("docker"))}
    if request.param == "v1":
        if not shutil.which("docker-compose"):
            missing("Compose v1 is not installed (Debian's package docker-compose)")
        programs["docker-compose"] = str(shutil.which("docker-compose"))
        return f"{wrappers.write(tmp_path / 'wrappers', programs)}:{os.environ['PATH']}:/usr/sbin:/sbin"
    try:
        for plugin in images.compose_v2(engine).iterdir():
            (plugins / plugin.name).symlink_to(plugin)
    except EngineMissing as lacking:
        missing(str(lacking))
    return f"{wrappers.write(tmp_path / 'wrappers', programs)}:{path_without('docker-compose', tmp_path / 'bin')}"


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints at once, also in a test that passes: the trial takes minutes, and its table is what one runs it for."""

    def printed(text: str) -> None:
        with capfd.disabled():
            print(text, flush=True)

    return printed
