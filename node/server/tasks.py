"""The node's tasks and the SQLite file that keeps them across restarts."""
import enum
import json
import sqlite3
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Optional


class Status(enum.IntEnum):
    """NodeODM's status codes."""

    QUEUED = 10
    RUNNING = 20
    FAILED = 30
    COMPLETED = 40
    CANCELED = 50


FINISHED = frozenset({Status.FAILED, Status.COMPLETED, Status.CANCELED})


def now_ms() -> int:
    """Milliseconds since 1970, the unit of all of NodeODM's times."""
    return int(time.time() * 1000)


@dataclass
class Task:
    """One processing job. Times are in milliseconds; ``processing_time`` is -1 until processing starts."""

    uuid: str
    name: str
    options: list[dict[str, Any]]
    status: Status = Status.RUNNING
    error: str = ""
    # False while its files are still being moved or fetched. As in NodeODM, the task counts as running then.
    ready: bool = False
    # The address of the zip with the task's files, empty if they were uploaded.
    zipurl: str = ""
    outputs: list[str] = field(default_factory=list)
    webhook: str = ""
    skip_post_processing: bool = False
    date_created: int = field(default_factory=now_ms)
    date_started: int = 0
    date_finished: int = 0
    images_count: int = 0
    progress: float = 0.0
    # Whether the engine has begun with the current options. From then on, ``rerun-from`` must not be passed again.
    begun: bool = False
    # Place in the queue: grows with each new or restarted task.
    turn: int = 0
    # The process group of the task's engine, and when the kernel started its leader. After a kill, the next node uses them to end an
    # engine that was left behind.
    engine_pid: int = 0
    engine_started: int = 0

    @property
    def finished(self) -> bool:
        return self.status in FINISHED

    @property
    def processing_time(self) -> int:
        """Milliseconds from the engine's start to now, or to its end; -1 before the start and after a cancel."""
        if not self.date_started:
            return -1
        return max(0, (self.date_finished or now_ms()) - self.date_started)

    def info(self) -> dict[str, Any]:
        """The answer of ``/task/{uuid}/info``."""
        status: dict[str, Any] = {"code": int(self.status)}
        if self.error:
            status["errorMessage"] = self.error
        return {
            "uuid": self.uuid,
            "name": self.name,
            "dateCreated": self.date_created,
            "processingTime": self.processing_time,
            "status": status,
            "options": self.options,
            "imagesCount": self.images_count,
            "progress": round(self.progress, 2),
        }


class TaskStore:
    """Tasks in one SQLite file. After a kill at any moment, the last saved state is complete.

    Raises ``sqlite3.Error`` (a full disk, among others) from every method that writes.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(str(path))
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS task (uuid TEXT PRIMARY KEY, state TEXT NOT NULL)")
        self._database.commit()

    def all(self) -> list[Task]:
        """All tasks, in the order of their turns."""
        rows = self._database.execute("SELECT state FROM task").fetchall()
        tasks = [_from_json(state) for (state,) in rows]
        return sorted(tasks, key=lambda task: task.turn)

    def save(self, task: Task) -> None:
        """Insert or replace a task; returns once its state is on the disk."""
        with self._database:
            self._database.execute(
                "INSERT OR REPLACE INTO task (uuid, state) VALUES (?, ?)", (task.uuid, json.dumps(asdict(task)))
            )

    def delete(self, uuid: str) -> None:
        with self._database:
            self._database.execute("DELETE FROM task WHERE uuid = ?", (uuid,))

    def close(self) -> None:
        self._database.close()


def _from_json(state: str) -> Task:
    values = json.loads(state)
    known = {name: values[name] for name in Task.__dataclass_fields__ if name in values}
    known["status"] = Status(known["status"])
    return Task(**known)


def parse_date_created(text: Optional[str]) -> int:
    """A client's ``dateCreated`` in milliseconds, or the current time if it is missing or no number."""
    try:
        return int(float(text or ""))
    except (ValueError, OverflowError):
        return now_ms()
