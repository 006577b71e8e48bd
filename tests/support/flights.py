"""A person with flights on the stand-in Tapis and a WebODM account, for tests against the live stack."""
from pathlib import Path
from typing import Any, Optional

import requests

from dev.standins.tapis import CLIENT_ID
from tests.support.tapis import StandIn
from tests.support.waiting import until

PREFIX = "ptdatax.project."


class Flyer:
    """A WebODM user who has logged in to Tapis (the tokens are stored, no browser is needed), with a system of his own."""

    def __init__(self, web: str, tapis: StandIn, name: str, *, token: bool = True, email: str = "") -> None:
        from rest_framework_jwt.settings import api_settings

        from app_extensions.host import users
        from app_extensions.tapis.models import TapisOAuth2Client
        from app_extensions.tapis.preferences import change

        self.web = web
        self.tapis = tapis
        self.name = name
        self.system = PREFIX + name.upper()
        self.user = users.create_user(name, email)
        self.client = TapisOAuth2Client.objects.get(client_id=CLIENT_ID)
        self.jwt = api_settings.JWT_ENCODE_HANDLER(api_settings.JWT_PAYLOAD_HANDLER(self.user))
        tapis.user(name)
        tapis.system(self.system, owner=name, description="A test system")
        change(self.user, {"process_after_sync": False})
        if token:
            self.store_token()

    def store_token(self) -> None:
        """Keep tokens as the login's callback does."""
        from app_extensions.tapis.login import tokens
        from app_extensions.tapis.login.authenticator import TokenAnswer, _ends
        from app_extensions.tapis.models import TapisIdentity

        pair = self.tapis.pair(self.name)
        access, refresh = pair["access_token"], pair.get("refresh_token") or {}
        identity, _ = TapisIdentity.objects.get_or_create(
            issuer=self.client.issuer, subject=f"{self.name}@{self.client.tenant_id}", defaults={"user": self.user})
        tokens.store_tokens(identity, self.client, TokenAnswer(
            access_token=access["access_token"], expires_at=_ends(access), refresh_token=refresh.get("refresh_token", ""),
            refresh_expires_at=_ends(refresh) if refresh else None))

    def flight(self, name: str, count: int, **more: Any) -> None:
        """A generated flight on the own system."""
        self.tapis.flight(self.system, name, count, **more)

    def call(self, method: str, path: str, body: Any = None, headers: Optional[dict] = None) -> requests.Response:
        """A REST call with WebODM's JWT."""
        return requests.request(method, f"{self.web}/api/{path}", json=body, timeout=120,
                                headers={"Authorization": f"JWT {self.jwt}", **(headers or {})})

    def get(self, path: str) -> Any:
        """A GET that must succeed."""
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        """A POST that must answer with the status."""
        answer = self.call("POST", path, body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def import_all(self) -> None:
        """Make projects of all flights in this process, as the command does. ``create`` asks WebODM, which costs four times as much."""
        from app_extensions.tapis.catalog.discovery import discover_and_create
        from app_extensions.tapis.login.access import TapisAccess

        discover_and_create(TapisAccess(self.user, self.client))

    def create(self) -> "dict[str, Any]":
        """Import everything through the API. :return: the results, also where the request did not wait long enough for them"""
        answer = self.call("POST", "tapis-storage/create-projects/", {"auto_discover": True})
        assert answer.status_code in (200, 202), answer.text
        if answer.status_code == 200:
            return answer.json()["results"]
        self.wait(answer.json()["job_id"])
        return self.details(answer.json()["job_id"])["results"]

    def project(self, flight_name: str) -> int:
        """The project of a flight."""
        return self.row(flight_name).project_id

    def row(self, flight_name: str) -> Any:
        """Our row of a flight."""
        from app_extensions.tapis.models import Flight

        return Flight.objects.get(user=self.user, name=flight_name)

    def task(self, flight_name: str) -> Any:
        """The WebODM task of a flight."""
        from app_extensions.host import tasks

        return tasks.get_task(self.row(flight_name).task_id)

    def files(self, flight_name: str) -> "dict[str, int]":
        """What lies at the top level of the task's directory: name → bytes."""
        from app_extensions.host import tasks

        return {path.name: path.stat().st_size for path in tasks.task_dir(self.task(flight_name)).iterdir()
                if path.is_file()}

    def sync(self, flight_name: str) -> str:
        """Start a sync. :return: the job's id"""
        return self.post("tapis-storage/sync-project-images/", {"project_id": self.project(flight_name)}, 202)["job_id"]

    def job(self, job_id: str) -> "dict[str, Any]":
        """How a job is getting on."""
        return self.get(f"tapis-storage/jobs/{job_id}/")["job"]

    def details(self, job_id: str) -> "dict[str, Any]":
        """A job as the API shows it."""
        return self.get(f"tapis-storage/jobs/{job_id}/")

    def wait(self, job_id: str, seconds: float = 240) -> "dict[str, Any]":
        """Wait for a job's end, or until it waits for a login. Looks at its row: each question to WebODM costs more than all of these."""
        from app_extensions.tapis.models import TapisJob

        until(lambda: not TapisJob.objects.filter(pk=job_id, state__in=TapisJob.ACTIVE).exists(), seconds, says=lambda: self.job(job_id))
        return self.job(job_id)

    def synced(self, flight_name: str, seconds: float = 240) -> "dict[str, Any]":
        """Sync to the end."""
        return self.wait(self.sync(flight_name), seconds)


def ready(flyer: Flyer, name: str, count: int = 6, **more: Any) -> None:
    """A flight that is imported and waits for its images."""
    flyer.flight(name, count, **more)
    flyer.import_all()


def paths(flyer: Flyer, name: str) -> "list[Path]":
    """What lies in the task's directory."""
    from app_extensions.host import tasks

    return sorted(tasks.task_dir(flyer.task(name)).iterdir())


def leftovers(flyer: Flyer, name: str) -> "list[Path]":
    """Files on their way to the task."""
    from app_extensions.host import tasks

    folder = tasks.incoming_path(flyer.task(name).pk)
    return sorted(folder.iterdir()) if folder.exists() else []
