"""Starts and ends the nodes that the tests of this directory talk to."""
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Callable, Optional

import pytest

from tests.node.harness import QUICK_ENGINE, NodeProgram


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProgram]:
    """A node that all tests share: none may stop it or count on an empty queue."""
    program = NodeProgram(tmp_path_factory.mktemp("shared") / "node", QUICK_ENGINE, ()).start()
    yield program
    program.stop()


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., NodeProgram]]:
    """Start a node of one's own: ``make_node("--parallel", "2", engine=…, token=…)``."""
    programs: list[NodeProgram] = []

    def make(*arguments: str, engine: str = QUICK_ENGINE, token: str = "", data: Optional[Path] = None) -> NodeProgram:
        directory = data or Path(tempfile.mkdtemp(prefix="node-", dir=tmp_path)) / "data"
        program = NodeProgram(directory, engine, arguments, token).start()
        programs.append(program)
        return program

    yield make
    for program in programs:
        if program.process.poll() is None:
            program.process.send_signal(signal.SIGKILL)
            program.kill()
