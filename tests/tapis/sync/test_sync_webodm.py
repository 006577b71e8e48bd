"""Syncs and WebODM: cancelled and removed tasks, quota and disk, processing, users who share a flight."""

import pytest

from tests.support.flights import Flyer, leftovers, paths, ready
from tests.support.waiting import until


def test_cancelling_the_task_in_webodm_ends_the_sync(flyer, tapis):
    ready(flyer, "Cancelled", 60)
    tapis.fault("slow", operation="content", seconds=0.5)
    job_id = flyer.sync("Cancelled")
    until(lambda: flyer.job(job_id)["images_done"] > 2)
    task = flyer.task("Cancelled")
    answer = flyer.call("POST", f"projects/{task.project_id}/tasks/{task.pk}/cancel/")
    assert answer.status_code == 200, answer.text
    job = flyer.wait(job_id)
    assert job["state"] == "canceled" and job["images_done"] < 60
    until(lambda: leftovers(flyer, "Cancelled") == [])
    tapis.end_faults()
    assert flyer.synced("Cancelled")["state"] == "completed"
    assert flyer.task("Cancelled").images_count == 60


def test_removing_the_task_in_webodm_ends_the_sync_and_leaves_no_files(flyer, tapis):
    from app_extensions.host import tasks

    ready(flyer, "Removed", 60)
    tapis.fault("slow", operation="content", seconds=0.5)
    job_id = flyer.sync("Removed")
    until(lambda: flyer.job(job_id)["images_done"] > 2)
    task = flyer.task("Removed")
    directory, incoming = tasks.task_dir(task), tasks.incoming_path(task.pk)
    answer = flyer.call("POST", f"projects/{task.project_id}/tasks/{task.pk}/remove/")
    assert answer.status_code == 200, answer.text
    assert flyer.wait(job_id)["state"] == "canceled"
    until(lambda: not incoming.exists())
    assert not directory.exists()
    tapis.end_faults()
    assert flyer.synced("Removed")["images_done"] == 60
    assert flyer.task("Removed").pk != task.pk


@pytest.mark.usefixtures("alone")
def test_no_image_comes_into_a_task_whose_removal_has_begun(flyer, tapis, monkeypatch):
    """WebODM deletes the directory after it told of the removal, and fails where a file comes in meanwhile."""
    from app_extensions.host import tasks
    from app_extensions.tapis.sync import fetch, run

    ready(flyer, "Raced", 12)
    directory = tasks.task_dir(flyer.task("Raced"))
    there = []
    flush = fetch.Turn._flush

    def removed_just_before(turn: fetch.Turn) -> None:
        if turn.fetched and not there:
            run.task_removed(turn.task.pk)
            before = sorted(directory.iterdir())
            flush(turn)
            there.append((before, sorted(directory.iterdir())))
        else:
            flush(turn)

    monkeypatch.setattr(fetch.Turn, "_flush", removed_just_before)
    assert run.sync_task(flyer.task("Raced")) is False
    assert len(there) == 1 and there[0][0] == there[0][1]
    assert list(flyer.files("Raced")) == []


def test_a_quota_that_does_not_bear_the_flight_is_told_before_anything_is_fetched(flyer, tapis):
    ready(flyer, "TooMuch", 4, size_bytes=600_000)
    flyer.user.profile.quota = 1  # megabyte
    flyer.user.profile.save()
    job = flyer.synced("TooMuch")
    assert job["state"] == "failed" and "quota" in job["error"]
    assert tapis.counters().get("content", 0) == 0 and flyer.files("TooMuch") == {}


@pytest.mark.usefixtures("alone")
def test_a_disk_that_is_nearly_full_is_told(flyer, tapis, settings):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    ready(flyer, "Full", 2)
    settings.TAPIS_DISK_RESERVE_BYTES = 10**18
    assert run.sync_task(flyer.task("Full")) is False
    job = TapisJob.objects.get(flight=flyer.row("Full"))
    assert job.state == "failed" and "free" in job.error and flyer.files("Full") == {}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("what", ["disk", "quota"])
def test_quota_and_disk_are_looked_at_while_it_runs(flyer, tapis, settings, monkeypatch, what):
    from app.models import Profile

    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import fetch, run

    ready(flyer, "Fills", 40)
    tapis.fault("slow", operation="content", seconds=0.3)
    monkeypatch.setattr(fetch, "ROOM_SECONDS", 0.0)
    monkeypatch.setattr(fetch, "TICK_SECONDS", 0.2)

    def shrink(job):
        if job.images_done > 4:
            settings.TAPIS_DISK_RESERVE_BYTES = 10**18 if what == "disk" else 0
            Profile.objects.filter(user=flyer.user).update(quota=1 if what == "quota" else -1)  # megabyte; what came is more

    started, _ = jobs_of(flyer, "Fills")
    assert run.run_here(started.pk, shrink).state == "failed"
    job = TapisJob.objects.get(flight=flyer.row("Fills"))
    assert {"disk": "free", "quota": "quota"}[what] in job.error and 4 < job.images_done < 40
    assert flyer.task("Fills").size > 1, "what is here counts, though the sync failed"


def jobs_of(flyer, name):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess

    return jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row(name), queue=False)


@pytest.mark.usefixtures("alone")
def test_two_flights_at_once_do_not_share_one_quota(flyer, tapis):
    """Each would fit alone. The second is refused before any of its images is fetched."""
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    for name in ("First", "Second"):
        flyer.flight(name, 4, size_bytes=600_000)
    flyer.import_all()
    flyer.user.profile.quota = 4  # megabytes
    flyer.user.profile.save()
    first, second = (jobs_of(flyer, name)[0] for name in ("First", "Second"))
    assert run.take_plan(first.pk) is True and run.take_plan(second.pk) is False
    second.refresh_from_db()
    assert second.state == "failed" and "quota" in second.error
    assert run.run_here(first.pk).state == "completed"
    TapisJob.objects.filter(pk=second.pk).delete()


def test_a_task_that_is_being_processed_is_left_alone(flyer):
    from app.models import Task
    from nodeodm import status_codes

    ready(flyer, "Busy", 2)
    Task.objects.filter(pk=flyer.task("Busy").pk).update(status=status_codes.RUNNING)
    answer = flyer.post("tapis-storage/sync-project-images/", {"project_id": flyer.project("Busy")}, 409)
    assert "being processed" in answer["detail"]


def test_two_users_of_the_same_flight_share_one_copy_on_disk(flyer, stack, tapis, unique):
    other = Flyer(stack.address(), tapis, "o" + unique)
    tapis.system(flyer.system, owner=flyer.name, shared_with=[other.name])
    ready(flyer, "Shared", 4, size_bytes=400_000)
    other.import_all()
    flyer.synced("Shared")
    mine = paths(flyer, "Shared")
    mine[3].write_bytes(mine[3].read_bytes()[:-2] + b"\x00\x00")  # the same size, other bytes: not the same picture any more
    other.synced("Shared")
    theirs = paths(other, "Shared")
    assert [path.name for path in theirs] == [path.name for path in mine]
    assert [a.stat().st_ino == b.stat().st_ino for a, b in zip(mine, theirs)] == [True, True, True, False]
    assert theirs[3].read_bytes().endswith(b"\xff\xd9")
    for path in mine:
        path.unlink()
    assert all(path.stat().st_size == 400_000 for path in theirs)


def test_a_user_without_a_node_is_told_so_where_the_sync_is_shown(flyer):
    flyer.user.groups.clear()
    flyer.post("tapis-preferences/", {"process_after_sync": True})
    from app_extensions.host import users

    ready(flyer, "NoNode", 1)
    job = flyer.synced("NoNode")
    assert job["state"] == "completed" and "may not use any processing node" in job["error"]
    flyer.user.groups.add(users.default_group())


def test_a_complete_flight_is_processed_if_its_user_wants_that(flyer, tapis):
    from worker.tasks import process_pending_tasks, update_nodes_info

    from app_extensions.host import tasks

    def completed(images):
        update_nodes_info()  # beat's part, as a node counts as offline after five minutes
        process_pending_tasks()
        task = flyer.task("Processed")
        return tasks.task_state(task).status == "completed" and task.images_count == images

    flyer.post("tapis-preferences/", {"process_after_sync": True})
    ready(flyer, "Processed", 4)
    assert flyer.synced("Processed")["state"] == "completed"
    until(lambda: completed(4), every=0.5, says=lambda: tasks.task_state(flyer.task("Processed")))
    # Nothing new: nothing is started again. Something new: it is.
    flyer.synced("Processed")
    assert tasks.task_state(flyer.task("Processed")).status == "completed"
    tapis.file(flyer.system, "Processed/code/images/NEW.JPG")
    flyer.synced("Processed")
    until(lambda: completed(5), every=0.5, says=lambda: tasks.task_state(flyer.task("Processed")))
