"""Start jobs, join jobs that run already, and wake them after a crash or a login."""
import hashlib
import json
import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Optional

from django.db import IntegrityError, connection, transaction
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from kombu.exceptions import OperationalError

from app_extensions.host import celery_app as host_queue
from app_extensions.host import projects as host_projects
from app_extensions.host import tasks as host_tasks
from app_extensions.host.log_fields import log_fields, note_fields
from app_extensions.tapis import lifecycle
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import Flight, SyncBatch, TapisJob, TapisMail, TapisOAuth2Client, TapisOAuth2Token
from app_extensions.tapis.models.jobs import active_sync
from app_extensions.tapis.problems import TapisProblem

logger = logging.getLogger("app.logger")

NAMES = "app.tasks.tapis_storage."
#: How long ended jobs and sent mails are kept. Jobs that fetched bytes are never deleted: the metrics add them up.
KEEP = timedelta(days=30)
#: How long to keep preview jobs, and complete syncs that fetched nothing, such as hourly syncs of unchanged flights.
KEEP_IDLE = timedelta(days=1)
#: Jobs to delete per statement, and seconds after which the clean-up leaves the rest for the next hour.
FORGET_CHUNK, FORGET_SECONDS = 5_000, 120.0
#: Most discoveries that one user may have queued or running.
MOST_DISCOVERIES = 20
#: A caller that wants to run a job in its own process must begin within this time. Later, any worker may take the job.
CALLER_SECONDS = 60.0
#: Longest delay of a message in the broker. Redis delivers a message a second time if it waits for more than an hour.
MOST_COUNTDOWN = 300.0

#: "tapisw" in ASCII: the advisory lock of the one request that may wait for a job.
WAITING_LOCK = 0x746170697377

IMPORT, LOOK, CREATE, PREVIEW = "import", "look", "create", "preview"


def send(name: str, *args: Any, countdown: float = 0.0, task_id: Optional[str] = None) -> None:
    """Queue one of our Celery tasks once the transaction is committed."""
    transaction.on_commit(lambda: _send(name, args, countdown, task_id))


def wake(seconds: float = 0.0) -> None:
    """Wake a worker once the transaction is committed. The message names no job: the worker takes whichever is due.

    :param seconds: delay, for a job that is due later. Capped at five minutes, because beat wakes a worker every minute anyway
    """
    send("work", countdown=min(seconds, MOST_COUNTDOWN))


def _send(name: str, args: Any, countdown: float, task_id: Optional[str]) -> None:
    try:
        host_queue.send(NAMES + name, args, countdown=countdown or None, task_id=task_id, queue=conf.queue)
    except OperationalError as error:
        # The job is safe in its row. Beat wakes a worker once the broker is back.
        logger.error("Tapis: %s was not queued, the broker does not answer: %s", name, type(error).__name__)


def start_sync(access: TapisAccess, flight: Flight, *, process: Optional[bool] = None,
               automatic: bool = False, queue: bool = True, due_at: Optional[datetime] = None) -> "tuple[TapisJob, bool]":
    """Start a sync of the flight, or join the one under way. A sync that waits for a login continues with this access.

    :param process: process when complete; None: as the user's preferences say
    :param queue: wake a worker; False: the caller does the work itself, or starts many syncs with ``due_at`` and wakes a worker once
    :param due_at: earliest start; None: now, or in a minute if ``queue`` is False
    :returns: the job, and whether it existed before
    """
    job, joined = _make(
        lambda: active_sync(flight.pk),
        kind=TapisJob.SYNC, user=access.user, client=access.client, flight=flight, process=process,
        automatic=automatic, access_token=access.given, due_at=due_at or _due_at(queue),
    )
    if joined and job.state == TapisJob.PAUSED and not automatic:
        resumed = lifecycle.apply(job.pk, lifecycle.RESUME, user=access.user, client=access.client, access_token=access.given,
                                  due_at=timezone.now(), to_tell=False)
        job = resumed or TapisJob.objects.get(pk=job.pk)
    note_fields(flight=flight.pk, tapis_job=job.pk)
    logger.info("Tapis: sync %s of flight %s %s", job.pk, flight.pk, "is joined" if joined else "is started")
    if queue:
        wake()
    return job, joined


def start_discovery(access: TapisAccess, purpose: str = IMPORT, request: "Optional[dict[str, Any]]" = None, *, automatic: bool = False,
                    queue: bool = True, due_at: Optional[datetime] = None) -> "tuple[TapisJob, bool]":
    """Start a discovery in the background, or join the one under way with the same purpose. A user's discoveries run one at a time.

    :param purpose: IMPORT makes projects, LOOK only looks, CREATE makes projects of the flights that the request describes
    :param request: checked ``systems`` or ``flights``. Keys that start with ``_`` are stored, but do not make the purpose a different one
    :param due_at: earliest start; None: now
    :returns: the job, and whether it existed before
    :raises TapisProblem: the user has too many waiting discoveries (429)
    """
    request = request or {}
    asked = {key: value for key, value in request.items() if not key.startswith("_")}
    text = json.dumps([access.client.pk, asked], sort_keys=True)
    name = f"{purpose} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    waiting = TapisJob.objects.filter(user_id=access.user.pk, kind=TapisJob.DISCOVERY, state__in=TapisJob.ACTIVE)
    job, joined = _make(
        lambda: waiting.filter(purpose=name).select_related("user", "client").first(), lambda: _check_waiting(waiting),
        kind=TapisJob.DISCOVERY, user=access.user, client=access.client, automatic=automatic, access_token=access.given,
        purpose=name, request=request, due_at=due_at or _due_at(queue),
    )
    if joined and due_at is None and job.due_at > timezone.now():
        TapisJob.objects.filter(pk=job.pk, state=TapisJob.QUEUED).update(due_at=timezone.now())  # the job was planned for later
    note_fields(tapis_job=job.pk)
    logger.info("Tapis: discovery %s %s", job.pk, "is joined" if joined else "is started")
    if queue:
        wake()
    return job, joined


def preview_purpose(base_url: str, tenant_id: str) -> str:
    """The purpose of a job that fetches previews from a tenant. It identifies the tenant even after the client was deleted."""
    text = json.dumps([base_url, tenant_id])
    return f"{PREVIEW} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def start_previews(access: TapisAccess) -> "tuple[TapisJob, bool]":
    """Start a job that fetches the waiting previews of the user's flights at this tenant, or join the one that is under way.

    Call it in the transaction that adds previews to fetch, before their rows are changed: it locks the job, so that the job cannot end
    before it has seen them.

    :returns: the job, and whether it existed before
    """
    purpose = preview_purpose(access.client.base_url, access.client.tenant_id)
    mine = TapisJob.objects.filter(user_id=access.user.pk, kind=TapisJob.PREVIEW, purpose=purpose, state__in=TapisJob.ACTIVE)
    job, joined = _make(
        lambda: mine.select_for_update(of=("self",)).first(),
        kind=TapisJob.PREVIEW, phase=TapisJob.FETCHING, user=access.user, client=access.client, purpose=purpose,
        access_token=access.given,
    )
    note_fields(tapis_job=job.pk)
    logger.info("Tapis: previews %s %s", job.pk, "are joined" if joined else "are started")
    wake()
    return job, joined


def _due_at(queue: bool) -> datetime:
    """Now, or in a minute if the caller does the work. If the caller never begins, a worker takes the job then."""
    return timezone.now() if queue else timezone.now() + timedelta(seconds=CALLER_SECONDS)


def _check_waiting(waiting: QuerySet) -> None:
    if waiting.count() >= MOST_DISCOVERIES:
        raise TapisProblem(f"{MOST_DISCOVERIES} of your discoveries are waiting. Wait until some of them have ended.", status=429,
                           error="Too many requests")


def _make(existing: Any, check: Any = lambda: None, **fields: Any) -> "tuple[TapisJob, bool]":
    """The active job, or a new one. If two callers come at once, the database's constraint decides who makes it.

    :returns: the job, and whether it existed before
    """
    for _ in range(5):
        found = existing()
        if found is not None:
            return found, True
        check()
        try:
            with transaction.atomic():
                return TapisJob.objects.create(**fields), False
        except IntegrityError:
            logger.info("Tapis: another %s was started at the same moment", fields["kind"])
    raise RuntimeError("a job appears and ends again and again")


def wait_for(job: TapisJob, seconds: float) -> TapisJob:
    """Wait for a job to end, so that a request can answer with the result.

    Only one request of the whole site waits at a time, so that waiting never blocks more than one web worker. The others get the job as it
    is at once.

    :param seconds: longest wait
    :returns: the job as it is now, ended or not
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [WAITING_LOCK])
        alone = cursor.fetchone()[0]
    try:
        end = time.monotonic() + (seconds if alone else 0.0)
        pause = 0.05
        while TapisJob.objects.filter(pk=job.pk, state__in=TapisJob.ACTIVE).exists() and time.monotonic() < end:
            time.sleep(pause)
            pause = min(0.5, pause * 1.5)
    finally:
        if alone:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [WAITING_LOCK])
    return TapisJob.objects.select_related("user", "client").get(pk=job.pk)


def discovers(user: Any) -> bool:
    """Whether a worker runs a discovery of the user right now."""
    return TapisJob.objects.filter(user_id=user.pk, kind=TapisJob.DISCOVERY, state=TapisJob.RUNNING, lease_until__gte=Now()).exists()


def access_of(job: TapisJob) -> TapisAccess:
    """The access that the job was started with. When the request's own token ends, the stored login takes over."""
    return TapisAccess(job.user, job.client, job.access_token, fall_back=True)


def listing_lease() -> float:
    """Seconds that a listing worker's lease lasts.

    The worker renews the lease only between calls, so it must outlast one call to Tapis with all its attempts.
    """
    return max(conf.lease_seconds, 4 * (conf.timeout + conf.connect_timeout))


def client_of(flight: Flight, user: Any = None) -> Optional[TapisOAuth2Client]:
    """An active client of the flight's tenant: that of the user's latest login there, else the flight's own, else any.

    :param user: who will read the flight; None: the flight's user
    """
    return client_at(flight.user_id if user is None else user.pk, flight.base_url, flight.tenant_id, flight.client_id)


def client_at(user_id: int, base_url: str, tenant_id: str, otherwise: Optional[int] = None) -> Optional[TapisOAuth2Client]:
    """An active client of a tenant: that of the user's latest login there, else the one with primary key ``otherwise``, else any."""
    active = TapisOAuth2Client.objects.filter(is_active=True, base_url=base_url, tenant_id=tenant_id)
    login = TapisOAuth2Token.objects.filter(user_id=user_id, client__in=active).order_by("-is_valid", "-updated_at").first()
    if login is not None:
        return login.client
    return active.filter(pk=otherwise).first() or active.order_by("pk").first()


def can_be_synced(flight: Flight) -> bool:
    """Whether a periodic or bulk sync should include the flight.

    No if its project or task was deleted, the task is being processed, or the user compacted it to free the images' space.
    """
    task = host_tasks.get_task(flight.task_id)
    if task is None or task.compacted or host_projects.get_project(flight.project_id) is None:
        return False
    return host_tasks.task_state(task).status not in (host_tasks.QUEUED, host_tasks.RUNNING)


def forget_old() -> int:
    """Delete old jobs and mails. With a thousand flights, hourly syncs would fill the table. :returns: how many jobs"""
    now = timezone.now()
    TapisMail.objects.exclude(state=TapisMail.WAITING).filter(created_at__lt=now - KEEP).delete()
    ended = TapisJob.objects.exclude(state__in=TapisJob.OPEN).filter(bytes_moved=0)
    idle = Q(finished_at__lt=now - KEEP_IDLE) & (Q(kind=TapisJob.SYNC, state=TapisJob.COMPLETED, to_tell=False) | Q(kind=TapisJob.PREVIEW))
    latest_complete = TapisJob.objects.filter(
        flight_id=OuterRef("flight_id"), kind=TapisJob.SYNC, state=TapisJob.COMPLETED).order_by("-created_at").values("pk")[:1]
    # Keep each flight's latest complete sync: images that came after it are new to the flight's task (sync/finish.py).
    over = ended.filter(Q(finished_at__lt=now - KEEP) | idle).annotate(latest=Subquery(latest_complete))
    over = over.filter(Q(latest=None) | ~Q(pk=F("latest")))
    forgotten, until = 0, now + timedelta(seconds=FORGET_SECONDS)
    while timezone.now() < until:
        chunk = list(over.values_list("pk", flat=True)[:FORGET_CHUNK])
        forgotten += TapisJob.objects.filter(pk__in=chunk).delete()[1].get("tapis.TapisJob", 0)
        if len(chunk) < FORGET_CHUNK:
            break
    return forgotten


def due() -> QuerySet:
    """Jobs that a worker can take now."""
    alive = SyncBatch.objects.filter(lease_until__gte=Now()).values("job_id")
    return TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), state__in=TapisJob.ACTIVE, due_at__lte=Now()).exclude(pk__in=alive)


def take_up_again() -> int:
    """Resume jobs whose user has logged in again, and wake a worker if any job is due. One message is enough for all jobs.

    :returns: how many jobs are due
    """
    _resume_where_possible()
    for job in due().filter(lease_until__lt=Now()):
        with log_fields(flight=job.flight_id, tapis_job=job.pk):
            logger.warning("Tapis: the worker of %s stopped responding; another one takes over", job)
    found = due().count()
    if found:
        wake()
    return found


def _resume_where_possible() -> None:
    """Resume jobs whose login was renewed after they paused. A login that looks valid but that Tapis refused is not tried again."""
    logins = TapisOAuth2Token.objects.filter(user_id__in=paused().values("user_id"), is_valid=True, client__is_active=True)
    for login in logins.select_related("client", "user"):
        stopped = [parse_datetime(job.history[-1]["at"]) for job in paused().filter(user_id=login.user_id) if job.history]
        usable = not login.is_expired or login.can_refresh
        if usable and any(moment is not None and login.updated_at > moment for moment in stopped):
            continue_after_login(login.user, login.client)


def paused() -> QuerySet:
    """Jobs that wait for a login."""
    return TapisJob.objects.filter(state=TapisJob.PAUSED)


def pause_all(job: TapisJob, why: str) -> int:
    """Pause every sync that depends on the job's Tapis login, which has ended, so that none of them calls Tapis in vain.

    :returns: how many
    """
    rows = TapisJob.objects.filter(user_id=job.user_id, client_id=job.client_id, kind=TapisJob.SYNC, state__in=TapisJob.ACTIVE)
    alike = [each.pk for each in rows if each.access_token in ("", job.access_token)]
    return _each(alike, lifecycle.PAUSE, why)


def continue_after_login(user: Any, client: TapisOAuth2Client) -> int:
    """Resume the user's jobs at this client's tenant that waited for a login. :returns: how many"""
    waiting = paused().filter(user_id=user.pk, client__base_url=client.base_url, client__tenant_id=client.tenant_id)
    number = _each(waiting.values_list("pk", flat=True), lifecycle.RESUME, "", client=client, access_token="",
                   due_at=timezone.now(), to_tell=False)
    if number:
        wake()
    return number


def _each(ids: "Iterable[Any]", event: str, why: str, **changes: Any) -> int:
    return sum(lifecycle.apply(job_id, event, why, **changes) is not None for job_id in list(ids))
