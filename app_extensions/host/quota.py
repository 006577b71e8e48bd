"""Disk quotas. WebODM does not ask at creation; its hourly check deletes the newest tasks of those who have too much."""
from typing import Optional

from django.contrib.auth.models import User

BYTES_PER_MEGABYTE = 1024 * 1024


def quota_exceeded(user: User, extra_bytes: int = 0) -> bool:
    """Whether the user's tasks take more than the quota, or would with ``extra_bytes`` more."""
    profile = user.profile
    if not profile.has_quota():
        return False
    return profile.used_quota() + extra_bytes / BYTES_PER_MEGABYTE > profile.quota


def quota_left_bytes(user: User) -> Optional[int]:
    """Bytes that the user's quota leaves; None without a quota. Negative where it is exceeded."""
    profile = user.profile
    if not profile.has_quota():
        return None
    return int((profile.quota - profile.used_quota()) * BYTES_PER_MEGABYTE)
