"""Jobs: started once, joined by whoever asks for the same, told about, taken up again after a crash."""
import logging
from datetime import timedelta
from typing import Any, Optional
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils import timezone
from kombu.exceptions import OperationalError

from app_extensions.host import celery_app as host_queue
from app_extensions.host import projects as host_projects
from app_extensions.host import tasks as host_tasks
from app_extensions.host.log_fields import log_fields, note_fields
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import Flight, SyncBatch, TapisJob, TapisMail, TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.models.jobs import active_sync, from_now

logger = logging.getLogger("app.logger")

NAMES = "app.tasks.tapis_storage."
#: Ended jobs, and mails that were sent, are kept for so long; those that moved bytes for ever: the figures count them.
KEEP = timedelta(days=30)


def send(name: str, *args: Any, countdown: float = 0.0, task_id: Optional[str] = None) -> None:
    """Queue one of our Celery tasks once the transaction is committed."""
    transaction.on_commit(lambda: _send(name, args, countdown, task_id))


def _send(name: str, args: Any, countdown: float, task_id: Optional[str]) -> None:
    try:
        host_queue.send(NAMES + name, args, countdown=countdown or None, task_id=task_id, queue=conf.queue)
    except OperationalError as error:
        # The job's row is there: beat takes it up again once the broker is back.
        logger.error("Tapis: %s was not queued, the broker does not answer: %s", name, type(error).__name__)


def start_sync(access: TapisAccess, flight: Flight, *, process: Optional[bool] = None,
               automatic: bool = False, queue: bool = True) -> "tuple[TapisJob, bool]":
    """A sync of the flight: a new one, or the one that is under way.

    :param process: process when complete; None: as the user's preferences say
    :param queue: hand it to the Celery workers; False: the caller does the work
    :returns: the job, and whether it was there already
    """
    job, joined = _make(
        lambda: active_sync(flight.pk),
        kind=TapisJob.SYNC, user=access.user, client=access.client, flight=flight, process=process,
        automatic=automatic, access_token=access.given,
    )
    note_fields(flight=flight.pk, tapis_job=job.pk)
    logger.info("Tapis: sync %s of flight %s %s", job.pk, flight.pk, "is joined" if joined else "is started")
    if queue and not joined:
        send("sync_flight", str(job.pk))
    return job, joined


def start_discovery(access: TapisAccess, *, automatic: bool = False, queue: bool = True) -> "tuple[TapisJob, bool]":
    """A discovery for the user in the background, or the one under way: one at a time a user.

    :returns: the job, and whether it was there already
    """
    job, joined = _make(
        lambda: TapisJob.objects.filter(user_id=access.user.pk, kind=TapisJob.DISCOVERY,
                                        state__in=TapisJob.ACTIVE).first(),
        kind=TapisJob.DISCOVERY, user=access.user, client=access.client, automatic=automatic, access_token=access.given,
    )
    note_fields(tapis_job=job.pk)
    logger.info("Tapis: discovery %s %s", job.pk, "is joined" if joined else "is started")
    if queue and not joined:
        send("run_discovery", str(job.pk), task_id=str(job.pk))
    return job, joined


def _make(existing: Any, **fields: Any) -> "tuple[TapisJob, bool]":
    """The active job, or a new one; the database's constraint decides where two come at once."""
    for _ in range(5):
        found = existing()
        if found is not None:
            return found, True
        try:
            with transaction.atomic():
                return TapisJob.objects.create(**fields), False
        except IntegrityError:
            logger.info("Tapis: another %s was started at the same moment", fields["kind"])
    raise RuntimeError("a job appears and ends again and again")


def access_of(job: TapisJob) -> TapisAccess:
    """The access that the job was started with."""
    return TapisAccess(job.user, job.client, job.access_token)


def listing_lease() -> float:
    """Seconds for which a worker that lists holds a job: longer than one call to Tapis may take with all its attempts, as it gives
    signs of life between calls only."""
    return max(conf.lease_seconds, 4 * (conf.timeout + conf.connect_timeout))


def client_of(flight: Flight, user: Any = None) -> Optional[TapisOAuth2Client]:
    """An active client of the flight's tenant: that of the user's latest login there, else the flight's own, else any.

    :param user: who is to read the flight; None: its own user
    """
    active = TapisOAuth2Client.objects.filter(is_active=True, base_url=flight.base_url, tenant_id=flight.tenant_id)
    user_id = flight.user_id if user is None else user.pk
    login = TapisOAuth2Token.objects.filter(user_id=user_id, client__in=active).order_by("-is_valid", "-updated_at").first()
    if login is not None:
        return login.client
    return active.filter(pk=flight.client_id).first() or active.order_by("pk").first()


def can_be_synced(flight: Flight) -> bool:
    """Whether a sync that nobody asked for by name is to take up the flight: not where its project or task was deleted, nor while
    the task is processed, nor where it gave its images up on purpose (compacted)."""
    task = host_tasks.get_task(flight.task_id)
    if task is None or task.compacted or host_projects.get_project(flight.project_id) is None:
        return False
    return host_tasks.task_state(task).status not in (host_tasks.QUEUED, host_tasks.RUNNING)


def find_job(user: Any, job_id: Any) -> Optional[TapisJob]:
    """The job of that id; None where there is none, or it is another user's and not the sync of a project that one may change:
    who asks for such a sync joins it, and is to see how it gets on."""
    try:
        wanted = UUID(str(job_id))
    except ValueError:
        return None
    job = TapisJob.objects.select_related("flight").filter(pk=wanted).first()
    if job is None or user.is_superuser or job.user_id == user.pk:
        return job
    project = host_projects.get_project(job.flight.project_id) if job.flight else None
    return job if project is not None and host_projects.user_can(user, "change_project", project) else None


def latest(user: Any) -> "list[TapisJob]":
    """The user's jobs that are under way (200 at most), then the latest fifty that have ended; both newest first."""
    mine = TapisJob.objects.filter(user_id=user.pk).select_related("flight")
    return [*mine.filter(state__in=TapisJob.ACTIVE)[:200], *mine.exclude(state__in=TapisJob.ACTIVE)[:50]]


def progress_of(job: TapisJob) -> "dict[str, int]":
    """How many directories a discovery that is under way has read, and how many it knows of."""
    told = job.results if job.kind == TapisJob.DISCOVERY and job.active else {}
    return {name: told.get(name, 0) for name in ("directories_read", "directories_known")}


def as_dict(job: TapisJob) -> "dict[str, Any]":
    """The documented form. Sizes are in bytes, the rate in bytes a second."""
    return {
        "id": str(job.pk), "kind": job.kind, "state": job.state, "images_done": job.images_done,
        "images_total": job.images_total, "bytes_done": job.bytes_done, "bytes_total": job.bytes_total,
        "rate": job.rate, "error": job.error,
    }


def forget_old() -> int:
    """Forget what ended long ago: a sync an hour of each of a thousand flights would fill the table. :returns: how many jobs"""
    before = timezone.now() - KEEP
    TapisMail.objects.exclude(state=TapisMail.WAITING).filter(created_at__lt=before).delete()
    ended = TapisJob.objects.exclude(state__in=TapisJob.ACTIVE).filter(finished_at__lt=before, bytes_moved=0)
    latest_complete = TapisJob.objects.filter(
        flight_id=OuterRef("flight_id"), kind=TapisJob.SYNC, state=TapisJob.COMPLETED).order_by("-created_at").values("pk")[:1]
    # A flight's latest complete sync stays: what came since is what its task has not been started with (sync/finish.py).
    over = ended.annotate(latest=Subquery(latest_complete)).filter(Q(latest=None) | ~Q(pk=F("latest")))
    rows = TapisJob.objects.filter(pk__in=list(over.values_list("pk", flat=True)[:10_000]))
    return rows.delete()[1].get("tapis.TapisJob", 0)


def note_queued(job_id: Any) -> None:
    """A worker has put the job's next turn into the queue: it is not given up, though nobody may be at it for a while."""
    TapisJob.objects.filter(pk=job_id, state=TapisJob.RUNNING, phase=TapisJob.FETCHING).update(
        lease_until=from_now(2 * conf.lease_seconds))


def take_up_again() -> int:
    """Queue the jobs that nobody works on any more: their worker was killed, or the broker lost the message.

    :returns: how many
    """
    stale = Now() - timedelta(seconds=conf.lease_seconds)
    alive = SyncBatch.objects.filter(lease_until__gte=Now()).values("job_id")
    rows = TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), state__in=TapisJob.ACTIVE, created_at__lt=stale,
    ).filter(Q(moved_at__isnull=True) | Q(moved_at__lt=stale)).exclude(pk__in=alive)
    for job in rows:
        with log_fields(flight=job.flight_id, tapis_job=job.pk):
            logger.warning("Tapis: %s is taken up again", job)
            if job.kind == TapisJob.DISCOVERY:
                send("run_discovery", str(job.pk))
            elif job.phase == TapisJob.LISTING:
                send("sync_flight", str(job.pk))
            else:
                note_queued(job.pk)
                for _ in range(max(1, conf.sync_workers)):
                    send("sync_batch", str(job.pk))
    return len(rows)
