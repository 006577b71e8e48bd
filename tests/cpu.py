"""``--cpu``: what each test file costs, in seconds of processor time and of waiting, with the servers and programs that it uses."""
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, tuple[int, float]]:
    """Every process: its parent, and the processor seconds of it and of its ended children."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended since the listing; its parent has its seconds
            found[int(name)] = int(fields[1]), sum(int(field) for field in fields[11:15]) / _TICKS
    return found


def cpu_seconds(roots: list[int]) -> float:
    """Processor seconds of processes and all that descend from them. What ran as a daemon of another parent is not in it."""
    processes = _processes()
    children = defaultdict(list)
    for pid, (parent, _) in processes.items():
        children[parent].append(pid)
    total, left, seen = 0.0, list(roots), set()
    while left:
        pid = left.pop()
        if pid in processes and pid not in seen:
            seen.add(pid)
            total += processes[pid][1]
            left += children[pid]
    return total


class CpuReport:
    """The pytest plugin behind ``--cpu``. In a worker of xdist it measures; where the reports arrive it adds up."""

    def __init__(self, database: Path) -> None:
        self.postmaster = database / "postmaster.pid"  # PostgreSQL is a daemon, so it does not descend from us
        self.last = self._now()
        self.ends = False
        self.files: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def _now(self) -> float:
        roots = [os.getpid()]
        if self.postmaster.exists():
            roots += [int(line) for line in self.postmaster.read_text().splitlines()[:1]]
        return cpu_seconds(roots)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: Optional[pytest.Item]) -> None:
        self.ends = nextitem is None or nextitem.path != item.path  # a look at all processes takes long

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
        outcome: Any = yield
        if self.ends and call.when == "teardown":
            now = self._now()
            # A server that was killed and not waited for takes its seconds with it.
            outcome.get_result().cpu_seconds = max(0.0, now - self.last)
            self.last = now

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = self.files[report.nodeid.split("::")[0]]
        row[0] += getattr(report, "cpu_seconds", 0.0)
        row[1] += report.duration

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.write_sep("=", "seconds of each file: processor, duration")
        for file, (cpu, duration) in sorted(self.files.items(), key=lambda item: -item[1][0]):
            terminalreporter.write_line(f"{cpu:8.1f} {duration:8.1f}  {file}")
        cpu = sum(row[0] for row in self.files.values())
        duration = sum(row[1] for row in self.files.values())
        terminalreporter.write_line(f"{cpu:8.1f} {duration:8.1f}  in all")
