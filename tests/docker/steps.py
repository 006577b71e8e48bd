"""The table of steps that the Docker test prints."""
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable


class Steps:
    """Records each step of a trial: its name, how long it took, whether it was passed. ``say`` prints a line at once."""

    def __init__(self, title: str, say: Callable[[str], None]) -> None:
        self.title = title
        self._say = say
        self.rows: list[tuple[str, float, str]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step; what it raises ends the trial."""
        began = time.monotonic()
        outcome = "FAILED"
        try:
            yield
            outcome = "passed"
        finally:
            self.rows.append((name, time.monotonic() - began, outcome))
            self._say(f"[{self.title}] {name}: {outcome} ({self.rows[-1][1]:.1f} s)")

    def note(self, text: str) -> None:
        """Something worth reading in the output."""
        self._say(f"[{self.title}] {text}")

    def print_table(self) -> None:
        """Print all steps so far."""
        width = max(len(name) for name, _, _ in self.rows) if self.rows else 0
        lines = [f"{name:<{width}}  {seconds:>7.1f} s  {outcome}" for name, seconds, outcome in self.rows]
        total = sum(seconds for _, seconds, _ in self.rows)
        self._say("\n".join(["", f"Docker, {self.title}", *lines, f"{'together':<{width}}  {total:>7.1f} s"]))
