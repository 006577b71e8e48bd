"""Discovery: find the flights on Tapis systems.

A flight is a directory ``<Flight>`` at a system's root with JPEGs in ``<Flight>/code/images``. A scan reads the root in
pages, then lists each directory once: 1 + N calls per system. A bounded number of calls run in parallel. Failures are
reported, and the scan continues with the rest.
"""
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Optional

from django.utils import timezone

from app_extensions.tapis.catalog.listing import TapisListing
from app_extensions.tapis.catalog.systems import chosen
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess, pool_thread
from app_extensions.tapis.problems import BadInput, PathNotFound, TapisProblem, TokenExpired
from app_extensions.tapis.system_ids import check_system_id

PATTERN = "<Flight>/code/images/*.jpg|jpeg"
NOTHING_FOUND = f"No flight directories found (looked for {PATTERN} on the systems' roots)"


@dataclass(frozen=True)
class FoundFlight:
    """A flight as a discovery saw it."""

    flight_name: str
    system_id: str
    image_count: int
    discovered_at: datetime
    total_bytes: int = 0

    @property
    def images_path(self) -> str:
        """The directory of its images, without a slash at either end."""
        return f"{self.flight_name}/code/images"

    def as_dict(self) -> dict[str, Any]:
        """The documented form of a flight."""
        return {
            "flight_name": self.flight_name,
            "system_id": self.system_id,
            "images_path": self.images_path,
            "image_count": self.image_count,
            "discovered_at": self.discovered_at.isoformat(),
        }


@dataclass
class Discovery:
    """What a discovery found, and what it could not read."""

    systems: list[str] = field(default_factory=list)
    flights: list[FoundFlight] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    #: problems by system id, for the systems that could not be read at all
    failed: dict[str, TapisProblem] = field(default_factory=dict)

    @property
    def nothing_readable(self) -> Optional[TapisProblem]:
        """The first problem if every system failed, else None."""
        if self.failed and len(self.failed) == len(self.systems):
            return next(iter(self.failed.values()))
        return None


def discover(access: TapisAccess, systems: Optional[list[str]] = None,
             told: Optional[Callable[[int, int, int], None]] = None) -> Discovery:
    """Find every flight on the user's systems, or on the given ones.

    :param told: called with (directories read, directories known, images found) during the scan
    :raises TapisProblem: the systems cannot be listed, or the user has no token
    """
    listing = TapisListing(access)
    ids, errors = chosen(listing.systems(), systems)
    found = _Scan(listing, told).run(ids)
    found.errors[:0] = errors
    for name in (systems or []):
        if name not in ids:
            found.systems.append(name)
            found.failed[name] = TapisProblem(
                f"{name} does not exist, is disabled, or is not shared with you.", status=404,
                error="System not accessible")
    return found


def scan_system(access: TapisAccess, system_id: str) -> list[FoundFlight]:
    """The flights of one system.

    :raises TapisProblem: the system, or one of its directories, cannot be read
    """
    check_system_id(system_id, "system_id")
    found = _Scan(TapisListing(access)).run([system_id])
    if found.failed:
        raise found.failed[system_id]
    if found.errors:
        raise TapisProblem("; ".join(found.errors), error="System not accessible")
    return found.flights


def check_flight(access: TapisAccess, info: Any, where: str = "flight") -> FoundFlight:
    """Look up a flight that a client described. Nothing in the description is trusted: the user's own token must be able to read it.

    :param where: the field's name for errors
    :raises BadInput: this does not describe a flight
    :raises TapisProblem: the user cannot read the flight, or it has no images
    """
    name, system_id = named_flight(info, where)
    return look_up(TapisListing(access), name, system_id)


def look_up(listing: TapisListing, name: str, system_id: str) -> FoundFlight:
    """One flight as it is at Tapis now. :raises TapisProblem: the user cannot read it, or it has no images"""
    count = size = 0
    for page in listing.images(system_id, f"{name}/code/images"):
        count += len(page)
        size += sum(entry.size for entry in page)
    if not count:
        raise PathNotFound(f"{system_id}: {name}/code/images holds no images.", error="No flight directories found")
    return FoundFlight(name, system_id, count, timezone.now(), size)


def named_flight(info: Any, where: str = "flight") -> "tuple[str, str]":
    """The flight name and system id from a description. Only their form is checked.

    :raises BadInput: a field is missing or has the wrong type, or the path is not the flight's
    """
    if not isinstance(info, dict):
        raise BadInput(where, "must be an object with flight_name and system_id")
    system_id = check_system_id(info.get("system_id"), f"{where}.system_id")
    name = info.get("flight_name")
    if not isinstance(name, str) or not name or len(name) > 255 or "/" in name or "\0" in name or name in (".", ".."):
        raise BadInput(f"{where}.flight_name", "must be the name of a directory at the system's root")
    path = info.get("images_path")
    if path is not None and (not isinstance(path, str) or path.strip("/") != f"{name}/code/images"):
        raise BadInput(f"{where}.images_path", "must be <flight_name>/code/images")
    return name, system_id


class _Scan:
    """One run over several systems with one bounded pool of threads. There are never more open calls than threads."""

    def __init__(self, listing: TapisListing, told: Optional[Callable[[int, int, int], None]] = None) -> None:
        self.listing = listing
        self.told = told
        self.found = Discovery()
        self.unread: dict[str, Counter] = {}
        self.known = self.read = self.images = 0

    def run(self, ids: list[str]) -> Discovery:
        self.found.systems = list(ids)
        pool = ThreadPoolExecutor(max_workers=conf.listing_connections, initializer=pool_thread)
        try:
            self._run(pool, ids)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._name_failures()
        self.found.flights.sort(key=lambda flight: (flight.system_id, flight.flight_name))
        return self.found

    def _run(self, pool: ThreadPoolExecutor, ids: list[str]) -> None:
        waiting: deque[tuple[str, Optional[str]]] = deque((name, None) for name in ids)
        about: dict[Future, tuple[str, Optional[str]]] = {}
        while waiting or about:
            while waiting and len(about) < conf.listing_connections:
                system_id, directory = waiting.popleft()
                future: Future = (pool.submit(self._directories, system_id) if directory is None
                                  else pool.submit(self._count, system_id, directory))
                about[future] = (system_id, directory)
            done, _ = wait(about, return_when=FIRST_COMPLETED)
            for future in done:
                system_id, directory = about.pop(future)
                try:
                    result = future.result()
                except TokenExpired:
                    raise
                except TapisProblem as problem:
                    self._failed(system_id, directory, problem)
                    continue
                if directory is None:
                    self.known += len(result)
                    waiting.extend((system_id, name) for name in result)
                else:
                    self._counted(system_id, directory, result)
            if self.told:
                self.told(self.read, self.known, self.images)

    def _directories(self, system_id: str) -> list[str]:
        return [entry.name for page in self.listing.pages(system_id, "/") for entry in page
                if entry.may_be_directory and len(entry.name) <= 255]

    def _count(self, system_id: str, directory: str) -> "tuple[int, int]":
        return count_images(self.listing, system_id, directory)

    def _counted(self, system_id: str, directory: str, counted: "tuple[int, int]") -> None:
        self.read += 1
        count, size = counted
        if count:
            self.images += count
            self.found.flights.append(FoundFlight(directory, system_id, count, timezone.now(), size))

    def _failed(self, system_id: str, directory: Optional[str], problem: TapisProblem) -> None:
        if directory is None:
            self.found.failed[system_id] = problem
            self.found.errors.append(f"{system_id}: {problem}")
            return
        self.read += 1
        self.unread.setdefault(system_id, Counter())[f"{directory}: {problem.detail}"] += 1

    def _name_failures(self) -> None:
        """Report one error per system: quote the first failure and count the others, or a broken system would fill a page."""
        for system_id, reasons in self.unread.items():
            first, more = next(iter(reasons)), sum(reasons.values()) - 1
            self.found.errors.append(unread_error(system_id, first, more))
        self.found.errors.sort()


def unread_error(system_id: str, first: str, more: int) -> str:
    """The error for directories that could not be read. :param first: one of them with its reason; :param more: how many others"""
    others = f" (and {more} more directories)" if more else ""
    return f"{system_id}: could not read {first}{others}"


def count_images(listing: TapisListing, system_id: str, directory: str) -> "tuple[int, int]":
    """Number and listed bytes of a flight's images; (0, 0) if the directory is not a flight. :raises TapisProblem: it cannot be read"""
    count = size = 0
    try:
        for page in listing.images(system_id, f"{directory}/code/images"):
            count += len(page)
            size += sum(entry.size for entry in page)
    except PathNotFound:
        return 0, 0  # a directory without code/images is not a flight, but not an error either
    return count, size
