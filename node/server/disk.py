"""Room on the node's disk. Some of it is kept free so that the node can always save the queue and write consoles."""
import errno
import shutil
from pathlib import Path


class DiskFullError(Exception):
    """There is not enough room; the text is shown to the client."""


class Disk:
    """The file system that holds the node's data; ``reserve_bytes`` of it stay free."""

    def __init__(self, directory: Path, reserve_bytes: int) -> None:
        self._directory = directory
        self._reserve_bytes = reserve_bytes

    def check_room(self, wanted_bytes: int = 0) -> None:
        """Raise DiskFullError unless ``wanted_bytes`` more bytes can be written."""
        free = shutil.disk_usage(self._directory).free
        if free - wanted_bytes < self._reserve_bytes:
            raise DiskFullError(
                f"No room on the node's disk: {wanted_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free, and "
                f"{self._reserve_bytes / 1e6:.0f} MB must stay free. Remove old tasks or try again later."
            )


def is_disk_full(error: BaseException) -> bool:
    """Whether an error means that the disk, or the user's quota on it, is full."""
    return isinstance(error, DiskFullError) or (
        isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    )
