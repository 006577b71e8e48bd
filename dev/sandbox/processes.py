"""Starting, watching and stopping the child processes of a sandbox.

A child lives in its own process group, so that stopping it stops what it started as well, and dies with its parent where the
kernel can do that (Linux), so that a killed test run leaves no servers behind.
"""
import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

PR_SET_PDEATHSIG = 1  # prctl(2)
SERVER_PORTS = (18000, 32000)


class ServiceError(Exception):
    """A service did not become ready, or ended when it should run."""


#: The system's random numbers: with a seed that several processes share, they would all choose the same ports.
_RANDOM = random.SystemRandom()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at this moment.

    From below the range that the kernel gives to outgoing connections: one of those could take the port before its server does.
    """
    while True:
        port = _RANDOM.randrange(*SERVER_PORTS)
        if port_is_free(port):
            return port


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers_http(url: str, timeout_seconds: float = 5.0) -> bool:
    """Whether `url` answers with anything below 500."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds):  # noqa: S310 (loopback, http only)
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def accepts_tcp(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def process_alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie counts as dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return True


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Service:
    """One child process: how to start it and how to see that it is ready."""

    name: str
    argv: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    cwd: Optional[Path] = None
    ready: Optional[Callable[[], bool]] = None
    ready_timeout_seconds: float = 180.0
    process: Optional["subprocess.Popen[bytes]"] = None

    @property
    def pid(self) -> Optional[int]:
        return self.process.pid if self.process else None

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts the process without waiting for it. Must be called from the main thread (parent-death signal)."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=self.env, cwd=self.cwd,
                start_new_session=True, preexec_fn=_die_with_parent)

    def wait_ready(self) -> None:
        """Waits until the service answers. Raises ServiceError with the end of its log."""
        deadline = time.monotonic() + self.ready_timeout_seconds
        while True:
            if not self.running():
                code = self.process.returncode if self.process else None
                raise ServiceError(f"{self.name} ended with {code} while starting.\n{self.log_tail()}")
            if self.ready is None or self.ready():
                return
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"{self.name} was not ready after {self.ready_timeout_seconds:.0f} s.\n{self.log_tail()}")
            time.sleep(0.1)

    def log_tail(self, lines: int = 15) -> str:
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return f"(no log at {self.log})"
        return "\n".join([f"the end of {self.log}:"] + text.splitlines()[-lines:])

    def signal(self, number: int) -> None:
        """Sends a signal to the whole process group; a group that is gone is fine."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL to the whole group, as a crash or the kernel's out-of-memory killer would."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(timeout=60)

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        if self.process is not None and self.running():
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()

    def wait_ended(self, timeout_seconds: float = 10.0) -> None:
        """After `terminate`: waits, then SIGKILL for what is left of the group after the timeout."""
        if self.process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=timeout_seconds)
        self.kill()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """SIGTERM, then SIGKILL for what is left of the group after the timeout."""
        self.terminate()
        self.wait_ended(timeout_seconds)
