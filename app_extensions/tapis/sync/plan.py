"""Plan a sync: compare the flight as Tapis lists it with the files that are here (name, size, last modified)."""
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
    """The result of a comparison.

    ``missing_bytes`` counts the images to fetch. ``rejected`` images are broken at their source and unchanged, so they are not fetched.
    """

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
    """List the flight and record in the database which images to fetch.

    Images that were deleted at their source stay here and are reported. A second run finds the same.

    :param alive: called after each page of the listing; False means that another worker has the job now
    :raises Lost: another worker has the job now; nothing was written
    :raises PathNotFound: the flight has no images any more
    :raises TapisProblem: the flight cannot be listed
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
    """When a file was last added to or removed from the flight's directory of images; None if Tapis does not say.

    A copy may keep the original times of the files, so those alone do not show that a flight is still being copied.
    """
    parent, _, name = flight.images_path.rpartition("/")
    for page in listing.pages(flight.system_id, parent):
        for entry in page:
            if entry.name == name:
                return _moment(entry.last_modified)
    return None


def is_settled(job: TapisJob, digest: str, times: "list[Optional[datetime]]") -> bool:
    """Whether the flight has not changed at Tapis for ``TAPIS_SETTLE_SECONDS``, by Tapis' times or because its listing stayed the same.

    :param times: last changes of the directory and of its images; None: unknown
    """
    if conf.settle_seconds <= 0:
        return True
    now, pause = timezone.now(), timedelta(seconds=conf.settle_seconds)
    if all(moment is not None and moment <= now - pause for moment in times):
        return True
    same = job.listing == digest and job.unchanged_since is not None
    return same and job.unchanged_since <= now - pause


def digest_of(entries: "Iterable[Entry]") -> str:
    """A digest of names, sizes and times, for comparing two listings."""
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
    gone.filter(bytes_here=0).delete()  # never fetched, so there is nothing to keep
    plan.gone = gone.update(state=FlightFile.GONE, error="", batch=None)
    return plan


def _update(row: FlightFile, entry: Entry, path: Path) -> None:
    """Update a known file's row from the listing. A fetched file stays done only if it is unchanged and its bytes are here."""
    same = (row.size, row.last_modified, row.is_link) == (entry.size, entry.last_modified, entry.is_link)
    if same and row.state == FlightFile.REJECTED and not entry.is_link:
        return  # broken at its source, and unchanged there; a link is tried again, as the listing does not show changes of its target
    state = FlightFile.WANTED
    if same and row.state in (FlightFile.DONE, FlightFile.GONE) and row.bytes_here and _size(path) == row.bytes_here:
        state = FlightFile.DONE
    if same and row.state == state:
        return
    if row.state == FlightFile.FETCHING and row.batch_id and same:
        return  # another worker of this sync is fetching it
    row.size, row.last_modified, row.is_link = entry.size, entry.last_modified, entry.is_link
    row.state, row.error, row.batch = state, "", None
    row.save()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def note_plan(job: TapisJob, plan: Plan) -> bool:
    """Write the plan's numbers to the job and start its fetching phase, unless another worker has the job now.

    :returns: whether this worker still had the job
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
    """Bytes that the owner's other running syncs have fetched or will fetch. WebODM's quota only counts them when a sync ends."""
    others = TapisJob.objects.filter(
        kind=TapisJob.SYNC, state=TapisJob.RUNNING, phase=TapisJob.FETCHING, flight__user_id=owner.pk).exclude(pk=job.pk)
    return sum(other.bytes_moved + max(0, other.bytes_total - other.bytes_done) for other in others)


def check_room(owner: Any, directory: Path, wanted_bytes: int, uncounted_bytes: int = 0) -> None:
    """Check that the owner's quota and the disk have room.

    :param wanted_bytes: bytes that are still to be written
    :param uncounted_bytes: bytes that are here or on their way, but not yet in the quota's count
    :raises SyncRefused: there is no room
    """
    if host_quota.quota_exceeded(owner, wanted_bytes + uncounted_bytes):
        raise SyncRefused(f"The storage quota of {owner.get_username()} has no room for {format_bytes(wanted_bytes)} more.",
                          status=403)
    free = host_media.free_bytes(directory)
    if free - wanted_bytes < conf.disk_reserve_bytes:
        raise SyncRefused(f"{format_bytes(wanted_bytes)} have to be fetched, but the disk has {format_bytes(free)} free, and "
                          f"{format_bytes(conf.disk_reserve_bytes)} must stay free.", status=507)
