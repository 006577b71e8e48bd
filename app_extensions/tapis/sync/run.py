"""Work on claimed jobs (discoveries, syncs and previews) in turns. Any worker can take the next turn of a job."""
import logging
import time
from datetime import timedelta
from typing import Any, Callable, Optional

from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.host.log_fields import note_fields
from app_extensions.tapis import jobs, lifecycle
from app_extensions.tapis.catalog import discovery, projects
from app_extensions.tapis.catalog.scan import Lost
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import Flight, FlightFile, SyncBatch, TapisJob
from app_extensions.tapis.problems import NoToken, SyncRefused, TapisProblem, TokenExpired
from app_extensions.tapis.sync import claims, fetch, finish, plan, previews, tidy

logger = logging.getLogger("app.logger")

Told = Callable[[TapisJob], None]

#: How long a sync waits for WebODM to carry out a cancel, and how often it checks.
CANCEL_SECONDS = 20.0
LOOK_SECONDS = 2.0
#: When to look again at a sync if other workers are fetching the rest of its files.
OTHERS_SECONDS = 2.0


def work() -> bool:
    """Take one turn at whichever job is due, and wake another worker if more jobs are due. :returns: whether a job was due"""
    claimed = claims.claim()
    if claimed is None:
        return False
    if jobs.due().exists():
        jobs.wake()  # another worker may start now, within the limit of workers
    try:
        take_claimed_turn(claimed)
    finally:
        if jobs.due().exists():
            jobs.wake()
    return True


def run_here(job_id: Any, told: Optional[Told] = None, poll_seconds: float = 0.5) -> TapisJob:
    """Run a whole job in this process. Workers may join. :returns: the job, which has ended or is paused

    :param told: called with the job from time to time
    """
    while True:
        job = TapisJob.objects.get(pk=job_id)
        if not job.active:
            return job
        claimed = claims.claim(only=job_id)
        if claimed is not None:
            take_claimed_turn(claimed, told)
        else:
            time.sleep(poll_seconds)  # another worker has the job, or it is not due yet


def take_claimed_turn(claimed: claims.Claim, told: Optional[Told] = None) -> str:
    """Work on a claimed job until it ends or the turn is over. The claim is released in any case.

    :returns: "more", "others", "done" or "stopped", as in ``fetch.Turn.run``
    """
    job = claimed.job
    note_fields(tapis_job=job.pk, flight=job.flight_id)
    seconds, outcome = 0.0, fetch.STOPPED
    try:
        outcome = _turn(claimed, told)
        seconds = OTHERS_SECONDS if outcome == fetch.OTHERS else 0.0
    except TapisProblem as problem:
        _stop(claimed, problem)
    except Exception as error:
        _stop(claimed, TapisProblem(f"Unexpected error: {type(error).__name__}", error="Internal error", status=500))
        raise
    finally:
        claims.release(claimed, seconds)
        if job.kind == TapisJob.SYNC:
            tidy.remove_incoming(job)  # does nothing while a sync of the flight is active
    return outcome


def _stop(claimed: claims.Claim, problem: TapisProblem) -> None:
    """Record why a job cannot continue. If this worker's lease ended while it was listing, leave the job to the worker that has it now."""
    job = claimed.job
    if claimed.batch is None and not claims.keep(claimed):
        logger.info("Tapis: %s %s belongs to another worker now; this worker failed with: %s", job.kind, job.pk, problem)
    elif job.kind == TapisJob.DISCOVERY:
        discovery.fail(job, problem)
    elif job.kind == TapisJob.PREVIEW:
        previews.fail(job, problem)
    elif isinstance(problem, (NoToken, TokenExpired)):
        finish.wait_for_login(job, problem)
    else:
        finish.fail(job.pk, problem.detail if problem.status == 500 else str(problem))


def _turn(claimed: claims.Claim, told: Optional[Told]) -> str:
    job = claimed.job
    if job.kind == TapisJob.DISCOVERY:
        return fetch.DONE if discovery.take_turn(job, lambda: claims.keep(claimed)) else fetch.MORE
    if claimed.batch is not None:
        return previews.take_turn(job, claimed.batch) if job.kind == TapisJob.PREVIEW else _fetch(job, claimed.batch, told)
    if not _plan(claimed):
        return fetch.STOPPED
    again = claims.claim(only=job.pk)  # continue at once, because the listing took little of the turn's time
    if again is None:
        return fetch.MORE
    if conf.sync_workers > 1 and _is_large(job):
        jobs.wake()  # another worker may share the sync
    return take_claimed_turn(again, told)


def _is_large(job: TapisJob) -> bool:
    """Whether there are enough files to fetch to share the sync with another worker."""
    wanted = FlightFile.objects.filter(flight_id=job.flight_id, state=FlightFile.WANTED)
    return wanted[:4 * conf.flight_connections].count() == 4 * conf.flight_connections


def is_planned(job_id: Any) -> bool:
    """Whether the job has been listed and is in its fetching phase."""
    return TapisJob.objects.filter(pk=job_id, state=TapisJob.RUNNING, phase=TapisJob.FETCHING).exists()


def take_plan(job_id: Any) -> bool:
    """List a sync's flight and plan the sync, unless another worker does or did so. Fetches nothing yet.

    :returns: whether the job is in its fetching phase now
    """
    if is_planned(job_id):
        return True
    claimed = claims.claim(only=job_id)
    if claimed is None:
        return False
    try:
        return claimed.batch is None and _plan(claimed)
    except TapisProblem as problem:
        _stop(claimed, problem)
    finally:
        claims.release(claimed)
    return False


def take_turn(job_id: Any, told: Optional[Told] = None) -> str:
    """Fetch some files of a planned sync, and end the sync after the last file.

    :returns: "more", "others", "done" or "stopped", as in ``fetch.Turn.run``
    """
    claimed = claims.claim(only=job_id)
    if claimed is not None:
        return take_claimed_turn(claimed, told)
    job = TapisJob.objects.select_related("flight").filter(pk=job_id).first()
    if job is None or not job.active:
        if job is not None:
            tidy.remove_incoming(job)
        return fetch.STOPPED
    return fetch.OTHERS


def _plan(claimed: claims.Claim) -> bool:
    """List the flight and plan its sync. :returns: whether the fetching phase can start now"""
    job = claimed.job
    if job.client is None or not job.client.is_active:
        raise SyncRefused("The Tapis client of this flight was disabled or removed.", status=404)
    task = projects.ensure_task(job.flight)
    if task is None:
        raise SyncRefused("The flight's project was deleted in WebODM.", status=404)
    job.flight.refresh_from_db()
    state = host_tasks.task_state(task)
    if state.pending_action == "cancel":
        _wait_for_cancel(job)
        return False
    if state.status in (host_tasks.QUEUED, host_tasks.RUNNING):
        raise SyncRefused("The task is being processed. Sync again when it has ended.")
    if state.status == host_tasks.CANCELED:
        host_tasks.make_waiting(task)  # the task was canceled before somebody asked for this sync
    try:
        found = plan.make_plan(job, jobs.access_of(job), task, lambda: claims.keep(claimed))
    except Lost:
        return False
    if found.missing_bytes:
        owner = task.project.owner
        plan.check_room(owner, host_tasks.task_dir(task), found.missing_bytes, plan.promised_bytes(owner, job))
    return plan.note_plan(job, found)


def _wait_for_cancel(job: TapisJob) -> None:
    """Put the sync off until WebODM has carried out an earlier cancel, which would otherwise stop this sync as well. Does not block.

    :raises SyncRefused: the sync has waited too long
    """
    since = job.results.get("cancel_since")
    now = timezone.now()
    if since and (now.timestamp() - since) > CANCEL_SECONDS:
        raise SyncRefused("WebODM is still stopping the task. Sync again in a moment.")
    lifecycle.apply(job.pk, lifecycle.PUT_OFF, "Waits for WebODM to stop the task.", due_at=now + timedelta(seconds=LOOK_SECONDS),
                    results={**job.results, "cancel_since": since or now.timestamp()})
    jobs.wake(LOOK_SECONDS)


def _fetch(job: TapisJob, batch: SyncBatch, told: Optional[Told]) -> str:
    task = host_tasks.get_task(job.flight.task_id)
    if task is None or fetch.cancelled(task):
        finish.cancel(job.pk, "The task was removed in WebODM." if task is None else "The task was canceled in WebODM.")
        return fetch.STOPPED
    if job.client is None:
        raise SyncRefused("The Tapis client of this flight was removed.", status=404)
    outcome = fetch.Turn(job, jobs.access_of(job), task, batch, told).run()
    if outcome == fetch.DONE:
        finish.finish(job.pk)
    return outcome


def sync_task(task: Any, access: Optional[TapisAccess] = None) -> bool:
    """Run the whole sync of a WebODM task's flight. :returns: whether it is complete

    :param access: to Tapis; None: that of the flight's user
    :raises SyncRefused: the task was not made from a flight, or the access is to another tenant
    """
    flight = Flight.objects.select_related("user", "client").filter(task_id=getattr(task, "pk", task)).first()
    if flight is None:
        raise SyncRefused("This task was not made from a flight.", status=404)
    if access is None:
        client = jobs.client_of(flight)
        if client is None:
            raise SyncRefused("No active Tapis client serves this flight's tenant.", status=404)
        access = TapisAccess(flight.user, client)
    if (access.client.base_url, access.client.tenant_id) != (flight.base_url, flight.tenant_id):
        raise SyncRefused("The flight belongs to another tenant than the client.")
    job, _ = jobs.start_sync(access, flight, queue=False)
    return run_here(job.pk).state == TapisJob.COMPLETED


def task_removed(task_id: Any) -> None:
    """End the sync of a task that is being removed. Its workers stop at their next check."""
    for job in TapisJob.objects.filter(flight__task_id=task_id, kind=TapisJob.SYNC, state__in=TapisJob.OPEN):
        finish.cancel(job.pk, "The task was removed in WebODM.")
