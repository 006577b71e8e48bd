"""The app's Celery jobs. Each is short to read, may run twice or be cut anywhere, and only calls a rule.

Their names are documented; WebODM's worker runs them (setting ``OPENSCAN_CELERY_QUEUE`` names another queue).
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
    """Take a started scan in: parts → photos in a waiting WebODM task."""
    with log_fields(scan=scan_id):
        run.ingest(scan_id)


@shared_task(ignore_result=True)
def release_queue() -> None:
    """Hand waiting scans to WebODM, as far as the nodes have room."""
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
    """Pack a result into the file system again that object storage cannot hand out."""
    with log_fields(scan=scan_id):
        publish.restore(scan_id)


@shared_task(ignore_result=True)
def archive_set(scan_id: int) -> None:
    """Archive a public set in object storage."""
    with log_fields(scan=scan_id):
        archive.archive_set(scan_id)


@shared_task(ignore_result=True)
def remove_objects() -> None:
    """Remove from object storage what nothing refers to any more."""
    lifecycle.remove_leaving()


@shared_task(ignore_result=True)
def move_scan(scan_id: int) -> None:
    """Take a scan off a processing node that is dead or hangs, back into the queue."""
    with log_fields(scan=scan_id):
        failover.move(scan_id)


@shared_task(ignore_result=True)
def watch_nodes() -> None:
    """Give back locks of workers that died, ask the nodes what they are, and find scans whose node is dead or hangs."""
    processing.free_left_locks()
    nodes.ask_nodes()
    failover.watch()


# Longer than a delivery plans for: a mail server that sends a byte now and then escapes every time limit of its connection.
@shared_task(ignore_result=True, soft_time_limit=MOST_SECONDS + 60, time_limit=MOST_SECONDS + 120)
def deliver_mails() -> None:
    """Tell the admins of new token requests, and send the mail that is due."""
    messages.tell_of_requests()
    messages.deliver()


@shared_task(ignore_result=True)
def catch_up() -> None:
    """Find work that was lost with a worker, a broker or a signal, and queue it again."""
    periodic.catch_up()


@shared_task(ignore_result=True)
def tidy_up() -> None:
    """End what is past its time, refill public tokens, remove files that no row names."""
    periodic.tidy_up()
