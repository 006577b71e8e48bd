"""Disk quotas. WebODM does not check them when a task is made. Instead, an hourly job deletes the newest tasks of users over quota."""
from typing import Optional

from django.contrib.auth.models import User

BYTES_PER_MEGABYTE = 1024 * 1024


def quota_exceeded(user: User, extra_bytes: int = 0) -> bool:
    """Whether the user's tasks exceed the quota, or would with ``extra_bytes`` more."""
    profile = user.profile
    if not profile.has_quota():
        return False
    return profile.used_quota() + extra_bytes / BYTES_PER_MEGABYTE > profile.quota


def quota_left_bytes(user: User) -> Optional[int]:
    """Bytes left in the user's quota. Negative if it is exceeded; None without a quota."""
    profile = user.profile
    if not profile.has_quota():
        return None
    return int((profile.quota - profile.used_quota()) * BYTES_PER_MEGABYTE)
