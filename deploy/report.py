"""What a command prints: every change it makes (or would make), and errors that a person can fix."""
import sys
from typing import Callable, TextIO


class DeployError(Exception):
    """Something that the person at the keyboard has to fix; its text says how."""


class Report:
    """Carries out changes and prints each; with `dry_run` it prints what it would do and changes nothing."""

    def __init__(self, dry_run: bool = False, out: TextIO = None) -> None:  # type: ignore[assignment]
        self.dry_run = dry_run
        self.out = out or sys.stdout
        self.changes: list[str] = []

    def _print(self, mark: str, text: str) -> None:
        print(f"{mark} {text}", file=self.out, flush=True)

    def change(self, text: str, action: Callable[[], object]) -> None:
        """Announces `text`, then does it, unless this is a dry run."""
        self._print("would" if self.dry_run else "+", text)
        self.changes.append(text)
        if not self.dry_run:
            action()

    def same(self, text: str) -> None:
        """Something that is already as it should be."""
        self._print("=", text)

    def note(self, text: str) -> None:
        self._print("*", text)

    def finish(self, done: str) -> None:
        """The last line: what was done, or that nothing had to be."""
        if not self.changes:
            self._print("=", "nothing to change")
        elif self.dry_run:
            self._print("*", f"dry run: {len(self.changes)} change{'' if len(self.changes) == 1 else 's'} not made")
        else:
            self._print("*", done)
