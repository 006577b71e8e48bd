"""From discovery to projects: the whole way for one user, as the REST API, the command and the Celery tasks take it."""
import logging
from typing import Any, Callable, Optional

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from app_extensions.tapis import jobs, notices
from app_extensions.tapis.catalog.flights import FoundFlight, check_flight, discover, named_flight
from app_extensions.tapis.catalog.projects import create_project_from_flight, known_flights
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import TapisJob, TapisOAuth2Token
from app_extensions.tapis.models.jobs import from_now
from app_extensions.tapis.preferences import note_auto_discovery, preferences_of
from app_extensions.tapis.problems import BadInput, TapisProblem, TokenExpired

logger = logging.getLogger("app.logger")

Told = Callable[[int, int, int], None]
#: Flight dictionaries that one request may hold.
MAX_FLIGHTS = 500


def empty_results() -> "dict[str, Any]":
    """The documented results, of nothing."""
    return {"systems_scanned": 0, "flights_discovered": 0, "projects_created": 0, "errors": [], "created_projects": []}


def discover_and_create(access: TapisAccess, systems: "Optional[list[str]]" = None, *, dry_run: bool = False,
                        told: Optional[Told] = None) -> "dict[str, Any]":
    """Discover the user's flights and make a project of each that has none, up to the user's limit.

    Flights whose project the user deleted are left alone: they are made again on an explicit wish only.

    :param dry_run: make nothing; ``created_projects`` then says what would be made, with ``project_id`` None
    :param told: called with (directories read, directories known, images found)
    :raises TapisProblem: the list of systems cannot be had
    """
    found = discover(access, systems, told)
    if found.nothing_readable is not None:
        raise found.nothing_readable
    results = empty_results()
    results.update(systems_scanned=len(found.systems) - len(found.failed), flights_discovered=len(found.flights))
    results["errors"] += found.errors
    known = known_flights(access.user, access.client)
    new = [flight for flight in found.flights if (flight.system_id, flight.flight_name) not in known]
    most = preferences_of(access.user).max_projects_per_discovery
    for flight in new[:most]:
        _create(access, flight, results, dry_run=dry_run)
    if len(new) > most:
        results["errors"].append(f"Limit of {most} projects a discovery reached: {len(new) - most} flights are left for "
                                 "the next one (max_projects_per_discovery)")
    return results


def create_from_descriptions(access: TapisAccess, flights: Any) -> "dict[str, Any]":
    """Make projects from flights as a client described them, each looked up with the user's own token first.

    :raises BadInput: a description has another form; nothing was made
    :raises TapisProblem: none of the flights can be read
    """
    names = check_descriptions(flights)
    results = empty_results()
    first_problem: Optional[TapisProblem] = None
    for number, (name, system_id) in dict(enumerate(names)).items():
        if names.index((name, system_id)) != number:
            continue
        try:
            flight = check_flight(access, flights[number], f"flights[{number}]")
        except TokenExpired:
            raise
        except TapisProblem as problem:
            first_problem = first_problem or problem
            results["errors"].append(f"{system_id}: {name}: {problem}")
            continue
        results["flights_discovered"] += 1
        _create(access, flight, results, again=True)
    if first_problem is not None and not results["flights_discovered"]:
        raise first_problem
    results["systems_scanned"] = len({system_id for _, system_id in names})
    return results


def check_descriptions(flights: Any) -> "list[tuple[str, str]]":
    """Flight name and system id of each description. :raises BadInput: one has another form, by its number and field"""
    if not isinstance(flights, list) or not flights:
        raise BadInput("flights", "must be a list of at least one flight")
    if len(flights) > MAX_FLIGHTS:
        raise BadInput("flights", f"must hold at most {MAX_FLIGHTS} flights")
    return [named_flight(info, f"flights[{number}]") for number, info in enumerate(flights)]


def _create(access: TapisAccess, flight: FoundFlight, results: "dict[str, Any]", *, dry_run: bool = False,
            again: bool = False) -> None:
    if dry_run:
        project_id, name = None, f"{flight.flight_name} ({flight.system_id})"
    else:
        row, made = create_project_from_flight(access.user, access.client, flight, again=again)
        if not made:
            return
        project_id, name = row.project_id, row.project_name
    results["projects_created"] += 0 if dry_run else 1
    results["created_projects"].append({
        "project_id": project_id, "project_name": name, "flight_name": flight.flight_name,
        "system_id": flight.system_id, "image_count": flight.image_count,
    })


def run_discovery(job_id: Any) -> "dict[str, Any]":
    """Do a discovery job: discover, make projects, start their syncs if the user wants that. :returns: the results"""
    mine = TapisJob.objects.filter(
        Q(lease_until__isnull=True) | Q(lease_until__lt=Now()), pk=job_id, state__in=TapisJob.ACTIVE,
    ).update(state=TapisJob.RUNNING, started_at=timezone.now(), lease_until=from_now(jobs.listing_lease()))
    job = TapisJob.objects.select_related("user", "client").get(pk=job_id)
    if not mine:
        return job.results or empty_results()

    def told(read: int, known: int, images: int) -> None:
        TapisJob.objects.filter(pk=job_id).update(
            images_total=images, images_done=images, moved_at=timezone.now(), lease_until=from_now(jobs.listing_lease()),
            results={"directories_read": read, "directories_known": known})

    access = jobs.access_of(job)
    try:
        preferred = preferences_of(job.user).preferred_systems or None
        results = discover_and_create(access, preferred, told=_seldom(told))
        if preferences_of(job.user).sync_on_discovery:
            _sync_new(access, results, job.automatic)
    except TapisProblem as problem:
        _end(job, TapisJob.FAILED, str(problem), {**empty_results(), "errors": [str(problem)]})
        return job.results
    except Exception as error:
        _end(job, TapisJob.FAILED, f"Unexpected error: {type(error).__name__}", empty_results())
        raise
    _end(job, TapisJob.COMPLETED, "\n".join(results["errors"]), results)
    return results


def _seldom(told: Told, seconds: float = 1.0) -> Told:
    """The same, but at most once a second: a discovery reads hundreds of directories in that time."""
    last = [timezone.now()]

    def call(read: int, known: int, images: int) -> None:
        if (timezone.now() - last[0]).total_seconds() >= seconds:
            last[0] = timezone.now()
            told(read, known, images)
    return call


def _sync_new(access: TapisAccess, results: "dict[str, Any]", automatic: bool) -> None:
    known = known_flights(access.user, access.client)
    for made in results["created_projects"]:
        flight = known.get((made["system_id"], made["flight_name"]))
        if flight is not None:
            jobs.start_sync(access, flight, automatic=automatic)


def _end(job: TapisJob, state: str, error: str, results: "dict[str, Any]") -> None:
    with transaction.atomic():
        fresh = TapisJob.objects.select_for_update().get(pk=job.pk)
        if not fresh.active:
            return
        images = sum(item["image_count"] for item in results["created_projects"])
        fresh.state, fresh.error, fresh.results, fresh.finished_at = state, error, results, timezone.now()
        fresh.images_total = fresh.images_done = max(images, fresh.images_total)
        fresh.access_token, fresh.lease_until = "", None
        fresh.save()
        job.results = results
        notices.job_ended(fresh)


def after_login(user: Any, client: Any) -> Optional[TapisJob]:
    """Discover in the background after a Tapis login, if the user's preferences and the cooldown allow it."""
    if not preferences_of(user).auto_discover_on_login or not note_auto_discovery(user):
        return None
    return jobs.start_discovery(TapisAccess(user, client), automatic=True)[0]


def start_periodic(user_id: Optional[int] = None) -> "list[int]":
    """Queue a discovery for every user with tokens (or one), staggered, each after the user's cooldown.

    :returns: the ids of the users whose turn it is
    """
    rows = TapisOAuth2Token.objects.filter(is_valid=True, client__is_active=True, user__is_active=True)
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    users = get_user_model().objects.filter(pk__in=rows.values("user_id")).order_by("pk")
    started, sent = [], 0
    for user in users:
        if not note_auto_discovery(user):
            continue
        for token in rows.filter(user_id=user.pk).select_related("client").order_by("-updated_at"):
            jobs.send("discover_and_create_flight_projects", user.pk, token.client.client_id,
                      countdown=sent * conf.stagger_seconds)
            sent += 1
        started.append(user.pk)
    return started
