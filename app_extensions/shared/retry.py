"""How long to wait between attempts: growing, jittered and bounded. The caller decides what to retry."""
import random
import time
from collections.abc import Iterator
from typing import Callable, Optional


def waits(attempts: int, first: float = 0.5, most: float = 30.0, *, draw: Callable[[], float] = random.random) -> Iterator[float]:
    """The seconds to wait after each failed attempt except the last: ``attempts - 1`` numbers.

    The ceiling doubles from ``first`` to ``most``. Each wait is a random number between half the ceiling and the ceiling, so
    that clients that failed at the same moment do not retry at the same moment.

    :param attempts: most attempts, at least 1
    :param first: ceiling of the first wait in seconds
    :param most: ceiling of any wait in seconds
    """
    ceiling = first
    for _ in range(attempts - 1):
        yield min(ceiling, most) * (0.5 + draw() / 2)
        ceiling = min(ceiling * 2, most)


def pause(seconds: float, stopped: Optional[Callable[[], bool]] = None, step: float = 0.2) -> None:
    """Sleep, but return once ``stopped()`` is true. It is checked every ``step`` seconds."""
    end = time.monotonic() + seconds
    while not (stopped and stopped()):
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, step))


def retry_after(header: Optional[str], most: float = 60.0) -> float:
    """Seconds that a ``Retry-After`` header asks for, at most ``most``. 0 without a header or if it is a date (RFC 9110, 10.2.3)."""
    try:
        return max(0.0, min(float(header or 0), most))
    except ValueError:
        return 0.0
