"""The table of steps that the Docker test prints."""
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """Records each step of a trial: its name, how long it took, whether it was passed."""

    def __init__(self, title: str) -> None:
        self.title = title
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
            print(f"[{self.title}] {name}: {outcome} ({self.rows[-1][1]:.1f} s)", flush=True)

    def note(self, text: str) -> None:
        """Something worth reading in the output."""
        print(f"[{self.title}] {text}", flush=True)

    def table(self) -> str:
        """All steps so far, as text."""
        width = max(len(name) for name, _, _ in self.rows) if self.rows else 0
        lines = [f"{name:<{width}}  {seconds:>7.1f} s  {outcome}" for name, seconds, outcome in self.rows]
        total = sum(seconds for _, seconds, _ in self.rows)
        return "\n".join([f"Docker, {self.title}", *lines, f"{'together':<{width}}  {total:>7.1f} s"])
