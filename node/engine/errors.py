"""What the engine says when it cannot make a model: a sentence for the person who took the photos."""
import errno
import shutil
from pathlib import Path

_AS_GOOD_AS_FULL = 8_000_000  # bytes; a database gives some back when a write fails


class EngineError(Exception):
    """A failure that the user can act on; its text is shown as it is, without a traceback."""


class WriteError(OSError):
    """A file of ours could not be written; ``errno`` and ``strerror`` are the system's."""


def is_disk_full(error: BaseException, out: Path) -> bool:
    """Whether an error comes from a full disk, or a full share of it. COLMAP does not give its reason: then the disk is asked."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return out.is_dir() and shutil.disk_usage(out).free < _AS_GOOD_AS_FULL
