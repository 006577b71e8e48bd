"""What a sync has to do: the flight as Tapis lists it against what is here (name, size, last modified)."""
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Callable, Optional

from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from app_extensions.host import media as host_media
from app_extensions.host import quota as host_quota
from app_extensions.host import tasks as host_tasks
from app_extensions.shared.formatting import format_bytes
from app_extensions.tapis.catalog.listing import Entry, TapisListing
from app_extensions.tapis.catalog.scan import Lost
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import Flight, FlightFile, TapisJob
from app_extensions.tapis.problems import PathNotFound, SyncRefused
from app_extensions.tapis.sync.names import unique_name


@dataclass
class Plan:
    """The outcome of a comparison. ``missing_bytes`` counts what is to be fetched; ``rejected`` images, which are broken at
    their source and did not change there, are not."""

    images: int = 0
    here: int = 0
    total_bytes: int = 0
    here_bytes: int = 0
    missing_bytes: int = 0
    rejected: int = 0
    gone: int = 0
    digest: str = ""
    settled: bool = True


def make_plan(job: TapisJob, access: TapisAccess, task: Any, alive: Callable[[], bool] = lambda: True) -> Plan:
    """List the flight and note in the database which images are to be fetched.

    Images that were deleted at their source stay here and are reported. Repeatable: a second run finds the same.

    :param alive: called after each page of the listing; False says that the job is this worker's no more
    :raises Lost: so it was; nothing is written
    :raises PathNotFound: the flight has no images any more
    :raises TapisProblem: it cannot be listed
    """
    flight: Flight = job.flight
    entries: dict[str, Entry] = {}
    listing = TapisListing(access)
    changed_at = directory_changed_at(listing, flight) if conf.settle_seconds > 0 else None
    for page in listing.images(flight.system_id, flight.images_path):
        for entry in page:
            if len(entry.name) <= 255:
                entries[entry.name] = entry
        if not alive():
            raise Lost
    if not entries:
        raise PathNotFound(f"{flight.system_id}: {flight.images_path} holds no images.", error="No flight directories found")
    directory = host_tasks.task_dir(task)
    with transaction.atomic():
        Flight.objects.select_for_update().get(pk=flight.pk)
        plan = _compare(flight, entries, task, directory)
        flight.image_count = len(entries)
        flight.total_bytes = sum(entry.size for entry in entries.values())
        flight.save(update_fields=["image_count", "total_bytes"])
    plan.digest = digest_of(entries.values())
    plan.settled = is_settled(job, plan.digest, [changed_at, *(_moment(entry.last_modified) for entry in entries.values())])
    return plan


def directory_changed_at(listing: TapisListing, flight: Flight) -> Optional[datetime]:
    """When a name was last added to, or removed from, the flight's directory of images; None where Tapis does not tell.

    Copies may keep the times of the files, so those alone do not show that a flight is still being copied.
    """
    parent, _, name = flight.images_path.rpartition("/")
    for page in listing.pages(flight.system_id, parent):
        for entry in page:
            if entry.name == name:
                return _moment(entry.last_modified)
    return None


def is_settled(job: TapisJob, digest: str, times: "list[Optional[datetime]]") -> bool:
    """Whether the flight has not changed at Tapis for ``TAPIS_SETTLE_SECONDS``: by Tapis' own times, or as its listing stayed the same.

    :param times: of the directory and of its images; None: not told
    """
    if conf.settle_seconds <= 0:
        return True
    now, pause = timezone.now(), timedelta(seconds=conf.settle_seconds)
    if all(moment is not None and moment <= now - pause for moment in times):
        return True
    same = job.listing == digest and job.unchanged_since is not None
    return same and job.unchanged_since <= now - pause


def digest_of(entries: "Iterable[Entry]") -> str:
    """A digest of names, sizes and times, by which two listings are compared."""
    found = hashlib.sha256()
    for entry in sorted(entries, key=lambda each: each.name):
        found.update(f"{entry.name}\0{entry.size}\0{entry.last_modified}\n".encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def _moment(text: str) -> Optional[datetime]:
    try:
        moment = parse_datetime(text)
    except ValueError:
        return None
    if moment is not None and timezone.is_naive(moment):
        moment = timezone.make_aware(moment, timezone.utc)
    return moment


def _compare(flight: Flight, entries: "dict[str, Entry]", task: Any, directory: Path) -> Plan:
    plan = Plan(images=len(entries))
    rows = {row.name: row for row in flight.files.all()}
    taken = {row.local_key for row in rows.values()}
    new = []
    for name, entry in entries.items():
        row = rows.get(name)
        if row is None:
            local = unique_name(name, taken, lambda text: (directory / text).exists())
            row = FlightFile(flight=flight, name=name, local_name=local, local_key=local.lower(), size=entry.size,
                             is_link=entry.is_link, last_modified=entry.last_modified)
            new.append(row)
        else:
            _update(row, entry, host_tasks.image_path(task, row.local_name))
        size = entry.size if not entry.is_link else row.bytes_here
        plan.total_bytes += size
        if row.state == FlightFile.DONE:
            plan.here += 1
            plan.here_bytes += size
        elif row.state == FlightFile.REJECTED:
            plan.rejected += 1
        else:
            plan.missing_bytes += size
    FlightFile.objects.bulk_create(new, batch_size=500)
    gone = FlightFile.objects.filter(pk__in=[row.pk for name, row in rows.items() if name not in entries])
    gone.filter(bytes_here=0).delete()  # never fetched: there is nothing to keep
    plan.gone = gone.update(state=FlightFile.GONE, error="", batch=None)
    return plan


def _update(row: FlightFile, entry: Entry, path: Path) -> None:
    """Bring a known file's row up to the listing: done stays done only if nothing changed and its bytes are here."""
    same = (row.size, row.last_modified, row.is_link) == (entry.size, entry.last_modified, entry.is_link)
    if same and row.state == FlightFile.REJECTED and not entry.is_link:
        return  # broken at its source, and still the same there; what a link leads to may have changed, and nothing tells
    state = FlightFile.WANTED
    if same and row.state in (FlightFile.DONE, FlightFile.GONE) and row.bytes_here and _size(path) == row.bytes_here:
        state = FlightFile.DONE
    if same and row.state == state:
        return
    if row.state == FlightFile.FETCHING and row.batch_id and same:
        return  # a worker of this very sync has it in hand
    row.size, row.last_modified, row.is_link = entry.size, entry.last_modified, entry.is_link
    row.state, row.error, row.batch = state, "", None
    row.save()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def note_plan(job: TapisJob, plan: Plan) -> bool:
    """Write the plan's numbers to the job and open its fetching phase; not where another worker was given the job meanwhile.

    :returns: whether the job is this worker's to go on with
    """
    gone = f"{plan.gone} images were deleted at their source and are kept here." if plan.gone else ""
    same = plan.digest and plan.digest == job.listing
    return bool(TapisJob.objects.filter(pk=job.pk, state=TapisJob.RUNNING, lease_owner=job.lease_owner).update(
        phase=TapisJob.FETCHING, images_total=plan.images, images_done=plan.here,
        bytes_total=plan.total_bytes, bytes_done=plan.here_bytes, error=gone, lease_owner="", lease_until=None,
        moved_at=timezone.now(), due_at=timezone.now(), started_at=job.started_at or timezone.now(),
        listing=plan.digest, settled=plan.settled,
        unchanged_since=job.unchanged_since if same and job.unchanged_since else timezone.now(),
        results={"deleted_at_source": plan.gone, "to_fetch": plan.images - plan.here - plan.rejected},
    ))


def promised_bytes(owner: Any, job: TapisJob) -> int:
    """Bytes that the owner's other syncs under way have brought or will bring: WebODM counts a task's files once it is handed over."""
    others = TapisJob.objects.filter(
        kind=TapisJob.SYNC, state=TapisJob.RUNNING, phase=TapisJob.FETCHING, flight__user_id=owner.pk).exclude(pk=job.pk)
    return sum(other.bytes_moved + max(0, other.bytes_total - other.bytes_done) for other in others)


def check_room(owner: Any, directory: Path, wanted_bytes: int, uncounted_bytes: int = 0) -> None:
    """Whether the owner's quota and the disk bear so many more bytes.

    :param uncounted_bytes: bytes that are here or on their way, and not in the quota's count yet
    :raises SyncRefused: they do not
    """
    if host_quota.quota_exceeded(owner, wanted_bytes + uncounted_bytes):
        raise SyncRefused(f"The storage quota of {owner.get_username()} has no room for {format_bytes(wanted_bytes)} more.",
                          status=403)
    free = host_media.free_bytes(directory)
    if free - wanted_bytes < conf.disk_reserve_bytes:
        raise SyncRefused(f"{format_bytes(wanted_bytes)} have to be fetched, but the disk has {format_bytes(free)} free, and "
                          f"{format_bytes(conf.disk_reserve_bytes)} must stay free.", status=507)
