"""Starts a real processing node with the quick engine, for the tests in this directory."""
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Optional

import requests
from pyodm import Node

from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[2]
NODE_PYTHON = ROOT / ".venv" / "engine" / "bin" / "python"
QUICK_ENGINE = f"{sys.executable} {ROOT / 'tests' / 'support' / 'quick_engine.py'}"
JPEG = b"\xff\xd8\xff\xe0quick\xff\xd9"


def wait_for(check: Callable[[], Any], seconds: float = 120.0) -> Any:
    """The first true answer of a check, asked often: a task may be in a state only for a moment."""
    return until(check, seconds, 0.05)


def shell_engine(path: Path, work: str) -> None:
    """Write an engine as a shell script: ``work`` is done in each run, which then says that it went well; $OUT is its directory."""
    path.write_text(
        '#!/bin/sh\ncase "$1" in --list-options) echo "[]";; --version) exit 2;; *) OUT=$4; '
        + work + '; echo \'{"type":"result","ok":true}\';; esac\n'
    )
    path.chmod(0o755)


class NodeProgram:
    """One node with its data directory; it can be killed and started again over the same data."""

    def __init__(self, data: Path, engine: str, arguments: tuple, token: str = "") -> None:
        self.data = data
        self.token = token
        self.log = data.parent / (data.name + ".log")
        self._arguments = [
            str(NODE_PYTHON), "-m", "node.server", "--data", str(data), "--port", "0", "--reserve-mb", "0", "--engine", engine, *arguments,
        ]
        self.process: Optional[subprocess.Popen] = None
        self.url = ""

    def start(self) -> "NodeProgram":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, env=dict(os.environ, NODE_TOKEN=self.token),
            )
        line = self.process.stdout.readline().decode()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, f"the node did not start: {line} {self.log.read_text()[-2000:]}"
        self.url = address.group()
        return self

    def kill(self) -> None:
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.terminate()
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(10)
        self.process.stdout.close()
        return code

    def pyodm(self) -> Node:
        return Node("127.0.0.1", int(self.url.rpartition(":")[2]), self.token)

    def get(self, path: str, **more: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=120, **more)

    def post(self, path: str, **more: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=120, **more)

    def new_task(self, *names: str, **options: Any) -> str:
        """A task of small files by one request; returns its id."""
        files = [("images", (name, JPEG, "image/jpeg")) for name in names or ("a.jpg",)]
        values = [{"name": name.replace("_", "-"), "value": value} for name, value in options.items()]
        answer = self.post("/task/new", files=files, data={"options": json.dumps(values)}).json()
        return answer["uuid"]

    def info(self, uuid: str) -> dict:
        return self.get(f"/task/{uuid}/info").json()

    def status(self, uuid: str) -> int:
        return self.info(uuid)["status"]["code"]

    def wait_status(self, uuid: str, *codes: int, seconds: float = 120.0) -> dict:
        """The task's info once its status is one of these."""
        return wait_for(lambda: self.status(uuid) in codes and self.info(uuid), seconds)

    def task_directory(self, uuid: str) -> Path:
        return self.data / "tasks" / uuid

    def engine_processes(self) -> list[int]:
        """The ids of all processes, of whatever parent, that work in this node's data directory."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (directory / "cmdline").read_bytes()
                if str(self.data / "tasks").encode() in command:
                    found.append(int(directory.name))
        return found
