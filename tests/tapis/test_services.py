"""The documented classes under ``app.services.tapis_storage``: a face over what the REST API does."""
import pytest

from tests.support.database import database_dump


def test_the_examples_of_the_documentation(flyer):
    from app.models.oauth2 import TapisOAuth2Client, TapisOAuth2Token
    from app.services.tapis_storage import TapisFlightDiscoveryService, TapisStorageService

    flyer.flight("Flight001", 3)
    client = TapisOAuth2Client.objects.get(client_id=flyer.client.client_id, is_active=True)
    assert TapisOAuth2Token.objects.filter(user__username=flyer.name).exists()
    service = TapisStorageService(flyer.user, client)
    systems = service.discover_project_systems()
    assert systems == flyer.get("tapis-storage/systems/")["systems"]
    found = service.scan_system_for_flights(flyer.system)
    rest = flyer.post("tapis-storage/discover-flights/")["flights"]
    assert [{**flight, "discovered_at": 0} for flight in found] == [{**flight, "discovered_at": 0} for flight in rest]
    project = service.create_project_from_flight(found[0])
    assert project.name == f"Flight001 ({flyer.system})" and project.owner == flyer.user
    assert service.create_project_from_flight(found[0]) == project
    task = project.task_set.get()
    assert service.download_flight_images(task, found[0]) is True
    assert len(flyer.files("Flight001")) == 3
    results = TapisFlightDiscoveryService.discover_and_create_projects(flyer.user, client)
    assert results == {"systems_scanned": 1, "flights_discovered": 1, "projects_created": 0, "errors": [],
                       "created_projects": []}


def test_a_sync_that_is_not_complete_returns_false(flyer, tapis):
    from app.services.tapis_storage import TapisStorageService

    flyer.flight("Half", 2)
    flyer.import_all()
    tapis.fault("status", operation="content", path="IMG_00001", status=403, body='{"message": "no"}')
    assert TapisStorageService(flyer.user, flyer.client).download_flight_images(flyer.task("Half")) is False


def test_problems_are_raised_in_words(flyer, tapis):
    from app.services.tapis_storage import TapisStorageService

    from app_extensions.host import projects, tasks
    from app_extensions.tapis.models import TapisOAuth2Token
    from app_extensions.tapis.problems import BadInput, NoToken, SyncRefused, SystemNotAccessible

    service = TapisStorageService(flyer.user, flyer.client)
    with pytest.raises(SystemNotAccessible):
        service.scan_system_for_flights("ptdatax.project.missing")
    with pytest.raises(BadInput):
        service.scan_system_for_flights("elsewhere")
    project = projects.create_project(flyer.user, "Other")
    with pytest.raises(SyncRefused):
        service.download_flight_images(tasks.create_waiting_task(project, "other"))
    flyer.flight("Mine", 1)
    flyer.import_all()
    with pytest.raises(BadInput):
        service.download_flight_images(flyer.task("Mine"), {"flight_name": "Yours", "system_id": flyer.system})
    TapisOAuth2Token.objects.filter(user=flyer.user).delete()
    with pytest.raises(NoToken):
        TapisStorageService(flyer.user, flyer.client).discover_project_systems()


def test_no_secret_is_in_the_logs_or_in_the_rows_of_jobs(flyer, tapis, stack):
    """After a discovery and syncs that fail and succeed, no token is to be found where it does not belong."""
    from app_extensions.tapis.login import tokens
    from app_extensions.tapis.models import TapisJob, TapisOAuth2Token

    flyer.flight("Quiet", 2)
    flyer.import_all()
    tapis.fault("status", operation="content", status=401, body="The token has expired.", content_type="text/plain")
    assert flyer.synced("Quiet")["state"] == "failed"
    tapis.end_faults()
    assert flyer.synced("Quiet")["state"] == "completed"
    secrets = [tokens.access_token_for(flyer.user, flyer.client), flyer.client.client_secret,
               TapisOAuth2Token.objects.get(user=flyer.user).refresh_token]
    for job in TapisJob.objects.filter(user=flyer.user):
        assert not any(secret in f"{job.error}{job.results}{job.access_token}" for secret in secrets)
    answers = "".join(flyer.call("GET", path).text for path in (
        "tapis-storage/systems/", "tapis-storage/flight-projects/?details=1", "tapis-storage/jobs/", "tapis-preferences/",
        "oauth2/tapis/status/", f"tapis-storage/jobs/{TapisJob.objects.filter(user=flyer.user).first().pk}/"))
    database = database_dump(stack)
    assert flyer.name in answers and flyer.system in database
    assert not any(secret in answers or secret in database for secret in secrets)
    for name in ("web", "worker"):
        text = stack.log_path(name).read_text(errors="replace")
        assert not any(secret in text for secret in secrets), name
