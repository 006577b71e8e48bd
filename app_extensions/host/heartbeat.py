"""Shows that a beat runs and a worker takes its jobs: once a minute a job leaves the time in Redis."""
import time
from typing import Optional

import redis
from django.conf import settings
from worker.celery import app

from app_extensions.host.beat import add_periodic

KEY = "app_extensions:heartbeat"
PERIOD_SECONDS = 60


@app.task(name="app_extensions.host.heartbeat.note", ignore_result=True)
def note() -> None:
    """Writes the time."""
    _redis().set(KEY, repr(time.time()))


def last_beat_at() -> Optional[float]:
    """When the job ran last, in seconds since 1970; None if never, as far as Redis knows."""
    value = _redis().get(KEY)
    return float(value) if value is not None else None


def schedule() -> None:
    """Has beat run the job."""
    add_periodic("app-extensions-heartbeat", note.name, PERIOD_SECONDS)


def _redis() -> redis.Redis:
    return redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=5, socket_connect_timeout=5)
