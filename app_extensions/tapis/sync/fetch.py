"""One worker's turn at a sync: claim files, fetch them in a few threads, put them in place, and record the progress.

The threads only fetch and check. Only the calling thread uses the database. A turn ends after ``TAPIS_BATCH_SECONDS``, so that it does not
block WebODM's own work on the same Celery workers.
"""
import errno
import logging
import os
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Any, Callable, Optional

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess, pool_thread
from app_extensions.tapis.models import FlightFile, SyncBatch, TapisJob
from app_extensions.tapis.problems import SyncRefused, SystemNotAccessible, TapisProblem
from app_extensions.tapis.sync import dedup, leases
from app_extensions.tapis.sync.content import ContentFetcher, Fetched, FileProblem, Stopped
from app_extensions.tapis.sync.plan import check_room, promised_bytes

logger = logging.getLogger("app.logger")

#: How often to check the lease, the job and the task; and how often to check quota and disk.
TICK_SECONDS = 2.0
ROOM_SECONDS = 15.0
#: After this many files without strain, one more connection may be opened.
GOOD_RUN = 16

#: Give up the flight for now after this many failures in a row: the images are not to blame.
GIVE_UP_AFTER = 40
#: Also give up after a turn with failures only, if no worker has fetched anything for this long.
QUIET_SECONDS = 60.0

#: Fetched files are recorded in groups: after this many files or seconds. If a worker is killed, at most one group is lost.
FLUSH_FILES = 8
FLUSH_SECONDS = 0.3

MORE, OTHERS, DONE, STOPPED = "more", "others", "done", "stopped"


class Throttle:
    """Adapts the number of connections to Tapis: one fewer after a strain (at most once per second), one more after a good run."""

    def __init__(self, limit: int) -> None:
        self.most = max(1, conf.flight_connections)
        self.limit = min(max(1, limit or self.most), self.most)
        self._good = 0
        self._last = 0.0

    def strained(self) -> None:
        """Tapis answered 429 or 5xx, or a connection broke."""
        self._good = 0
        now = time.monotonic()
        if now - self._last >= 1.0:
            self._last = now
            self.limit = max(1, self.limit - 1)

    def succeeded(self) -> None:
        """A file was fetched."""
        self._good += 1
        if self._good >= GOOD_RUN:
            self._good = 0
            self.limit = min(self.most, self.limit + 1)


class Turn:
    """A worker's turn at a sync. Use :meth:`run` once."""

    def __init__(self, job: TapisJob, access: TapisAccess, task: Any, batch: SyncBatch,
                 told: Optional[Callable[[TapisJob], None]] = None) -> None:
        """
        Args:
            batch: this worker's share of the connections; the turn closes it at its end.
            told: called every few seconds with the job as it is in the database.
        """
        self.job = job
        self.task = task
        self.told = told
        self.directory = host_tasks.incoming_dir(task)
        host_tasks.task_dir(task)
        self.throttle = Throttle(job.connections)
        self.fetcher = ContentFetcher(access, self._stopped, self.throttle.strained)
        self.batch = batch
        self.allowed = batch.connections
        self.stopping = False
        self.problem: Optional[TapisProblem] = None
        self.fault: Optional[BaseException] = None
        self.running: dict[Future, FlightFile] = {}
        self.claimed: list[FlightFile] = []
        self.fetched: list[tuple[FlightFile, Fetched]] = []
        self.came = self.failed_in_a_row = 0
        self.last_failure = ""
        self.has_twins = dedup.has_twins(job.flight)
        self._next_tick = self._next_room = self._next_flush = 0.0

    def run(self) -> str:
        """Fetch until the flight is complete, the turn is over, or the job should stop.

        :returns: "more" (files are left), "others" (other workers are fetching the rest), "done" (nothing is left), "stopped" (the job
            was canceled or has ended)
        :raises TapisProblem: the job cannot continue, for example because none of its images can be fetched any more
        """
        end = time.monotonic() + conf.batch_seconds
        pool = ThreadPoolExecutor(max_workers=conf.flight_connections, initializer=pool_thread)
        try:
            self._loop(pool, end)
        finally:
            self._end_turn(pool)
        if self.fault is not None:
            raise self.fault
        if self.problem is not None:
            raise self.problem
        return self._outcome()

    def _end_turn(self, pool: ThreadPoolExecutor) -> None:
        """Settle every download, put fetched files in place, and release everything. If one step fails, the others still run."""
        self.stopping = True
        pool.shutdown(wait=True)
        for future, row in self.running.items():
            self._settle(future, row)
        self.running = {}
        steps: list[Callable[[], Any]] = [
            self._flush, self._remove_parts, lambda: leases.close_batch(self.batch),
            lambda: TapisJob.objects.filter(pk=self.job.pk).update(connections=self.throttle.limit),
        ]
        for step in steps:
            try:
                step()
            except Exception as fault:  # noqa: BLE001  (raised by `run` once everything is free)
                self._note_fault(fault)

    def _note_fault(self, fault: Exception) -> None:
        """Stop for a fault that is not the image's: a full disk, or an unexpected error."""
        self.stopping = True
        if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT):
            self.problem = self.problem or SyncRefused(
                "The disk is full. Free some space, then sync again: images that are here are not fetched again.", status=507)
        else:
            self.fault = self.fault or fault

    def _loop(self, pool: ThreadPoolExecutor, end: float) -> None:
        idle_since = time.monotonic()
        while not self.stopping:
            now = time.monotonic()
            if now >= self._next_tick and not self._tick():
                return
            if now < end:
                self._submit(pool)
            if not self.running:
                # Nothing to do: either nothing is left to claim, or other workers have all the connections.
                if self.allowed or now >= end or now - idle_since > 4 * TICK_SECONDS:
                    return
                time.sleep(0.25)
                continue
            idle_since = now
            done, _ = wait(self.running, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in done:
                self._settle(future, self.running.pop(future))
            if now < end and not self.stopping:
                self._submit(pool)  # before the flush, so that connections do not wait for the database
            if len(self.fetched) >= FLUSH_FILES or time.monotonic() >= self._next_flush:
                self._flush()

    def _submit(self, pool: ThreadPoolExecutor) -> None:
        room = min(self.allowed, self.throttle.limit) - len(self.running)
        while room > 0:
            if not self.claimed:
                self.claimed = leases.claim(self.batch, max(room, 2 * self.allowed))
                if not self.claimed:
                    return
            row = self.claimed.pop(0)
            # A copy of this thread's context gives the log lines of the pool's threads the same fields.
            self.running[pool.submit(copy_context().run, self._fetch, row)] = row
            room -= 1

    def _fetch(self, row: FlightFile) -> Fetched:
        flight, part = self.job.flight, self._part(row)
        _create(part)
        return self.fetcher.fetch(flight.system_id, f"{flight.images_path}/{row.name}", part, None if row.is_link else row.size)

    def _part(self, row: FlightFile) -> Path:
        return self.directory / f"{row.pk}.{self.batch.pk.hex}.part"

    def _tick(self) -> bool:
        """Renew the lease and look at the job, the task and the free space. :returns: whether to continue"""
        self._next_tick = time.monotonic() + min(TICK_SECONDS, conf.lease_seconds / 3)
        allowed = leases.renew_batch(self.batch)
        job = TapisJob.objects.filter(pk=self.job.pk).first()
        if allowed is None or job is None or job.state != TapisJob.RUNNING:
            return False
        if self.told:
            self.told(job)
        self.allowed = allowed
        self.task = host_tasks.get_task(self.task.pk)
        if self.task is None or cancelled(self.task):
            return False
        if time.monotonic() >= self._next_room:
            self._next_room = time.monotonic() + ROOM_SECONDS
            try:
                owner = self.task.project.owner
                check_room(owner, self.directory, sum(row.size for row in self.running.values()),
                           job.bytes_moved + promised_bytes(owner, job))
            except TapisProblem as problem:
                self.problem = problem
                return False
        return True

    def _stopped(self) -> bool:
        return self.stopping

    def _settle(self, future: Future, row: FlightFile) -> None:
        """Handle the outcome of one download."""
        try:
            fetched = future.result()
        except Stopped:
            return
        except FileProblem as problem:
            self._note_problem(row, problem)
        except TapisProblem as problem:
            self.problem = self.problem or problem
            self.stopping = True
        except Exception as fault:  # noqa: BLE001  (one thread's failure must not leave the others' files unsettled)
            self._note_fault(fault)
        else:
            self.throttle.succeeded()
            self.came, self.failed_in_a_row = self.came + 1, 0
            self.fetched.append((row, fetched))

    def _flush(self) -> None:
        """In one transaction, move the fetched files that this worker still holds into place, and record them."""
        self._next_flush = time.monotonic() + FLUSH_SECONDS
        fetched, self.fetched = self.fetched, []
        if not fetched or self.task is None:
            return
        if self.has_twins:
            for row, got in fetched:
                dedup.share(self._part(row), dedup.twins(self.job.flight, row, got.size))
        with transaction.atomic():
            # When a task is removed, `run.task_removed` first ends the job, and waits for this lock on its row. So no file gets into
            # a directory that WebODM is deleting.
            if not TapisJob.objects.select_for_update().filter(pk=self.job.pk, state=TapisJob.RUNNING).exists():
                self.stopping = True
                return
            mine = set(FlightFile.objects.select_for_update().filter(
                pk__in=[row.pk for row, _ in fetched], batch_id=self.batch.pk, state=FlightFile.FETCHING,
            ).values_list("pk", flat=True))
            kept = [(row, got) for row, got in fetched if row.pk in mine and self._place(row)]
            links = sum(got.size for row, got in kept if row.is_link)
            for row, got in kept:
                if row.is_link:
                    FlightFile.objects.filter(pk=row.pk).update(bytes_here=got.size)
            here = FlightFile.objects.filter(pk__in=[row.pk for row, _ in kept])
            here.filter(is_link=False).update(bytes_here=F("size"))
            here.update(state=FlightFile.DONE, error="", batch=None)
            done = sum(got.size for _, got in kept)
            TapisJob.objects.filter(pk=self.job.pk).update(
                images_done=F("images_done") + len(kept), bytes_done=F("bytes_done") + done,
                bytes_total=F("bytes_total") + links, moved_at=timezone.now(),
                bytes_moved=F("bytes_moved") + sum(got.moved for _, got in kept))

    def _place(self, row: FlightFile) -> bool:
        """Move a fetched file to its name in the task's directory. :returns: False if WebODM has removed the task meanwhile"""
        try:
            os.replace(self._part(row), host_tasks.image_path(self.task, row.local_name))
        except FileNotFoundError:
            return False
        return True

    def _note_problem(self, row: FlightFile, problem: FileProblem) -> None:
        if row.is_link and (problem.missing or problem.refused):
            state = FlightFile.REJECTED  # the link leads nowhere, or not to a file; the sync continues without it
        elif problem.missing:
            state = FlightFile.GONE
        else:
            state = FlightFile.REJECTED if problem.broken else FlightFile.FAILED
        if state == FlightFile.FAILED:
            self.failed_in_a_row, self.last_failure = self.failed_in_a_row + 1, f"{row.name}: {problem}"
            if self.failed_in_a_row >= GIVE_UP_AFTER:
                self.problem, self.stopping = self.problem or self._given_up(), True
        logger.warning("Tapis: %s of flight %s: %s", row.name, self.job.flight, problem)
        FlightFile.objects.filter(pk=row.pk, batch_id=self.batch.pk).update(
            state=state, error=str(problem)[:500], batch=None)

    def _quiet(self) -> bool:
        return self.job.moved_at is not None and (timezone.now() - self.job.moved_at).total_seconds() >= QUIET_SECONDS

    def _given_up(self) -> TapisProblem:
        """The problem to report if the flight's system seems down. Trying every image would cost six attempts each."""
        return SystemNotAccessible(
            f"{self.failed_in_a_row} images in a row could not be fetched, the last one {self.last_failure}. The rest was "
            "not tried.", status=502)

    def _remove_parts(self) -> None:
        """Delete this turn's partial files."""
        with suppress(FileNotFoundError):  # another turn found the directory empty and removed it
            for part in self.directory.glob(f"*.{self.batch.pk.hex}.part*"):
                part.unlink(missing_ok=True)

    def _outcome(self) -> str:
        self.job.refresh_from_db()
        if self.job.state != TapisJob.RUNNING:
            return STOPPED
        files = FlightFile.objects.filter(flight_id=self.job.flight_id)
        if files.filter(state=FlightFile.WANTED).exists():
            if self.failed_in_a_row > 1 and not self.came and self._quiet():
                raise self._given_up()
            return MORE
        return OTHERS if files.filter(state=FlightFile.FETCHING).exists() else DONE


def _create(part: Path) -> None:
    """Create an empty file before asking Tapis for its content, which may take long.

    An earlier turn that is cleaning up cannot remove a directory with a file in it.
    """
    while True:
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.touch()
            return
        except FileNotFoundError:
            continue  # an earlier turn removed the directory between the two calls


def cancelled(task: Any) -> bool:
    """Whether the task was canceled, or is about to be canceled or removed, in WebODM."""
    state = host_tasks.task_state(task)
    return state.status == host_tasks.CANCELED or state.pending_action in ("cancel", "remove")
