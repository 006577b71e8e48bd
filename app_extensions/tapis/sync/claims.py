"""Choose the next job for a worker and claim its row with SELECT … FOR UPDATE SKIP LOCKED.

All claiming and counting happens under one advisory lock, which is held for milliseconds. Users take turns: first the user for whom the
fewest workers are busy, then the one who has waited longest. Each user's previews come first because somebody is looking at them, then
discoveries, then syncs. A flight that was begun comes before one that was not.
"""
import logging
from dataclasses import dataclass
from typing import Any, Optional
from uuid import uuid4

from django.db import transaction
from django.db.models import Count, Exists, F, IntegerField, Max, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from app_extensions.host import celery_queue
from app_extensions.tapis import jobs, lifecycle
from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import FlightFile, SyncBatch, TapisJob
from app_extensions.tapis.models.jobs import from_now
from app_extensions.tapis.sync import leases

logger = logging.getLogger("app.logger")

#: Most users that one claim looks at, so that it does not hold the lock for long.
MOST_USERS = 50


@dataclass
class Claim:
    """A job that this worker works on for a while.

    owner: holds the lease of a job that lists, scans or creates. batch: the worker's share of a job that fetches. Several workers may
    share a sync, but only one fetches a user's previews.
    """

    job: TapisJob
    owner: str = ""
    batch: Optional[SyncBatch] = None


def claim(only: Any = None) -> Optional[Claim]:
    """Take the next job that is due.

    :param only: claim only this job, even if the limit of workers is reached, because the caller runs it in its own process
    :returns: None if nothing is due, or the limit of workers is reached
    """
    with transaction.atomic():
        celery_queue.hold(leases.LOCK)
        leases.reap()
        if only is None and _busy() >= conf.workers:
            return None
        due = Q(due_at__lte=Now())
        candidates = _by_turns() if only is None else [_takeable(TapisJob.objects.filter(pk=only), due | Q(claimed_at=None))]
        for rows in candidates:
            job = celery_queue.claim_one(rows)
            claimed = _claimed(job) if job is not None else None
            if claimed is not None:
                return claimed
    return None


def release(claimed: Claim, seconds: float = 0.0) -> None:
    """Release the claim on a job. If it is still running, it is due again. A job that was put off keeps its own time.

    :param seconds: delay until then
    """
    rows = TapisJob.objects.filter(pk=claimed.job.pk, state=TapisJob.RUNNING)
    if claimed.batch is None:
        rows.filter(lease_owner=claimed.owner).update(lease_owner="", lease_until=None, due_at=from_now(seconds))
    else:
        leases.close_batch(claimed.batch)
        rows.update(due_at=from_now(seconds))


def keep(claimed: Claim) -> bool:
    """Renew the lease of a claimed job. :returns: False if another worker has the job now, or it has ended"""
    mine = TapisJob.objects.filter(pk=claimed.job.pk, lease_owner=claimed.owner, state=TapisJob.RUNNING)
    return mine.update(lease_until=from_now(jobs.listing_lease())) == 1


def _busy() -> int:
    """How many workers on all hosts work on a job right now."""
    listing = TapisJob.objects.filter(state__in=TapisJob.ACTIVE, lease_until__gte=Now()).count()
    return listing + SyncBatch.objects.filter(lease_until__gte=Now()).count()


def _claimed(job: TapisJob) -> Optional[Claim]:
    owner = uuid4().hex
    if lifecycle.apply(job.pk, lifecycle.CLAIM, claimed_at=timezone.now()) is None:
        # WebODM deleted the job's user while this app was not loaded. Our tables have no database constraint that prevents this.
        logger.warning("Tapis: %s %s is deleted, because its user no longer exists", job.kind, job.pk)
        TapisJob.objects.filter(pk=job.pk).delete()
        return None
    batch = None
    if job.phase == TapisJob.FETCHING:
        batch = leases.open_batch(job)
    else:
        TapisJob.objects.filter(pk=job.pk).update(lease_owner=owner, lease_until=from_now(jobs.listing_lease()))
    fresh = TapisJob.objects.select_related("user", "client", "flight", "flight__user").get(pk=job.pk)
    return Claim(fresh, owner, batch)


def _by_turns() -> "list[QuerySet]":
    """Queries of the jobs that may be claimed: for each user in turn, the previews, then discoveries, then syncs."""
    due = TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), state__in=TapisJob.ACTIVE, due_at__lte=Now())
    if leases.open_connections() >= conf.instance_connections:
        due = due.exclude(phase=TapisJob.FETCHING)  # no connections are left for these
    waiting = {row["user_id"]: row for row in due.order_by().values("user_id").annotate(first=Min("due_at"), last=Max("claimed_at"))}
    load = dict.fromkeys(waiting, 0)
    held = TapisJob.objects.filter(user_id__in=waiting, state__in=TapisJob.ACTIVE, lease_until__gte=Now()).order_by()
    batches = SyncBatch.objects.filter(job__user_id__in=waiting, lease_until__gte=Now()).order_by()
    for rows, user in ((held, "user_id"), (batches, "job__user_id")):
        for row in rows.values(user).annotate(number=Count("pk")):
            load[row[user]] += row["number"]
    never = timezone.now().replace(year=2000)
    in_turn = sorted(waiting, key=lambda user_id: (load[user_id], waiting[user_id]["last"] or never, waiting[user_id]["first"]))
    found = []
    for user_id in in_turn[:MOST_USERS]:
        mine = TapisJob.objects.filter(user_id=user_id)
        found += [_takeable(mine.filter(kind=kind), Q(due_at__lte=Now())) for kind in (TapisJob.PREVIEW, TapisJob.DISCOVERY, TapisJob.SYNC)]
    return found


def _takeable(rows: QuerySet, due: Q) -> QuerySet:
    """The jobs among ``rows`` that a worker may take now, the best first."""
    now = Now()
    rows = rows.filter(Q(lease_until__isnull=True) | Q(lease_until__lt=now), due, state__in=TapisJob.ACTIVE)
    live = SyncBatch.objects.filter(job_id=OuterRef("pk"), lease_until__gte=now).order_by().values("job_id")
    wanted = FlightFile.objects.filter(flight_id=OuterRef("flight_id"), state=FlightFile.WANTED)
    other = TapisJob.objects.filter(user_id=OuterRef("user_id"), kind=TapisJob.DISCOVERY, state=TapisJob.RUNNING,
                                    lease_until__gte=now).exclude(pk=OuterRef("pk"))
    rows = rows.annotate(
        live=Coalesce(Subquery(live.annotate(number=Count("pk")).values("number"), output_field=IntegerField()), 0),
        has_wanted=Exists(wanted), user_discovers=Exists(other),
    ).exclude(kind=TapisJob.DISCOVERY, user_discovers=True)
    fetching = Q(phase=TapisJob.FETCHING)
    if leases.open_connections() >= conf.instance_connections:
        rows = rows.exclude(fetching)  # a worker should not wait for connections while other jobs need one
    else:
        rows = rows.filter(~fetching | Q(live=0) | Q(live__lt=conf.sync_workers, has_wanted=True))
    return rows.order_by("live", "phase", F("started_at").asc(nulls_last=True), "due_at", "created_at")
