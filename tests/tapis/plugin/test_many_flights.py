"""The REST answers at institute scale: paging, search, a constant number of queries, requests that never hold the site."""
import copy
import re
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
import requests
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.flights import Flyer
from tests.support.waiting import until


def made(flyer, number, *, images=1):
    """Flights with projects, without asking Tapis."""
    from app_extensions.tapis.catalog.flights import FoundFlight
    from app_extensions.tapis.catalog.projects import create_project_from_flight

    for index in range(number):
        found = FoundFlight(f"Flight{index:03d}", flyer.system, images + index, timezone.now(), 1000 * (images + index))
        create_project_from_flight(flyer.user, flyer.client, found)


def test_flight_projects_make_as_many_queries_for_30_as_for_3(flyer):
    from app_extensions.tapis.catalog.projects import flight_projects
    from app_extensions.tapis.models import TapisJob

    def queries():
        with CaptureQueriesContext(connection) as seen:
            found, total = flight_projects(flyer.user, details=True)
        assert all(item["task"]["state"] == "waiting" for item in found)
        repeated = Counter(re.sub(r"'[^']*'|[0-9]+", "?", query["sql"]) for query in seen)
        assert max(repeated.values()) <= 2, repeated.most_common(1)
        return len(seen), total

    made(flyer, 3)
    few, total = queries()
    assert total == 3
    made(flyer, 30)
    TapisJob.objects.create(kind="sync", state="failed", user=flyer.user, flight=flyer.row("Flight007"), error="because")
    many, total = queries()
    assert total == 30 and many == few <= 12


def test_flight_projects_in_pages_by_search_and_order(flyer):
    made(flyer, 12)
    whole = flyer.get("tapis-storage/flight-projects/")
    assert set(whole) == {"success", "projects", "count"} and whole["count"] == 12
    assert set(whole["projects"][0]) == {"id", "name", "description", "created_at", "tags", "task_count"}
    page = flyer.get("tapis-storage/flight-projects/?details=1&sort=flight&page=2&page_size=5")
    assert [item["flight_name"] for item in page["projects"]] == [f"Flight{number:03d}" for number in range(5, 10)]
    assert (page["count"], page["total"], page["page"], page["page_size"]) == (5, 12, 2, 5)
    assert page["projects"][0]["total_bytes"] == 6000 and page["projects"][0]["sync"] is None
    page = flyer.get("tapis-storage/flight-projects/?details=1&sort=-bytes&page_size=2")
    assert [item["image_count"] for item in page["projects"]] == [12, 11]
    assert flyer.get("tapis-storage/flight-projects/?search=flight01")["count"] == 2
    assert flyer.get("tapis-storage/flight-projects/?search=nothing")["count"] == 0


@pytest.mark.parametrize("query, field", [
    ("page=0", "page"), ("page=x", "page"), ("page_size=1001", "page_size"), ("sort=password", "sort"), ("page=99999999999", "page"),
])
def test_a_page_that_cannot_be_is_400(flyer, query, field):
    answer = flyer.call("GET", f"tapis-storage/flight-projects/?{query}")
    assert answer.status_code == 400 and answer.json()["field"] == field


def test_what_was_found_is_shown_with_its_bytes_and_the_room_there_is(flyer, tapis):
    for number in range(3):
        flyer.flight(f"Found{number}", number + 1, size_bytes=400_000)
    flyer.post("tapis-storage/discover-flights/")
    flyer.post("tapis-storage/create-projects/", {"flights": [{"flight_name": "Found1", "system_id": flyer.system}]})
    answer = flyer.get("tapis-storage/found-flights/?sort=-images")
    assert [(row["flight_name"], row["image_count"], row["total_bytes"]) for row in answer["flights"]] == [
        ("Found2", 3, 1_200_000), ("Found1", 2, 800_000), ("Found0", 1, 400_000)]
    assert [row["project_id"] for row in answer["flights"]] == [None, flyer.project("Found1"), None]
    assert answer["totals"] == {"flights": 3, "images": 6, "bytes": 2_400_000, "uncounted": 0}
    assert answer["room"]["disk_free_bytes"] >= 0 and answer["room"]["quota_left_bytes"] is None
    assert [row["flight_name"] for row in flyer.get("tapis-storage/found-flights/?imported=no")["flights"]] == ["Found0", "Found2"]
    flyer.user.profile.quota = 10
    flyer.user.profile.save()
    assert flyer.get("tapis-storage/found-flights/")["room"]["quota_left_bytes"] == 10 * 1024 * 1024
    tapis.file(flyer.system, "Found0/code/images/IMG_00000.JPG", "remove")
    flyer.post("tapis-storage/discover-flights/")
    assert flyer.get("tapis-storage/found-flights/")["total"] == 2, "what is gone at Tapis is forgotten"


def test_running_and_failed_jobs_are_shown_however_many_there_are(flyer):
    from app_extensions.tapis.models import Flight, TapisJob

    made(flyer, 1)
    row = flyer.row("Flight000")
    rows = [copy.copy(row) for _ in range(320)]
    for number, flight in enumerate(rows):
        flight.pk, flight.name, flight.project_id, flight.task_id = None, f"Copy{number}", None, None
    Flight.objects.bulk_create(rows)
    TapisJob.objects.bulk_create([
        TapisJob(kind="sync", user=flyer.user, flight=rows[number],
                 state="running" if number < 5 else "queued", due_at="2100-01-01T00:00:00Z",
                 lease_until="2100-01-01T00:00:00Z" if number < 5 else None)
        for number in range(310)])
    TapisJob.objects.bulk_create([
        TapisJob(kind="sync", user=flyer.user, flight=rows[315], state="failed" if number < 5 else "completed")
        for number in range(300)])
    try:
        answer = flyer.get("tapis-storage/jobs/")
        states = [job["state"] for job in answer["jobs"]]
        assert states[:10] == ["running"] * 5 + ["failed"] * 5
        assert answer["counts"]["queued"] == 305 and answer["counts"]["completed"] == 295
        page = flyer.get("tapis-storage/jobs/?state=failed&page_size=3")
        assert page["total"] == 5 and page["count"] == 3 and {job["state"] for job in page["jobs"]} == {"failed"}
        assert flyer.call("GET", "tapis-storage/jobs/?state=odd").status_code == 400
    finally:
        TapisJob.objects.filter(user=flyer.user).delete()


def test_six_discoveries_by_one_user_hold_one_web_worker(flyer, tapis, stack):
    """They took /login/ from 0.05 s to 31 s."""
    for number in range(10):
        flyer.flight(f"Held{number}", 1)
    tapis.fault("slow", operation="list", path=f"^{flyer.system}/", seconds=1.0)
    systems = [tapis.system(f"ptdatax.project.held{number}-{flyer.name}", owner=flyer.name) for number in range(6)]
    answers = []
    threads = [threading.Thread(target=lambda name=name: answers.append(
        flyer.call("POST", "tapis-storage/discover-flights/", {"systems": [flyer.system, name]}))) for name in systems]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    waits = []
    for _ in range(5):
        began = time.monotonic()
        assert requests.get(f"{stack.address()}/login/", timeout=60).status_code == 200
        waits.append(time.monotonic() - began)
    busy = sum(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    assert busy <= 1, "no more than one request waits for its discovery"
    assert {answer.status_code for answer in answers} == {200, 202}
    for answer in answers:
        if answer.status_code == 202:
            assert answer.json()["complete"] is False
            flyer.wait(answer.json()["job_id"])


def test_a_request_waits_for_a_bounded_time_and_says_where_the_rest_will_be(flyer, tapis, stack, settings):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess

    flyer.flight("Slow", 3)
    tapis.fault("slow", operation="list", path=f"^{flyer.system}/", seconds=1.5)
    job, _ = jobs.start_discovery(TapisAccess(flyer.user, flyer.client), jobs.LOOK)
    began = time.monotonic()
    assert jobs.wait_for(job, 0.5).active and time.monotonic() - began < 5
    flyer.wait(str(job.pk))
    told = flyer.get(f"tapis-storage/jobs/{job.pk}/")
    assert told["results"]["flights_discovered"] == 1 and told["job"]["images_total"] == 3


def test_a_user_cannot_queue_discoveries_without_end(flyer, consuming):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.problems import TapisProblem

    consuming.pause()
    access = TapisAccess(flyer.user, flyer.client)
    for number in range(jobs.MOST_DISCOVERIES):
        jobs.start_discovery(access, jobs.LOOK, {"systems": [f"{flyer.system}{number}"]}, queue=False)
    with pytest.raises(TapisProblem) as refused:
        jobs.start_discovery(access, jobs.LOOK, {"systems": ["one more"]}, queue=False)
    assert refused.value.status == 429
    TapisJob.objects.filter(user=flyer.user).delete()


def test_a_job_that_begins_while_jobs_are_listed_is_in_the_list(flyer):
    """Before, running jobs were read first and waiting ones later; one that went from one to the other meanwhile was in neither."""
    from app_extensions.tapis import job_reports
    from app_extensions.tapis.models import TapisJob

    job = TapisJob.objects.create(kind="discovery", state=TapisJob.QUEUED, user=flyer.user, purpose="test", client=flyer.client,
                                  due_at=timezone.now() + timedelta(days=1))

    def begin(execute, sql, params, many, context):
        found = execute(sql, params, many, context)
        if "tapis_tapisjob" in sql:
            with connection.connection.cursor() as beside:  # the driver's own, which is not wrapped
                beside.execute("UPDATE tapis_tapisjob SET state = 'running' WHERE id = %s", [str(job.pk)])
        return found

    try:
        with connection.execute_wrapper(begin):
            listed = job_reports.latest(flyer.user)
        assert [each.pk for each in listed] == [job.pk]
    finally:
        job.delete()


def test_permissions_follow_webodm_s_on_the_project(flyer, stack, tapis, unique):
    from guardian.shortcuts import assign_perm, remove_perm

    from app_extensions.host import projects

    other = Flyer(stack.address(), tapis, "c" + unique)
    flyer.flight("Shared", 1)
    flyer.import_all()
    project = projects.get_project(flyer.project("Shared"))
    assert other.get("tapis-storage/flight-projects/")["count"] == 0
    for permission in ("view_project", "change_project"):
        assign_perm(permission, other.user, project)
    assert [row["id"] for row in other.get("tapis-storage/flight-projects/")["projects"]] == [project.pk]
    job_id = other.post("tapis-storage/sync-project-images/", {"project_id": project.pk}, 202)["job_id"]
    assert flyer.job(job_id)["kind"] == "sync", "the owner sees a colleague's sync"
    assert job_id in [job["id"] for job in flyer.get("tapis-storage/jobs/")["jobs"]]
    until(lambda: flyer.job(job_id)["state"] in ("completed", "failed"))
    for permission in ("view_project", "change_project", "add_project", "delete_project"):
        remove_perm(permission, flyer.user, project)
    assert flyer.get("tapis-storage/flight-projects/")["count"] == 0, "a former owner sees nothing of it"


def test_a_superuser_can_delete_a_user_who_has_flights_and_jobs(flyer, stack, browser, unique):
    from django.contrib.auth.models import User

    from app_extensions.host import projects
    from app_extensions.tapis.models import Flight, TapisJob

    flyer.flight("Left", 1)
    flyer.import_all()
    flyer.synced("Left")
    root = User.objects.create_superuser("root" + unique, "", "Pa55-word!")
    project = projects.get_project(flyer.project("Left"))
    project.owner = root  # WebODM itself keeps users who own projects
    project.save()
    browser.sign_in("root" + unique, "Pa55-word!")
    url = f"{stack.address()}/admin/auth/user/{flyer.user.pk}/delete/"
    page = browser.get(url)
    assert page.status_code == 200 and "your account doesn't have permission" not in page.text.replace("&#39;", "'")
    answer = browser.post(url, data={"post": "yes"}, headers=browser.csrf())
    told = re.findall("<li>(.*?)</li>", answer.text)[-12:]
    assert answer.status_code == 200 and answer.url.endswith("/admin/auth/user/"), (answer.url, told)
    assert not User.objects.filter(pk=flyer.user.pk).exists() and not Flight.objects.filter(user_id=flyer.user.pk).exists()
    job = TapisJob.objects.order_by("-created_at").first()
    if job is not None:  # on their own pages nothing is deleted by hand
        assert browser.get(f"{stack.address()}/admin/tapis/tapisjob/{job.pk}/delete/").status_code == 403


def test_people_without_an_address_can_enter_one(flyer):
    assert flyer.get("tapis-preferences/email/") == {"success": True, "email": ""}
    assert flyer.post("tapis-preferences/email/", {"email": "ada@example.org"})["email"] == "ada@example.org"
    flyer.user.refresh_from_db()
    assert flyer.user.email == "ada@example.org"
    assert flyer.post("tapis-preferences/email/", {"email": "nonsense"}, 400)["field"] == "email"
    assert flyer.post("tapis-preferences/email/", {"email": "a@b.c\nBcc: x@y.z"}, 400)["field"] == "email"
