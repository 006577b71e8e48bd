"""Our own Celery queue, and the way workers share our work.

**Queue.** Our jobs go to a separate queue, so that WebODM's jobs never wait behind them. ``./webodm.sh install`` starts a worker for it.
If no such worker runs, set ``WO_EXTENSIONS_QUEUE=celery`` to send our jobs to WebODM's default queue.

**Work is rows, not messages.** A job is a row. A short Celery task takes one row with ``claim_one`` and works on it for a while. A
message only wakes a worker. If one is lost, beat sends another within a minute; an extra one finds nothing to claim.
"""
import os
from typing import Optional, TypeVar

from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import QuerySet

from app_extensions.host.celery_app import app

Row = TypeVar("Row", bound=models.Model)

#: The installer starts a worker for this queue.
OWN_QUEUE = "extensions"


def queue_name() -> str:
    """The queue for our jobs: the setting ``EXTENSIONS_QUEUE``, else ``WO_EXTENSIONS_QUEUE``, else ``OWN_QUEUE``."""
    configured = getattr(settings, "EXTENSIONS_QUEUE", None) or os.environ.get("WO_EXTENSIONS_QUEUE", "")
    return str(configured).strip() or OWN_QUEUE


def default_queue() -> str:
    """The queue that WebODM's own worker listens to."""
    return str(app.conf.task_default_queue)


def listening_workers(queue: Optional[str] = None, timeout_seconds: float = 3.0) -> "list[str]":
    """The names of the running workers that take jobs from a queue (by default ours). Asks the workers through the broker.

    :raises kombu.exceptions.OperationalError: the broker does not answer
    """
    wanted = queue or queue_name()
    answers = app.control.inspect(timeout=timeout_seconds).active_queues() or {}
    return sorted(name for name, queues in answers.items() if any(each.get("name") == wanted for each in queues))


def claim_one(rows: "QuerySet[Row]") -> Optional[Row]:
    """Lock the first row that no other worker has locked (``SELECT … FOR UPDATE SKIP LOCKED``). None if all are locked.

    Call this in a transaction. Before it ends, write into the row who holds it and until when.

    :param rows: the rows that are due, the most urgent first
    """
    return rows.select_for_update(skip_locked=True, of=("self",)).first()


def hold(lock: int) -> None:
    """Wait for an advisory lock, and keep it until the transaction ends. Callers use it to count what is running.

    :raises TransactionManagementError: not in a transaction, where the lock would be released at once
    """
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("an advisory lock of a transaction needs one")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [lock])
