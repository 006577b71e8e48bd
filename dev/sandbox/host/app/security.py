"""The check that keeps file names inside their directory."""
import os

from django.core.exceptions import SuspiciousFileOperation


def path_traversal_check(unsafe_path: str, known_safe_path: str) -> str:
    """Returns the absolute form of ``unsafe_path``. Raises SuspiciousFileOperation when it leaves ``known_safe_path``."""
    safe, path = os.path.abspath(known_safe_path), os.path.abspath(unsafe_path)
    if path != safe and not path.startswith(safe.rstrip(os.sep) + os.sep):
        raise SuspiciousFileOperation(f"{path} is not safe")
    return path
