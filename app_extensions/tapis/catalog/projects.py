"""WebODM projects made from flights: each flight gets one project and one waiting task, exactly as documented."""
import hashlib
from typing import Any, Optional
from urllib.parse import quote
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet

from app_extensions.host import projects as host_projects
from app_extensions.host import tasks as host_tasks
from app_extensions.tapis import job_reports
from app_extensions.tapis.catalog.flights import FoundFlight
from app_extensions.tapis.models import Flight, TapisJob, TapisOAuth2Client

MAX_NAME = 255


def import_url(system_id: str, images_path: str) -> str:
    """``tapis://<system>/<path>``, percent-encoded because a flight's name may hold ``#`` or ``?``."""
    return f"tapis://{system_id}/{quote(images_path.strip('/'), safe='/')}"


def tags_for(found: FoundFlight) -> list[str]:
    """Four tags: ``tapis``, ``flight``, the system's id and the flight's name. Any characters in the name are made safe."""
    return ["tapis", "flight", host_projects.safe_tag(found.system_id), host_projects.safe_tag(found.flight_name)]


def project_name(found: FoundFlight, taken: "set[str]") -> str:
    """A unique project name of at most 255 characters: ``<FlightName> (<SystemID>)``, shortened or numbered if necessary.

    :param taken: project names of the user's other flights
    """
    suffix = f" ({found.system_id})"
    name = found.flight_name + suffix
    if len(name) > MAX_NAME:
        mark = hashlib.sha256(name.encode()).hexdigest()[:8]
        # A system id alone may be as long as a name allows, so its end is cut as well.
        suffix = f"… {mark}" + suffix[:MAX_NAME // 2]
        name = found.flight_name[:MAX_NAME - len(suffix)] + suffix
    number = 1
    result = name
    while result in taken:
        number += 1
        more = f" #{number}"
        result = name[:MAX_NAME - len(more)] + more
    return result


def description(found: FoundFlight) -> str:
    """The text for the project's description."""
    when = found.discovered_at.strftime("%Y-%m-%d %H:%M UTC")
    return (f"Drone flight {found.flight_name} on the Tapis system {found.system_id}: {found.image_count} images in "
            f"{found.images_path}, discovered {when}.")


@transaction.atomic
def create_project_from_flight(user: Any, client: TapisOAuth2Client, found: FoundFlight, *,
                               again: bool = False) -> tuple[Flight, bool]:
    """Get the flight's row with its project and waiting task. Make what is missing.

    The row's unique constraint orders two concurrent calls: the second waits for the first and finds its project.

    :param again: make a new project if the user deleted the old one; only for explicit requests
    :returns: the flight, and whether a project was made now
    """
    flight, _ = Flight.objects.get_or_create(
        user_id=user.pk, base_url=client.base_url, tenant_id=client.tenant_id, system_id=found.system_id,
        name=found.flight_name,
        defaults={"client": client, "discovered_at": found.discovered_at, "image_count": found.image_count,
                  "total_bytes": found.total_bytes},
    )
    flight = Flight.objects.select_for_update().get(pk=flight.pk)
    flight.client = client
    flight.image_count = found.image_count
    flight.total_bytes = found.total_bytes or flight.total_bytes
    flight.discovered_at = found.discovered_at
    made = False
    if flight.project_id is None or (again and host_projects.get_project(flight.project_id) is None):
        _make(flight, user, found)
        made = True
    flight.save()
    return flight, made


def _make(flight: Flight, user: Any, found: FoundFlight) -> None:
    # All names that project_name may try start like this. Reading only these is cheap even with thousands of flights.
    alike = Flight.objects.filter(user_id=user.pk, project_name__startswith=found.flight_name[:100]).exclude(pk=flight.pk)
    taken = set(alike.values_list("project_name", flat=True))
    name = project_name(found, taken)
    project = host_projects.create_project(user, name, description(found), tags_for(found))
    task = host_tasks.create_waiting_task(
        project, found.flight_name[:MAX_NAME], import_url=import_url(found.system_id, found.images_path)
    )
    flight.project_id, flight.project_name, flight.task_id = project.pk, name, task.pk
    flight.synced_at = None
    flight.files.all().delete()


def known_flights(user: Any, client: TapisOAuth2Client) -> dict[tuple[str, str], Flight]:
    """The user's flights at the client's tenant that have or had a project, by (system, name)."""
    rows = Flight.objects.filter(user_id=user.pk, base_url=client.base_url, tenant_id=client.tenant_id,
                                 project_id__isnull=False)
    return {(row.system_id, row.name): row for row in rows}


def project_of(flight: Flight) -> Optional[Any]:
    """The flight's WebODM project; None if it was deleted."""
    return host_projects.get_project(flight.project_id) if flight.project_id is not None else None


@transaction.atomic
def ensure_task(flight: Flight) -> Optional[Any]:
    """The flight's WebODM task. If the user removed it, make a new waiting task in the project. None if the project is gone."""
    flight = Flight.objects.select_for_update().get(pk=flight.pk)
    task = host_tasks.get_task(flight.task_id) if flight.task_id else None
    if task is not None:
        return task
    project = project_of(flight)
    if project is None:
        return None
    task = host_tasks.create_waiting_task(
        project, flight.name[:MAX_NAME], import_url=import_url(flight.system_id, flight.images_path)
    )
    flight.task_id, flight.synced_at = task.pk, None
    flight.save(update_fields=["task_id", "synced_at"])
    flight.files.all().delete()
    return task


#: Keys for sorting flight projects, and their columns.
SORTS = {
    "created": "project_id", "flight": "name", "system": "system_id", "images": "image_count", "bytes": "total_bytes",
    "synced": "synced_at", "project": "project_name",
}


def visible_flights(user: Any, search: str = "") -> QuerySet:
    """The flights with a project that the user may see in WebODM: the user's own and those that colleagues shared.

    :param search: part of the name of the flight, system or project; case does not matter
    """
    rows = Flight.objects.filter(project_id__in=host_projects.visible_ids(user))
    if search:
        rows = rows.filter(Q(name__icontains=search) | Q(system_id__icontains=search) | Q(project_name__icontains=search))
    return rows


def flight_projects(user: Any, *, details: bool = False, search: str = "", task_ids: Optional[list[UUID]] = None,
                    sort: str = "-created", page: int = 1, size: Optional[int] = None) -> "tuple[list[dict[str, Any]], int]":
    """The flight projects that the user may see, in the documented form. The number of queries is constant.

    Args:
        details: add the flight, its latest sync and the state of its task.
        search: as in ``visible_flights``.
        task_ids: only the flights of these tasks; None: all.
        sort: a key of SORTS, with ``-`` in front for the reverse order.
        size: flights per page; None: all.

    Returns:
        The page, and the total number of projects.
    """
    rows = visible_flights(user, search)
    if task_ids is not None:
        rows = rows.filter(task_id__in=task_ids)
    total = rows.count()
    key, down = SORTS[sort.lstrip("-")], sort.startswith("-")
    order = F(key).desc(nulls_last=True) if down else F(key).asc(nulls_last=True)
    rows = rows.order_by(order, "-pk" if down else "pk")
    chosen = list(rows if size is None else rows[(page - 1) * size:page * size])
    ids = [row.project_id for row in chosen]
    known = {project.pk: project for project in host_projects.projects_by_id(ids)}
    counts = host_projects.task_counts(ids)
    more = _all_details(chosen) if details else {}
    found = []
    for row in chosen:
        project = known.get(row.project_id)
        if project is None:
            continue  # deleted since the flights were selected
        found.append({
            **more.get(row.pk, {}),
            "id": project.pk,
            "name": project.name,
            "description": project.description,
            "created_at": project.created_at.isoformat(),
            "tags": host_projects.project_tags(project),
            "task_count": counts.get(project.pk, 0),
        })
    return found, total


def _all_details(flights: "list[Flight]") -> "dict[int, dict[str, Any]]":
    """The extra fields of each flight that the web page shows, by the flight's primary key."""
    tasks = host_tasks.task_rows(row.task_id for row in flights if row.task_id)
    syncs = TapisJob.objects.filter(flight__in=flights, kind=TapisJob.SYNC).order_by("flight_id", "-created_at").distinct("flight_id")
    latest = {job.flight_id: job for job in syncs.defer("access_token", "history")}
    hints: dict[int, str] = {}
    return {row.pk: {
        "flight_name": row.name,
        "system_id": row.system_id,
        "tenant_id": row.tenant_id,
        "image_count": row.image_count,
        "total_bytes": row.total_bytes,
        "discovered_at": row.discovered_at.isoformat(),
        "synced_at": row.synced_at.isoformat() if row.synced_at else None,
        "sync": {**job_reports.as_dict(latest[row.pk]), **job_reports.details_of(latest[row.pk])} if row.pk in latest else None,
        "task": _task(tasks[row.task_id], hints) if row.task_id in tasks else None,
    } for row in flights}


def _task(task: Any, hints: "dict[int, str]") -> dict[str, Any]:
    """A flight's task: its addresses and its progress (``progress``: 0 to 1 of the processing)."""
    state = host_tasks.task_state(task, hints)
    return {
        "id": str(task.pk), "state": state.status, "progress": round(state.progress, 3), "images_count": state.images_count,
        "error": state.error, "hint": state.hint, "pending_action": state.pending_action, "url": host_tasks.task_url(task),
        "map_url": host_tasks.map_url(task), "model_url": host_tasks.model_url(task),
    }
