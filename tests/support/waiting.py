"""Waiting for a condition."""
import time
from typing import Any, Callable, Optional, Union


def until(condition: Callable[[], Any], seconds: float = 120, every: Optional[float] = None,
          says: Union[str, Callable[[], Any]] = "") -> Any:
    """What the condition gives once it is true. Fails after `seconds`, and says what was waited for, or what is wrong.

    It is asked each `every` seconds; by default often at first and then less often, since a question takes time from what is waited for.
    """
    end, pause = time.monotonic() + seconds, every or 0.02
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{says() if callable(says) else says or condition} did not come true within {seconds:.0f} s")
        time.sleep(pause)
        pause = every or min(0.2, pause * 1.3)
