"""The Celery tasks, under their documented names. They are short, can be repeated, and call the same functions as the views.

They can also be imported as ``app.tasks.tapis_storage``.
"""
import logging
from typing import Any, Optional

from django.contrib.auth import get_user_model
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.host.celery_app import app
from app_extensions.shared.mail import deliver_due
from app_extensions.tapis import jobs, notices
from app_extensions.tapis.catalog import discovery, previews
from app_extensions.tapis.catalog.flights import named_flight
from app_extensions.tapis.login import states
from app_extensions.tapis.login.access import TapisAccess, client_for, require_token
from app_extensions.tapis.models import Flight, TapisMail
from app_extensions.tapis.problems import TapisProblem
from app_extensions.tapis.sync import run
from app_extensions.tapis.sync.fetch import cancelled

logger = logging.getLogger("app.logger")

@app.task(name=jobs.NAMES + "work", ignore_result=True)
def work(*_: Any) -> bool:
    """Take one turn at whichever job is due. The message names no job, so an extra message does no harm."""
    return run.work()


@app.task(name=jobs.NAMES + "sync_flight", ignore_result=True)
def sync_flight(job_id: str) -> bool:
    """The previous version queued this for a sync. Does the same as ``work``."""
    return run.work()


@app.task(name=jobs.NAMES + "sync_batch", ignore_result=True)
def sync_batch(job_id: str) -> bool:
    """The previous version queued this for a sync's next turn. Does the same as ``work``."""
    return run.work()


@app.task(name=jobs.NAMES + "run_discovery", ignore_result=True)
def run_discovery(job_id: str) -> bool:
    """The previous version queued this for a discovery. Does the same as ``work``."""
    return run.work()


@app.task(name=jobs.NAMES + "discover_and_create_flight_projects")
def discover_and_create_flight_projects(user_id: int, client_id: Optional[str] = None) -> "dict[str, Any]":
    """Discover a user's flights, make projects for them, and start their syncs if the user's preferences say so.

    :param client_id: the client's id as registered with Tapis; None: the client of the user's latest login
    :returns: the results of ``create-projects``
    """
    user = get_user_model().objects.get(pk=user_id)
    try:
        client = client_for(user, client_id)
        require_token(user, client)
    except TapisProblem as problem:
        return {**discovery.empty_results(), "errors": [str(problem)]}
    busy = jobs.discovers(user)
    job, joined = jobs.start_discovery(TapisAccess(user, client), jobs.IMPORT, {"background": True}, automatic=True, queue=busy)
    if joined or busy:  # one discovery at a time per user; a worker will run this one after the current one
        return {**discovery.empty_results(), "errors": [f"A discovery for this user is under way: job {job.pk}"]}
    return discovery.results_of(run.run_here(job.pk))


@app.task(name=jobs.NAMES + "download_flight_images")
def download_flight_images(task_id: str, flight_info: "Optional[dict[str, Any]]" = None) -> bool:
    """Run the whole sync of a flight's WebODM task. :returns: whether it is complete

    :param flight_info: the task's flight as ``discover-flights`` describes it, or None
    """
    task = host_tasks.get_task(task_id)
    if task is None:
        logger.warning("Tapis: task %s is gone", task_id)
        return False
    try:
        if flight_info:
            name, system_id = named_flight(flight_info, "flight_info")
            if not Flight.objects.filter(task_id=task.pk, name=name, system_id=system_id).exists():
                logger.warning("Tapis: task %s was not made from %s on %s", task_id, name, system_id)
                return False
        return run.sync_task(task)
    except TapisProblem as problem:
        logger.warning("Tapis: task %s cannot be synced: %s", task_id, problem)
        return False


@app.task(name=jobs.NAMES + "sync_all_flight_projects")
def sync_all_flight_projects() -> int:
    """Start a sync of every flight that can be synced now and has a user with a valid Tapis login. :returns: how many"""
    started = 0
    usable: dict[tuple[int, int], bool] = {}
    rows = Flight.objects.filter(task_id__isnull=False, user__is_active=True).select_related("user")
    for flight in rows.order_by("user_id", "pk"):
        client = jobs.client_of(flight)
        if client is None or not jobs.can_be_synced(flight) or cancelled(host_tasks.get_task(flight.task_id)):
            continue
        access, login = TapisAccess(flight.user, client), (flight.user_id, client.pk)
        if login not in usable:  # spare users with an ended login a failed sync and a mail for each flight every time
            usable[login] = _has_token(access)
        if usable[login]:
            started += not jobs.start_sync(access, flight, automatic=True, queue=False, due_at=timezone.now())[1]
    if started:
        jobs.wake()
    return started


def _has_token(access: TapisAccess) -> bool:
    try:
        access.token()
    except TapisProblem as problem:
        logger.warning("Tapis: the flights of user %s are not synced: %s", access.user.pk, problem)
        return False
    return True


@app.task(name=jobs.NAMES + "periodic_flight_discovery")
def periodic_flight_discovery(user_id: Optional[int] = None) -> "list[int]":
    """Queue discoveries for all users with tokens, or for one user. :returns: the ids of the users who get one"""
    return discovery.start_periodic(user_id)


@app.task(name=jobs.NAMES + "cleanup_expired_oauth_states")
def cleanup_expired_oauth_states() -> int:
    """Delete expired login states. :returns: how many"""
    return states.remove_expired()


@app.task(name=jobs.NAMES + "take_up_jobs_again", ignore_result=True)
def take_up_jobs_again() -> int:
    """Resume jobs whose user has logged in again, and wake a worker if jobs are due. :returns: how many are due"""
    return jobs.take_up_again()


@app.task(name=jobs.NAMES + "forget_old_tapis_jobs", ignore_result=True)
def forget_old_tapis_jobs() -> int:
    """Delete old jobs and mails, and unused previews. :returns: how many jobs"""
    previews.forget_unused()
    return jobs.forget_old()


@app.task(name=jobs.NAMES + "deliver_tapis_mails", ignore_result=True)
def deliver_tapis_mails() -> int:
    """Queue mails about jobs that have ended, and send the mails that are due."""
    notices.send_digests()
    return deliver_due(TapisMail)

