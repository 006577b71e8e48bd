"""Errors that keep the engine from making a model. Their text is meant for the person who took the photos."""
import errno
import shutil
from pathlib import Path

_AS_GOOD_AS_FULL = 8_000_000  # bytes; a database gives some back when a write fails


class EngineError(Exception):
    """A failure that the user can act on; its text is shown as it is, without a traceback."""


class WriteError(OSError):
    """One of the engine's files could not be written; ``errno`` and ``strerror`` come from the system."""


def is_disk_full(error: BaseException, out: Path) -> bool:
    """Whether a full disk or quota caused an error. COLMAP gives no reason for its errors; for those, the free space decides."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return out.is_dir() and shutil.disk_usage(out).free < _AS_GOOD_AS_FULL
