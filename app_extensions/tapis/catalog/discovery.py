"""From discovery to projects for one user. The REST API, the management command and the Celery tasks all use this module."""
import logging
import time
from datetime import timedelta
from typing import Any, Callable, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.tapis import jobs, lifecycle, notices
from app_extensions.tapis.catalog import scan
from app_extensions.tapis.catalog.flights import FoundFlight, discover, look_up, named_flight, unread_error
from app_extensions.tapis.catalog.listing import TapisListing
from app_extensions.tapis.catalog.projects import create_project_from_flight, known_flights
from app_extensions.tapis.catalog.systems import MISSING, chosen, project_systems
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import DiscoverySystem, Flight, SeenFlight, TapisJob, TapisOAuth2Token
from app_extensions.tapis.preferences import give_back_auto_discovery, note_auto_discovery, preferences_of
from app_extensions.tapis.problems import BadInput, SystemNotAccessible, TapisProblem, TokenExpired

logger = logging.getLogger("app.logger")

Told = Callable[[int, int, int], None]
#: Most flights that one request may describe.
MAX_FLIGHTS = 500
#: Periodic discoveries are spread over this fraction of their period, so that they finish before the next ones begin.
SPREAD = 0.8


def empty_results() -> "dict[str, Any]":
    """The documented results of a discovery that found nothing."""
    return {"systems_scanned": 0, "flights_discovered": 0, "projects_created": 0, "errors": [], "created_projects": []}


def discover_and_create(access: TapisAccess, systems: "Optional[list[str]]" = None, *, dry_run: bool = False,
                        told: Optional[Told] = None) -> "dict[str, Any]":
    """Discover the user's flights and make a project for each flight that has none, up to the user's limit.

    If the user deleted a flight's project, this does not make it again. Only an explicit request does.

    :param dry_run: make nothing; ``created_projects`` then lists what would be made, with ``project_id`` None
    :param told: called with (directories read, directories known, images found)
    :raises TapisProblem: the systems cannot be listed
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
        results["errors"].append(f"The limit of {most} projects per discovery is reached: {len(new) - most} flights are left for "
                                 "the next discovery (max_projects_per_discovery)")
    return results


def check_descriptions(flights: Any) -> "list[tuple[str, str]]":
    """The flight name and system id of each description. :raises BadInput: one is malformed; the problem has its number and field"""
    if not isinstance(flights, list) or not flights:
        raise BadInput("flights", "must be a list of at least one flight")
    if len(flights) > MAX_FLIGHTS:
        raise BadInput("flights", f"must hold at most {MAX_FLIGHTS} flights")
    return [named_flight(info, f"flights[{number}]") for number, info in enumerate(flights)]


def _create(access: TapisAccess, flight: FoundFlight, results: "dict[str, Any]", *, dry_run: bool = False,
            again: bool = False) -> bool:
    """Make the flight's project and add it to the results. :returns: whether it was made, or would be without ``dry_run``"""
    if dry_run:
        project_id, name = None, f"{flight.flight_name} ({flight.system_id})"
    else:
        row, made = create_project_from_flight(access.user, access.client, flight, again=again)
        if not made:
            return False
        project_id, name = row.project_id, row.project_name
    results["projects_created"] += 0 if dry_run else 1
    results["created_projects"].append({
        "project_id": project_id, "project_name": name, "flight_name": flight.flight_name,
        "system_id": flight.system_id, "image_count": flight.image_count,
    })
    return True


def take_turn(job: TapisJob, keep: Callable[[], bool]) -> bool:
    """Work on a claimed discovery until it ends or the turn is over.

    :param keep: renews the worker's lease; returns False if another worker has the job now, or it has ended
    :returns: whether the discovery has ended
    :raises TapisProblem: the discovery cannot continue
    """
    access = jobs.access_of(job)
    purpose = job.purpose.partition(" ")[0] or jobs.IMPORT
    end = time.monotonic() + conf.batch_seconds
    try:
        if job.phase == TapisJob.LISTING:
            _list_systems(job, access, purpose)
        if job.phase == TapisJob.SCANNING:
            if not scan.JobScan(job, access, keep, count=purpose == jobs.LOOK).run():
                return False
            _scanned(job, purpose)
        if job.phase == TapisJob.CREATING and not _create_some(job, access, keep, end):
            return False
    except scan.Lost:
        return False
    results = results_of(job)
    _complete(job, results)
    return True


def _list_systems(job: TapisJob, access: TapisAccess, purpose: str) -> None:
    if purpose == jobs.CREATE:
        _to_phase(job, TapisJob.CREATING)
        return
    wanted = job.request.get("systems")
    if job.request.get("background"):
        wanted = preferences_of(job.user).preferred_systems or None
    ids, errors = chosen(project_systems(access), wanted)
    rows = [DiscoverySystem(job=job, system_id=name) for name in ids]
    rows += [DiscoverySystem(job=job, system_id=name, state=DiscoverySystem.FAILED, status=404, error=SystemNotAccessible.error + MISSING)
             for name in wanted or [] if name not in ids]
    DiscoverySystem.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    job.results = {**job.results, "missing": errors}
    _to_phase(job, TapisJob.SCANNING, results=job.results)


def _to_phase(job: TapisJob, phase: str, **changes: Any) -> None:
    job.phase = phase
    mine = TapisJob.objects.filter(pk=job.pk, lease_owner=job.lease_owner)
    mine.update(phase=phase, started_at=job.started_at or timezone.now(), **changes)


def _scanned(job: TapisJob, purpose: str) -> None:
    """Finish the scan: drop flights that vanished, and start creating projects. :raises SystemNotAccessible: no system could be read"""
    failed = job.systems.filter(state=DiscoverySystem.FAILED)
    first = failed.order_by("pk").first()
    if first is not None and failed.count() == job.systems.count():
        raise SystemNotAccessible("; ".join(errors_of(job))[:2000], status=first.status or 502)
    scan.forget_vanished(job)
    job.refresh_from_db(fields=["results"])
    if purpose == jobs.IMPORT:
        _to_phase(job, TapisJob.CREATING)


def errors_of(job: TapisJob) -> "list[str]":
    """One sentence for each system that could not be read completely. Requested systems that do not exist come first."""
    missing = job.results.get("missing", [])
    errors = []
    for row in job.systems.exclude(error=""):
        if row.state == DiscoverySystem.FAILED:
            if not any(text.startswith(f"{row.system_id}: ") for text in missing):
                errors.append(f"{row.system_id}: {row.error}")
            continue
        errors.append(unread_error(row.system_id, row.error, row.unread - 1)
                      + (" The rest of the system was not tried." if row.gave_up else ""))
    return [*missing, *sorted(errors)]


def found_flights(job: TapisJob) -> "list[FoundFlight]":
    """The flights that a discovery has found so far, sorted by system and name."""
    rows = SeenFlight.objects.filter(job_id=job.pk).order_by("system_id", "name")
    return sorted((FoundFlight(row.name, row.system_id, row.image_count or 0, row.seen_at, row.total_bytes or 0) for row in rows),
                  key=lambda flight: (flight.system_id, flight.flight_name))


def results_of(job: TapisJob) -> "dict[str, Any]":
    """The documented results of a discovery, so far if it is still running."""
    if job.state in (TapisJob.COMPLETED, TapisJob.FAILED):
        return {key: job.results.get(key, value) for key, value in empty_results().items()}
    made = job.results.get("results") or empty_results()
    results = {**empty_results(), **made}
    if not job.purpose.startswith(jobs.CREATE):
        results["systems_scanned"] = job.systems.filter(state=DiscoverySystem.DONE).count()
        results["flights_discovered"] = SeenFlight.objects.filter(job_id=job.pk).count()
    results["errors"] = [*errors_of(job), *made.get("errors", [])]
    return results


def _create_some(job: TapisJob, access: TapisAccess, keep: Callable[[], bool], end: float) -> bool:
    """Make projects until all are made or the turn is over. The transaction that makes a project also records it in the job.

    :returns: whether all are made
    """
    again = job.purpose.startswith(jobs.CREATE)
    results = job.results.get("results") or empty_results()
    done = {tuple(each) for each in job.results.get("handled", [])}
    wanted, left = _named(job) if again else _new_ones(job, access, len(done))
    listing = TapisListing(access, seconds=max(conf.listing_seconds, 2 * conf.batch_seconds))
    processing = job.request.get("processing") or {}
    fetch = bool(job.request.get("sync")) or bool(job.request.get("background")) and preferences_of(job.user).sync_on_discovery
    for system_id, name in wanted:
        if (system_id, name) in done:
            continue
        if time.monotonic() >= end:
            return False
        if not keep():
            raise scan.Lost
        try:
            flight: Optional[FoundFlight] = look_up(listing, name, system_id)
        except TokenExpired:
            raise
        except TapisProblem as problem:
            flight = None
            results["errors"].append(f"{system_id}: {name}: {problem}")
            job.results.setdefault("problem", {"status": problem.status, "error": problem.error, "detail": problem.detail})
            logger.warning("Tapis: discovery %s of user %s: %s on %s: %s", job.pk, job.user_id, name, system_id, problem)
        done.add((system_id, name))
        with transaction.atomic():
            made = False
            if flight is not None:
                results["flights_discovered"] += 1 if again else 0
                made = _create(access, flight, results, again=again)
                scan.write_seen(job, {(system_id, name): (flight.image_count, flight.total_bytes)})
            job.results = {**job.results, "results": results, "handled": sorted(done)}
            TapisJob.objects.filter(pk=job.pk).update(results=job.results, moved_at=timezone.now())
            if made:
                _start_new(access, system_id, name, job.automatic, processing, fetch=fetch)
    if again:
        _check_described(job, results)
        results["systems_scanned"] = len({system_id for system_id, _ in wanted})
    elif left > 0:
        most = preferences_of(access.user).max_projects_per_discovery
        results["errors"].append(f"The limit of {most} projects per discovery is reached: {left} flights are left for "
                                 "the next discovery (max_projects_per_discovery)")
    job.results = {**job.results, "results": results}
    return True


def _named(job: TapisJob) -> "tuple[list[tuple[str, str]], int]":
    names = check_descriptions(job.request["flights"])
    return list(dict.fromkeys((system_id, name) for name, system_id in names)), 0


def _check_described(job: TapisJob, results: "dict[str, Any]") -> None:
    """:raises TapisProblem: none of the described flights can be read; this is the first one's problem"""
    problem = job.results.get("problem")
    if problem is not None and not results["flights_discovered"]:
        raise TapisProblem(problem["detail"], status=problem["status"], error=problem["error"])


def _new_ones(job: TapisJob, access: TapisAccess, handled: int) -> "tuple[list[tuple[str, str]], int]":
    """The flights to make projects for, up to the user's limit per discovery. Flights that this job already handled count towards it.

    :returns: the flights, and how many are left for the next discovery
    """
    known = set(known_flights(access.user, access.client))
    before = {tuple(each) for each in job.results.get("handled", [])}
    seen = SeenFlight.objects.filter(job_id=job.pk).order_by("system_id", "name").values_list("system_id", "name")
    new = [key for key in sorted(seen) if key not in known and key not in before]
    most = preferences_of(access.user).max_projects_per_discovery - handled
    return new[:max(0, most)], max(0, len(new) - max(0, most))


def _start_new(access: TapisAccess, system_id: str, name: str, automatic: bool, processing: "dict[str, Any]", *, fetch: bool) -> None:
    """Save how to process a flight that was just imported, and start its sync if ``fetch`` is set."""
    flight = Flight.objects.filter(user_id=access.user.pk, base_url=access.client.base_url, tenant_id=access.client.tenant_id,
                                   system_id=system_id, name=name, project_id__isnull=False).first()
    if flight is None:
        return
    flight.processing = processing
    flight.save(update_fields=["processing"])
    if fetch:
        jobs.start_sync(access, flight, automatic=automatic)


def _complete(job: TapisJob, results: "dict[str, Any]") -> None:
    fresh = TapisJob.objects.get(pk=job.pk)
    images = sum(item["image_count"] for item in results["created_projects"])
    total = max(images, fresh.images_total)
    with transaction.atomic():
        if lifecycle.apply(job.pk, lifecycle.COMPLETE, "\n".join(results["errors"]), owner=job.lease_owner, results=results,
                           images_total=total, images_done=total):
            DiscoverySystem.objects.filter(job_id=job.pk).delete()
    job.results = results
    notices.send_digest(job.user)


def fail(job: TapisJob, problem: TapisProblem) -> None:
    """End a discovery that cannot continue. If no user asked for it, restore the cooldown, so that the next login can try again."""
    logger.warning("Tapis: discovery %s of user %s failed: %s", job.pk, job.user_id, problem)
    told = {"status": problem.status, "error": problem.error, "detail": problem.detail}
    with transaction.atomic():
        if lifecycle.apply(job.pk, lifecycle.FAIL, str(problem),
                           results={**empty_results(), "errors": [str(problem)], "problem": told}) is None:
            return
        DiscoverySystem.objects.filter(job_id=job.pk).delete()
        if "_last_auto_discovery" in job.request:
            give_back_auto_discovery(job.user, job.request["_last_auto_discovery"])
    notices.send_digest(job.user)


def after_login(user: Any, client: Any) -> Optional[TapisJob]:
    """Discover in the background after a Tapis login, if the user's preferences and the cooldown allow it."""
    before = preferences_of(user)
    if not before.auto_discover_on_login or not note_auto_discovery(user):
        return None
    return start_automatic(TapisAccess(user, client), before.last_auto_discovery)[0]


def start_automatic(access: TapisAccess, last: Any, *, due_at: Any = None, queue: bool = True) -> "tuple[TapisJob, bool]":
    """Start a discovery that no user asked for. :param last: when the previous one began; restored if this one fails"""
    request = {"background": True, "_last_auto_discovery": last.isoformat() if last else None}
    return jobs.start_discovery(access, jobs.IMPORT, request, automatic=True, due_at=due_at, queue=queue)


def start_periodic(user_id: Optional[int] = None) -> "list[int]":
    """Plan a discovery for every user with tokens (or for one user) whose cooldown is over. Spread them over the period.

    Each job's row says when it is due. A delayed Celery message would not do: after an hour, the broker delivers it a second time.

    :returns: the ids of the users who get a discovery
    """
    rows = TapisOAuth2Token.objects.filter(is_valid=True, client__is_active=True, user__is_active=True)
    if user_id is not None:
        rows = rows.filter(user_id=user_id)
    tokens: dict[int, list[TapisOAuth2Token]] = {}
    for token in rows.select_related("client", "user").defer("access_token", "refresh_token").order_by("user_id", "-updated_at"):
        tokens.setdefault(token.user_id, []).append(token)
    number = sum(map(len, tokens.values()))
    apart = conf.stagger_seconds
    if conf.discovery_hours > 0 and number:
        apart = min(apart, conf.discovery_hours * 3600 * SPREAD / number)
    now, started, planned = timezone.now(), [], 0
    for owner_id, logins in tokens.items():
        last = preferences_of(logins[0].user).last_auto_discovery
        if not note_auto_discovery(logins[0].user):
            continue
        for token in logins:
            due_at = now + timedelta(seconds=planned * apart) if planned else None
            start_automatic(TapisAccess(token.user, token.client), last, due_at=due_at, queue=planned == 0)
            planned += 1
        started.append(owner_id)
    return started
