"""Where files are kept."""
import os
import shutil
from pathlib import Path
from typing import Union

from django.conf import settings


def media_root() -> Path:
    """WebODM's media directory."""
    return Path(settings.MEDIA_ROOT)


def tmp_dir() -> Path:
    """WebODM's directory for short-lived files. What is older than 24 hours is deleted from it."""
    path = Path(settings.MEDIA_TMP)
    path.mkdir(parents=True, exist_ok=True)
    return path


def free_bytes(path: Union[str, Path]) -> int:
    """Bytes that may still be written where ``path`` is, or will be."""
    path = Path(os.path.abspath(path))
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
