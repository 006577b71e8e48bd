"""The app's Celery jobs. Each only calls a rule, and may run twice or be killed at any point.

Their names are documented. WebODM's worker runs them; the setting ``OPENSCAN_CELERY_QUEUE`` moves them to another queue.
"""
from celery import shared_task

from app_extensions.host import processing
from app_extensions.host.log_fields import log_fields
from app_extensions.openscan.ingest import run
from app_extensions.openscan.notices import messages
from app_extensions.openscan.processing import failover, finish, nodes, queue
from app_extensions.openscan.results.object_storage import archive, lifecycle, publish
from app_extensions.openscan.upkeep import periodic
from app_extensions.shared.mail import MOST_SECONDS


@shared_task(ignore_result=True)
def ingest_scan(scan_id: int) -> None:
    """Ingest a started scan: turn its parts into photos in a waiting WebODM task."""
    with log_fields(scan=scan_id):
        run.ingest(scan_id)


@shared_task(ignore_result=True)
def release_queue() -> None:
    """Hand waiting scans to WebODM while the nodes have room."""
    queue.release()


@shared_task(ignore_result=True)
def finish_scan(scan_id: int) -> None:
    """Bring a scan up to date with its WebODM task: result, mail, credit."""
    with log_fields(scan=scan_id):
        finish.finish(scan_id)


@shared_task(ignore_result=True)
def discard_scan(scan_id: int) -> None:
    """Remove what a reset or refused scan left behind."""
    with log_fields(scan=scan_id):
        finish.discard(scan_id)


@shared_task(ignore_result=True)
def publish_result(scan_id: int) -> None:
    """Move a result from the file system to object storage."""
    with log_fields(scan=scan_id):
        publish.publish_file(scan_id)


@shared_task(ignore_result=True)
def restore_result(scan_id: int) -> None:
    """Pack a result into the file system again because object storage cannot deliver it."""
    with log_fields(scan=scan_id):
        publish.restore(scan_id)


@shared_task(ignore_result=True)
def archive_set(scan_id: int) -> None:
    """Archive a public set in object storage."""
    with log_fields(scan=scan_id):
        archive.archive_set(scan_id)


@shared_task(ignore_result=True)
def remove_objects() -> None:
    """Remove objects from object storage that nothing refers to any more."""
    lifecycle.remove_leaving()


@shared_task(ignore_result=True)
def move_scan(scan_id: int) -> None:
    """Take a scan off a processing node that is dead or hangs, and put it back into the queue."""
    with log_fields(scan=scan_id):
        failover.move(scan_id)


@shared_task(ignore_result=True)
def watch_nodes() -> None:
    """Release locks of dead workers, query the nodes, and find scans on nodes that are dead or hang."""
    processing.free_left_locks()
    nodes.ask_nodes()
    failover.watch()


# Limits beyond a delivery's own: a mail server that sends a byte now and then never trips the timeouts of its connection.
@shared_task(ignore_result=True, soft_time_limit=MOST_SECONDS + 60, time_limit=MOST_SECONDS + 120)
def deliver_mails() -> None:
    """Notify the admins of new token requests, and send the mail that is due."""
    messages.tell_of_requests()
    messages.deliver()


@shared_task(ignore_result=True)
def catch_up() -> None:
    """Find work that was lost with a worker, a broker or a signal, and queue it again."""
    periodic.catch_up()


@shared_task(ignore_result=True)
def tidy_up() -> None:
    """Expire what is past its time, refill public tokens, and remove files that no row refers to."""
    periodic.tidy_up()
