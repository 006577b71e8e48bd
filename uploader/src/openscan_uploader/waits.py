"""How long to wait before something is tried again."""
import random

#: Seconds.
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0


def wait_seconds(failures: int, asked_for: float = 0.0) -> float:
    """How long to wait after so many failures in a row: twice as long each time, at random within the half below that, so that
    clients that lost the same server do not come back all at once. Not less than the server asked for."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(failures - 1, 16))
    return max(asked_for, random.uniform(longest / 2, longest))
