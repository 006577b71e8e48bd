"""WebODM's Celery application, for defining our tasks and queueing them by name.

Celery's own ``current_app`` is only set in the thread that imports it. In a web server's other threads, it would not reach the broker.
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
