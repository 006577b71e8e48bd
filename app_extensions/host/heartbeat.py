"""Show that beat and the workers run: once per minute, a job in each queue writes the time to Redis."""
import time
from typing import Optional

import redis
from django.conf import settings
from worker.celery import app

from app_extensions.host import celery_queue
from app_extensions.host.beat import add_periodic

#: Redis keys: the first is written by a job in WebODM's queue, the second by a job in our queue.
KEY = "app_extensions:heartbeat"
OWN_KEY = "app_extensions:heartbeat:own"
PERIOD_SECONDS = 60


@app.task(name="app_extensions.host.heartbeat.note", ignore_result=True)
def note() -> None:
    """Record that a worker took a job from WebODM's queue."""
    _redis().set(KEY, repr(time.time()))


@app.task(name="app_extensions.host.heartbeat.note_own", ignore_result=True)
def note_own() -> None:
    """Record that a worker took a job from our queue."""
    _redis().set(OWN_KEY, repr(time.time()))


def last_beat_at() -> Optional[float]:
    """When a worker last took the job from WebODM's queue, in seconds since 1970. None if Redis has no record of it."""
    return _time_at(KEY)


def last_own_job_at() -> Optional[float]:
    """When a worker last took the job from our queue, in seconds since 1970. None if Redis has no record of it."""
    return _time_at(OWN_KEY)


def schedule() -> None:
    """Add both jobs to beat's schedule."""
    add_periodic("app-extensions-heartbeat", note.name, PERIOD_SECONDS)
    add_periodic("app-extensions-heartbeat-own", note_own.name, PERIOD_SECONDS, queue=celery_queue.queue_name())


def _time_at(key: str) -> Optional[float]:
    value = _redis().get(key)
    return float(value) if value is not None else None


def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5, socket_connect_timeout=5)
