"""A sync from its first listing to its end, in steps that any worker can take at any time."""
import logging
import time
from typing import Any, Callable, Optional
from uuid import uuid4

from django.db.models import Q
from django.db.models.functions import Now

from app_extensions.host import tasks as host_tasks
from app_extensions.host.log_fields import note_fields
from app_extensions.tapis import jobs
from app_extensions.tapis.catalog import projects
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import Flight, TapisJob
from app_extensions.tapis.models.jobs import from_now
from app_extensions.tapis.problems import SyncRefused, TapisProblem
from app_extensions.tapis.sync import fetch, finish, leases, plan, tidy

logger = logging.getLogger("app.logger")

Told = Callable[[TapisJob], None]

CANCEL_SECONDS = 20  # that a sync waits at most for WebODM to carry out a cancel


def is_planned(job_id: Any) -> bool:
    """Whether the job has been listed, and its files are being fetched."""
    return TapisJob.objects.filter(pk=job_id, state=TapisJob.RUNNING, phase=TapisJob.FETCHING).exists()


def take_plan(job_id: Any) -> bool:
    """List the flight and plan its sync, unless another worker is at it or has done so.

    :returns: whether the job is in its fetching phase now
    """
    owner = uuid4().hex
    mine = TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), pk=job_id, state__in=TapisJob.ACTIVE,
        phase=TapisJob.LISTING,
    ).update(state=TapisJob.RUNNING, lease_owner=owner, lease_until=from_now(jobs.listing_lease()))
    job = TapisJob.objects.select_related("flight", "user", "client").get(pk=job_id)
    note_fields(flight=job.flight_id)
    if not mine:
        return job.state == TapisJob.RUNNING and job.phase == TapisJob.FETCHING
    try:
        _plan(job)
    except TapisProblem as problem:
        finish.fail(job_id, str(problem))
        return False
    except Exception as error:
        finish.fail(job_id, f"Unexpected error while listing the flight: {type(error).__name__}")
        raise
    return is_planned(job_id)


def _plan(job: TapisJob) -> None:
    if job.client is None or not job.client.is_active:
        raise SyncRefused("The Tapis client of this flight is switched off or gone.", status=404)
    task = projects.ensure_task(job.flight)
    if task is None:
        raise SyncRefused("The flight's project was deleted in WebODM.", status=404)
    job.flight.refresh_from_db()
    state = _settled(task)
    if state.status in (host_tasks.QUEUED, host_tasks.RUNNING):
        raise SyncRefused("The task is being processed. Sync again when it has ended.")
    if state.status == host_tasks.CANCELED:
        host_tasks.make_waiting(task)  # the sync or the processing was cancelled earlier; this sync was asked for since

    def alive() -> None:
        TapisJob.objects.filter(pk=job.pk, lease_owner=job.lease_owner).update(lease_until=from_now(jobs.listing_lease()))

    found = plan.make_plan(job, jobs.access_of(job), task, alive)
    if found.missing_bytes:
        owner = task.project.owner
        plan.check_room(owner, host_tasks.task_dir(task), found.missing_bytes, plan.promised_bytes(owner, job))
    plan.note_plan(job, found)


def _settled(task: Any) -> host_tasks.TaskState:
    """The task's state once WebODM has carried out a cancel that was asked for before: late, it would stop this sync too."""
    until = time.monotonic() + CANCEL_SECONDS
    while (state := host_tasks.task_state(task)).pending_action == "cancel":
        if time.monotonic() > until:
            raise SyncRefused("WebODM is still stopping the task. Sync again in a moment.")
        time.sleep(0.5)
        task.refresh_from_db()
    return state


def take_turn(job_id: Any, told: Optional[Told] = None) -> str:
    """Fetch some of the job's files, and end the job when that was the last of them.

    :param told: called with the job now and then
    :returns: "more", "full", "others", "done" or "stopped", as in ``fetch.Turn.run``
    """
    job = TapisJob.objects.select_related("flight", "user", "client").filter(pk=job_id).first()
    if job is None:
        return fetch.STOPPED
    note_fields(flight=job.flight_id)
    try:
        return _take_turn(job, told)
    finally:
        tidy.remove_incoming(job)  # however it ended, if it did


def _take_turn(job: TapisJob, told: Optional[Told]) -> str:
    job_id = job.pk
    if job.state != TapisJob.RUNNING or job.phase != TapisJob.FETCHING:
        return fetch.STOPPED
    task = host_tasks.get_task(job.flight.task_id)
    if task is None:
        finish.cancel(job_id, "The task was removed in WebODM.")
        return fetch.STOPPED
    if fetch.cancelled(task):
        finish.cancel(job_id, "The task was cancelled in WebODM.")
        return fetch.STOPPED
    if job.client is None:
        finish.fail(job_id, "The Tapis client of this flight is gone.")
        return fetch.STOPPED
    leases.reap()
    try:
        outcome = fetch.Turn(job, jobs.access_of(job), task, told).run()
        if outcome == fetch.DONE:
            finish.finish(job_id)
    except TapisProblem as problem:
        finish.fail(job_id, str(problem))
        return fetch.STOPPED
    except Exception as error:
        finish.fail(job_id, f"Unexpected error: {type(error).__name__}")
        raise
    return outcome


def run_here(job_id: Any, told: Optional[Told] = None, poll_seconds: float = 0.5) -> TapisJob:
    """Do the whole sync in this process, together with any workers that are at it too. :returns: the ended job

    :param told: called with the job now and then
    """
    while True:
        job = TapisJob.objects.get(pk=job_id)
        if not job.active:
            return job
        if not take_plan(job_id) and TapisJob.objects.get(pk=job_id).active:
            time.sleep(poll_seconds)  # another worker lists the flight
            continue
        if take_turn(job_id, told) in (fetch.OTHERS, fetch.FULL):
            time.sleep(poll_seconds)


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
        raise SyncRefused("The flight is of another tenant than the client.")
    job, _ = jobs.start_sync(access, flight, queue=False)
    return run_here(job.pk).state == TapisJob.COMPLETED


def task_removed(task_id: Any) -> None:
    """End the sync of a task that is being removed. Its workers stop at their next look."""
    for job in TapisJob.objects.filter(flight__task_id=task_id, kind=TapisJob.SYNC, state__in=TapisJob.ACTIVE):
        finish.cancel(job.pk, "The task was removed in WebODM.")
