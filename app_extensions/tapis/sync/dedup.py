"""One copy on disk where two users of this WebODM import the same flight: hard links between checked equal files.

Each user fetches with his own token: that a colleague's copy is here already is no proof that Tapis lets him read it.
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
    """Where other users' copies of the same image lie: same tenant, system, path and size, both fetched."""
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
    """Put a hard link to an equal copy in the place of a fetched file, so that the bytes are on the disk once.

    :param part: the fetched, checked file; afterwards the same bytes under the same name
    :returns: the copy that it shares its bytes with, None where there is none or the file system knows no links
    """
    for copy in copies:
        link = part.with_name(f"{part.name}.{uuid.uuid4().hex}")
        try:
            # The link is made first and the link is compared: what is compared is what is kept.
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
