"""The states of a job and the transitions between them: one table, and one function that applies it under the row lock.

Nothing else writes ``TapisJob.state``. We use a table instead of ``django-fsm``: seven rows need no dependency, and tests can read them.
"""
import logging
from typing import Any, NamedTuple, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.tapis.models import TapisJob

logger = logging.getLogger("app.logger")

QUEUED, RUNNING, PAUSED = TapisJob.QUEUED, TapisJob.RUNNING, TapisJob.PAUSED
COMPLETED, FAILED, CANCELED = TapisJob.COMPLETED, TapisJob.FAILED, TapisJob.CANCELED

CLAIM, PUT_OFF, PAUSE, RESUME, COMPLETE, FAIL, CANCEL = "claim", "put off", "pause", "resume", "complete", "fail", "cancel"

#: How many transitions a job's history keeps.
MOST_HISTORY = 100


class Transition(NamedTuple):
    """What an event does to a job.

    sources: states in which the event counts; in others it does nothing. tells: the job's user gets mail if the preferences allow it.
    ends: the job is over, and a token that came with the request is deleted. frees: the worker's lease ends.
    """

    event: str
    sources: "tuple[str, ...]"
    target: str
    tells: bool
    ends: bool
    frees: bool
    meaning: str


TABLE = (
    Transition(CLAIM, (QUEUED, RUNNING), RUNNING, False, False, False, "a worker starts a turn"),
    Transition(PUT_OFF, (QUEUED, RUNNING), QUEUED, False, False, True, "the job has to wait for something, and is due again later"),
    Transition(PAUSE, (QUEUED, RUNNING), PAUSED, True, False, True, "the Tapis login ended; the images fetched so far stay"),
    Transition(RESUME, (PAUSED,), QUEUED, False, False, True, "the user logged in to Tapis again, or asked for the sync again"),
    Transition(COMPLETE, (RUNNING,), COMPLETED, True, True, True, "everything is done"),
    Transition(FAIL, (QUEUED, RUNNING), FAILED, True, True, True, "the job cannot continue"),
    Transition(CANCEL, (QUEUED, RUNNING, PAUSED), CANCELED, False, True, True, "the task was canceled or removed in WebODM"),
)
_BY_EVENT = {row.event: row for row in TABLE}


def apply(job_id: Any, event: str, why: str = "", *, owner: Optional[str] = None, **changes: Any) -> Optional[TapisJob]:
    """Apply an event to a job under its row lock.

    :param why: a sentence for the user; stored in ``error`` if the job ends or pauses, else in ``note``
    :param owner: apply the event only if this worker holds the job's lease
    :param changes: other fields to write in the same transaction
    :returns: the job as it is now; None if there is no such job, or the event does not count in its state
    """
    row = _BY_EVENT[event]
    with transaction.atomic():
        job = TapisJob.objects.select_for_update(of=("self",)).select_related("user", "client", "flight").filter(pk=job_id).first()
        if job is None or job.state not in row.sources or (owner is not None and job.lease_owner != owner):
            return None
        now = timezone.now()
        if job.state != row.target:
            step = {"at": now.isoformat(), "from": job.state, "to": row.target, "event": event, "why": why[:500]}
            job.history = [*job.history, step][-MOST_HISTORY:]
            logger.info("Tapis: %s %s: %s -> %s (%s)%s", job.kind, job.pk, job.state, row.target, event, f": {why}" if why else "")
        job.state = row.target
        if row.ends or event == PAUSE:
            job.error, job.note = why, ""
        else:
            job.note = why[:300]
        if event in (RESUME, CLAIM):
            job.error = "" if event == RESUME else job.error
        if row.frees:
            job.lease_owner, job.lease_until = "", None
        if row.ends:
            job.finished_at, job.access_token = now, ""
        if row.tells:
            job.to_tell = True
        for name, value in changes.items():
            setattr(job, name, value)
        job.save()
        return job


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for row in TABLE:
        lines += [f"    {source} --> {row.target}: {row.event}" for source in row.sources if source != row.target]
    lines += [f"    {state} --> [*]" for state in (COMPLETED, FAILED, CANCELED)]
    return "\n".join(lines)
