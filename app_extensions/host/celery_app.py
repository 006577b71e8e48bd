"""WebODM's Celery application, for tasks of ours and for queueing them by name.

Celery's own ``current_app`` is set in the importing thread only: a web server's other threads would talk to no broker.
"""
from collections.abc import Sequence
from typing import Any, Optional

from worker.celery import app

__all__ = ["app", "send"]


def send(name: str, args: Sequence[Any] = (), *, countdown: Optional[float] = None, task_id: Optional[str] = None,
         queue: str = "") -> None:
    """Queue a task by its registered name. countdown: seconds until it may run. queue: empty is WebODM's default."""
    more = {"queue": queue} if queue else {}
    app.send_task(name, args=list(args), countdown=countdown, task_id=task_id, **more)
