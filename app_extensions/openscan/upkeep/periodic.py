"""Periodic jobs: a safety net for lost signals and queued jobs, and the expiry of everything that has an end.

WebODM's own beat schedules them. Every minute, ``catch_up`` looks at scans in motion and ``watch_nodes`` at their nodes
(``failover``). Every ten minutes, ``tidy_up`` ends what is past its time.
"""
import logging
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any, Callable, Optional

from django.db.models import Max, Min, Q, QuerySet
from django.utils import timezone

from app_extensions.host import beat
from app_extensions.host import tasks as host_tasks
from app_extensions.host.log_fields import log_fields
from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import ledger, shares
from app_extensions.openscan.conf import conf
from app_extensions.openscan.dispatch import dispatch
from app_extensions.openscan.intake import scans
from app_extensions.openscan.locks import job_lock
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import failover, finish
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import archive, lifecycle, records
from app_extensions.openscan.upkeep import retention

logger = logging.getLogger("app.logger")

CATCH_UP_SECONDS = 60
RELEASE_SECONDS = 15
MAILS_SECONDS = 60
TIDY_UP_SECONDS = 600
#: After a scan's change, the job that was queued with it gets this long before we queue it again.
GRACE_SECONDS = 20
_STRAY_SECONDS = 3600
#: Most messages of each kind that ``catch_up`` sends per minute. Waiting work is kept in rows, so a backlog need not fill the broker.
_MOST_MESSAGES = 50
#: Most results, and most sets, that are queued for object storage per minute: a backlog must not keep new scans from the worker.
_MOST_OBJECTS = 10
#: For how many days after a scan's end its task is checked for a restart in WebODM with a lost signal.
_WATCH_DAYS = 30
#: How many scan numbers one run checks.
_MOST_ENDED = 100
_AT_ONCE = 500
#: Statuses of tasks that have not ended.
_ON_THEIR_WAY = (host_tasks.WAITING, host_tasks.QUEUED, host_tasks.RUNNING)


def schedule() -> None:
    """Add the jobs to WebODM's beat. Called while the app loads."""
    prefix = "app_extensions.openscan.tasks."
    for name, seconds in (("release_queue", RELEASE_SECONDS), ("deliver_mails", MAILS_SECONDS),
                          ("catch_up", CATCH_UP_SECONDS), ("tidy_up", TIDY_UP_SECONDS), ("watch_nodes", failover.WATCH_SECONDS)):
        beat.add_periodic("openscan-" + name.replace("_", "-"), prefix + name, seconds, queue=conf.celery_queue)


def catch_up() -> int:
    """Queue the jobs that scans in motion need. Work that is already running is not done twice, because each job takes the scan's
    lock. :return: how many jobs were queued"""
    now = timezone.now()
    grace = now - timedelta(seconds=GRACE_SECONDS)
    wanted = []
    # A scan that keeps failing has a `retry_at`, so it does not take the place of others. Leftovers have none, so they are chosen at
    # random: those of tasks that WebODM never gets to remove must not keep the others waiting forever.
    ready = Q(retry_at=None) | Q(retry_at__lte=now)
    wanted += [("ingest_scan", pk) for pk in _ids(ready, state=Scan.INITIALIZED, started_at__lte=grace)
               .order_by("started_at", "pk")[:_MOST_MESSAGES]]
    # The leftovers of a reset are queued until they were discarded once, whether or not the task had failed or finished before.
    left = Q(webodm_task_id__isnull=False) | ~Q(result_file="") | ~Q(result_object="")
    wanted += [("discard_scan", pk) for pk in _ids(left, state=Scan.RESET, discarded_at=None, reset_at__lte=grace)
               .order_by("?")[:_MOST_MESSAGES]]
    wanted += [("discard_scan", pk) for pk in _ids(state=Scan.FAILED, released_at=None, webodm_task_id__isnull=False,
                                                   finished_at__lte=grace).order_by("?")[:_MOST_MESSAGES]]
    in_motion = Scan.objects.filter(ready, state__in=(Scan.RELEASED, Scan.APPROVED))
    wanted += [("finish_scan", pk) for pk in islice(_with_ended_tasks(in_motion), _MOST_MESSAGES)]
    wanted += [("publish_result", pk) for pk in records.results_to_publish(_MOST_OBJECTS)]
    wanted += [("archive_set", pk) for pk in archive.sets_to_archive(_MOST_OBJECTS)]
    for name, scan_id in wanted:
        with log_fields(scan=scan_id):
            dispatch(name, scan_id, expires_seconds=CATCH_UP_SECONDS)
    return len(wanted)


def _ids(*conditions: Q, **fields: object) -> QuerySet:
    return Scan.objects.filter(*conditions, **fields).values_list("pk", flat=True)


def _with_ended_tasks(scans: QuerySet) -> Iterator[int]:
    """Yield the ids of scans that have not noticed the end of their task.

    Most tasks have not ended. Of those only the status is read, many at a time.
    """
    last = 0
    while True:
        some = list(scans.filter(pk__gt=last).order_by("pk").values_list("pk", "webodm_task_id")[:_AT_ONCE])
        if not some:
            return
        first, last = some[0][0], some[-1][0]
        # A subquery, because sending hundreds of ids costs more than looking them up.
        statuses = host_tasks.statuses_by_id(scans.filter(pk__range=(first, last)).values("webodm_task_id"))
        ended = Scan.objects.filter(pk__in=[pk for pk, task_id in some if statuses.get(task_id) not in _ON_THEIR_WAY]).order_by("pk")
        tasks = host_tasks.task_rows(scan.webodm_task_id for scan in ended if scan.webodm_task_id)
        yield from (scan.pk for scan in ended if _needs_finish(scan, tasks.get(scan.webodm_task_id)))


def _needs_finish(scan: Scan, task: Optional[Any]) -> bool:
    """Whether a scan must catch up with its task's end. :param task: the task's row, or None if the task is gone"""
    if task is None:
        return scan.state != Scan.EXPIRED
    status = host_tasks.task_status(task)
    if status == "completed":
        return scan.state in (Scan.APPROVED, Scan.RELEASED) or not packing.is_current(scan, task)
    return status in ("failed", "canceled") and scan.state != Scan.FAILED


def tidy_up() -> None:
    """End what is past its time, in one process at a time. If a step fails, the others still run.

    :raises Exception: the first failure, after all steps were tried
    """
    with job_lock("openscan.tidy") as mine:
        if mine:
            _tidy_up()


def _tidy_up() -> None:
    steps: list[Callable[[], object]] = [
        ledger.refill_all, scans.expire_unstarted, scans.release_idle_holds, shares.drop_old_days, finish.expire_results,
        lambda: finish.drop_old_parts(conf.unstarted_hours), part_files.sweep, _remove_stray_results, _look_at_ended,
        lifecycle.tidy, retention.forget_people,
    ]
    failures = []
    for step in steps:
        try:
            step()
        except Exception as problem:
            logger.exception("OpenScan: a step of tidying up failed")
            failures.append(problem)
    if failures:
        raise failures[0]


def _remove_stray_results() -> None:
    for path in packing.stray_files(_STRAY_SECONDS):
        path.unlink(missing_ok=True)


def _look_at_ended() -> None:
    """Find tasks that were restarted or deleted in WebODM after their scan had ended, in case the signal was lost.

    Each run checks one block of scan numbers, so its cost does not grow with the number of scans. The blocks take turns.
    """
    now = timezone.now()
    since = now - timedelta(days=_WATCH_DAYS)
    watched = Scan.objects.filter(processing_seconds__gt=0, finished_at__gte=since).order_by("finished_at").values_list("pk", flat=True)
    numbers = Scan.objects.aggregate(first=Min("pk"), last=Max("pk"))
    if numbers["first"] is None:
        return
    block = _block_of(int(now.timestamp()) // TIDY_UP_SECONDS, watched.first() or numbers["first"], numbers["last"])
    ended = Scan.objects.filter(pk__range=(block * _MOST_ENDED, (block + 1) * _MOST_ENDED - 1), released_at__isnull=False,
                                state__in=(Scan.DONE, Scan.FAILED, Scan.EXPIRED), finished_at__gte=since, webodm_task_id__isnull=False)
    for pk in _with_ended_tasks(ended):
        dispatch("finish_scan", pk, expires_seconds=TIDY_UP_SECONDS)


def _block_of(run: int, first: int, last: int) -> int:
    """The block of ``_MOST_ENDED`` scan numbers that this run checks. It may be beyond the last scan.

    The number of turns is a power of two. If it were the number of blocks, each new block would shift all turns, and some blocks
    would be skipped again and again.

    :param run: the number of this run; consecutive runs count up by one
    """
    oldest = first // _MOST_ENDED
    turns = 1 << (last // _MOST_ENDED - oldest).bit_length()
    return oldest + (run - oldest) % turns
