"""Lets a caller follow a transfer and pause, resume or cancel it from another thread."""
import threading
from dataclasses import dataclass
from typing import Callable, Optional

from openscan_uploader.errors import CANCELED, Canceled


@dataclass(frozen=True)
class Progress:
    """One report. `stage` is `looking`, `reading`, `sending`, `waiting` (for the model) or `downloading`."""

    stage: str
    done_bytes: int = 0
    total_bytes: int = 0
    #: Recent bytes per second; 0 while unknown.
    speed: float = 0.0
    #: From 0 to 1 while the server works.
    fraction: float = 0.0
    #: A sentence: what the server said, or why nothing moves just now.
    message: str = ""
    project: str = ""


OnProgress = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """A callback that does nothing."""


class Interrupted(Exception):
    """Raised inside a part that is being sent when the caller pauses or cancels."""


class Control:
    """Pauses, resumes and cancels a transfer. Safe to use from any thread."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        self._canceled = threading.Event()

    @property
    def paused(self) -> bool:
        """Whether the caller paused."""
        return not self._running.is_set()

    @property
    def canceled(self) -> bool:
        """Whether the caller canceled."""
        return self._canceled.is_set()

    def pause(self) -> None:
        """Stop sending. Parts that are under way are sent again after `resume`."""
        self._running.clear()

    def resume(self) -> None:
        """Continue after `pause`."""
        self._running.set()

    def cancel(self) -> None:
        """End the transfer: the running call raises `Canceled`."""
        self._canceled.set()

    def check(self) -> None:
        """Raises Interrupted if the caller paused or canceled."""
        if self._canceled.is_set() or not self._running.is_set():
            raise Interrupted

    def sleep(self, seconds: float) -> None:
        """Wait. Raises Canceled as soon as the caller cancels."""
        if self._canceled.wait(seconds):
            raise Canceled(CANCELED)

    def wait_while_paused(self, seconds: Optional[float] = None) -> None:
        """Return once nothing is paused, or after `seconds`. Raises Canceled if the caller cancels."""
        self.sleep(0)
        self._running.wait(seconds)
        self.sleep(0)
