"""Counters that many processes increase. They are kept in Redis, so that every metrics page shows the sum.

If Redis loses its data, counters start again at zero, which monitoring systems expect. Counting never blocks the work that is counted: if
Redis does not answer, the process adds the amount to its next one.
"""
import logging
import threading
from collections import Counter
from typing import Optional

import redis
from django.conf import settings

logger = logging.getLogger("app.logger")

KEY = "app_extensions:counters"
_TIMEOUT_SECONDS = 1.0

_pending: Counter = Counter()
_lock = threading.Lock()
_connection: Optional[redis.Redis] = None


def count(**amounts: int) -> None:
    """Increase counters, by name. Never raises an error because of Redis."""
    with _lock:
        _pending.update(amounts)
        waiting = {name: amount for name, amount in _pending.items() if amount}
        _pending.clear()
    try:
        with _redis().pipeline(transaction=True) as pipe:
            for name, amount in waiting.items():
                pipe.hincrby(KEY, name, amount)
            pipe.execute()
    except redis.RedisError as problem:
        logger.warning("Redis does not answer (%s); the counted amounts are added later", type(problem).__name__)
        with _lock:
            _pending.update(waiting)


def counted() -> Optional["dict[str, int]"]:
    """All counters by name; None if Redis does not answer."""
    try:
        return {name.decode(): int(value) for name, value in _redis().hgetall(KEY).items()}
    except redis.RedisError:
        return None


def answers() -> bool:
    """Whether Redis, which is also the broker, answers within a second or two."""
    try:
        return bool(_redis().ping())
    except redis.RedisError:
        return False


def _redis() -> redis.Redis:
    """This process' connections. They are made at the first use, which is after the fork."""
    global _connection
    if _connection is None:
        _connection = redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=_TIMEOUT_SECONDS,
                                           socket_connect_timeout=_TIMEOUT_SECONDS)
    return _connection
