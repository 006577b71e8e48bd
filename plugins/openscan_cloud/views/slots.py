"""Limit the number of simultaneous uploads and downloads per web server process.

A transfer takes as long as the client's connection is slow. With more threads than transfers, the process can still answer other calls.
"""
import threading
from types import TracebackType
from typing import Optional

from django.db import connection

from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError

BUSY = 503
_lock = threading.Lock()
_taken = 0


class Slot:
    """One transfer's place in this process. Free it once; freeing it again does nothing."""

    def __init__(self) -> None:
        """Take a place. Raises OpenScanError (503) if all are taken."""
        global _taken
        with _lock:
            if _taken >= conf.transfers_per_process:
                raise OpenScanError("The server has as many uploads and downloads as it can take; try again in a minute.", BUSY)
            _taken += 1
            self._mine = True

    def free(self) -> None:
        """Give the place back."""
        global _taken
        with _lock:
            _taken -= self._mine
            self._mine = False

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, kind: Optional[type[BaseException]], problem: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.free()


def release_database() -> None:
    """Close this thread's database connection until it is needed again, because PostgreSQL allows fewer connections than transfers."""
    if not connection.in_atomic_block:
        connection.close()
