"""Scan systems for a discovery job: read each root in pages, and ask for each directory once. Any worker can take the next turn.

The scan writes its progress twice per second: the flights found, and per system a cursor up to which everything was read. If a worker
is killed, only the directories since the last write are read again. Imported flights are not asked for again: their syncs count them.
"""
import logging
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional

from django.db.models import Sum
from django.utils import timezone

from app_extensions.tapis.catalog.flights import count_images
from app_extensions.tapis.catalog.listing import PAGE, TapisListing
from app_extensions.tapis.catalog.projects import known_flights
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess, pool_thread
from app_extensions.tapis.models import DiscoverySystem, SeenFlight, TapisJob
from app_extensions.tapis.problems import PathNotFound, TapisProblem, TokenExpired

logger = logging.getLogger("app.logger")

FLUSH_SECONDS = 0.5
FLUSH_ROWS = 500
#: Give up a system after this many unreadable directories in a row: each of them costs four attempts.
GIVE_UP_AFTER = 20


@dataclass
class _System:
    """One system in this turn: the current page of its root, and the calls that are open."""

    row: DiscoverySystem
    loaded: bool = False
    last_page: bool = False
    page_entries: int = 0
    to_ask: "deque[str]" = field(default_factory=deque)
    order: "deque[str]" = field(default_factory=deque)
    finished: "set[str]" = field(default_factory=set)
    under_way: int = 0
    failed_in_a_row: int = 0
    changed: bool = False


@dataclass(frozen=True)
class _Found:
    """The result for one directory. images and size: None if they were not counted."""

    is_flight: bool
    images: Optional[int] = None
    size: Optional[int] = None


class Lost(Exception):
    """Another worker has the job now, or it has ended."""


class JobScan:
    """A worker's turn at a job's scan. Use :meth:`run` once."""

    def __init__(self, job: TapisJob, access: TapisAccess, keep: Callable[[], bool], *, count: bool) -> None:
        """
        Args:
            keep: renews the worker's lease; returns False if another worker has the job now, or it has ended.
            count: count each flight's images; otherwise only check whether there is one.
        """
        self.job = job
        self.keep = keep
        self.count = count
        self.listing = TapisListing(access, seconds=max(conf.listing_seconds, 2 * conf.batch_seconds))
        self.known = known_flights(access.user, access.client)
        self.systems = [_System(row) for row in job.systems.filter(state=DiscoverySystem.WAITING)]
        self.seen: dict[tuple[str, str], _Found] = {}
        self._next_flush = 0.0

    def run(self) -> bool:
        """Continue the scan until the turn is over.

        :returns: whether every system is read
        :raises TokenExpired: the user has to log in again
        :raises Lost: another worker has the job now
        """
        end = time.monotonic() + conf.batch_seconds
        pool = ThreadPoolExecutor(max_workers=conf.listing_connections, initializer=pool_thread)
        about: dict[Future, tuple[_System, Optional[str]]] = {}
        try:
            self._loop(pool, about, end)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._flush()
        return not self.job.systems.filter(state=DiscoverySystem.WAITING).exists()

    def _loop(self, pool: ThreadPoolExecutor, about: "dict[Future, tuple[_System, Optional[str]]]", end: float) -> None:
        waiting = list(self.systems)
        while True:
            if time.monotonic() < end:
                waiting = self._submit(pool, about, waiting)
            if not about:
                return
            done, _ = wait(about, timeout=FLUSH_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                system, name = about.pop(future)
                system.under_way -= 1
                self._take(system, name, future)
            if time.monotonic() >= self._next_flush or len(self.seen) >= FLUSH_ROWS:
                self._flush()

    def _submit(self, pool: ThreadPoolExecutor, about: "dict[Future, tuple[_System, Optional[str]]]",
                waiting: "list[_System]") -> "list[_System]":
        """Keep every thread busy. Take the systems in order, so that few root pages must be read again when the turn ends.

        One system gets at most half of the threads. A system that hangs does not block the others.

        :returns: the systems that are not read to their end yet
        """
        for system in waiting:
            while len(about) < conf.listing_connections and system.under_way < max(1, conf.listing_connections // 2):
                work = self._next(system)
                if work is None:
                    break
                name, call = work
                system.under_way += 1
                # A copy of this thread's context gives the log lines of the pool's threads the same fields.
                about[pool.submit(copy_context().run, call)] = (system, name)
            if len(about) >= conf.listing_connections:
                break
        return [system for system in waiting if system.row.state == DiscoverySystem.WAITING or system.under_way]

    def _next(self, system: _System) -> "Optional[tuple[Optional[str], Callable[[], Any]]]":
        """The system's next call, or None for now. :returns: the directory (None: a page of the root), and the call"""
        row = system.row
        if row.state != DiscoverySystem.WAITING:
            return None
        while system.to_ask:
            name = system.to_ask.popleft()
            flight = self.known.get((row.system_id, name))
            if flight is None:
                return name, partial(self._ask, row.system_id, name)
            self._finished(system, name, _Found(True, flight.image_count, flight.total_bytes))
        if system.loaded and system.under_way:
            return None
        if system.loaded and system.last_page:
            row.state, system.changed = DiscoverySystem.DONE, True
            return None
        if system.under_way:
            return None
        if system.loaded:
            row.offset += system.page_entries
        offset = row.offset
        return None, lambda: next(self.listing.pages(row.system_id, "/", offset=offset))

    def _ask(self, system_id: str, name: str) -> _Found:
        if self.count:
            images, size = count_images(self.listing, system_id, name)
            return _Found(images > 0, images, size)
        try:
            return _Found(self.listing.has_images(system_id, f"{name}/code/images"))
        except PathNotFound:
            return _Found(False)  # a directory without code/images is not a flight, but not an error either

    def _take(self, system: _System, name: Optional[str], future: Future) -> None:
        try:
            result = future.result()
        except TokenExpired:
            self._flush()
            raise
        except TapisProblem as problem:
            self._failed(system, name, problem)
            return
        system.failed_in_a_row = 0
        if name is not None:
            self._finished(system, name, result)
            return
        names = [entry.name for entry in result if entry.may_be_directory and len(entry.name) <= 255]
        if system.row.cursor in names:  # an earlier turn stopped within this page; skip by position, as the order is Tapis' own
            names = names[names.index(system.row.cursor) + 1:]
        system.loaded, system.last_page, system.page_entries = True, len(result) < PAGE, len(result)
        system.to_ask, system.order, system.finished = deque(names), deque(names), set()
        system.row.known = system.row.read + len(names)
        system.changed = True

    def _finished(self, system: _System, name: str, found: _Found) -> None:
        row = system.row
        system.finished.add(name)
        while system.order and system.order[0] in system.finished:
            system.finished.discard(system.order[0])
            row.cursor = system.order.popleft()
        row.read += 1
        system.changed = True
        if found.is_flight:
            row.flights += 1
            self.seen[(row.system_id, name)] = found

    def _failed(self, system: _System, name: Optional[str], problem: TapisProblem) -> None:
        """Record what could not be read. Log only a system's first failure, with its user, and count the later ones."""
        row = system.row
        if name is None or not row.unread:
            logger.warning("Tapis: discovery %s of user %s: system %s%s: %s", self.job.pk, self.job.user_id, row.system_id,
                           f", directory {name}" if name else "", problem)
        system.changed = True
        if name is None:
            row.state, row.error, row.status = DiscoverySystem.FAILED, str(problem), problem.status
            return
        row.unread += 1
        row.error = row.error or f"{name}: {problem.detail}"
        system.failed_in_a_row += 1
        self._finished(system, name, _Found(False))
        if system.failed_in_a_row >= GIVE_UP_AFTER and row.state == DiscoverySystem.WAITING:
            row.state, row.gave_up = DiscoverySystem.DONE, True
            system.to_ask.clear()

    def _flush(self) -> None:
        """Write the flights found since the last time, then each system's progress. :raises Lost: another worker has the job now"""
        self._next_flush = time.monotonic() + FLUSH_SECONDS
        if not self.keep():
            raise Lost
        seen, self.seen = self.seen, {}
        if seen:
            write_seen(self.job, {key: (found.images, found.size) for key, found in seen.items()})
        for system in self.systems:
            if system.changed:
                system.changed = False
                system.row.save()
        totals = self.job.systems.aggregate(read=Sum("read"), known=Sum("known"), flights=Sum("flights"))
        images = SeenFlight.objects.filter(job_id=self.job.pk).aggregate(n=Sum("image_count"))["n"] or 0
        TapisJob.objects.filter(pk=self.job.pk).update(
            images_total=images, images_done=images, moved_at=timezone.now(),
            results={**self.job.results, "directories_read": totals["read"] or 0, "directories_known": totals["known"] or 0,
                     "flights_found": totals["flights"] or 0})


def write_seen(job: TapisJob, found: "dict[tuple[str, str], tuple[Optional[int], Optional[int]]]") -> None:
    """Add or update flights in the user's catalog. :param found: images and bytes (None: not counted) by (system, name)"""
    client, now = job.client, timezone.now()
    mine = SeenFlight.objects.filter(user_id=job.user_id, base_url=client.base_url, tenant_id=client.tenant_id)
    systems = {system_id for system_id, _ in found}
    names = {name for _, name in found}
    there = {(row.system_id, row.name): row for row in mine.filter(system_id__in=systems, name__in=names)}
    new = []
    for (system_id, name), (images, size) in found.items():
        row = there.get((system_id, name))
        if row is None:
            new.append(SeenFlight(user_id=job.user_id, base_url=client.base_url, tenant_id=client.tenant_id, system_id=system_id,
                                  name=name, image_count=images, total_bytes=size, seen_at=now, job=job))
            continue
        row.seen_at, row.job = now, job
        if images is not None:
            row.image_count, row.total_bytes = images, size
    changed = [row for key, row in there.items() if key in found]
    SeenFlight.objects.bulk_update(changed, ["seen_at", "job", "image_count", "total_bytes"], batch_size=500)
    SeenFlight.objects.bulk_create(new, batch_size=500, ignore_conflicts=True)


def forget_vanished(job: TapisJob) -> int:
    """Remove flights from the catalog that this scan no longer found, on the systems that it read completely. :returns: how many"""
    read = job.systems.filter(state=DiscoverySystem.DONE, unread=0).values("system_id")
    client = job.client
    gone = SeenFlight.objects.filter(user_id=job.user_id, base_url=client.base_url, tenant_id=client.tenant_id, system_id__in=read)
    return gone.exclude(job_id=job.pk).delete()[1].get("tapis.SeenFlight", 0)
