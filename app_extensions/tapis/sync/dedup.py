"""Save disk space if two users import the same flight: replace equal files by hard links to one copy.

Each user still fetches with their own token. A colleague's copy does not prove that Tapis lets the user read the flight.
"""
import errno
import filecmp
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Optional

from app_extensions.host import tasks as host_tasks
from app_extensions.tapis.models import Flight, FlightFile


def has_twins(flight: Flight) -> bool:
    """Whether another user imported the same flight."""
    return Flight.objects.filter(
        base_url=flight.base_url, tenant_id=flight.tenant_id, system_id=flight.system_id, name=flight.name,
        task_id__isnull=False,
    ).exclude(pk=flight.pk).exists()


def twins(flight: Flight, row: FlightFile, size: int) -> Iterable[Path]:
    """Paths of other users' copies of the same image: same tenant, system, path and size, and completely fetched."""
    others = FlightFile.objects.filter(
        name=row.name, state=FlightFile.DONE, bytes_here=size, flight__base_url=flight.base_url,
        flight__tenant_id=flight.tenant_id, flight__system_id=flight.system_id, flight__name=flight.name,
        flight__task_id__isnull=False,
    ).exclude(flight_id=flight.pk).select_related("flight")[:4]
    for other in others:
        task = host_tasks.get_task(other.flight.task_id)
        if task is not None:
            yield host_tasks.image_path(task, other.local_name)


def share(part: Path, copies: Iterable[Path]) -> Optional[Path]:
    """Replace a fetched file by a hard link to an equal copy, so that the bytes are on the disk only once.

    :param part: the fetched and checked file; its name and content stay the same
    :returns: the copy that it shares its bytes with; None if no copy is equal, or hard links are not possible
    """
    for copy in copies:
        link = part.with_name(f"{part.name}.{uuid.uuid4().hex}")
        try:
            # Make the link first and compare that, so that the compared file is the one that is kept.
            os.link(copy, link)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP, errno.ENOTDIR):
                continue
            raise
        try:
            if os.path.samefile(link, part):
                return copy
            if filecmp.cmp(link, part, shallow=False):
                os.replace(link, part)
                return copy
        finally:
            if os.path.lexists(link):
                os.unlink(link)
    return None
