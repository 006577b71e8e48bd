"""Leases of the workers that fetch images right now, and their numbers of connections.

If a worker is killed, its row is removed when its lease ends, and other workers fetch its files. All counting happens under one advisory
lock, so that each flight and the whole WebODM stay within their limits of connections.
"""
import math
from typing import Any, Optional

from django.db import transaction
from django.db.models import Sum
from django.db.models.functions import Now

from app_extensions.host import celery_queue
from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import FlightFile, SyncBatch, TapisJob
from app_extensions.tapis.models.jobs import from_now

#: "tapis" in ASCII, because advisory locks are numbers.
LOCK = 0x7461706973


def open_batch(job: TapisJob) -> SyncBatch:
    """Register the calling worker for a job, with its fair share of connections (0 if all are taken)."""
    with transaction.atomic():
        _lock()
        reap()
        batch = SyncBatch.objects.create(job=job, connections=0, lease_until=from_now(conf.lease_seconds))
        batch.connections = _share(batch)
        SyncBatch.objects.filter(pk=batch.pk).update(connections=batch.connections)
    return batch


def renew_batch(batch: SyncBatch) -> Optional[int]:
    """Extend the lease. The share of connections shrinks when other workers join the job, and grows when they leave.

    :returns: the connections that the worker may have open from now on; None: its lease was removed and it must stop
    """
    with transaction.atomic():
        _lock()
        if not SyncBatch.objects.filter(pk=batch.pk).exists():
            return None
        reap(except_for=batch)
        batch.connections = _share(batch)
        SyncBatch.objects.filter(pk=batch.pk).update(
            connections=batch.connections, lease_until=from_now(conf.lease_seconds)
        )
    return batch.connections


def close_batch(batch: SyncBatch) -> None:
    """Release the connections, and the files that were claimed but not fetched."""
    with transaction.atomic():
        FlightFile.objects.filter(batch_id=batch.pk, state=FlightFile.FETCHING).update(
            state=FlightFile.WANTED, batch=None
        )
        FlightFile.objects.filter(batch_id=batch.pk).update(batch=None)
        SyncBatch.objects.filter(pk=batch.pk).delete()


def reap(except_for: Optional[SyncBatch] = None) -> int:
    """Remove workers with an ended lease, and release their files. :returns: how many workers"""
    dead = SyncBatch.objects.filter(lease_until__lt=Now())
    if except_for is not None:
        dead = dead.exclude(pk=except_for.pk)
    found = list(dead.values_list("pk", flat=True))
    if found:
        FlightFile.objects.filter(batch_id__in=found, state=FlightFile.FETCHING).update(
            state=FlightFile.WANTED, batch=None
        )
        SyncBatch.objects.filter(pk__in=found).delete()
    return len(found)


def claim(batch: SyncBatch, count: int) -> "list[FlightFile]":
    """Claim up to ``count`` wanted files of the batch's flight. No other worker gets them while the lease lasts."""
    with transaction.atomic():
        rows = list(
            FlightFile.objects.select_for_update(skip_locked=True)
            .filter(flight_id=batch.job.flight_id, state=FlightFile.WANTED).order_by("name")[:count]
        )
        FlightFile.objects.filter(pk__in=[row.pk for row in rows]).update(state=FlightFile.FETCHING, batch=batch)
    return rows


def workers_of(job_id: Any) -> int:
    """How many workers with a live lease fetch for the job."""
    return SyncBatch.objects.filter(job_id=job_id, lease_until__gte=Now()).count()


def open_connections() -> int:
    """Connections that all workers of this WebODM may have open right now."""
    return SyncBatch.objects.filter(lease_until__gte=Now()).aggregate(n=Sum("connections"))["n"] or 0


def _lock() -> None:
    celery_queue.hold(LOCK)


def _share(batch: SyncBatch) -> int:
    """The batch's fair share of the flight's connections, limited by what other workers already have."""
    flight = SyncBatch.objects.filter(job_id=batch.job_id)
    limit = conf.flight_connections
    fair = math.ceil(limit / max(1, flight.count()))
    others = flight.exclude(pk=batch.pk).aggregate(n=Sum("connections"))["n"] or 0
    return max(0, min(fair, limit - others, conf.instance_connections - _open_elsewhere(batch)))


def _open_elsewhere(batch: SyncBatch) -> int:
    return SyncBatch.objects.exclude(pk=batch.pk).aggregate(n=Sum("connections"))["n"] or 0
