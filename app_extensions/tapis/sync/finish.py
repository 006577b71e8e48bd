"""End a sync: hand the task over to WebODM, or record why not."""
from datetime import timedelta
from typing import Any, Optional

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.tapis import jobs, lifecycle, notices
from app_extensions.tapis.catalog.processing import processing_of
from app_extensions.tapis.conf import conf
from app_extensions.tapis.models import FlightFile, TapisJob
from app_extensions.tapis.problems import TapisProblem

#: Bounds of the wait between two listings of a flight that is still being copied.
LEAST_WAIT_SECONDS, MOST_WAIT_SECONDS = 1.0, 300.0


def finish(job_id: Any) -> bool:
    """End a sync that has nothing left to fetch. Commit the task and complete the job in one transaction.

    If the flight is still being copied to Tapis, list it again after a while instead.

    :returns: whether the job is complete now
    """
    with transaction.atomic():
        job = TapisJob.objects.select_for_update(of=("self",)).select_related("user", "client", "flight").get(pk=job_id)
        if job.state != TapisJob.RUNNING or job.phase != TapisJob.FETCHING:
            return job.state == TapisJob.COMPLETED
        files = FlightFile.objects.filter(flight_id=job.flight_id)
        if files.filter(state__in=(FlightFile.WANTED, FlightFile.FETCHING)).exists():
            return False
        failed = list(files.filter(state=FlightFile.FAILED)[:3])
        if failed:
            count = files.filter(state=FlightFile.FAILED).count()
            named = "; ".join(f"{row.name}: {row.error}" for row in failed)
            _end(job.pk, lifecycle.FAIL, f"{count} of {job.images_total} images could not be fetched: {named}")
            return False
        if not job.settled:
            _wait_for_copy(job)
            return False
        task = host_tasks.get_task(job.flight.task_id)
        if task is None:
            _end(job.pk, lifecycle.CANCEL, "The task was removed in WebODM.")
            return False
        if not files.filter(state=FlightFile.DONE).exists():
            _end(job.pk, lifecycle.FAIL, "None of the flight's images is a JPEG that could be fetched.")
            return False
        problem = _hand_over(job, task)
        job.flight.synced_at = timezone.now()
        job.flight.save(update_fields=["synced_at"])
        _end(job.pk, lifecycle.COMPLETE, " ".join(filter(None, [job.error, _vanished(job), _rejected(job), problem])))
    return True


def fail(job_id: Any, reason: str) -> None:
    """End a job that cannot continue."""
    _end(job_id, lifecycle.FAIL, reason)


def cancel(job_id: Any, reason: str) -> None:
    """End a job that is no longer wanted. Its workers notice at their next check."""
    _end(job_id, lifecycle.CANCEL, reason)


def wait_for_login(job: TapisJob, problem: TapisProblem) -> None:
    """Pause this job and the user's other syncs with the same ended login. They keep their images and continue after the next login."""
    jobs.pause_all(job, str(problem))
    task = host_tasks.get_task(job.flight.task_id) if job.flight else None
    if task is not None:
        host_tasks.update_size(task)
    notices.send_digest(job.user)


def _wait_for_copy(job: TapisJob) -> None:
    seconds = max(LEAST_WAIT_SECONDS, min(conf.settle_seconds, MOST_WAIT_SECONDS))
    lifecycle.apply(job.pk, lifecycle.PUT_OFF, "Waits until the flight no longer changes at Tapis. It may still be copied there.",
                    phase=TapisJob.LISTING, due_at=timezone.now() + timedelta(seconds=seconds))
    jobs.wake(seconds)


def _end(job_id: Any, event: str, reason: str) -> None:
    """End a job. Its user gets one mail for the whole batch of jobs."""
    with transaction.atomic():
        job = lifecycle.apply(job_id, event, reason)
        if job is None:
            return
        task = host_tasks.get_task(job.flight.task_id) if job.flight_id and event != lifecycle.COMPLETE else None
        if task is not None:
            host_tasks.update_size(task)  # even an incomplete set of images counts in the owner's quota
    notices.send_digest(job.user)


def _hand_over(job: TapisJob, task: Any) -> str:
    """Have WebODM process the task if the user wants that and there are new images. :returns: a note for the user, or "" """
    processing = processing_of(job.flight, job.user, task.project.owner)
    wanted = processing.wanted if job.process is None else job.process
    state = host_tasks.task_state(task)
    host_tasks.update_counts(task)
    if not wanted or not (state.status == host_tasks.WAITING or _brought_images(job)):
        return ""
    try:
        host_tasks.commit_task(task, options=processing.options, node_id=processing.node_id)
    except host_tasks.TaskBusyError:
        return "The task was started meanwhile; its new images are not part of that run."
    except ValidationError as error:
        return f"The task was not started: {'; '.join(error.messages)}"
    return " ".join(filter(None, [processing.note, host_tasks.task_state(task).hint]))


def _brought_images(job: TapisJob) -> bool:
    """Whether new images came since the last complete sync: with this sync, or with earlier ones that then failed."""
    syncs = TapisJob.objects.filter(flight_id=job.flight_id, kind=TapisJob.SYNC)
    last = syncs.filter(state=TapisJob.COMPLETED).order_by("-created_at").first()
    since = syncs.filter(bytes_moved__gt=0)
    return (since.filter(created_at__gt=last.created_at) if last else since).exists()


def _vanished(job: TapisJob) -> Optional[str]:
    """A sentence about images that were in the listing but were gone when a worker came to fetch them."""
    rows = FlightFile.objects.filter(flight_id=job.flight_id, state=FlightFile.GONE).exclude(error="")
    count = rows.count()
    if not count:
        return None
    named = ", ".join(row.name for row in rows[:3]) + (" …" if count > 3 else "")
    images, they = ("1 image was", "it") if count == 1 else (f"{count} images were", "they")
    return f"{images} deleted at the source before {they} could be fetched: {named}."


def _rejected(job: TapisJob) -> Optional[str]:
    rows = FlightFile.objects.filter(flight_id=job.flight_id, state=FlightFile.REJECTED)
    count = rows.count()
    if not count:
        return None
    named = "; ".join(f"{row.name}: {row.error}" for row in rows[:3])
    images = "1 image is" if count == 1 else f"{count} images are"
    return f"{images} broken at the source and left out: {named}"
