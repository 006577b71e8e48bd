"""Previews of the flights in a user's catalog: ask for them, read them, and remove unused ones.

Nothing here calls Tapis. Asking starts the job that fetches the previews (``sync.previews``).
"""
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Callable, Optional

from django.db import transaction
from django.db.models import Prefetch, Q
from django.db.models.functions import Length
from django.utils import timezone

from app_extensions.tapis import jobs
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import FlightPreview, PreviewImage, SeenFlight
from app_extensions.tapis.problems import BadInput, NoToken, TapisProblem, TokenExpired

#: Most flights that one request may name.
MOST_FLIGHTS = 50
#: After this long, a failed preview is fetched again when somebody looks at the flight.
FAILURE_HOLDS = timedelta(minutes=10)
#: Previews are removed if nobody has looked at them for this long.
KEEP_UNUSED = timedelta(days=90)
#: Precision of ``used_at``. A preview's row is written at most this often when somebody looks at it.
USED_WITHIN = timedelta(days=1)

NOT_FOUND = "Your discoveries did not find this flight. Discover flights again."

Access = Callable[[str, str], TapisAccess]


def ask(user: Any, named: "list[tuple[str, str, str]]", access_to: Access, *, again: bool = False) -> "list[dict[str, Any]]":
    """The previews of the given flights in the user's catalog. Missing previews are fetched in the background.

    :param named: flight, system and tenant of each; an empty tenant matches any
    :param access_to: returns the user's access to a tenant, given its address and id; raises TapisProblem if there is none
    :param again: fetch all of them again, whatever their state
    :returns: the documented form of each, in the same order
    :raises BadInput: too many flights
    """
    if len(named) > MOST_FLIGHTS:
        raise BadInput("flights", f"must hold at most {MOST_FLIGHTS} flights")
    flights = _found(user, named)
    tenants: dict[tuple[str, str], list[SeenFlight]] = {}
    for flight in filter(None, flights):
        if _is_to_fetch(flight, again):
            tenants.setdefault((flight.base_url, flight.tenant_id), []).append(flight)
    for (base_url, tenant_id), wanted in tenants.items():
        _let_wait(wanted, lambda base_url=base_url, tenant_id=tenant_id: access_to(base_url, tenant_id))  # type: ignore[misc]
    here = {row.seen_id: row for row in _rows(user, Q(seen__in=[flight for flight in flights if flight is not None]))}
    return [as_dict(here[flight.pk]) if flight is not None and flight.pk in here else _missing(name)
            for flight, name in zip(flights, named)]


def read(user: Any, ids: "Iterable[int]") -> "list[dict[str, Any]]":
    """The current state of the given previews. Ids that do not exist or belong to another user are skipped."""
    return [as_dict(row) for row in _rows(user, Q(pk__in=list(ids)))]


def thumbnail_of(user: Any, preview_id: int, number: int) -> Optional[bytes]:
    """The JPEG of a thumbnail; None if it does not exist or belongs to another user."""
    images = PreviewImage.objects.filter(preview_id=preview_id, number=number, preview__seen__user_id=user.pk)
    found = images.values_list("thumbnail", flat=True).first()
    return bytes(found) if found else None


def forget_unused() -> int:
    """Remove previews that nobody has looked at for ``KEEP_UNUSED``. :returns: how many"""
    rows = FlightPreview.objects.filter(used_at__lt=timezone.now() - KEEP_UNUSED)
    return rows.delete()[1].get("tapis.FlightPreview", 0)


def as_dict(row: FlightPreview) -> "dict[str, Any]":
    """The documented form of a preview."""
    images = list(row.images.all()) if row.state == FlightPreview.READY else []
    days = sorted(image.taken_at[:10] for image in images if image.taken_at)
    cameras = [image.camera for image in images if image.camera]
    seen = row.seen
    return {
        "id": row.pk, "flight_name": seen.name, "system_id": seen.system_id, "tenant_id": seen.tenant_id, "state": row.state,
        "error": row.error, "needs_login": row.needs_login, "image_count": seen.image_count, "total_bytes": seen.total_bytes,
        "taken_from": days[0] if days else None, "taken_until": days[-1] if days else None,
        "camera": max(cameras, key=cameras.count) if cameras else "",
        "images": [_image(row, image) for image in images],
    }


def _image(row: FlightPreview, image: PreviewImage) -> "dict[str, Any]":
    return {
        "name": image.name, "taken_at": image.taken_at or None, "camera": image.camera, "latitude": image.latitude,
        "longitude": image.longitude, "problem": image.problem,
        "thumbnail": f"/api/tapis-storage/flight-previews/{row.pk}/{image.number}.jpg" if image.thumbnail_bytes else None,
    }


def _missing(name: "tuple[str, str, str]") -> "dict[str, Any]":
    flight_name, system_id, tenant_id = name
    return {
        "id": None, "flight_name": flight_name, "system_id": system_id, "tenant_id": tenant_id, "state": FlightPreview.FAILED,
        "error": NOT_FOUND, "needs_login": False, "image_count": None, "total_bytes": None, "taken_from": None, "taken_until": None,
        "camera": "", "images": [],
    }


def _found(user: Any, named: "list[tuple[str, str, str]]") -> "list[Optional[SeenFlight]]":
    """The named flights from the user's own catalog. None for each that is not in it."""
    rows = SeenFlight.objects.filter(user_id=user.pk, name__in={name for name, _, _ in named},
                                     system_id__in={system_id for _, system_id, _ in named}).select_related("preview").order_by("-seen_at")
    found: dict[tuple[str, str, str], SeenFlight] = {}
    for row in rows:
        found.setdefault((row.name, row.system_id, row.tenant_id), row)
        found.setdefault((row.name, row.system_id, ""), row)
    return [found.get(name) for name in named]


def _is_to_fetch(flight: SeenFlight, again: bool) -> bool:
    """Whether to start a job for this flight. Also true if its preview is waiting already, because that job may be gone."""
    row = getattr(flight, "preview", None)
    if row is None or again or row.state == FlightPreview.WAITING:
        return True
    is_over = row.ended_at is None or row.ended_at < timezone.now() - FAILURE_HOLDS
    return row.state == FlightPreview.FAILED and (row.needs_login or is_over)


def _let_wait(flights: "list[SeenFlight]", access_to: "Callable[[], TapisAccess]") -> None:
    """Queue the previews of these flights, which all belong to one tenant. If the Tapis login has ended, mark them as failed at once."""
    now = timezone.now()
    changes: dict[str, Any] = {"state": FlightPreview.WAITING, "error": "", "needs_login": False, "attempts": 0, "asked_at": now}
    problem = None
    try:
        access = access_to()
        access.token()
    except TapisProblem as reason:
        problem = reason
        changes.update(state=FlightPreview.FAILED, error=problem.detail[:1000], needs_login=isinstance(problem, (NoToken, TokenExpired)),
                       ended_at=now)
    with transaction.atomic():
        if problem is None:
            jobs.start_previews(access)  # before the rows below change, because it locks the job
        FlightPreview.objects.bulk_create([FlightPreview(seen=flight, **changes) for flight in flights], ignore_conflicts=True)
        rows = FlightPreview.objects.filter(seen__in=flights)
        if problem is None:
            rows.filter(state=FlightPreview.WAITING).update(asked_at=now)  # a worker may be fetching it: keep its count of attempts
            rows = rows.exclude(state=FlightPreview.WAITING)
        rows.update(**changes)


def _rows(user: Any, which: Q) -> "list[FlightPreview]":
    """The user's previews and their images, without the thumbnails' bytes. Updates ``used_at``."""
    images = PreviewImage.objects.annotate(thumbnail_bytes=Length("thumbnail")).defer("thumbnail")
    rows = list(FlightPreview.objects.filter(which, seen__user_id=user.pk).select_related("seen")
                .prefetch_related(Prefetch("images", queryset=images)))
    old = [row.pk for row in rows if row.used_at < timezone.now() - USED_WITHIN]
    if old:
        FlightPreview.objects.filter(pk__in=old).update(used_at=timezone.now())
    return rows
