"""Mail users who want it about their ended discoveries and syncs. One mail covers a whole batch of jobs."""
import logging
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction
from django.template.loader import render_to_string

from app_extensions.host import projects as host_projects
from app_extensions.shared.formatting import format_bytes
from app_extensions.shared.mail import enqueue
from app_extensions.tapis import jobs
from app_extensions.tapis.models import TapisJob, TapisMail
from app_extensions.tapis.preferences import preferences_of

logger = logging.getLogger("app.logger")

#: Most jobs that one mail lists.
MOST_NAMED = 50


def send_digest(user: Any) -> bool:
    """Once none of a user's jobs is active, queue one mail about all that ended since the last mail.

    Call it whenever a job ends. If two workers end the last two jobs at the same moment, each may leave the mail to the other.
    ``send_digests`` sends it a minute later.

    :returns: whether a mail was queued
    """
    with transaction.atomic():
        if TapisJob.objects.filter(user_id=user.pk, state__in=TapisJob.ACTIVE).exclude(kind=TapisJob.PREVIEW).exists():
            return False
        rows = TapisJob.objects.select_for_update(of=("self",)).select_related("flight", "user").filter(user_id=user.pk, to_tell=True)
        ended = list(rows.order_by("created_at"))
        TapisJob.objects.filter(pk__in=[job.pk for job in ended]).update(to_tell=False)
        preferences = preferences_of(user)
        wanted = [job for job in ended if _is_wanted(job, preferences)]
        if not wanted or not user.email:
            return False
        subject, lines = _one(wanted[0]) if len(wanted) == 1 else _several(wanted)
        context = {"user": user, "lines": lines, "subject": subject}
        enqueue(
            TapisMail, kind=f"{wanted[0].kind} {wanted[0].state}" if len(wanted) == 1 else "digest", to=[user.email], subject=subject,
            text=render_to_string("tapis/mail.txt", context), html=render_to_string("tapis/mail.html", context),
        )
        jobs.send("deliver_tapis_mails")
    return True


def send_digests() -> int:
    """Queue the mails that are due for all users. :returns: how many"""
    waiting = TapisJob.objects.filter(to_tell=True).values("user_id")
    return sum(send_digest(user) for user in get_user_model().objects.filter(pk__in=waiting))


def _is_wanted(job: TapisJob, preferences: Any) -> bool:
    good, errors = job.state == TapisJob.COMPLETED, job.results.get("errors") or []
    if job.state in (TapisJob.FAILED, TapisJob.PAUSED):
        return preferences.notify_on_discovery_errors
    if not good:
        return False
    if job.kind == TapisJob.DISCOVERY:
        return bool((preferences.notify_on_discovery_complete and job.results.get("projects_created", 0) > 0)
                    or (errors and preferences.notify_on_discovery_errors))
    return job.bytes_moved > 0 and preferences.notify_on_discovery_complete


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())


def _one(job: TapisJob) -> "tuple[str, list[str]]":
    return (_discovery if job.kind == TapisJob.DISCOVERY else _sync)(job)


def _several(ended: "list[TapisJob]") -> "tuple[str, list[str]]":
    """The subject and the lines of a mail about several jobs. Jobs that need the reader's attention come first."""
    syncs = [job for job in ended if job.kind == TapisJob.SYNC]
    number = {state: sum(job.state == state for job in syncs) for state in TapisJob.STATES}
    paused, failed, complete = number[TapisJob.PAUSED], number[TapisJob.FAILED], number[TapisJob.COMPLETED]
    made = sum(job.results.get("projects_created", 0) for job in ended if job.kind == TapisJob.DISCOVERY)
    parts = [f"{made} new projects" if made else "", f"{complete} flights complete" if complete else "",
             f"{failed} flights failed" if failed else "", f"{paused} flights wait for your login" if paused else ""]
    subject = "Tapis: " + (", ".join(filter(None, parts)) or f"{len(ended)} jobs have ended")
    if paused:
        subject = "Log in to Tapis again: " + subject[len("Tapis: "):]
    order = [TapisJob.PAUSED, TapisJob.FAILED, TapisJob.COMPLETED, TapisJob.CANCELED]
    lines = []
    for job in sorted(ended, key=lambda each: order.index(each.state) if each.state in order else len(order))[:MOST_NAMED]:
        lines += _one(job)[1]
    if len(ended) > MOST_NAMED:
        lines.append(f"… and {len(ended) - MOST_NAMED} more.")
    return subject[:200], lines


def _discovery(job: TapisJob) -> "tuple[str, list[str]]":
    results = job.results
    if job.state == TapisJob.FAILED:
        return "Tapis discovery failed", [job.error]
    made = results.get("created_projects", [])
    count = len(made)
    lines = [f"{results.get('flights_discovered', 0)} flights on {results.get('systems_scanned', 0)} systems; "
             f"{count} new projects."]
    lines += [f"{item['project_name']}: {item['image_count']} images" for item in made[:50]]
    lines += [f"Problem: {error}" for error in (results.get("errors") or [])[:50]]
    return f"Tapis discovery: {count} new projects", lines


def _sync(job: TapisJob) -> "tuple[str, list[str]]":
    project = host_projects.get_project(job.flight.project_id) if job.flight else None
    name = _one_line(project.name if project else job.flight)
    done = f"{job.images_done} of {job.images_total} images ({format_bytes(job.bytes_done)}) are here."
    if job.state == TapisJob.PAUSED:
        return "Log in to Tapis again: a sync waits for it", [f"{name}: {job.error} The sync continues after your login.", done]
    if job.state == TapisJob.FAILED:
        return f"Tapis sync failed: {name}"[:200], [f"{name}: {job.error}", done]
    return f"Tapis sync complete: {name}"[:200], [line for line in (f"{name}: {done}", job.error) if line]
