"""A Docker engine of the test's own: data root, socket and network namespace belong to nobody else.

The namespace has no way out, so nothing in a container reaches a network, and no firewall rule of the machine is touched. A published
port is reached through `Engine.call`, which runs a function in a thread inside the namespace.
"""
import ctypes
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Optional

CLONE_NEWNET = 0x40000000
START_SECONDS = 120


class EngineMissing(Exception):
    """This machine cannot run a Docker engine; the text says what it lacks."""


def cache_dir() -> Path:
    """Where base images and wheels are kept between runs: `WEBODM_TEST_CACHE`, else `~/.cache/webodm-extensions`."""
    return Path(os.environ.get("WEBODM_TEST_CACHE") or Path.home() / ".cache" / "webodm-extensions")


def check_machine() -> None:
    """Raise EngineMissing unless an engine can be started here."""
    for tool, package in (("dockerd", "docker.io"), ("docker", "docker.io"), ("debootstrap", "debootstrap"), ("iptables", "iptables"),
                          ("unshare", "util-linux"), ("ip", "iproute2")):
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            raise EngineMissing(f"{tool} is not installed (Debian's package {package})")
    if os.geteuid() != 0:
        raise EngineMissing("a Docker engine needs root")


class Engine:
    """One dockerd over `root`, which keeps its images for the next run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = Path(tempfile.mkdtemp(prefix="webodm-docker-"))
        self.socket = self.scratch / "docker.sock"
        self.log = self.scratch / "dockerd.log"
        self.config = self.scratch / "config"
        (self.config / "cli-plugins").mkdir(parents=True)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._threads: Optional[ThreadPoolExecutor] = None

    # -- life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start dockerd and wait for it. Raises EngineMissing with the end of its log where it does not come up."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = (self.root / "in-use").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)  # a second run waits for the first
        command = ["dockerd", "--data-root", str(self.root / "data"), "--exec-root", str(self.scratch / "exec"), "-H",
                   f"unix://{self.socket}", "--pidfile", str(self.scratch / "pid"), "--shutdown-timeout", "5"]
        shell = 'ip link set lo up && exec "$@"'
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(["unshare", "--net", "sh", "-c", shell, "sh", *command], stdout=log, stderr=log,
                                             env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
        deadline = time.monotonic() + START_SECONDS
        while self.docker("info", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-1500:]
                self.stop()
                raise EngineMissing(f"dockerd does not start here:\n{tail}")
            time.sleep(0.3)
        self._threads = ThreadPoolExecutor(4, initializer=self._enter)

    def stop(self) -> None:
        """Stop dockerd with all containers, and remove what is not kept for the next run."""
        if self._threads:
            self._threads.shutdown()
        if self._process and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=60)
        self._lock.close()
        shutil.rmtree(str(self.scratch), ignore_errors=True)

    # -- use -----------------------------------------------------------------------------------------------------

    def environment(self, extra: Optional[dict[str, str]] = None) -> dict[str, str]:
        """The environment of a program that is to talk to this engine; no WO_ variable of the caller's is in it."""
        inherited = {key: value for key, value in os.environ.items()
                     if not key.startswith(("WO_", "WEBODM_", "SANDBOX_", "COMPOSE_", "DOCKER_", "DJANGO_"))
                     and not key.lower().endswith("_proxy")}
        return {**inherited, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.config), **(extra or {})}

    def docker(self, *arguments: str, check: bool = True, **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run the docker client; returns what it printed. Raises AssertionError where it fails, unless `check` is False."""
        options.setdefault("timeout", 900)
        done = subprocess.run(["docker", *arguments], env=self.environment(), capture_output=True, text=True, **options)
        if check and done.returncode:
            raise AssertionError(f"docker {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Run `function` inside the engine's network, where its containers' published ports are on 127.0.0.1."""
        assert self._threads is not None
        return self._threads.submit(function, *arguments, **options).result()

    def has_image(self, tag: str) -> bool:
        return self.docker("image", "inspect", tag, check=False).returncode == 0

    def clear(self, keep: Iterable[str]) -> None:
        """Remove all containers, volumes and networks, and every tag that is not in `keep`."""
        containers = self.docker("ps", "-aq").stdout.split()
        if containers:
            self.docker("rm", "-f", "-v", *containers)
        volumes = self.docker("volume", "ls", "-q").stdout.split()
        if volumes:
            self.docker("volume", "rm", "-f", *volumes)
        self.docker("network", "prune", "-f")
        kept = set(keep)
        tags = [tag for tag in self.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
                if tag not in kept and "<none>" not in tag]
        if tags:
            self.docker("rmi", "-f", *tags)
        self.docker("image", "prune", "-f")

    def _enter(self) -> None:
        assert self._process is not None
        with open(f"/proc/{self._process.pid}/ns/net") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
