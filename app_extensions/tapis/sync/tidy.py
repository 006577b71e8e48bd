"""Remove a sync's temporary files once it has ended."""
import logging

from app_extensions.host import tasks as host_tasks
from app_extensions.tapis.models import SyncBatch, TapisJob

logger = logging.getLogger("app.logger")


def remove_incoming(job: TapisJob) -> None:
    """Remove the directory of partial files, unless a sync of the flight (possibly a later one) is active."""
    if job.flight.task_id is None:
        return
    directory = host_tasks.incoming_path(job.flight.task_id)
    try:
        # List before asking the database: a turn that begins meanwhile has its row before its files, so its files are not in the list.
        parts = list(directory.glob("*.part*"))
        if TapisJob.objects.filter(flight_id=job.flight_id, kind=TapisJob.SYNC, state__in=TapisJob.ACTIVE).exists():
            return
        live = {key.hex for key in SyncBatch.objects.filter(job__flight_id=job.flight_id).values_list("pk", flat=True)}
        for part in parts:
            if part.name.split(".")[1] not in live:
                part.unlink(missing_ok=True)  # left by a worker that was killed
        directory.rmdir()
    except FileNotFoundError:
        pass  # it is already gone
    except OSError as error:
        logger.debug("Tapis: %s stays for now: %s", directory, error)
