"""How long to wait before a retry."""
import random

#: Seconds.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0


def wait_seconds(failures: int, asked_for: float = 0.0) -> float:
    """Seconds to wait after a number of failures in a row: twice as long each time, times a random factor from 0.5 to 1, so that
    clients of the same server do not come back all at once. Never less than the server asked for."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 16))
    return max(asked_for, random.uniform(longest / 2, longest))
