"""Jobs: started once, joined by whoever asks for the same, shown to those who may see them, woken after a crash or a login."""
import hashlib
import json
import logging
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Optional
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery
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
#: Ended jobs, and mails that were sent, are kept for so long; those that moved bytes for ever: the figures count them.
KEEP = timedelta(days=30)
#: Complete syncs that brought nothing, such as the hourly ones of flights that do not change.
KEEP_IDLE = timedelta(days=1)
#: Jobs deleted in one statement, and seconds after which the clean-up leaves the rest for the next hour.
FORGET_CHUNK, FORGET_SECONDS = 5_000, 120.0
#: Discoveries that one user may have waiting.
MOST_DISCOVERIES = 20
#: Whoever starts a job to do it in the own process has so long to begin.
CALLER_SECONDS = 60.0
#: A message may wait so long in the broker. Redis delivers those that wait more than an hour a second time.
MOST_COUNTDOWN = 300.0

#: "tapisw": held by the one request that waits for a job.
WAITING_LOCK = 0x746170697377

IMPORT, LOOK, CREATE = "import", "look", "create"


def send(name: str, *args: Any, countdown: float = 0.0, task_id: Optional[str] = None) -> None:
    """Queue one of our Celery tasks once the transaction is committed."""
    transaction.on_commit(lambda: _send(name, args, countdown, task_id))


def wake(seconds: float = 0.0) -> None:
    """Wake a worker once the transaction is committed. The message carries nothing: the worker takes whichever job is due.

    :param seconds: wake it later, for a job that waits; five minutes at most, as beat wakes one each minute anyway
    """
    send("work", countdown=min(seconds, MOST_COUNTDOWN))


def _send(name: str, args: Any, countdown: float, task_id: Optional[str]) -> None:
    try:
        host_queue.send(NAMES + name, args, countdown=countdown or None, task_id=task_id, queue=conf.queue)
    except OperationalError as error:
        # The job's row is there: beat wakes a worker once the broker is back.
        logger.error("Tapis: %s was not queued, the broker does not answer: %s", name, type(error).__name__)


def start_sync(access: TapisAccess, flight: Flight, *, process: Optional[bool] = None,
               automatic: bool = False, queue: bool = True, due_at: Optional[datetime] = None) -> "tuple[TapisJob, bool]":
    """A sync of the flight: a new one, or the one that is under way. One that waits for a login goes on with this access.

    :param process: process when complete; None: as the user's preferences say
    :param queue: wake a worker; False: the caller does the work, or wakes one when it has started many and gives ``due_at``
    :param due_at: not before; None: now, or a minute later where the caller does the work
    :returns: the job, and whether it was there already
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
    """A discovery for the user in the background, or the one under way for the same purpose. A user's discoveries run one at a time.

    :param purpose: IMPORT makes projects, LOOK only looks, CREATE makes projects of the flights that the request describes
    :param request: ``systems`` or ``flights``, checked; keys that start with ``_`` are kept and make no other purpose of it
    :param due_at: not before; None: now
    :returns: the job, and whether it was there already
    :raises TapisProblem: the user has too many waiting (429)
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
        TapisJob.objects.filter(pk=job.pk, state=TapisJob.QUEUED).update(due_at=timezone.now())  # it was planned for later
    note_fields(tapis_job=job.pk)
    logger.info("Tapis: discovery %s %s", job.pk, "is joined" if joined else "is started")
    if queue:
        wake()
    return job, joined


def _due_at(queue: bool) -> datetime:
    """Now; a minute later where the caller does the work: workers take it up if the caller never begins."""
    return timezone.now() if queue else timezone.now() + timedelta(seconds=CALLER_SECONDS)


def _check_waiting(waiting: QuerySet) -> None:
    if waiting.count() >= MOST_DISCOVERIES:
        raise TapisProblem(f"{MOST_DISCOVERIES} discoveries of yours are waiting. Wait until some of them have ended.", status=429,
                           error="Too many requests")


def _make(existing: Any, check: Any = lambda: None, **fields: Any) -> "tuple[TapisJob, bool]":
    """The active job, or a new one; the database's constraint decides where two come at once."""
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
    """Wait for a job's end, for as long as is bounded, so that a request may answer with the result.

    One request of the whole site waits at a time, so that waiting never holds more than one of the web workers. The others get the job as
    it is, at once.

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


def problem_of(job: TapisJob) -> Optional[TapisProblem]:
    """Why a discovery failed, as it is told to whoever asked for it; None where it did not fail."""
    if job.state != TapisJob.FAILED:
        return None
    told = job.results.get("problem") or {}
    return TapisProblem(told.get("detail", job.error), status=told.get("status", 502), error=told.get("error", ""))


def discovers(user: Any) -> bool:
    """Whether a worker is at a discovery of the user right now."""
    return TapisJob.objects.filter(user_id=user.pk, kind=TapisJob.DISCOVERY, state=TapisJob.RUNNING, lease_until__gte=Now()).exists()


def access_of(job: TapisJob) -> TapisAccess:
    """The access that the job was started with. A token that came with the request gives way to the stored login when it ends."""
    return TapisAccess(job.user, job.client, job.access_token, fall_back=True)


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


def visible(user: Any) -> QuerySet:
    """The jobs that a user may see: the own ones, and all syncs of projects that WebODM lets the user see."""
    return TapisJob.objects.filter(Q(user_id=user.pk) | Q(flight__project_id__in=host_projects.visible_ids(user)))


def find_job(user: Any, job_id: Any) -> Optional[TapisJob]:
    """The job of that id; None where there is none, or the user may not see it."""
    try:
        wanted = UUID(str(job_id))
    except ValueError:
        return None
    jobs = TapisJob.objects.all() if user.is_superuser else visible(user)
    return jobs.select_related("flight").filter(pk=wanted).first()


def latest(user: Any, *, most_active: int = 200, most_failed: int = 50, most_ended: int = 50) -> "list[TapisJob]":
    """The jobs that a user may see, those that matter first: running ones, those that wait for a login, failed ones, waiting ones, and the
    others that ended; the newest of each first. However many there are, none of the running and failed ones is crowded out."""
    mine = visible(user).order_by("-created_at")
    groups: list[tuple[tuple[str, ...], int]] = [
        ((TapisJob.RUNNING,), most_active), ((TapisJob.PAUSED,), most_active), ((TapisJob.FAILED,), most_failed),
        ((TapisJob.QUEUED,), most_active), ((TapisJob.COMPLETED, TapisJob.CANCELED), most_ended)]
    first, *others = (mine.filter(state__in=states).values_list("pk", "state")[:most] for states, most in groups)
    # One statement sees one moment. In two, a job that begins between them would be neither running nor waiting.
    seen = dict(first.union(*others, all=True))
    place = {state: number for number, (states, _) in enumerate(groups) for state in states}
    return sorted(mine.select_related("flight").filter(pk__in=list(seen)), key=lambda job: place[seen[job.pk]])


def page_of(user: Any, *, kind: str = "", state: str = "", page: int = 1, size: int = 50) -> "tuple[list[TapisJob], int]":
    """One page of the jobs that a user may see, newest first. :returns: the page, and how many there are in all"""
    mine = visible(user).select_related("flight").order_by("-created_at")
    if kind:
        mine = mine.filter(kind=kind)
    if state:
        mine = mine.filter(state=state)
    return list(mine[(page - 1) * size:page * size]), mine.count()


def counts(user: Any) -> "dict[str, int]":
    """How many jobs of each state a user may see."""
    rows = visible(user).order_by().values("state").annotate(number=Count("pk"))
    found = {row["state"]: row["number"] for row in rows}
    return {state: found.get(state, 0) for state in TapisJob.STATES}


def progress_of(job: TapisJob) -> "dict[str, int]":
    """How many directories a discovery that is under way has read, how many it knows of, and the flights found so far."""
    told = job.results if job.kind == TapisJob.DISCOVERY and job.active else {}
    return {name: told.get(name, 0) for name in ("directories_read", "directories_known", "flights_found")}


def as_dict(job: TapisJob) -> "dict[str, Any]":
    """The documented form. Sizes are in bytes, the rate in bytes a second.

    A job that waits for a login is told as ``failed``, as programs stop asking then; ``details_of`` says that it goes on after the login.
    """
    return {
        "id": str(job.pk), "kind": job.kind, "state": TapisJob.FAILED if job.state == TapisJob.PAUSED else job.state,
        "images_done": job.images_done, "images_total": job.images_total, "bytes_done": job.bytes_done, "bytes_total": job.bytes_total,
        "rate": job.rate, "error": job.error,
    }


def details_of(job: TapisJob) -> "dict[str, Any]":
    """What is told of a job besides the documented form."""
    return {
        "waits_for": "login" if job.state == TapisJob.PAUSED else "", "note": job.note,
        "created_at": job.created_at.isoformat(), "finished_at": job.finished_at.isoformat() if job.finished_at else None,
    }


def forget_old() -> int:
    """Forget what ended long ago: a sync an hour of each of a thousand flights would fill the table. :returns: how many jobs"""
    now = timezone.now()
    TapisMail.objects.exclude(state=TapisMail.WAITING).filter(created_at__lt=now - KEEP).delete()
    ended = TapisJob.objects.exclude(state__in=TapisJob.OPEN).filter(bytes_moved=0)
    idle = Q(finished_at__lt=now - KEEP_IDLE, kind=TapisJob.SYNC, state=TapisJob.COMPLETED, to_tell=False)
    latest_complete = TapisJob.objects.filter(
        flight_id=OuterRef("flight_id"), kind=TapisJob.SYNC, state=TapisJob.COMPLETED).order_by("-created_at").values("pk")[:1]
    # A flight's latest complete sync stays: what came since is what its task has not been started with (sync/finish.py).
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
    """Jobs that a worker could take now."""
    alive = SyncBatch.objects.filter(lease_until__gte=Now()).values("job_id")
    return TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), state__in=TapisJob.ACTIVE, due_at__lte=Now()).exclude(pk__in=alive)


def take_up_again() -> int:
    """Wake a worker if there is work, and let jobs go on whose user has logged in again. One message, however many jobs wait.

    :returns: how many jobs are due
    """
    _resume_where_possible()
    for job in due().filter(lease_until__lt=Now()):
        with log_fields(flight=job.flight_id, tapis_job=job.pk):
            logger.warning("Tapis: the worker of %s gave no sign of life; another takes it up", job)
    found = due().count()
    if found:
        wake()
    return found


def _resume_where_possible() -> None:
    """Let jobs go on whose login was renewed after they stopped. One that Tapis refuses although it looks good is not tried again."""
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
    """The Tapis login of a job's user has ended: let every sync that depends on it wait, so that none of them asks Tapis in vain.

    :returns: how many
    """
    rows = TapisJob.objects.filter(user_id=job.user_id, client_id=job.client_id, kind=TapisJob.SYNC, state__in=TapisJob.ACTIVE)
    alike = [each.pk for each in rows if each.access_token in ("", job.access_token)]
    return _each(alike, lifecycle.PAUSE, why)


def continue_after_login(user: Any, client: TapisOAuth2Client) -> int:
    """Let the jobs go on that waited for this login: those of the user at the client's tenant. :returns: how many"""
    waiting = paused().filter(user_id=user.pk, client__base_url=client.base_url, client__tenant_id=client.tenant_id)
    number = _each(waiting.values_list("pk", flat=True), lifecycle.RESUME, "", client=client, access_token="",
                   due_at=timezone.now(), to_tell=False)
    if number:
        wake()
    return number


def _each(ids: "Iterable[Any]", event: str, why: str, **changes: Any) -> int:
    return sum(lifecycle.apply(job_id, event, why, **changes) is not None for job_id in list(ids))
