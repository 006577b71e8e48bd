"""One part of 200 MB through our upload link, against DRF's FileUploadParser, `request.body` and `cp`."""
import os
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Optional

from dev.benchmarks.http import Answer, send_file
from dev.benchmarks.processes import PeakMemory, cpu_seconds, family
from dev.benchmarks.table import Row
from dev.sandbox.processes import Service, accepts_tcp, free_port
from dev.sandbox.stack import ROOT, Stack

PART_BYTES = 200_000_000
ROUNDS = 5
WARM_UP_UPLOADS = 12
CPU_BOUND = 0.8
GROWTH_BOUND_MB = 16.0


def measure(stack: Stack, directory: Path) -> list[Row]:
    """Upload one file in turn to each server, five times; compared are the medians of CPU times, the fastest wall times, and the
    largest growth."""
    part = directory / "part"
    with part.open("wb") as file:
        for _ in range(PART_BYTES // 1_000_000):
            file.write(os.urandom(1_000_000))
    small = directory / "small"
    small.write_bytes(os.urandom(100_000))
    link = _upload_link(stack)
    with _rivals(directory) as rivals:
        server = f"http://127.0.0.1:{rivals.port}"
        ours = _Server(stack.service("web").pid, lambda path: send_file(link, path))
        chunked = _Server(stack.service("web").pid, lambda path: send_file(link, path, chunked=True))
        parser = _Server(rivals.pid, lambda path: send_file(f"{server}/file", path, Content_Disposition="attachment; filename=x"))
        body = _Server(rivals.pid, lambda path: send_file(f"{server}/body", path))
        for way in (ours, chunked, parser, body):
            way.warm_up(small)
        copy_seconds = []
        for _ in range(ROUNDS):
            for way in (ours, chunked, parser, body):
                way.round(part)
            copy_seconds.append(_copy(part, directory / "copy"))
    copied = min(copy_seconds)
    return [
        _cpu_row("part of 200 MB: CPU s, against FileUploadParser", ours, parser, CPU_BOUND),
        _cpu_row("the same sent in chunks, as OpenScan3 does", chunked, parser, CPU_BOUND),
        _cpu_row("part of 200 MB: CPU s, against request.body", ours, body, None),
        _growth_row("memory growth, against request.body", ours, body),
        _growth_row("the same sent in chunks", chunked, body),
        Row("part of 200 MB: wall s, against cp and fsync", f"{ours.wall:.2f}", f"{copied:.2f}", ours.wall / copied),
        Row("the same sent in chunks", f"{chunked.wall:.2f}", f"{copied:.2f}", chunked.wall / copied),
    ]


class _Server:
    """A way of uploading, and what it cost the server behind it."""

    def __init__(self, pid: int, upload: Callable[[Path], Answer]) -> None:
        self._pid = pid
        self._upload = upload
        self._cpu: list[float] = []
        self._wall: list[float] = []
        self.growth_bytes = 0

    def warm_up(self, small: Path) -> None:
        """Let every worker answer once: its first request imports what the later ones find."""
        for _ in range(WARM_UP_UPLOADS):
            self._upload(small)

    def round(self, part: Path) -> None:
        pids = family(self._pid)
        memory, before = PeakMemory(pids), cpu_seconds(pids)
        answer = self._upload(part)
        if answer.status != 200:
            raise RuntimeError(f"the upload was answered {answer.status}: {answer.body[:300]!r}")
        self._cpu.append(cpu_seconds(pids) - before)
        self._wall.append(answer.seconds)
        self.growth_bytes = max(self.growth_bytes, memory.growth_bytes())

    @property
    def cpu(self) -> float:
        return statistics.median(self._cpu)

    @property
    def wall(self) -> float:
        return min(self._wall)


def _cpu_row(name: str, ours: _Server, other: _Server, bound: Optional[float]) -> Row:
    return Row(name, f"{ours.cpu:.2f}", f"{other.cpu:.2f}", ours.cpu / other.cpu, bound)


def _growth_row(name: str, ours: _Server, other: _Server) -> Row:
    megabytes = ours.growth_bytes / 1e6
    return Row(name, f"{megabytes:.1f} MB", f"{other.growth_bytes / 1e6:.1f} MB", megabytes, GROWTH_BOUND_MB, "MB")


def _copy(source: Path, target: Path) -> float:
    """Seconds that cp takes, and the disk after it: an uploaded part is synced before it is acknowledged."""
    started = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def _upload_link(stack: Stack) -> str:
    from app_extensions.openscan import links
    from app_extensions.openscan.accounts import tokens
    from app_extensions.openscan.intake import scans

    token, _ = tokens.create_token(forename="Bench", surname="Mark", mail="bench@example.org", credit_bytes=10 * PART_BYTES)
    scan = scans.create_scan(token, uuid.uuid4().hex, photos=1, parts=1, filesize_bytes=PART_BYTES)
    return links.upload_links(scan, stack.address())[0]


@contextmanager
def _rivals(directory: Path) -> Iterator[Service]:
    port = free_port()
    uploads = directory / "uploads"
    uploads.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    service = Service(
        name="rivals", log=directory / "rivals.log", cwd=ROOT, ready=lambda: accepts_tcp(port),
        env={**environment, "PYTHONPATH": str(ROOT), "BENCH_UPLOADS": str(uploads)},
        argv=[sys.executable, "-m", "gunicorn", "dev.benchmarks.rivals", "--bind", f"127.0.0.1:{port}", "--timeout", "300000",
              "--workers", "3", "--preload"],
    )
    service.port = port
    service.start()
    try:
        service.wait_ready()
        yield service
    finally:
        service.stop()
