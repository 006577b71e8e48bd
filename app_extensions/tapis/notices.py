"""Mails on discoveries and syncs that have ended, to those who want them."""
import logging
from typing import Any

from django.template.loader import render_to_string

from app_extensions.host import projects as host_projects
from app_extensions.shared.formatting import format_bytes
from app_extensions.shared.mail import enqueue
from app_extensions.tapis import jobs
from app_extensions.tapis.models import TapisJob, TapisMail
from app_extensions.tapis.preferences import preferences_of

logger = logging.getLogger("app.logger")


def job_ended(job: TapisJob) -> None:
    """Queue a mail about an ended job, if its user wants one. Call it in the transaction that ends the job."""
    preferences = preferences_of(job.user)
    good = job.state == TapisJob.COMPLETED
    errors = job.results.get("errors") or []
    if job.kind == TapisJob.DISCOVERY:
        wanted = (good and preferences.notify_on_discovery_complete and job.results.get("projects_created", 0) > 0) or (
            (errors or job.state == TapisJob.FAILED) and preferences.notify_on_discovery_errors)
    else:
        moved = job.bytes_moved > 0
        wanted = (good and moved and preferences.notify_on_discovery_complete) or (
            job.state == TapisJob.FAILED and preferences.notify_on_discovery_errors)
    if not wanted or not job.user.email:
        return
    subject, lines = (_discovery if job.kind == TapisJob.DISCOVERY else _sync)(job)
    context = {"user": job.user, "lines": lines, "subject": subject}
    enqueue(
        TapisMail, kind=f"{job.kind} {job.state}", to=[job.user.email], subject=subject,
        text=render_to_string("tapis/mail.txt", context), html=render_to_string("tapis/mail.html", context),
    )
    jobs.send("deliver_tapis_mails")


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())


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
    project = host_projects.get_project(job.flight.project_id)
    name = _one_line(project.name if project else job.flight)
    done = f"{job.images_done} of {job.images_total} images ({format_bytes(job.bytes_done)}) are here."
    if job.state == TapisJob.FAILED:
        return f"Tapis sync failed: {name}"[:200], [f"{name}: {job.error}", done]
    return f"Tapis sync complete: {name}"[:200], [line for line in (f"{name}: {done}", job.error) if line]
