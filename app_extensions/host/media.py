"""WebODM's directories, and the free space in them."""
import os
import shutil
from pathlib import Path
from typing import Union

from django.conf import settings


def media_root() -> Path:
    """WebODM's media directory."""
    return Path(settings.MEDIA_ROOT)


def tmp_dir() -> Path:
    """WebODM's directory for short-lived files. WebODM deletes files there after 24 hours."""
    path = Path(settings.MEDIA_TMP)
    path.mkdir(parents=True, exist_ok=True)
    return path


def free_bytes(path: Union[str, Path]) -> int:
    """Free bytes on the disk of ``path``, which need not exist yet."""
    path = Path(os.path.abspath(path))
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
