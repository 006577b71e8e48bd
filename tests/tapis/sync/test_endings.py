"""Syncs that end well: broken error bodies, a full disk, a login that ends, a flight that is still being copied, links."""
import mailbox
import time

import pytest
from django.utils import timezone

from tests.support.flights import Flyer, leftovers, ready
from tests.support.waiting import until


def planned(flyer, name):
    """A planned sync of an imported flight. :returns: the job and its access"""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    access = TapisAccess(flyer.user, flyer.client)
    job, _ = jobs.start_sync(access, flyer.row(name), queue=False)
    assert run.take_plan(job.pk)
    return TapisJob.objects.select_related("flight", "user", "client").get(pk=job.pk), access


@pytest.fixture
def taken_over(flyer, tapis, consuming):
    """A sync that this process has claimed and listed for so long that another worker has it now. :returns: the claim"""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import claims

    ready(flyer, "Taken", 2)
    consuming.pause()
    job, _ = jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row("Taken"), queue=False)
    claimed = claims.claim(only=job.pk)
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="another")
    yield claimed
    tapis.end_faults()
    TapisJob.objects.filter(pk=job.pk).update(lease_owner="", lease_until=None, state="canceled")


def is_the_others(job):
    job.refresh_from_db()
    return (job.state, job.phase, job.lease_owner, job.error) == ("running", "listing", "another", "")


def test_a_worker_that_lost_a_sync_while_it_listed_stops_and_writes_nothing(flyer, taken_over):
    from app_extensions.tapis.models import FlightFile
    from app_extensions.tapis.sync import run

    assert run.take_claimed_turn(taken_over) == "stopped"
    assert not FlightFile.objects.filter(flight=flyer.row("Taken")).exists()
    assert is_the_others(taken_over.job)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_what_a_worker_runs_into_that_lost_a_sync_does_not_end_it(tapis, taken_over, status):
    from app_extensions.tapis.sync import run

    tapis.fault("status", operation="list", path="/Taken", status=status, body="no")
    assert run.take_claimed_turn(taken_over) == "stopped"
    assert is_the_others(taken_over.job)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("kind", ["cut_error", "drip_error"])
def test_an_error_whose_body_is_cut_or_drips_is_an_error_like_any_other(flyer, tapis, kind, settings, monkeypatch):
    """urllib3's ProtocolError ended the whole sync as "Unexpected error"; a body that drips held its thread for hours."""
    from app_extensions.tapis.sync import content, run

    monkeypatch.setattr(content, "ERROR_SECONDS", 0.5)
    ready(flyer, "Broken", 3)
    tapis.fault(kind, operation="content", path="IMG_00001", status=503, times=2, after_bytes=20, seconds=0.3)
    began = time.monotonic()
    job, _ = planned(flyer, "Broken")
    assert run.run_here(job.pk).state == "completed" and len(flyer.files("Broken")) == 3
    assert time.monotonic() - began < 60 and sum(fault["hits"] for fault in tapis.faults()) == 2


def test_a_listing_that_is_cut_is_asked_for_again(flyer, tapis):
    flyer.flight("Listed", 2)
    tapis.fault("cut_error", operation="list", path="/Listed/", status=500, times=1, after_bytes=20)
    assert flyer.create()["projects_created"] == 1


@pytest.mark.usefixtures("alone")
def test_a_full_disk_ends_the_sync_with_507_and_frees_what_it_held(flyer, tapis):
    from app_extensions.host import tasks as host_tasks
    from app_extensions.tapis.models import FlightFile, SyncBatch
    from app_extensions.tapis.problems import SyncRefused
    from app_extensions.tapis.sync import fetch, finish, leases, run

    ready(flyer, "Full", 6)
    job, access = planned(flyer, "Full")
    task = flyer.task("Full")
    batch = leases.open_batch(job)
    rows = list(FlightFile.objects.filter(flight=job.flight).order_by("name"))
    for row in rows[2:]:  # a device on which every write fails as on a full disk
        (host_tasks.incoming_dir(task) / f"{row.pk}.{batch.pk.hex}.part").symlink_to("/dev/full")
    with pytest.raises(SyncRefused) as refused:
        fetch.Turn(job, access, task, batch).run()
    assert refused.value.status == 507 and "disk is full" in refused.value.detail
    assert not SyncBatch.objects.filter(pk=batch.pk).exists() and leftovers(flyer, "Full") == []
    states = list(FlightFile.objects.filter(flight=job.flight).values_list("state", "batch_id"))
    assert {state for state, _ in states} <= {"done", "wanted"} and {held for _, held in states} == {None}
    done = sum(state == "done" for state, _ in states)
    assert len(flyer.files("Full")) == done, "what came is not lost, and nothing else lies there"
    finish.fail(job.pk, str(refused.value))
    tapis._call("POST", "counters/reset")
    again, _ = planned(flyer, "Full")
    assert run.run_here(again.pk).state == "completed" and tapis.counters()["content"] == 6 - done


def test_a_sync_begun_with_a_bearer_token_goes_on_with_the_stored_login(flyer, tapis):
    from app_extensions.tapis.models import TapisJob

    ready(flyer, "Bearer", 12)
    tapis.fault("slow", operation="content", path="Bearer/", seconds=0.2)
    token = tapis.token(flyer.name)
    answer = flyer.call("POST", "tapis-storage/sync-project-images/", {"project_id": flyer.project("Bearer")},
                        {"Authorization": f"Bearer {token}"})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["job_id"]
    until(lambda: flyer.job(job_id)["images_done"] >= 2)
    tapis.expire(flyer.name)
    job = flyer.wait(job_id)
    assert job["state"] == "completed" and job["images_done"] == 12, job
    assert TapisJob.objects.get(pk=job_id).access_token == ""


def test_a_request_s_token_and_the_stored_one_may_both_have_ended(flyer, tapis):
    from app_extensions.tapis.catalog.listing import TapisListing
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.problems import TokenExpired
    from app_extensions.tapis.sync.content import ContentFetcher

    flyer.flight("Both", 1)
    image = next(TapisListing(TapisAccess(flyer.user, flyer.client)).images(flyer.system, "Both/code/images"))[0]
    for read in (lambda access: TapisListing(access).systems(),
                 lambda access: ContentFetcher(access).beginning(flyer.system, image.path, lambda _: True, 1, 60)):
        access = TapisAccess(flyer.user, flyer.client, tapis.token(flyer.name), fall_back=True)
        tapis.expire(flyer.name)
        assert read(access)
    stranger = TapisAccess(flyer.user, flyer.client, tapis.token(flyer.name))
    tapis.expire(flyer.name)
    with pytest.raises(TokenExpired, match="Send a new one"):
        TapisListing(stranger).systems()


def mails_to(stack, address):
    return [message for message in mailbox.Maildir(str(stack.mail_dir)) if address in str(message["To"])]


def test_without_a_refresh_the_syncs_wait_for_the_login_and_go_on_after_it(stack, tapis, live_db, unique):
    """As on tenant portals: no retry storm, one mail, and nothing is fetched twice."""
    from app_extensions.tapis import jobs, notices
    from app_extensions.tapis.models import TapisJob

    tapis.settings(refresh="none")
    address = f"r{unique}@example.org"
    flyer = Flyer(stack.address(), tapis, "r" + unique, email=address)
    for name in ("First", "Second", "Third"):
        flyer.flight(name, 10)
    flyer.import_all()
    tapis.fault("slow", operation="content", path="(First|Second|Third)/", seconds=1.5)
    job_ids = [flyer.sync(name) for name in ("First", "Second", "Third")]
    until(lambda: flyer.job(job_ids[0])["images_done"] >= 2)
    tapis.expire(flyer.name)
    until(lambda: all(flyer.details(job_id)["waits_for"] == "login" for job_id in job_ids),
          says=lambda: [flyer.details(each) for each in job_ids])
    told = flyer.job(job_ids[0])
    assert told["state"] == "failed" and "Log in to Tapis again" in told["error"]
    assert {job.state for job in TapisJob.objects.filter(pk__in=job_ids)} == {"paused"}
    status = flyer.get("oauth2/tapis/status/")
    assert status["waiting_syncs"] == 3 and "Log in to Tapis again" in status["tokens"][0]["warning"]

    def asked() -> list:
        return [mail for mail in mails_to(stack, address) if str(mail["Subject"]).startswith("Log in to Tapis again")]

    until(lambda: notices.send_digests() or asked())
    tapis.end_faults()
    time.sleep(2)  # what was on its way comes in
    tapis._call("POST", "counters/reset")
    here = {name: len(flyer.files(name)) for name in ("First", "Second", "Third")}
    for _ in range(3):
        jobs.take_up_again()
    time.sleep(1)
    assert tapis.counters().get("content", 0) == tapis.counters().get("list", 0) == 0, "Tapis is asked in vain"
    assert len(asked()) == 1
    flyer.store_token()
    jobs.continue_after_login(flyer.user, flyer.client)
    assert [flyer.wait(job_id)["state"] for job_id in job_ids] == ["completed"] * 3
    assert all(len(flyer.files(name)) == 10 for name in here)
    assert tapis.counters()["content"] == 30 - sum(here.values())
    history = TapisJob.objects.get(pk=job_ids[0]).history
    assert [step["event"] for step in history] == ["claim", "pause", "resume", "claim", "complete"]


def test_a_login_in_the_browser_lets_the_syncs_go_on(flyer, tapis, browser):
    flyer.user.set_unusable_password()
    ready(flyer, "Waits", 2)
    tapis.settings(refresh="refused")
    tapis.expire(flyer.name)
    job_id = flyer.sync("Waits")
    until(lambda: flyer.details(job_id)["waits_for"] == "login")
    tapis.settings(refresh="works")
    assert browser.log_in(flyer.name).status_code == 302
    until(lambda: flyer.job(job_id)["state"] == "completed", says=lambda: flyer.job(job_id))


def test_a_flight_that_is_still_being_copied_is_not_complete_until_it_no_longer_changes(flyer, tapis, settings, consuming):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    settings.TAPIS_SETTLE_SECONDS = 600.0
    ready(flyer, "Copied", 3)
    consuming.pause()  # the live worker has another setting
    tapis.fault("grow", operation="list", path="/Copied/code/images$", times=1)
    tapis.file(flyer.system, "Copied/code/images/LATEST.JPG")
    job, _ = planned(flyer, "Copied")
    assert not job.settled
    assert run.take_turn(job.pk) == "done"
    job.refresh_from_db()
    assert job.state == "queued" and (job.due_at - timezone.now()).total_seconds() > 60, "Tapis is not asked all the while"
    settings.TAPIS_SETTLE_SECONDS = 2.0
    TapisJob.objects.filter(pk=job.pk).update(due_at=timezone.now())
    ended = run.run_here(job.pk)
    assert ended.state == "completed" and ended.settled
    assert len(flyer.files("Copied")) == 5 == ended.images_total, "what was copied meanwhile is here"
    assert any(step["event"] == "put off" and "copied" in step["why"] for step in ended.history)
    row = flyer.row("Copied")
    assert row.synced_at is not None and TapisJob.objects.filter(flight=row).count() == 1


@pytest.mark.usefixtures("alone")
def test_a_flight_that_was_copied_long_ago_is_complete_at_once(flyer, tapis, settings):
    from app_extensions.tapis.sync import run

    settings.TAPIS_SETTLE_SECONDS = 600.0
    flyer.flight("Old", 2, modified=time.time() - 3600)
    flyer.import_all()
    began = time.monotonic()
    job, _ = planned(flyer, "Old")
    assert run.run_here(job.pk).state == "completed" and time.monotonic() - began < 60


@pytest.mark.usefixtures("alone")
def test_links_that_lead_nowhere_do_not_stop_the_rest(flyer, tapis):
    from app_extensions.tapis.sync import run

    flyer.flight("Linked", 2)
    tapis.file(flyer.system, "Linked/raw", "directory")
    for name, target in (("nowhere.jpg", "gone.jpg"), ("loop.jpg", "loop.jpg"), ("directory.jpg", "../../raw")):
        tapis.file(flyer.system, f"Linked/code/images/{name}", "link", target=target)
    flyer.import_all()
    job, _ = planned(flyer, "Linked")
    ended = run.run_here(job.pk)
    assert ended.state == "completed" and len(flyer.files("Linked")) == 2
    assert all(name in ended.error for name in ("nowhere.jpg", "loop.jpg", "directory.jpg"))


def test_four_flights_are_one_mail(stack, tapis, live_db, unique):
    from app_extensions.tapis import notices
    from app_extensions.tapis.models import TapisJob

    address = f"e{unique}@example.org"
    flyer = Flyer(stack.address(), tapis, "e" + unique, email=address)
    for number in range(4):
        flyer.flight(f"E{number}", 1)
    flyer.post("tapis-preferences/", {"sync_on_discovery": True})
    flyer.wait(flyer.post("tapis-discovery/trigger/", None, 202)["task_id"])
    until(lambda: TapisJob.objects.filter(user=flyer.user, state="completed").count() == 5)
    notices.send_digests()
    until(lambda: len(mails_to(stack, address)) >= 1)
    time.sleep(1)
    mails = mails_to(stack, address)
    assert len(mails) == 1 and str(mails[0]["Subject"]) == "Tapis: 4 new projects, 4 flights complete"
