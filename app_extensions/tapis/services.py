"""The documented Python classes: thin wrappers around the functions, which return the dictionaries of the REST API."""
from typing import Any, Optional

from app_extensions.tapis.catalog import discovery, systems
from app_extensions.tapis.catalog.flights import check_flight, named_flight, scan_system
from app_extensions.tapis.catalog.projects import create_project_from_flight, project_of
from app_extensions.tapis.login.access import TapisAccess
from app_extensions.tapis.models import Flight, TapisOAuth2Client
from app_extensions.tapis.problems import BadInput
from app_extensions.tapis.sync import run


class TapisStorageService:
    """A user's flights at one tenant."""

    def __init__(self, user: Any, client: TapisOAuth2Client) -> None:
        """:param user: a WebODM user who has logged in to Tapis through the client"""
        self.user = user
        self.client = client
        self.access = TapisAccess(user, client)

    def discover_project_systems(self) -> "list[dict[str, str]]":
        """The user's enabled systems, each with ``id, host, systemType, description, created``. :raises TapisProblem:"""
        return systems.project_systems(self.access)

    def scan_system_for_flights(self, system_id: str) -> "list[dict[str, Any]]":
        """A system's flights, each with ``flight_name, system_id, images_path, image_count, discovered_at``. :raises TapisProblem:"""
        return [flight.as_dict() for flight in scan_system(self.access, system_id)]

    def create_project_from_flight(self, flight_info: "dict[str, Any]") -> Any:
        """The WebODM project of a flight, made if there is none. The flight is looked up with the user's own token.

        :raises TapisProblem: the flight cannot be read, or ``flight_info`` is malformed
        """
        flight, _ = create_project_from_flight(self.user, self.client, check_flight(self.access, flight_info), again=True)
        return project_of(flight)

    def download_flight_images(self, task: Any, flight_info: "Optional[dict[str, Any]]" = None) -> bool:
        """Run the whole sync of a flight's task. :returns: whether it is complete

        :param flight_info: must describe the task's flight, if given
        :raises TapisProblem: it describes another flight, or the task was not made from a flight
        """
        if flight_info:
            name, system_id = named_flight(flight_info, "flight_info")
            if not Flight.objects.filter(task_id=task.pk, name=name, system_id=system_id).exists():
                raise BadInput("flight_info", "is not the flight that this task was made from")
        return run.sync_task(task, self.access)


class TapisFlightDiscoveryService:
    """Everything from discovery to projects."""

    @staticmethod
    def discover_and_create_projects(user: Any, client: TapisOAuth2Client) -> "dict[str, Any]":
        """Discover all flights of the user and make projects for the new ones.

        :returns: ``systems_scanned, flights_discovered, projects_created, errors, created_projects``
        :raises TapisProblem: the systems cannot be listed
        """
        return discovery.discover_and_create(TapisAccess(user, client))
