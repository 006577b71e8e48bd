"""Fetch previews of flights: the first bytes of a few images of each. One worker at a time per user and tenant.

The threads only list and fetch; only the calling thread uses the database. Connections count towards the same limits as those of syncs.
If a worker is killed, the next one starts again with the flights that it was working on.
"""
import itertools
import logging
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Optional

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from app_extensions.tapis import lifecycle
from app_extensions.tapis.catalog.listing import Entry, TapisListing
from app_extensions.tapis.conf import conf
from app_extensions.tapis.jobs import access_of, preview_purpose
from app_extensions.tapis.login.access import TapisAccess, pool_thread
from app_extensions.tapis.models import FlightPreview, PreviewImage, SeenFlight, SyncBatch, TapisJob
from app_extensions.tapis.problems import NoToken, PathNotFound, SyncRefused, TapisProblem, TokenExpired
from app_extensions.tapis.sync import heads, leases
from app_extensions.tapis.sync.content import ContentFetcher, FileProblem, Stopped
from app_extensions.tapis.sync.fetch import DONE, MORE, OTHERS, STOPPED

logger = logging.getLogger("app.logger")

#: Images to look at per flight, spread evenly over it.
SAMPLES = 4
#: Most pages, of a thousand images each, to read of a flight's listing.
MOST_PAGES = 20
#: Most seconds for one flight's preview, and for its listing. The preview uses what was fetched in that time.
FLIGHT_SECONDS, LISTING_SECONDS = 120.0, 60.0
#: Give up a preview after this many attempts that ended without a result, because workers died.
MOST_ATTEMPTS = 3

GONE = "Tapis no longer finds this flight. Discover flights again."
NO_IMAGES = "This flight no longer has any images. Discover flights again."
TOO_OFTEN = "Fetching this preview was interrupted several times."


@dataclass
class _Looked:
    """What was found in one flight. image_count: None if the listing was not read completely."""

    images: "list[PreviewImage]" = field(default_factory=list)
    image_count: Optional[int] = None
    total_bytes: int = 0


def take_turn(job: TapisJob, batch: SyncBatch) -> str:
    """Fetch waiting previews, the latest requests first, until none is left or the turn is over.

    :returns: "more", "others", "done" or "stopped", as in ``fetch.Turn.run``
    :raises TapisProblem: no preview can be fetched with this login
    """
    if job.client is None or not job.client.is_active:
        raise SyncRefused("The Tapis client of this login was disabled or removed.", status=404)
    access, end = access_of(job), time.monotonic() + conf.batch_seconds
    stop = threading.Event()
    fetcher = ContentFetcher(access, stopped=stop.is_set)
    pool = ThreadPoolExecutor(max_workers=conf.flight_connections, initializer=pool_thread)
    try:
        while time.monotonic() < end:
            connections = leases.renew_batch(batch)
            if connections is None:
                return STOPPED
            if not connections:
                return OTHERS  # all connections are in use
            rows = _next(job, connections)
            if not rows:
                return DONE if _complete(job) else MORE
            # A copy of this thread's context gives the log lines of the pool's threads the same fields.
            about = {pool.submit(copy_context().run, partial(_look_at, access, fetcher, row.seen)): row for row in rows}
            left = set(about)
            while left:
                done, left = wait(left, timeout=conf.lease_seconds / 4, return_when=FIRST_COMPLETED)
                if leases.renew_batch(batch) is None:
                    return STOPPED  # the lease was removed: another worker has the job now
                _take(job, about, done)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    return MORE


def fail(job: TapisJob, problem: TapisProblem) -> None:
    """End a job that cannot continue, and the previews that wait for it. They can be asked for again."""
    logger.warning("Tapis: previews %s of user %s failed: %s", job.pk, job.user_id, problem)
    with transaction.atomic():
        if lifecycle.apply(job.pk, lifecycle.FAIL, str(problem), to_tell=False) is not None:
            _waiting(job).update(**_failure(problem))


def _waiting(job: TapisJob) -> QuerySet:
    """The previews of the job's user and tenant that are still to be fetched."""
    rows = FlightPreview.objects.filter(state=FlightPreview.WAITING, seen__user_id=job.user_id)
    if job.client is not None:
        return rows.filter(seen__base_url=job.client.base_url, seen__tenant_id=job.client.tenant_id)
    tenants = rows.values_list("seen__base_url", "seen__tenant_id").distinct()
    base_url, tenant_id = next((each for each in tenants if preview_purpose(*each) == job.purpose), ("", ""))
    return rows.filter(seen__base_url=base_url, seen__tenant_id=tenant_id)


def _failure(problem: TapisProblem) -> "dict[str, object]":
    return {"state": FlightPreview.FAILED, "error": problem.detail[:1000], "needs_login": isinstance(problem, (NoToken, TokenExpired)),
            "ended_at": timezone.now()}


def _next(job: TapisJob, number: int) -> "list[FlightPreview]":
    """Choose previews to fetch now, and count an attempt for each."""
    rows = _waiting(job)
    rows.filter(attempts__gte=MOST_ATTEMPTS).update(**_failure(TapisProblem(TOO_OFTEN)))
    found = list(rows.select_related("seen").order_by("-asked_at", "pk")[:number])
    FlightPreview.objects.filter(pk__in=[row.pk for row in found]).update(attempts=F("attempts") + 1)
    return found


def _complete(job: TapisJob) -> bool:
    """End the job, unless somebody has just asked for more previews. :returns: whether it has ended"""
    with transaction.atomic():
        TapisJob.objects.select_for_update().filter(pk=job.pk).first()
        if _waiting(job).exists():
            return False
        lifecycle.apply(job.pk, lifecycle.COMPLETE, to_tell=False)
    return True


def _take(job: TapisJob, about: "dict[Future[_Looked], FlightPreview]", done: "set[Future[_Looked]]") -> None:
    """Store the results of the calls that have ended. :raises TapisProblem: this login can make no more calls"""
    ended = None
    for future in done:
        row = about[future]
        try:
            _write(row, future.result())
        except (NoToken, TokenExpired) as problem:
            ended = problem
        except PathNotFound:
            _write_failure(FlightPreview.objects.filter(pk=row.pk), TapisProblem(GONE))
        except TapisProblem as problem:
            # The system's other previews would fail in the same way and take as long.
            _write_failure(_waiting(job).filter(seen__system_id=row.seen.system_id), problem)
        except FileProblem as problem:
            _write_failure(FlightPreview.objects.filter(pk=row.pk), TapisProblem(str(problem)))
    if ended is not None:
        raise ended


def _write_failure(rows: QuerySet, problem: TapisProblem) -> None:
    rows.filter(state=FlightPreview.WAITING).update(**_failure(problem))


def _write(row: FlightPreview, looked: _Looked) -> None:
    """Store a complete preview. If another worker has stored it meanwhile, change nothing."""
    with transaction.atomic():
        mine = FlightPreview.objects.select_for_update().filter(pk=row.pk, state=FlightPreview.WAITING).first()
        if mine is None:
            return
        mine.images.all().delete()
        for image in looked.images:
            image.preview = mine
        PreviewImage.objects.bulk_create(looked.images)
        mine.state, mine.error, mine.needs_login, mine.ended_at = FlightPreview.READY, "", False, timezone.now()
        mine.save()
        if looked.image_count is not None:  # a discovery for an import does not count the images
            uncounted = SeenFlight.objects.filter(pk=row.seen_id, image_count=None)
            uncounted.update(image_count=looked.image_count, total_bytes=looked.total_bytes)


def _look_at(access: TapisAccess, fetcher: ContentFetcher, seen: SeenFlight) -> _Looked:
    """List a flight and look at some of its images.

    :raises TapisProblem: the flight cannot be listed; :raises FileProblem: none of the images can be read
    """
    end = time.monotonic() + FLIGHT_SECONDS
    listing = TapisListing(access, fetcher.stopped, LISTING_SECONDS)
    path = f"{seen.name}/code/images"
    try:
        pages = list(itertools.islice(listing.images(seen.system_id, path), MOST_PAGES))
        entries = [entry for page in pages for entry in page]
        looked = _Looked()
        if len(pages) < MOST_PAGES:
            looked.image_count, looked.total_bytes = len(entries), sum(entry.size for entry in entries)
        if not entries:
            raise FileProblem(NO_IMAGES)
        for number, entry in enumerate(spread(entries), start=1):
            looked.images.append(_image(fetcher, seen.system_id, f"{path}/{entry.name}", entry, number, end))
        if all(image.problem for image in looked.images):
            first = looked.images[0]
            raise FileProblem(f"None of the images could be read. {first.name}: {first.problem}")
        return looked
    finally:
        fetcher.close()


def spread(entries: "list[Entry]", number: int = SAMPLES) -> "list[Entry]":
    """A few entries at equal distances, from the first to the last."""
    if len(entries) <= number:
        return list(entries)
    return [entries[round(index * (len(entries) - 1) / (number - 1))] for index in range(number)]


def _image(fetcher: ContentFetcher, system_id: str, path: str, entry: Entry, number: int, end: float) -> PreviewImage:
    image = PreviewImage(number=number, name=entry.name[:255])
    left = end - time.monotonic()
    if left <= 0:
        image.problem = "Tapis took too long."
        return image
    small = entry.is_link or entry.size <= heads.WHOLE_BYTES  # a link's size says nothing about the image
    most = heads.WHOLE_BYTES if small else heads.HEAD_BYTES
    try:
        data = fetcher.beginning(system_id, path, lambda found: heads.is_enough(found, small), most, min(left, conf.timeout))
    except FileProblem as problem:
        image.problem = str(problem)[:300]
        return image
    except Stopped:
        image.problem = "Fetching it was interrupted."
        return image
    head = heads.read_head(data)
    if not head.is_jpeg:
        image.problem = "This is not a JPEG photo."
    image.taken_at, image.camera, image.thumbnail = head.taken_at, head.camera, head.thumbnail
    image.latitude, image.longitude = head.latitude, head.longitude
    return image
