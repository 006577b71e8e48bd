"""Discoveries in the background: triggered, after a login, by the clock; mails about them; the documented Celery names."""
import mailbox
import time
import uuid

import pytest

from tests.support.flights import Flyer, ready
from tests.support.waiting import until


def trigger(flyer):
    return flyer.post("tapis-discovery/trigger/", None, 202)


def test_a_triggered_discovery_makes_projects_in_the_background(flyer):
    flyer.flight("Background", 4)
    flyer.post("tapis-preferences/", {"sync_on_discovery": False})
    answer = trigger(flyer)
    assert list(answer) == ["success", "message", "task_id"] and uuid.UUID(answer["task_id"])
    job = flyer.wait(answer["task_id"])
    assert (job["kind"], job["state"], job["images_total"]) == ("discovery", "completed", 4)
    told = flyer.get(f"tapis-storage/jobs/{answer['task_id']}/")["results"]
    assert told["projects_created"] == 1 and told["created_projects"][0]["flight_name"] == "Background"
    assert flyer.get("tapis-storage/flight-projects/")["count"] == 1
    assert flyer.get("tapis-storage/jobs/")["count"] == 1


def test_images_follow_a_discovery_if_the_user_wants_that(flyer):
    flyer.flight("Follows", 3)
    flyer.post("tapis-preferences/", {"sync_on_discovery": True})
    flyer.wait(trigger(flyer)["task_id"])
    until(lambda: any(job["kind"] == "sync" and job["state"] == "completed"
                       for job in flyer.get("tapis-storage/jobs/")["jobs"]))
    assert len(flyer.files("Follows")) == 3


def test_one_discovery_at_a_time_a_user(flyer, tapis):
    for number in range(10):
        flyer.flight(f"F{number}", 1)
    tapis.fault("slow", operation="list", seconds=0.5)
    first, second = trigger(flyer), trigger(flyer)
    assert first["task_id"] == second["task_id"] and "under way already" in second["message"]
    assert flyer.wait(first["task_id"])["state"] == "completed"


def test_only_preferred_systems_are_looked_at_in_the_background(flyer, tapis):
    other = tapis.system("ptdatax.project.liked-" + flyer.name, owner=flyer.name)
    tapis.flight(other, "Liked", 1)
    flyer.flight("Ignored", 1)
    flyer.post("tapis-preferences/", {"preferred_systems": [other]})
    job_id = trigger(flyer)["task_id"]
    flyer.wait(job_id)
    made = flyer.get(f"tapis-storage/jobs/{job_id}/")["results"]["created_projects"]
    assert [item["flight_name"] for item in made] == ["Liked"]


def test_a_discovery_that_fails_says_why(flyer, tapis):
    tapis.fault("status", operation="systems", status=500, body='{"message": "down"}')
    job = flyer.wait(trigger(flyer)["task_id"])
    assert job["state"] == "failed" and "500" in job["error"]


def test_the_documented_tasks_under_their_documented_names(flyer):
    from app.tasks import tapis_storage as tasks

    for name in ("discover_and_create_flight_projects", "download_flight_images", "sync_all_flight_projects",
                 "periodic_flight_discovery", "cleanup_expired_oauth_states"):
        assert getattr(tasks, name).name == f"app.tasks.tapis_storage.{name}"
    flyer.flight("Celery", 3)
    flyer.post("tapis-preferences/", {"sync_on_discovery": False})
    sent = tasks.discover_and_create_flight_projects.delay(user_id=flyer.user.pk, client_id=flyer.client.client_id)
    assert uuid.UUID(sent.id)
    until(lambda: flyer.get("tapis-storage/flight-projects/")["count"] == 1)
    info = {"flight_name": "Celery", "system_id": flyer.system, "images_path": "Celery/code/images", "image_count": 3}
    assert tasks.download_flight_images(str(flyer.task("Celery").pk), {**info, "flight_name": "Other"}) is False
    assert tasks.download_flight_images(str(uuid.uuid4()), info) is False
    assert tasks.download_flight_images(task_id=str(flyer.task("Celery").pk), flight_info=info) is True
    assert len(flyer.files("Celery")) == 3
    assert tasks.discover_and_create_flight_projects(flyer.user.pk, "nobody")["errors"]


def test_the_documented_delay_calls_through_the_live_worker(flyer):
    from app.tasks import tapis_storage as tasks

    from app_extensions.tapis.models import Flight, TapisOAuth2Token

    flyer.flight("Called", 3)
    flyer.post("tapis-preferences/", {"sync_on_discovery": False})
    found = flyer.post("tapis-storage/discover-flights/")["flights"][0]
    results = tasks.discover_and_create_flight_projects.delay(user_id=flyer.user.pk, client_id=flyer.client.client_id).get(timeout=120)
    assert results["projects_created"] == 1 and results["created_projects"][0]["flight_name"] == "Called"
    task = flyer.task("Called")
    assert tasks.download_flight_images.delay(task_id=str(task.pk), flight_info=found).get(timeout=120) is True
    assert len(flyer.files("Called")) == 3
    Flight.objects.exclude(user=flyer.user).update(task_id=None)  # those of tests that are over
    TapisOAuth2Token.objects.exclude(user=flyer.user).update(is_valid=False)
    assert tasks.sync_all_flight_projects.delay().get(timeout=120) == 1
    flyer.post("tapis-preferences/", {"last_auto_discovery": None})
    assert tasks.periodic_flight_discovery.delay(user_id=flyer.user.pk).get(timeout=120) == [flyer.user.pk]
    assert tasks.periodic_flight_discovery.delay().get(timeout=120) == []  # its cooldown has begun
    assert tasks.cleanup_expired_oauth_states.delay().get(timeout=120) >= 0


def test_a_sync_of_all_flights(flyer, tapis):
    from app.tasks.tapis_storage import sync_all_flight_projects

    from app_extensions.tapis.models import Flight

    ready(flyer, "All1", 2)
    ready(flyer, "All2", 2)
    Flight.objects.exclude(user=flyer.user).update(task_id=None)  # those of tests that are over
    assert sync_all_flight_projects() == 2
    until(lambda: len(flyer.files("All1")) == len(flyer.files("All2")) == 2)


def test_periodic_discovery_is_off_until_switched_on(ground, settings):
    from worker.celery import app

    from app_extensions.tapis import schedule

    names = [entry["task"] for entry in app.conf.beat_schedule.values()]
    assert "app.tasks.tapis_storage.periodic_flight_discovery" not in names
    assert "app.tasks.tapis_storage.take_up_jobs_again" in names
    assert "app.tasks.tapis_storage.cleanup_expired_oauth_states" in names
    assert "worker.tasks.process_pending_tasks" in names  # WebODM's own are still there
    before = dict(app.conf.beat_schedule)
    settings.TAPIS_DISCOVERY_HOURS = "6"
    try:
        schedule.schedule()
        entry = app.conf.beat_schedule["tapis-periodic-flight-discovery"]
        assert entry["schedule"] == 6 * 3600
    finally:
        app.conf.beat_schedule = before


def test_periodic_discovery_is_spread_as_rows_and_keeps_the_cooldown(flyer, stack, tapis, unique, settings, monkeypatch):
    """No message waits in the broker: Redis delivers one that waits for more than an hour a second time."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.catalog import discovery
    from app_extensions.tapis.models import TapisJob, TapisOAuth2Token

    other = Flyer(stack.address(), tapis, "p" + unique)
    without = Flyer(stack.address(), tapis, "q" + unique, token=False)
    TapisOAuth2Token.objects.exclude(user__in=[flyer.user, other.user]).update(is_valid=False)
    sent = []
    monkeypatch.setattr(jobs.host_queue, "send", lambda name, args, **more: sent.append((name, args, more["countdown"])))
    settings.TAPIS_STAGGER_SECONDS = 3600
    started = discovery.start_periodic()
    assert set(started) == {flyer.user.pk, other.user.pk} and without.user.pk not in started
    rows = list(TapisJob.objects.filter(user__in=[flyer.user, other.user]).order_by("due_at"))
    assert [row.user_id for row in rows] == started and all(row.automatic for row in rows)
    assert 3500 < (rows[1].due_at - rows[0].due_at).total_seconds() < 3700
    assert sent == [("app.tasks.tapis_storage.work", (), None)]
    assert discovery.start_periodic() == [] and TapisJob.objects.filter(user__in=[flyer.user, other.user]).count() == 2
    settings.TAPIS_DISCOVERY_HOURS = 1.0  # two users within 80 % of the hour
    TapisJob.objects.filter(user__in=[flyer.user, other.user]).delete()
    for person in (flyer, other):
        person.post("tapis-preferences/", {"discovery_cooldown_hours": 0})
    assert len(discovery.start_periodic()) == 2
    rows = list(TapisJob.objects.filter(user__in=[flyer.user, other.user]).order_by("due_at"))
    assert 1400 < (rows[1].due_at - rows[0].due_at).total_seconds() < 1480
    TapisJob.objects.filter(user__in=[flyer.user, other.user]).delete()


@pytest.mark.usefixtures("alone")
def test_a_failed_automatic_discovery_does_not_use_up_the_cooldown(flyer, tapis):
    from app_extensions.tapis.catalog import discovery
    from app_extensions.tapis.sync import run

    tapis.fault("status", operation="systems", status=403, body='{"message": "no"}')
    job = discovery.after_login(flyer.user, flyer.client)
    assert flyer.get("tapis-preferences/")["preferences"]["last_auto_discovery"] is not None
    assert run.run_here(job.pk).state == "failed"
    assert flyer.get("tapis-preferences/")["preferences"]["last_auto_discovery"] is None
    tapis.end_faults()
    again = discovery.after_login(flyer.user, flyer.client)
    assert again is not None and run.run_here(again.pk).state == "completed"
    assert discovery.after_login(flyer.user, flyer.client) is None  # now the cooldown counts


def test_a_login_discovers_if_the_preferences_say_so(flyer, browser, tapis):
    flyer.user.set_password("a good password")
    flyer.user.save()
    flyer.flight("AfterLogin", 1)
    flyer.post("tapis-preferences/", {"auto_discover_on_login": False, "sync_on_discovery": False})
    assert browser.log_in(flyer.name).status_code == 302
    assert flyer.get("tapis-storage/jobs/")["count"] == 0
    flyer.post("tapis-preferences/", {"auto_discover_on_login": True})
    assert browser.log_in(flyer.name).status_code == 302
    until(lambda: flyer.get("tapis-storage/flight-projects/")["count"] == 1)
    assert flyer.get("tapis-preferences/")["preferences"]["last_auto_discovery"] is not None
    assert browser.log_in(flyer.name).status_code == 302  # within the cooldown
    time.sleep(0.5)
    assert flyer.get("tapis-storage/jobs/")["count"] == 1


def mails_to(stack, address):
    return [message for message in mailbox.Maildir(str(stack.mail_dir)) if address in str(message["To"])]


def test_mails_on_finish_and_failure_by_preference(stack, tapis, live_db, unique):
    address = f"m{unique}@example.org"
    flyer = Flyer(stack.address(), tapis, "m" + unique, email=address)
    flyer.flight("Mailed", 2)
    flyer.post("tapis-preferences/", {"sync_on_discovery": False})
    flyer.wait(trigger(flyer)["task_id"])
    flyer.synced("Mailed")
    until(lambda: len(mails_to(stack, address)) == 2)
    subjects = sorted(str(message["Subject"]) for message in mails_to(stack, address))
    assert subjects[0] == "Tapis discovery: 1 new projects" and subjects[1].startswith("Tapis sync complete: Mailed")
    assert all(message.is_multipart() for message in mails_to(stack, address))
    flyer.synced("Mailed")  # nothing new: no mail
    tapis.file(flyer.system, "Mailed/code/images/BAD.JPG")
    tapis.fault("status", operation="content", status=403, body='{"message": "no"}')
    assert flyer.synced("Mailed")["state"] == "failed"
    until(lambda: len(mails_to(stack, address)) == 3)
    flyer.post("tapis-preferences/", {"notify_on_discovery_errors": False, "notify_on_discovery_complete": False})
    assert flyer.synced("Mailed")["state"] == "failed"
    tapis.end_faults()
    assert flyer.synced("Mailed")["state"] == "completed"
    time.sleep(1)
    assert len(mails_to(stack, address)) == 3


def test_a_user_with_two_logins_gets_the_discoveries_of_both_one_after_the_other(flyer, tapis, unique, settings, stack):
    """Two clients of one user: two jobs, of which no worker takes the second while another is at the first."""
    from app_extensions.tapis.catalog import discovery
    from app_extensions.tapis.models import TapisJob, TapisOAuth2Client, TapisOAuth2Token
    from app_extensions.tapis.sync import claims, run
    from app_extensions.tapis.tasks import discover_and_create_flight_projects

    callback = f"{stack.address()}/api/oauth2/tapis/callback/"
    other = TapisOAuth2Client.objects.create(
        client_id=f"two-{unique}", name="Second", client_secret=tapis.client(f"two-{unique}", callback), base_url=tapis.base,
        callback_url=callback)
    token = TapisOAuth2Token.objects.get(user=flyer.user)
    token.pk, token.client = None, other
    token.save()
    settings.TAPIS_STAGGER_SECONDS = 7200
    TapisJob.objects.filter(user=flyer.user).delete()
    assert discovery.start_periodic(flyer.user.pk) == [flyer.user.pk]
    mine = TapisJob.objects.filter(user=flyer.user).order_by("due_at")
    first, second = mine
    assert {first.client_id, second.client_id} == {flyer.client.pk, other.pk}
    until(lambda: mine.get(pk=first.pk).state == "completed", says=lambda: mine.get(pk=first.pk).error)
    assert mine.get(pk=second.pk).state == "queued"
    TapisJob.objects.filter(pk=first.pk).update(state="queued")
    held = claims.claim(only=first.pk)
    try:
        assert held is not None
        TapisJob.objects.filter(pk=second.pk).update(due_at="2020-01-01T00:00:00Z")
        assert claims.claim(only=second.pk) is None
        assert "under way" in discover_and_create_flight_projects(flyer.user.pk, other.client_id)["errors"][0]
    finally:
        claims.release(held)
        TapisJob.objects.filter(pk=first.pk).update(state="canceled")
    assert run.run_here(second.pk).state == "completed"
    other.delete()
