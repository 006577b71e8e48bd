"""Which job a worker works on next: one row, claimed with SELECT … FOR UPDATE SKIP LOCKED.

All claiming and counting happens under one advisory lock, which is held for milliseconds. Users take turns: the one for whom the fewest
workers are busy comes first, then the one who waited longest. A user's previews, which somebody looks at, come before the user's
discoveries, these before syncs, and a flight that was begun before one that was not.
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

#: Users that one claim looks at, to hold the lock for a short time only.
MOST_USERS = 50


@dataclass
class Claim:
    """A job that this worker works on for a while.

    owner: who holds the lease of a job that lists, scans or creates. batch: the worker's share of a job that fetches; several workers may
    have one of the same sync, but only one worker fetches a user's previews.
    """

    job: TapisJob
    owner: str = ""
    batch: Optional[SyncBatch] = None


def claim(only: Any = None) -> Optional[Claim]:
    """Take the next job that is due.

    :param only: this job and no other, however many workers are busy: its caller works in a process of its own
    :returns: None where nothing is due, or where as many workers are busy as may be
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
    """Give a job back that has not ended. :param seconds: until it is due again"""
    rows = TapisJob.objects.filter(pk=claimed.job.pk, state__in=TapisJob.ACTIVE)
    if claimed.batch is None:
        rows.filter(lease_owner=claimed.owner).update(lease_owner="", lease_until=None, due_at=from_now(seconds))
    else:
        leases.close_batch(claimed.batch)
        rows.update(due_at=from_now(seconds))


def keep(claimed: Claim) -> bool:
    """Sign of life of whoever holds a job's lease. :returns: False where another worker has the job now, or it has ended"""
    mine = TapisJob.objects.filter(pk=claimed.job.pk, lease_owner=claimed.owner, state=TapisJob.RUNNING)
    return mine.update(lease_until=from_now(jobs.listing_lease())) == 1


def _busy() -> int:
    """Workers that are at something right now, on all hosts."""
    listing = TapisJob.objects.filter(state__in=TapisJob.ACTIVE, lease_until__gte=Now()).count()
    return listing + SyncBatch.objects.filter(lease_until__gte=Now()).count()


def _claimed(job: TapisJob) -> Optional[Claim]:
    owner = uuid4().hex
    if lifecycle.apply(job.pk, lifecycle.CLAIM, claimed_at=timezone.now()) is None:
        # WebODM deleted its user while this app was not loaded: no constraint of ours kept it from that.
        logger.warning("Tapis: %s %s has no user any more and is forgotten", job.kind, job.pk)
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
    """What may be claimed, each user's previews, then discoveries, then syncs, in the order in which users get their turn."""
    due = TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), state__in=TapisJob.ACTIVE, due_at__lte=Now())
    if leases.open_connections() >= conf.instance_connections:
        due = due.exclude(phase=TapisJob.FETCHING)  # nobody could take these
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
    """Those of the jobs that a worker may take now, the best first."""
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
        rows = rows.exclude(fetching)  # a worker that waits for connections is one that somebody misses
    else:
        rows = rows.filter(~fetching | Q(live=0) | Q(live__lt=conf.sync_workers, has_wanted=True))
    return rows.order_by("live", "phase", F("started_at").asc(nulls_last=True), "due_at", "created_at")
