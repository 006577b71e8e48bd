"""Periodic jobs in WebODM's own beat."""
from typing import Optional, Union

from celery.schedules import crontab
from worker.celery import app


def add_periodic(name: str, task: str, every: Union[float, crontab], expires: Optional[float] = None,
                 queue: str = "") -> None:
    """Add an entry to WebODM's schedule. Call this in ``AppConfig.ready()``.

    task: the registered name. every: seconds, or a crontab (UTC). expires: seconds after which a job is dropped if no worker has taken
    it; by default just under the period, so that jobs do not pile up while no worker runs. queue: a Celery queue; empty: WebODM's
    default queue.
    """
    if expires is None:
        expires = max(1.0, every * 0.9) if isinstance(every, (int, float)) else 3600.0
    schedule = dict(app.conf.beat_schedule)
    options = {"expires": expires, "retry": False, **({"queue": queue} if queue else {})}
    schedule[name] = {"task": task, "schedule": every, "options": options}
    app.conf.beat_schedule = schedule
