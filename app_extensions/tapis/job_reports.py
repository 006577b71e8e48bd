"""Reports of jobs for the web page and the API, and who may see them."""
from typing import Any, Optional
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from app_extensions.host import projects as host_projects
from app_extensions.tapis.models import TapisJob
from app_extensions.tapis.problems import TapisProblem


def problem_of(job: TapisJob) -> Optional[TapisProblem]:
    """Why a discovery failed, as the API reports it. None if it did not fail."""
    if job.state != TapisJob.FAILED:
        return None
    told = job.results.get("problem") or {}
    return TapisProblem(told.get("detail", job.error), status=told.get("status", 502), error=told.get("error", ""))


def visible(user: Any) -> QuerySet:
    """The jobs that a user may see: the user's own, and all syncs of projects that the user may see in WebODM.

    Preview jobs are left out because each preview reports its own state.
    """
    mine = TapisJob.objects.filter(Q(user_id=user.pk) | Q(flight__project_id__in=host_projects.visible_ids(user)))
    return mine.exclude(kind=TapisJob.PREVIEW)


def find_job(user: Any, job_id: Any) -> Optional[TapisJob]:
    """The job with this id. None if there is none, or the user may not see it."""
    try:
        wanted = UUID(str(job_id))
    except ValueError:
        return None
    jobs = TapisJob.objects.all() if user.is_superuser else visible(user)
    return jobs.select_related("flight").filter(pk=wanted).first()


def latest(user: Any, *, most_active: int = 200, most_failed: int = 50, most_ended: int = 50) -> "list[TapisJob]":
    """The jobs that a user may see, the most important first.

    The order is: running, waiting for a login, failed, queued, and other ended jobs; within each group, the newest first. Each group has
    its own limit, so that many queued jobs cannot crowd out running or failed ones.
    """
    mine = visible(user).order_by("-created_at")
    groups: list[tuple[tuple[str, ...], int]] = [
        ((TapisJob.RUNNING,), most_active), ((TapisJob.PAUSED,), most_active), ((TapisJob.FAILED,), most_failed),
        ((TapisJob.QUEUED,), most_active), ((TapisJob.COMPLETED, TapisJob.CANCELED), most_ended)]
    first, *others = (mine.filter(state__in=states).values_list("pk", "state")[:most] for states, most in groups)
    # One statement sees one moment. With two, a job that starts in between could be missed as neither running nor queued.
    seen = dict(first.union(*others, all=True))
    place = {state: number for number, (states, _) in enumerate(groups) for state in states}
    return sorted(mine.select_related("flight").filter(pk__in=list(seen)), key=lambda job: place[seen[job.pk]])


def page_of(user: Any, *, kind: str = "", state: str = "", page: int = 1, size: int = 50) -> "tuple[list[TapisJob], int]":
    """One page of the jobs that a user may see, newest first. :returns: the page, and the total number of jobs"""
    mine = visible(user).select_related("flight").order_by("-created_at")
    if kind:
        mine = mine.filter(kind=kind)
    if state:
        mine = mine.filter(state=state)
    return list(mine[(page - 1) * size:page * size]), mine.count()


def counts(user: Any) -> "dict[str, int]":
    """Number of jobs that a user may see, by state."""
    rows = visible(user).order_by().values("state").annotate(number=Count("pk"))
    found = {row["state"]: row["number"] for row in rows}
    return {state: found.get(state, 0) for state in TapisJob.STATES}


def progress_of(job: TapisJob) -> "dict[str, int]":
    """Progress of a running discovery: directories read, directories known, and flights found. Zeros for any other job."""
    told = job.results if job.kind == TapisJob.DISCOVERY and job.active else {}
    return {name: told.get(name, 0) for name in ("directories_read", "directories_known", "flights_found")}


def as_dict(job: TapisJob) -> "dict[str, Any]":
    """The documented form. Sizes are in bytes, the rate in bytes per second.

    A job that waits for a login is reported as ``failed``, so that programs stop polling. ``details_of`` tells the two apart.
    """
    return {
        "id": str(job.pk), "kind": job.kind, "state": TapisJob.FAILED if job.state == TapisJob.PAUSED else job.state,
        "images_done": job.images_done, "images_total": job.images_total, "bytes_done": job.bytes_done, "bytes_total": job.bytes_total,
        "rate": job.rate, "error": job.error,
    }


def details_of(job: TapisJob) -> "dict[str, Any]":
    """The fields of a job's report beyond the documented form."""
    return {
        "waits_for": "login" if job.state == TapisJob.PAUSED else "", "note": job.note,
        "created_at": job.created_at.isoformat(), "finished_at": job.finished_at.isoformat() if job.finished_at else None,
    }
