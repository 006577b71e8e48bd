"""What the queue needs besides tasks: its settings, the job that runs for a task, and its errors."""
import asyncio
import time
from dataclasses import dataclass, field
from typing import Optional

from .disk import DiskFullError, is_disk_full
from .engine import EngineRun


class UnknownTaskError(Exception):
    """There is no task with this id."""


class TaskStateError(Exception):
    """The request cannot be carried out in the task's current state."""


@dataclass(frozen=True)
class Settings:
    """The node's settings. Times are in seconds; 0 images or 0 seconds of run time mean no limit."""

    parallel: int = 1
    max_images: int = 0
    max_runtime: float = 0.0
    webhook: str = ""
    keep_tasks: float = 2880 * 60.0
    keep_uploads: float = 2880 * 60.0


@dataclass
class Job:
    """The work in progress for one task: taking in files, running the engine, or packing results."""

    work: Optional["asyncio.Task[None]"] = None
    run: Optional[EngineRun] = None
    canceled: bool = False
    saved_at: float = field(default_factory=time.monotonic)


def error_sentence(error: Exception) -> str:
    """The sentence that a task's owner reads when its files or its engine failed with this error. It never holds the node's paths."""
    if isinstance(error, DiskFullError):
        return str(error)
    if is_disk_full(error):
        return "The processing node's disk is full."
    if isinstance(error, OSError):
        return f"The processing node could not work with its files: {error.strerror}"
    return str(error)
