"""What later syncs of a flight do: nothing twice, nothing never."""
import threading
import uuid

import pytest
from django.db import connection

from tests.support.flights import ready
from tests.support.waiting import until


@pytest.fixture
def committed(monkeypatch):
    """The ids of the tasks that syncs of this process handed to WebODM for processing, which are not processed here."""
    from app_extensions.host import tasks

    given = []
    monkeypatch.setattr(tasks.process_task, "delay", given.append)
    return given


@pytest.fixture
def sync_here(consuming):
    """sync_here(flyer, name) -> the ended job of a sync in this process. The live worker takes no turn at it: it would not be seen here."""
    def call(flyer, name):
        from app_extensions.tapis import jobs
        from app_extensions.tapis.login.access import TapisAccess
        from app_extensions.tapis.sync import run

        consuming.pause()
        try:
            job, joined = jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row(name), queue=False)
            assert not joined
            return run.run_here(job.pk)
        finally:
            consuming.resume()

    return call


def processed(flyer, name, status):
    """Write down how the processing of the task ended, as WebODM does."""
    from app.models import Task

    Task.objects.filter(pk=flyer.task(name).pk).update(status=status, auto_processing_node=True)


def test_an_image_that_stays_broken_does_not_start_the_task_again_and_again(flyer, tapis, committed, sync_here):
    from nodeodm import status_codes

    flyer.post("tapis-preferences/", {"process_after_sync": True})
    ready(flyer, "Rotten", 3)
    tapis.fault("corrupt", operation="content", path="IMG_00002")
    assert sync_here(flyer, "Rotten").state == "completed"
    assert committed == [flyer.task("Rotten").pk]
    processed(flyer, "Rotten", status_codes.COMPLETED)
    for _ in range(2):
        job = sync_here(flyer, "Rotten")
        assert job.state == "completed" and "1 image is broken at the source" in job.error
    assert len(committed) == 1 and flyer.task("Rotten").status == status_codes.COMPLETED


def test_what_a_failed_sync_brought_is_processed_with_the_next_one(flyer, tapis, committed, sync_here):
    from nodeodm import status_codes

    flyer.post("tapis-preferences/", {"process_after_sync": True})
    ready(flyer, "Half", 2)
    assert sync_here(flyer, "Half").state == "completed"
    processed(flyer, "Half", status_codes.COMPLETED)
    for name in ("NEW.JPG", "WORSE.JPG"):
        tapis.file(flyer.system, f"Half/code/images/{name}")
    tapis.fault("status", operation="content", path="WORSE", status=403)
    assert sync_here(flyer, "Half").state == "failed"
    assert len(committed) == 1, "an incomplete flight is not started"
    tapis.file(flyer.system, "Half/code/images/WORSE.JPG", "remove")
    assert sync_here(flyer, "Half").state == "completed"
    assert len(committed) == 2 and flyer.task("Half").images_count == 3


def test_a_task_whose_processing_was_cancelled_can_be_synced_again(flyer, tapis, committed, sync_here):
    from nodeodm import status_codes

    flyer.post("tapis-preferences/", {"process_after_sync": True})
    ready(flyer, "Stopped", 2)
    assert sync_here(flyer, "Stopped").state == "completed"
    processed(flyer, "Stopped", status_codes.CANCELED)
    tapis.file(flyer.system, "Stopped/code/images/NEW.JPG")
    job = sync_here(flyer, "Stopped")
    assert job.state == "completed" and job.images_done == 3, job.error
    assert len(committed) == 2 and flyer.task("Stopped").images_count == 3


def test_a_cancel_that_webodm_has_not_carried_out_yet_does_not_stop_the_sync_asked_for_after_it(flyer, tapis, monkeypatch, sync_here):
    from app import pending_actions
    from app.models import Task
    from nodeodm import status_codes

    from app_extensions.tapis.sync import run

    ready(flyer, "Hasty", 2)
    row = Task.objects.filter(pk=flyer.task("Hasty").pk)
    row.update(pending_action=pending_actions.CANCEL)
    webodm = threading.Timer(2, lambda: (row.update(status=status_codes.CANCELED, pending_action=None), connection.close()))
    webodm.start()
    job = sync_here(flyer, "Hasty")
    webodm.join()
    assert job.state == "completed" and job.images_done == 2, job.error
    # a worker that is away leaves it undone: then the sync says so
    row.update(pending_action=pending_actions.CANCEL)
    monkeypatch.setattr(run, "CANCEL_SECONDS", 1)
    job = sync_here(flyer, "Hasty")
    assert job.state == "failed" and job.error.endswith("WebODM is still stopping the task. Sync again in a moment.")
    row.update(pending_action=None)


def test_what_a_link_leads_to_may_come_later(flyer, tapis, sync_here):
    ready(flyer, "Links", 1)
    tapis.file(flyer.system, "Links/code/images/later.jpg", "link", target="../../originals/a.jpg")
    job = sync_here(flyer, "Links")
    assert job.state == "completed" and len(flyer.files("Links")) == 1 and "later.jpg" in job.error
    tapis.file(flyer.system, "Links/originals/a.jpg")
    job = sync_here(flyer, "Links")
    assert job.state == "completed" and job.error == "" and len(flyer.files("Links")) == 2


def test_a_system_that_gives_no_image_is_given_up_soon(flyer, tapis, monkeypatch, consuming, sync_here):
    """Each image costs six attempts: thousands of them would take hours, and Tapis would be asked all the while."""
    from app_extensions.tapis.sync import fetch

    monkeypatch.setattr(fetch, "GIVE_UP_AFTER", 10)
    ready(flyer, "Down", 60)
    consuming.pause()  # the live worker has another limit
    tapis.fault("status", operation="content", path="Down/", status=403)
    tapis._call("POST", "counters/reset")
    job = sync_here(flyer, "Down")
    assert job.state == "failed" and "System not accessible" in job.error and "403" in job.error and "The rest was not tried" in job.error
    assert 10 <= tapis.counters()["content"] < 40
    tapis.end_faults()
    assert sync_here(flyer, "Down").state == "completed" and len(flyer.files("Down")) == 60


def test_a_turn_in_which_nothing_came_ends_a_sync_that_nobody_else_gets_on_with(flyer, tapis, settings, monkeypatch, consuming, sync_here):
    from app_extensions.tapis.sync import fetch

    settings.TAPIS_BATCH_SECONDS = 1.0
    settings.TAPIS_RETRY_SECONDS = 0.05
    monkeypatch.setattr(fetch, "QUIET_SECONDS", 0.0)
    ready(flyer, "Dead", 100)
    consuming.pause()  # the live worker has other limits
    tapis.fault("status", operation="content", path="Dead/", status=500)
    job = sync_here(flyer, "Dead")
    assert job.state == "failed" and "in a row could not be fetched" in job.error
    assert flyer.row("Dead").files.filter(state="wanted").exists(), "the rest was not tried"


def test_a_service_of_another_tenant_is_refused(flyer, tapis):
    from app_extensions.tapis.models import TapisOAuth2Client
    from app_extensions.tapis.problems import SyncRefused
    from app_extensions.tapis.services import TapisStorageService

    ready(flyer, "Here", 1)
    other = TapisOAuth2Client(name="Other", client_id="other", base_url="http://127.0.0.1:9", tenant_id="other")
    with pytest.raises(SyncRefused, match="another tenant"):
        TapisStorageService(flyer.user, other).download_flight_images(flyer.task("Here"))


def test_a_flight_is_read_with_the_login_that_its_user_has(flyer, tapis, unique):
    """The client of the first import is still active, but its user has another one's tokens now."""
    from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token

    ready(flyer, "Moved", 1)
    second = TapisOAuth2Client.objects.create(
        name="Second", client_id="second-" + unique, client_secret="x", base_url=flyer.client.base_url,
        tenant_id=flyer.client.tenant_id, callback_url=flyer.client.callback_url)
    TapisOAuth2Token.objects.filter(user=flyer.user).update(client=second)
    assert flyer.synced("Moved")["state"] == "completed"
    second.is_active = False
    second.save()


def test_a_colleague_who_joins_a_sync_sees_how_it_gets_on(flyer, stack, tapis, unique):
    from guardian.shortcuts import assign_perm

    from app_extensions.host import projects
    from tests.support.flights import Flyer

    other = Flyer(stack.address(), tapis, "o" + unique)
    ready(flyer, "Joint", 20)
    for permission in ("view_project", "change_project"):
        assign_perm(permission, other.user, projects.get_project(flyer.project("Joint")))
    tapis.fault("slow", operation="content", path="Joint/", seconds=0.3)
    job_id = flyer.sync("Joint")
    joined = other.post("tapis-storage/sync-project-images/", {"project_id": flyer.project("Joint")}, 202)
    assert joined["job_id"] == job_id and "under way already" in joined["message"]
    assert other.job(job_id)["kind"] == "sync"
    tapis.end_faults()
    assert other.wait(job_id)["state"] == "completed"


def test_whose_login_has_ended_gets_no_failed_syncs_by_the_clock(flyer, tapis):
    from app_extensions.tapis.models import Flight, TapisJob, TapisOAuth2Token
    from app_extensions.tapis.tasks import sync_all_flight_projects

    Flight.objects.update(task_id=None)  # those of tests that are over
    for name in ("One", "Two"):
        flyer.flight(name, 1)
    flyer.import_all()
    mine = TapisJob.objects.filter(user=flyer.user, kind="sync")
    TapisOAuth2Token.objects.filter(user=flyer.user).update(is_valid=False, invalid_reason="switched off")
    sync_all_flight_projects()
    assert not mine.exists()
    TapisOAuth2Token.objects.filter(user=flyer.user).update(is_valid=True)
    flyer.user.is_active = False
    flyer.user.save()
    sync_all_flight_projects()
    assert not mine.exists()
    flyer.user.is_active = True
    flyer.user.save()
    sync_all_flight_projects()
    until(lambda: mine.filter(state="completed").count() == 2, says=lambda: list(mine.values_list("state", "error")))


def test_old_jobs_are_forgotten_but_for_those_that_count(flyer, tapis, sync_here):
    from datetime import timedelta

    from django.utils import timezone

    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import TapisJob

    ready(flyer, "Old", 1)
    kept = [sync_here(flyer, "Old").pk]  # moved bytes
    mine = TapisJob.objects.filter(user=flyer.user)
    sync_here(flyer, "Old")  # an idle one that is complete, but not the latest
    kept.append(sync_here(flyer, "Old").pk)
    TapisJob.objects.create(kind="discovery", user=flyer.user, state="failed")
    mine.update(finished_at=timezone.now() - timedelta(days=31))
    kept.append(TapisJob.objects.create(kind="discovery", user=flyer.user, state="completed", finished_at=timezone.now()).pk)
    kept.append(TapisJob.objects.create(kind="discovery", user=flyer.user, state="queued").pk)
    assert jobs.forget_old() >= 2
    assert set(mine.values_list("pk", flat=True)) == set(kept)
    TapisJob.objects.filter(pk=kept[-1]).delete()


@pytest.mark.usefixtures("alone")
def test_however_a_sync_ends_nothing_stays_beside_its_task(flyer, tapis, monkeypatch, sync_here):
    from app_extensions.host import tasks
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.sync import run

    ready(flyer, "Tidy", 2)
    tapis.fault("status", operation="content", path="Tidy/", status=403)
    incoming = tasks.incoming_path(flyer.task("Tidy").pk)
    assert sync_here(flyer, "Tidy").state == "failed"
    assert not incoming.exists()
    job, _ = jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row("Tidy"), queue=False)
    assert run.take_plan(job.pk)
    tasks.incoming_dir(flyer.task("Tidy"))  # of a turn that was cut
    flyer.task("Tidy").delete()
    assert run.take_turn(job.pk) == "stopped"
    job.refresh_from_db()
    assert job.state == "canceled" and not incoming.exists()


@pytest.mark.usefixtures("alone")
def test_a_worker_that_ends_late_leaves_the_files_of_the_next_sync_alone(flyer, tapis):
    """Stopped, and asked for again at once: the first sync's worker is still waiting for Tapis."""
    from app_extensions.host import tasks
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.sync import finish, leases, run

    ready(flyer, "Late", 2)
    access = TapisAccess(flyer.user, flyer.client)
    first, _ = jobs.start_sync(access, flyer.row("Late"), queue=False)
    assert run.take_plan(first.pk)
    finish.cancel(first.pk, "for the test")
    second, _ = jobs.start_sync(access, flyer.row("Late"), queue=False)
    assert run.take_plan(second.pk)
    second.refresh_from_db()
    batch = leases.open_batch(second)
    part = tasks.incoming_dir(flyer.task("Late")) / f"1.{batch.pk.hex}.part"
    part.write_bytes(b"on its way")
    assert run.take_turn(first.pk) == "stopped"
    assert part.exists()
    part.unlink()
    leases.close_batch(batch)
    assert run.run_here(second.pk).state == "completed" and len(flyer.files("Late")) == 2


def test_a_sync_that_begins_while_the_last_turn_tidies_up_keeps_its_files(flyer, tapis):
    """The user logs in again at the moment at which the sync was paused. Before, it failed with a FileNotFoundError."""
    from app_extensions.host import tasks
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.sync import finish, tidy

    ready(flyer, "Moment", 1)
    job, _ = jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row("Moment"), queue=False)
    finish.cancel(job.pk, "for the test")
    job.refresh_from_db()
    part = tasks.incoming_dir(flyer.task("Moment")) / f"1.{uuid.uuid4().hex}.part"

    def begins(execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if "tapis_syncbatch" in sql:
            part.write_bytes(b"on its way")
        return answer

    with connection.execute_wrapper(begins):
        tidy.remove_incoming(job)
    assert part.exists()
    part.unlink()
    tidy.remove_incoming(job)
    assert not part.parent.exists()


def test_a_directory_that_the_last_turn_removes_costs_the_next_one_no_image(flyer, tapis, sync_here):
    """It found it empty, while the next turn waited for the image from Tapis."""
    from app_extensions.host import tasks

    ready(flyer, "Removed", 8)
    tapis.fault("slow", operation="content", path="Removed/", seconds=0.1)
    incoming, over, removed = tasks.incoming_path(flyer.task("Removed").pk), threading.Event(), []

    def remove():
        while not over.is_set():
            try:
                incoming.rmdir()
                removed.append(True)
            except OSError:
                over.wait(0.0005)  # it is not there, or not empty

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        job = sync_here(flyer, "Removed")
    finally:
        over.set()
        remover.join()
    assert removed and job.state == "completed", job.error
    assert len(flyer.files("Removed")) == 8
