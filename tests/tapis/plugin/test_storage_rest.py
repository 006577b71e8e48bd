"""The REST API's answers to what is wrong: never a 500 for what Tapis did, the field named for what the client did."""

import pytest
import requests

from dev.standins.tapis import CLIENT_ID
from tests.support.flights import Flyer

ENDPOINTS = [
    ("GET", "tapis-storage/systems/"), ("POST", "tapis-storage/discover-flights/"), ("POST", "tapis-storage/create-projects/"),
    ("GET", "tapis-storage/flight-projects/"), ("POST", "tapis-storage/sync-project-images/"), ("GET", "tapis-storage/jobs/"),
    ("GET", "tapis-storage/jobs/5d6e17e5-7d55-4e8d-bcd9-7dafb0b571ea/"), ("GET", "tapis-preferences/"), ("POST", "tapis-preferences/"),
    ("POST", "tapis-discovery/trigger/"),
]
NEED_TOKEN = [
    ("GET", "tapis-storage/systems/", None), ("POST", "tapis-storage/discover-flights/", None),
    ("POST", "tapis-storage/create-projects/", {"auto_discover": True}), ("POST", "tapis-discovery/trigger/", None),
]


@pytest.fixture
def stranger(stack, tapis, live_db, unique):
    """A WebODM user who never logged in to Tapis."""
    return Flyer(stack.address(), tapis, "s" + unique, token=False)


@pytest.mark.parametrize("method, path", ENDPOINTS)
def test_who_is_not_logged_in_gets_401(stack, method, path):
    for headers in ({}, {"Authorization": "JWT nonsense"}, {"Authorization": "Bearer nonsense"}):
        answer = requests.request(method, f"{stack.address()}/api/{path}", headers=headers, json={}, timeout=120)
        assert answer.status_code == 401, (headers, answer.text)
        assert answer.json()["success"] is False and answer.json()["error"] and answer.json()["detail"]
        assert answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("method, path, body", NEED_TOKEN)
def test_who_never_logged_in_to_tapis_is_told_so(stranger, method, path, body):
    answer = stranger.call(method, path, body)
    assert answer.status_code == 401
    assert answer.json() == {"success": False, "error": "No Tapis token found", "detail": answer.json()["detail"]}


@pytest.mark.parametrize("method, path, body", NEED_TOKEN)
def test_a_token_that_has_ended_for_good_is_told(flyer, tapis, method, path, body):
    from app_extensions.tapis.models import TapisOAuth2Token

    TapisOAuth2Token.objects.filter(user=flyer.user).update(
        expires_at="2020-01-01T00:00:00Z", refresh_expires_at="2020-01-01T00:00:00Z")
    answer = flyer.call(method, path, body)
    assert answer.status_code == 401 and answer.json()["error"] == "Token expired", answer.text


def test_a_token_that_was_revoked_at_tapis_is_told(flyer, tapis):
    tapis.fault("status", operation="any", user=flyer.name, status=500,
                body='{"status": "error", "message": "Token is revoked."}')
    answer = flyer.call("GET", "tapis-storage/systems/")
    assert answer.status_code == 401 and answer.json()["error"] == "Token expired"


@pytest.mark.parametrize("path, body, field", [
    ("tapis-storage/discover-flights/", {"systems": "one"}, "systems"),
    ("tapis-storage/discover-flights/", {"systems": [1]}, "systems[0]"),
    ("tapis-storage/discover-flights/", {"systems": ["ptdatax.project.ok", "elsewhere"]}, "systems[1]"),
    ("tapis-storage/discover-flights/", ["x"], "body"),
    ("tapis-storage/create-projects/", {}, "flights"),
    ("tapis-storage/create-projects/", {"auto_discover": False}, "flights"),
    ("tapis-storage/create-projects/", {"auto_discover": "maybe"}, "auto_discover"),
    ("tapis-storage/create-projects/", {"auto_discover": True, "flights": []}, "auto_discover"),
    ("tapis-storage/create-projects/", {"auto_discover": True, "sync": "perhaps"}, "sync"),
    ("tapis-storage/create-projects/", {"flights": "all"}, "flights"),
    ("tapis-storage/create-projects/", {"flights": []}, "flights"),
    ("tapis-storage/create-projects/", {"flights": ["x"]}, "flights[0]"),
    ("tapis-storage/sync-project-images/", {}, "project_id"),
    ("tapis-storage/sync-project-images/", {"project_id": "many"}, "project_id"),
    ("tapis-storage/sync-project-images/", {"project_id": True}, "project_id"),
    ("tapis-storage/sync-project-images/", {"project_id": -1}, "project_id"),
    ("tapis-storage/sync-project-images/", {"project_id": 10**12}, "project_id"),
    ("tapis-storage/discover-flights/", {"client_id": 5}, "client_id"),
])
def test_bad_input_is_400_with_the_field_named(flyer, path, body, field):
    answer = flyer.call("POST", path, body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["success"] is False and field in answer.json()["detail"]
    assert answer.json()["field"] == field and list(answer.json()["fields"]) == [field]


def test_an_import_with_images_makes_one_sync_however_often_it_is_sent(flyer):
    flyer.flight("Both", 2)
    flyer.flight("Left", 2)
    asked = {"flights": [{"flight_name": "Both", "system_id": flyer.system}], "sync": True}
    flyer.post("tapis-storage/create-projects/", {**asked, "sync": "perhaps"}, 400)
    assert flyer.get("tapis-storage/flight-projects/")["count"] == 0
    for made in (1, 0, 0):
        assert flyer.post("tapis-storage/create-projects/", asked)["results"]["projects_created"] == made
    syncs = [job for job in flyer.get("tapis-storage/jobs/")["jobs"] if job["kind"] == "sync"]
    assert [job["flight_name"] for job in syncs] == ["Both"]
    assert flyer.wait(syncs[0]["id"])["images_done"] == 2


@pytest.mark.parametrize("body", ["{not json", "[" * 100_000])
def test_a_body_that_is_no_json_is_400(flyer, body):
    answer = requests.post(f"{flyer.web}/api/tapis-storage/discover-flights/", data=body, timeout=120, headers={
        "Authorization": f"JWT {flyer.jwt}", "Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["success"] is False
    assert answer.json()["field"] == "body" and "JSON" in answer.json()["fields"]["body"]
    answer = requests.post(f"{flyer.web}/api/oauth2/tapis/authorize/webodm/", data=body, timeout=120,
                           headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json()["field"] == "body"


def test_projects_and_jobs_of_others_are_not_to_be_seen(flyer, stack, tapis, unique):
    other = Flyer(stack.address(), tapis, "o" + unique)
    other.flight("Theirs", 1)
    other.import_all()
    job_id = other.sync("Theirs")
    assert flyer.call("GET", f"tapis-storage/jobs/{job_id}/").status_code == 404
    assert flyer.call("GET", "tapis-storage/jobs/nonsense/").status_code == 404
    answer = flyer.call("POST", "tapis-storage/sync-project-images/", {"project_id": other.project("Theirs")})
    assert answer.status_code == 404 and answer.json()["error"] == "Project not found"
    assert flyer.get("tapis-storage/jobs/")["count"] == 0
    assert other.wait(job_id)["state"] == "completed"


def test_a_project_that_one_may_see_but_not_change_is_403(flyer, stack, tapis, unique):
    from guardian.shortcuts import assign_perm

    from app_extensions.host import projects

    other = Flyer(stack.address(), tapis, "o" + unique)
    other.flight("Shown", 1)
    other.import_all()
    assign_perm("view_project", flyer.user, projects.get_project(other.project("Shown")))
    answer = flyer.call("POST", "tapis-storage/sync-project-images/", {"project_id": other.project("Shown")})
    assert answer.status_code == 403 and answer.json()["success"] is False


def test_a_project_of_another_kind_is_404(flyer):
    from app_extensions.host import projects

    project = projects.create_project(flyer.user, "Something else")
    answer = flyer.post("tapis-storage/sync-project-images/", {"project_id": project.pk}, 404)
    assert answer["error"] == "Not a flight project"


def test_a_tapis_token_as_bearer_needs_no_stored_one(flyer, tapis):
    """The very token that came with the request is sent on to Tapis, in the background too, and not kept afterwards."""
    from app_extensions.tapis.models import TapisJob, TapisOAuth2Token

    flyer.flight("Carried", 3)
    bearer = {"Authorization": f"Bearer {tapis.token(flyer.name)}"}
    TapisOAuth2Token.objects.filter(user=flyer.user).delete()

    def call(method, path, body=None):
        return requests.request(method, f"{flyer.web}/api/{path}", json=body, headers=bearer, timeout=120)

    assert call("GET", "tapis-storage/systems/").json()["count"] == 1
    assert call("POST", "tapis-storage/create-projects/", {"auto_discover": True}).json()["results"]["projects_created"] == 1
    started = call("POST", "tapis-storage/sync-project-images/", {"project_id": flyer.project("Carried")})
    assert started.status_code == 202 and list(started.json()) == ["success", "message", "job_id"]
    assert flyer.wait(started.json()["job_id"])["state"] == "completed"
    assert TapisJob.objects.get(pk=started.json()["job_id"]).access_token == ""


@pytest.mark.usefixtures("alone")
def test_a_carried_token_is_encrypted_while_its_job_waits(flyer, tapis):
    from django.db import connection

    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess

    flyer.flight("Kept", 1)
    flyer.import_all()
    token = tapis.token(flyer.name)
    job, _ = jobs.start_sync(TapisAccess(flyer.user, flyer.client, token), flyer.row("Kept"), queue=False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token FROM tapis_tapisjob WHERE id = %s", [job.pk])
        stored = cursor.fetchone()[0]
    assert stored and token not in stored
    from app_extensions.tapis.sync import run

    assert run.run_here(job.pk).state == "completed"


def test_a_named_client_must_exist(flyer):
    answer = flyer.post("tapis-storage/discover-flights/", {"client_id": "nobody"}, 404)
    assert answer["error"] == "No Tapis client found"
    assert flyer.post("tapis-storage/discover-flights/", {"client_id": CLIENT_ID})["success"] is True


def test_tapis_that_cannot_be_reached_is_502(flyer, stack):
    from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token
    from dev.sandbox.processes import free_port

    dead = TapisOAuth2Client.objects.create(
        name="Dead", client_id="dead-" + flyer.name, client_secret="x", base_url=f"http://127.0.0.1:{free_port()}",
        callback_url=flyer.client.callback_url)
    TapisOAuth2Token.objects.filter(user=flyer.user).update(client=dead)
    for path, body in (("discover-flights/", {"client_id": dead.client_id}),
                       ("create-projects/", {"auto_discover": True, "client_id": dead.client_id})):
        answer = flyer.call("POST", "tapis-storage/" + path, body)
        assert answer.status_code == 502 and answer.json()["error"] == "Tapis is not reachable", answer.text
    dead.is_active = False
    dead.save()


def test_session_and_basic_logins_work_too(flyer, browser):
    flyer.user.set_password("a good password")
    flyer.user.save()
    basic = requests.get(f"{flyer.web}/api/tapis-storage/systems/", auth=(flyer.name, "a good password"), timeout=120)
    assert basic.status_code == 200
    browser.sign_in(flyer.name, "a good password")
    url = f"{flyer.web}/api/tapis-storage/discover-flights/"
    assert browser.post(url, json={}).status_code == 403  # a session without the CSRF token
    assert browser.post(url, json={}, headers=browser.csrf()).status_code == 200


def test_a_disabled_plugin_answers_404(flyer, stack):
    from app.models import Plugin

    Plugin.objects.filter(name="tapis_storage").update(enabled=False)
    try:
        assert flyer.call("GET", "tapis-storage/systems/").status_code == 404
        assert flyer.call("POST", "tapis-discovery/trigger/").status_code == 404
    finally:
        Plugin.objects.filter(name="tapis_storage").update(enabled=True)
