"""What the kernel knows of a process and its children (proc(5)): CPU time and memory."""
import os
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all its living descendants."""
    found = [pid]
    for parent in found:
        for thread in Path(f"/proc/{parent}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of processes so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


class PeakMemory:
    """How much each of some processes grows from now on, at its peak."""

    def __init__(self, pids: list[int]) -> None:
        self._before = {}
        for pid in pids:
            # Sets the peak back to what is resident now.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            self._before[pid] = _status_bytes(pid, "VmHWM")

    def growth_bytes(self) -> int:
        """The growth of the process that grew most."""
        return max(_status_bytes(pid, "VmHWM") - before for pid, before in self._before.items())


def peak_bytes(pid: int) -> int:
    """The most memory that a process has had since it began its program. Raises ValueError for one that has ended."""
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} tells no {name}")
