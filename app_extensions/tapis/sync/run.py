"""Work on claimed jobs: discoveries and syncs from their first listing to their end, and previews, in turns that any worker can take."""
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

#: How long a sync waits at most for WebODM to carry out a cancel, and how often it looks.
CANCEL_SECONDS = 20.0
LOOK_SECONDS = 2.0
#: A sync whose rest other workers have in hand is looked at again after so long.
OTHERS_SECONDS = 2.0


def work() -> bool:
    """Take one turn at whichever job is due, and wake another worker where more is to be done. :returns: whether there was something"""
    claimed = claims.claim()
    if claimed is None:
        return False
    if jobs.due().exists():
        jobs.wake()  # another worker, as far as there is one, and as many may work
    try:
        take_claimed_turn(claimed)
    finally:
        if jobs.due().exists():
            jobs.wake()
    return True


def run_here(job_id: Any, told: Optional[Told] = None, poll_seconds: float = 0.5) -> TapisJob:
    """Do a whole job in this process, together with any workers that are at it too. :returns: the job, which has ended or is paused

    :param told: called with the job now and then
    """
    while True:
        job = TapisJob.objects.get(pk=job_id)
        if not job.active:
            return job
        claimed = claims.claim(only=job_id)
        if claimed is not None:
            take_claimed_turn(claimed, told)
        else:
            time.sleep(poll_seconds)  # another worker has it, or it waits for something


def take_claimed_turn(claimed: claims.Claim, told: Optional[Told] = None) -> str:
    """Work on a claimed job until it ends or the turn is over. Whatever happens, the claim is given back.

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
            tidy.remove_incoming(job)  # however it ended, if it did
    return outcome


def _stop(claimed: claims.Claim, problem: TapisProblem) -> None:
    """Write down why a job cannot go on. A worker that listed until its lease ended leaves the job to whoever has it now."""
    job = claimed.job
    if claimed.batch is None and not claims.keep(claimed):
        logger.info("Tapis: %s %s is not this worker's any more, which ran into: %s", job.kind, job.pk, problem)
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
    again = claims.claim(only=job.pk)  # go on at once: the listing was not the long part
    if again is None:
        return fetch.MORE
    if conf.sync_workers > 1 and _is_large(job):
        jobs.wake()  # another worker may share it
    return take_claimed_turn(again, told)


def _is_large(job: TapisJob) -> bool:
    """Whether there is more to fetch than one worker does in a few calls."""
    wanted = FlightFile.objects.filter(flight_id=job.flight_id, state=FlightFile.WANTED)
    return wanted[:4 * conf.flight_connections].count() == 4 * conf.flight_connections


def is_planned(job_id: Any) -> bool:
    """Whether the job has been listed, and its files are being fetched."""
    return TapisJob.objects.filter(pk=job_id, state=TapisJob.RUNNING, phase=TapisJob.FETCHING).exists()


def take_plan(job_id: Any) -> bool:
    """List a sync's flight and plan it, unless another worker is at it or has done so, and fetch nothing yet.

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
    """Fetch some of a planned sync's files, and end the sync when that was the last of them.

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
    """List and compare. :returns: whether there is something to fetch or to finish now"""
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
        host_tasks.make_waiting(task)  # the sync or the processing was canceled earlier; this sync was asked for since
    try:
        found = plan.make_plan(job, jobs.access_of(job), task, lambda: claims.keep(claimed))
    except Lost:
        return False
    if found.missing_bytes:
        owner = task.project.owner
        plan.check_room(owner, host_tasks.task_dir(task), found.missing_bytes, plan.promised_bytes(owner, job))
    return plan.note_plan(job, found)


def _wait_for_cancel(job: TapisJob) -> None:
    """WebODM's worker still has to carry out a cancel that was asked for before. Late, it would stop this sync too. No worker waits for it.

    :raises SyncRefused: it has been waiting for too long
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
    """Sync the flight of a WebODM task to its end. :returns: whether it is complete

    :param access: whose token to use; None: the flight's user's
    :raises SyncRefused: the task is not a flight's, or of another tenant than the access
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
    """End the sync of a task that is being removed. Its workers stop at their next look."""
    for job in TapisJob.objects.filter(flight__task_id=task_id, kind=TapisJob.SYNC, state__in=TapisJob.OPEN):
        finish.cancel(job.pk, "The task was removed in WebODM.")
