"""``/api/tapis-storage/``: systems, discovery, projects, syncs."""
from typing import Any, Optional
from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response

from app_extensions.host import projects as host_projects
from app_extensions.host import tasks as host_tasks
from app_extensions.tapis import job_reports, jobs
from app_extensions.tapis.catalog import discovery, flights, processing, projects, seen, systems
from app_extensions.tapis.conf import conf
from app_extensions.tapis.login.access import TapisAccess, client_for, require_token
from app_extensions.tapis.models import Flight, TapisJob
from app_extensions.tapis.problems import BadInput, SyncRefused, TapisProblem
from app_extensions.tapis.system_ids import check_system_ids

from ..authentication import bearer
from .common import MOST_ROWS, TapisAPIView, choice, paging, signed


def access_for(request: Request) -> TapisAccess:
    """The caller's access: with the request's own Tapis token, else with the stored one.

    A ``client_id`` in the query or body chooses among several clients.

    :raises NoToken: there is neither; :raises NoClient: there is no such client
    """
    carried = bearer(request)
    if carried is not None:
        return TapisAccess(request.user, carried.client, carried.access_token)
    wanted = request.query_params.get("client_id") or (body(request).get("client_id") if request.data else None)
    if wanted is not None and not isinstance(wanted, str):
        raise BadInput("client_id", "must be text")
    client = client_for(request.user, wanted)
    require_token(request.user, client)
    return TapisAccess(request.user, client)


def body(request: Request) -> "dict[str, Any]":
    """The request's JSON object or form; empty if there is no body. :raises BadInput: the body is something else"""
    data = request.data
    if hasattr(data, "getlist"):
        return {key: data.getlist(key) if key in ("systems", "systems[]") else data.get(key) for key in data}
    if data is None or data == "":
        return {}
    if not isinstance(data, dict):
        raise BadInput("body", "must be a JSON object")
    return data


def flag(data: "dict[str, Any]", name: str) -> bool:
    """A boolean field, false if it is missing. A form may send the words true and false. :raises BadInput: anything else"""
    value = data.get(name, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    if not isinstance(value, bool):
        raise BadInput(name, "must be true or false")
    return value


class SystemsView(TapisAPIView):
    """The caller's systems."""

    def get(self, request: Request) -> Response:
        """``GET systems/``"""
        found = systems.project_systems(access_for(request))
        return Response({"success": True, "systems": found, "count": len(found)})


class DiscoverFlightsView(TapisAPIView):
    """The flights on the caller's systems. Nothing is created."""

    def post(self, request: Request) -> Response:
        """``POST discover-flights/``, body ``{"systems": [...]}`` optional"""
        wanted = check_system_ids(body(request).get("systems"))
        job = _done(access_for(request), jobs.LOOK, {"systems": wanted} if wanted else {})
        found = discovery.found_flights(job)
        answer: dict[str, Any] = {
            "success": True, "flights": [flight.as_dict() for flight in found], "count": len(found),
        }
        if job.active:
            return _still_running(answer, job, "When it has ended, GET /api/tapis-storage/found-flights/ lists all flights.")
        if not found:
            answer["message"] = flights.NOTHING_FOUND
        if job.results["errors"]:
            answer["errors"] = job.results["errors"]
        return Response(answer)


def _done(access: TapisAccess, purpose: str, asked: "dict[str, Any]") -> TapisJob:
    """Start the discovery job for a request, and wait until it has ended or the request has waited long enough.

    :raises TapisProblem: the discovery failed
    """
    access.token()  # report a missing or expired token at once
    job, _ = jobs.start_discovery(access, purpose, asked)
    job = jobs.wait_for(job, conf.answer_seconds)
    problem = job_reports.problem_of(job)
    if problem is not None:
        raise problem
    return job


def _still_running(answer: "dict[str, Any]", job: TapisJob, rest: str) -> Response:
    """Answer 202 with the results so far, the address of the job's progress, and where the rest will be."""
    message = f"This takes longer and continues in the background. Follow it with GET /api/tapis-storage/jobs/{job.pk}/. {rest}"
    return Response({**answer, "job_id": str(job.pk), "complete": False, "message": message}, status=202)


class CreateProjectsView(TapisAPIView):
    """Creates projects from flights: from all that are found, or from the given ones."""

    def post(self, request: Request) -> Response:
        """``POST create-projects/``, body ``{"auto_discover": true}`` or ``{"flights": [...]}``.

        Optional: ``"sync": true`` to fetch the images, and ``"processing": {...}`` for how to process them.
        """
        data = body(request)
        automatic = flag(data, "auto_discover")
        more: dict[str, Any] = {"sync": True} if flag(data, "sync") else {}
        chosen = processing.check_processing(request.user, data.get("processing"))
        if chosen:
            more["processing"] = chosen
        if automatic == ("flights" in data):
            raise BadInput("auto_discover" if automatic else "flights", "send either auto_discover: true or flights")
        if automatic:
            wanted = check_system_ids(data.get("systems"))
            job = _done(access_for(request), jobs.IMPORT, {**({"systems": wanted} if wanted else {}), **more})
        else:
            named = discovery.check_descriptions(data["flights"])
            asked = [{"flight_name": name, "system_id": system_id} for name, system_id in dict.fromkeys(named)]
            job = _done(access_for(request), jobs.CREATE, {"flights": asked, **more})
        results = discovery.results_of(job)
        answer: dict[str, Any] = {"success": True, "results": results}
        if job.active:
            return _still_running(answer, job, "When it has ended, the job has all results.")
        if automatic and not results["flights_discovered"]:
            answer["message"] = flights.NOTHING_FOUND
        return Response(answer)


class FlightProjectsView(TapisAPIView):
    """The projects made from flights that the caller may see."""

    def get(self, request: Request) -> Response:
        """``GET flight-projects/``; ``?details=1`` adds the flight, its latest sync and the state of its task to each project.

        ``search``, ``sort``, ``page`` and ``page_size`` select, and so does ``tasks``: ids of WebODM tasks, separated by commas. Without
        ``page`` and ``page_size``, the answer has all projects.
        """
        query = request.query_params
        paged = bool({"page", "page_size"} & set(query))
        page, size = paging(query)
        found, total = projects.flight_projects(
            request.user, details=query.get("details") == "1", search=query.get("search", "")[:255], task_ids=_task_ids(query),
            sort=choice(query, "sort", signed(projects.SORTS)) or "-created", page=page, size=size if paged else None)
        more = {"page": page, "page_size": size, "total": total} if paged else {}
        return Response({"success": True, "projects": found, "count": len(found), **more})


def _task_ids(query: Any) -> Optional[list[UUID]]:
    """The ids in ``tasks``, None if the parameter is missing. :raises BadInput: one is not an id, or they are too many"""
    if "tasks" not in query:
        return None
    texts = query["tasks"].split(",")
    if len(texts) > MOST_ROWS:
        raise BadInput("tasks", f"must be at most {MOST_ROWS} ids")
    try:
        return [UUID(text) for text in texts]
    except ValueError:
        raise BadInput("tasks", "must be ids of tasks, separated by commas") from None


class FoundFlightsView(TapisAPIView):
    """The flights that the caller's discoveries found, and the space left for their images."""

    def get(self, request: Request) -> Response:
        """``GET found-flights/``; ``search``, ``system``, ``tenant_id``, ``imported`` (yes, no), ``sort``, ``page``, ``page_size``"""
        query = request.query_params
        page, size = paging(query)
        imported = {"": None, "yes": True, "no": False}[choice(query, "imported", ("yes", "no"))]
        rows = seen.seen_flights(request.user, search=query.get("search", "")[:255], tenant_id=query.get("tenant_id", ""),
                                 system_id=query.get("system", ""), imported=imported)
        totals = seen.totals_of(rows)
        found = seen.page_of(rows, choice(query, "sort", signed(seen.SORTS)) or "system", page, size)
        return Response({"success": True, "flights": found, "count": len(found), "page": page, "page_size": size,
                         "total": totals["flights"], "totals": totals, "room": seen.room_for(request.user)})


class SyncView(TapisAPIView):
    """Starts the sync of a project's flight in the background, or joins the one under way."""

    def post(self, request: Request) -> Response:
        """``POST sync-project-images/``, body ``{"project_id": 123}``"""
        project_id = body(request).get("project_id")
        if isinstance(project_id, str) and project_id.isdigit() and project_id.isascii():
            project_id = int(project_id)
        if isinstance(project_id, bool) or not isinstance(project_id, int) or not 0 < project_id < 2**31:
            raise BadInput("project_id", "must be the number of a project")
        flight = self._flight(request, project_id)
        access = self._access(request, flight)
        self._refuse_busy(flight)
        job, joined = jobs.start_sync(access, flight)
        verb = "is under way already" if joined else "has started"
        return Response({"success": True, "message": f"The sync of {flight} {verb}.", "job_id": str(job.pk)}, status=202)

    def _flight(self, request: Request, project_id: int) -> Flight:
        project = host_projects.get_project(project_id)
        if project is None or not host_projects.user_can(request.user, "view_project", project):
            raise TapisProblem(f"project_id: there is no project {project_id}.", status=404, error="Project not found")
        if not host_projects.user_can(request.user, "change_project", project):
            raise TapisProblem(f"You may not change project {project_id}.", status=403, error="Not allowed")
        flight = Flight.objects.select_related("user", "client").filter(project_id=project_id).first()
        if flight is None:
            raise TapisProblem(f"project_id: project {project_id} was not made from a flight.", status=404,
                               error="Not a flight project")
        return flight

    def _access(self, request: Request, flight: Flight) -> TapisAccess:
        """The caller's own access to the flight's tenant, never another user's."""
        carried = bearer(request)
        client = jobs.client_of(flight, request.user)
        if carried is not None:
            if (carried.client.base_url, carried.client.tenant_id) != (flight.base_url, flight.tenant_id):
                raise TapisProblem("The token belongs to another tenant than the flight.", status=403, error="Not allowed")
            return TapisAccess(request.user, carried.client, carried.access_token)
        if client is None:
            raise SyncRefused("No active Tapis client serves this flight's tenant.", status=404)
        access = TapisAccess(request.user, client)
        access.token()  # report "No Tapis token found" and "Token expired" now, not in the background
        return access

    def _refuse_busy(self, flight: Flight) -> None:
        task = host_tasks.get_task(flight.task_id)
        if task is not None and host_tasks.task_state(task).status in (host_tasks.QUEUED, host_tasks.RUNNING):
            raise SyncRefused("The task is being processed. Sync again when it has ended.")


ROUTES = [
    (r"^api/tapis-storage/systems/?$", SystemsView.as_view()),
    (r"^api/tapis-storage/discover-flights/?$", DiscoverFlightsView.as_view()),
    (r"^api/tapis-storage/create-projects/?$", CreateProjectsView.as_view()),
    (r"^api/tapis-storage/flight-projects/?$", FlightProjectsView.as_view()),
    (r"^api/tapis-storage/found-flights/?$", FoundFlightsView.as_view()),
    (r"^api/tapis-storage/sync-project-images/?$", SyncView.as_view()),
]
