"""Syncs against the stand-in: complete, verified, incremental, and through every fault of the contract's list."""
import os
import threading
import time

import pytest

from tests.support.flights import Flyer


def ready(flyer, name, count=6, **more):
    """A flight that is imported and waits for its images."""
    flyer.flight(name, count, **more)
    flyer.create()


def test_a_sync_brings_every_image_and_counts_them(flyer, tapis):
    ready(flyer, "Whole", 9, size_bytes=400_000)
    job = flyer.synced("Whole")
    assert list(job) == ["id", "kind", "state", "images_done", "images_total", "bytes_done", "bytes_total", "rate", "error"]
    assert (job["kind"], job["state"], job["error"]) == ("sync", "completed", "")
    assert (job["images_done"], job["images_total"]) == (9, 9)
    assert job["bytes_done"] == job["bytes_total"] == 9 * 400_000 and job["rate"] > 0
    assert flyer.files("Whole") == {f"IMG_{number:05d}.JPG": 400_000 for number in range(9)}
    task = flyer.task("Whole")
    assert task.images_count == 9 and task.size > 0
    assert (task.auto_processing_node, task.status) == (False, None)
    assert tapis.peaks()["content"] <= 4


def test_odd_names_become_safe_and_unique_even_without_case(flyer, tapis):
    names = ["a#1?.jpg", "a%201.jpg", "100%.jpg", "with space.jpg", "ünï ☃.jpeg", "same.jpg", "SAME.JPG", "Same.jpg",
             "..jpg", "-dash.jpg", "back\\slash.jpg", "comma,.jpg", "x" * 240 + ".jpg"]
    for name in names:
        tapis.file(flyer.system, f"Odd/code/images/{name}")
    flyer.create()
    job = flyer.synced("Odd")
    assert job["state"] == "completed" and job["images_done"] == len(names), job
    here = flyer.files("Odd")
    assert len(here) == len(names) and len({name.lower() for name in here}) == len(names)
    assert all(name.isascii() and not name.startswith((".", "-")) and not set(name) & set("#?%/\\ ,") for name in here)
    assert all(name.lower().endswith((".jpg", ".jpeg")) and len(name) <= 210 for name in here)


def test_the_second_sync_of_an_unchanged_flight_moves_no_bytes(flyer, tapis):
    ready(flyer, "Still", 5)
    flyer.synced("Still")
    before = {path: path.stat().st_mtime_ns for path in _paths(flyer, "Still")}
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Still")
    assert job["state"] == "completed" and job["images_done"] == 5 and job["rate"] == 0
    counters = tapis.counters()
    assert counters.get("content", 0) == 0 and counters[f"list:{flyer.system}"] == 1
    assert {path: path.stat().st_mtime_ns for path in _paths(flyer, "Still")} == before


def _paths(flyer, name):
    from app_extensions.host import tasks

    return sorted(tasks.task_dir(flyer.task(name)).iterdir())


def test_only_new_and_changed_images_are_fetched_and_deleted_ones_are_reported(flyer, tapis):
    ready(flyer, "Moves", 4, size_bytes=400_000, modified=1_700_000_000)
    flyer.synced("Moves")
    folder = "Moves/code/images"
    tapis.file(flyer.system, f"{folder}/IMG_00000.JPG", "remove")
    tapis.file(flyer.system, f"{folder}/IMG_00001.JPG", size_bytes=410_000, modified=1_700_000_000)
    tapis.file(flyer.system, f"{folder}/IMG_00002.JPG", size_bytes=400_000, modified=1_700_000_100)
    tapis.file(flyer.system, f"{folder}/NEW.JPG", size_bytes=420_000)
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Moves")
    assert job["state"] == "completed" and "1 image" in job["error"] and "deleted at" in job["error"]
    assert tapis.counters()["content"] == 3
    assert flyer.files("Moves") == {"IMG_00000.JPG": 400_000, "IMG_00001.JPG": 410_000, "IMG_00002.JPG": 400_000,
                                    "IMG_00003.JPG": 400_000, "NEW.JPG": 420_000}


def test_an_image_that_vanished_here_is_fetched_again(flyer, tapis):
    ready(flyer, "Hole", 3)
    flyer.synced("Hole")
    os.unlink(_paths(flyer, "Hole")[1])
    tapis._call("POST", "counters/reset")
    assert flyer.synced("Hole")["images_done"] == 3
    assert tapis.counters()["content"] == 1 and len(flyer.files("Hole")) == 3


@pytest.mark.parametrize("kind, more", [
    ("abort", {"after_bytes": 5000}), ("short", {"after_bytes": 5000}), ("corrupt", {}), ("html", {}), ("disconnect", {}),
    ("status", {"status": 500, "body": '{"message": "SSH"}'}), ("status", {"status": 503}),
    ("status", {"status": 429, "headers": {"Retry-After": "1"}}), ("stall", {"after_bytes": 3000, "seconds": 20}),
])
def test_faults_that_pass_leave_no_trace(flyer, tapis, kind, more):
    ready(flyer, "Faulty", 4, size_bytes=400_000)
    tapis.fault(kind, operation="content", times=1 if kind == "stall" else 2, **more)
    job = flyer.synced("Faulty")
    assert job["state"] == "completed" and job["images_done"] == 4, job
    assert set(flyer.files("Faulty").values()) == {400_000}
    assert _leftovers(flyer, "Faulty") == []


def _leftovers(flyer, name):
    from app_extensions.host import tasks

    folder = tasks.incoming_path(flyer.task(name).pk)
    return sorted(folder.iterdir()) if folder.exists() else []


def test_an_image_that_stays_truncated_is_never_taken_for_whole(flyer, tapis):
    ready(flyer, "Cut", 3, size_bytes=400_000)
    tapis.fault("short", operation="content", path="IMG_00001", after_bytes=5000)
    job = flyer.synced("Cut")
    assert job["state"] == "failed" and "1 of 3 images" in job["error"] and "IMG_00001.JPG" in job["error"]
    assert "5000 bytes instead of 400000" in job["error"]
    assert sorted(flyer.files("Cut")) == ["IMG_00000.JPG", "IMG_00002.JPG"] and _leftovers(flyer, "Cut") == []
    assert flyer.task("Cut").status is None
    tapis.end_faults()
    tapis._call("POST", "counters/reset")
    assert flyer.synced("Cut")["state"] == "completed"
    assert tapis.counters()["content"] == 1


def test_an_image_that_is_broken_at_its_source_is_left_out_and_named(flyer, tapis):
    ready(flyer, "Broken", 3)
    tapis.fault("corrupt", operation="content", path="IMG_00002")
    job = flyer.synced("Broken")
    assert job["state"] == "completed" and "1 image is broken at the source" in job["error"]
    assert "IMG_00002.JPG" in job["error"]
    assert sorted(flyer.files("Broken")) == ["IMG_00000.JPG", "IMG_00001.JPG"]


def test_what_is_forbidden_or_bad_is_not_tried_again(flyer, tapis):
    ready(flyer, "Not", 3)
    tapis.fault("status", operation="content", path="IMG_00000", status=403, body='{"message": "no"}')
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Not")
    assert job["state"] == "failed" and "403" in job["error"]
    assert tapis.counters()["content"] == 3


def test_links_are_followed_and_broken_ones_left_out(flyer, tapis):
    tapis.file(flyer.system, "Links/code/images/real.jpg")
    tapis.file(flyer.system, "Links/code/images/link.jpg", "link", target="real.jpg")
    tapis.file(flyer.system, "Links/code/images/broken.jpg", "link", target="nowhere.jpg")
    flyer.create()
    job = flyer.synced("Links")
    assert job["state"] == "completed" and "broken.jpg" in job["error"]
    here = flyer.files("Links")
    assert sorted(here) == ["link.jpg", "real.jpg"] and here["link.jpg"] == here["real.jpg"]


def test_a_connection_that_the_proxy_closed_while_idle_is_opened_anew(flyer, tapis, tmp_path):
    from app_extensions.tapis.access import TapisAccess
    from app_extensions.tapis.content import ContentFetcher

    ready(flyer, "Idle", 2)
    tapis.settings(idle_seconds=0.3)
    fetcher = ContentFetcher(TapisAccess(flyer.user, flyer.client))
    for number in range(2):
        got = fetcher.fetch(flyer.system, f"Idle/code/images/IMG_{number:05d}.JPG", tmp_path / f"{number}.jpg", None)
        assert (tmp_path / f"{number}.jpg").stat().st_size == got.size > 0
        time.sleep(1)
    fetcher.close()


def test_numbers_of_the_settings_are_checked(ground, settings):
    from app_extensions.tapis.checks import check_settings

    assert check_settings(None) == []
    settings.TAPIS_FLIGHT_CONNECTIONS = 0
    settings.TAPIS_LEASE_SECONDS = "0.5"
    assert [error.id for error in check_settings(None)] == ["tapis.E005", "tapis.E005"]
    settings.TAPIS_LEASE_SECONDS = "long"
    assert [error.id for error in check_settings(None)] == ["tapis.E001"]


def test_tokens_that_end_between_files_are_refreshed_once(flyer, tapis):
    ready(flyer, "Expiring", 20)
    tapis._call("POST", "counters/reset")
    tapis.fault("expire", operation="content", skip=6, times=1)
    job = flyer.synced("Expiring")
    assert job["state"] == "completed" and job["images_done"] == 20
    assert tapis.counters()["token.refresh_token"] == 1


def test_eight_threads_with_an_ended_token_make_one_refresh(flyer, tapis):
    from app_extensions.tapis import tokens

    before = tokens.access_token_for(flyer.user, flyer.client)
    tapis.expire(flyer.name)
    tapis._call("POST", "counters/reset")
    got = []

    def ask():
        from django.db import connection

        got.append(tokens.access_token_for(flyer.user, flyer.client, refused=before))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(got)) == 1 and got[0] != before
    assert tapis.counters()["token.refresh_token"] == 1


def test_a_login_that_cannot_be_refreshed_ends_the_sync_with_its_reason(flyer, tapis):
    ready(flyer, "Lapsed", 30, size_bytes=400_000)
    tapis.fault("expire", operation="content", skip=5, times=1)
    tapis.fault("status", operation="token", status=400, body='{"message": "no"}')
    job = flyer.synced("Lapsed")
    assert job["state"] == "failed" and job["error"].startswith("Token expired")
    assert 0 < len(flyer.files("Lapsed")) < 30
    tapis.end_faults()
    flyer.store_token()
    assert flyer.synced("Lapsed")["images_done"] == 30


def test_a_sync_that_is_asked_for_twice_is_joined(flyer, tapis):
    ready(flyer, "Twice", 12)
    tapis.fault("slow", operation="content", seconds=0.3)
    first, second = flyer.sync("Twice"), flyer.sync("Twice")
    assert first == second
    assert flyer.wait(first)["state"] == "completed"
    assert tapis.counters()["content"] == 12


def test_progress_is_live(flyer, tapis):
    ready(flyer, "Slow", 16, size_bytes=400_000)
    tapis.fault("slow", operation="content", seconds=0.4)
    job_id = flyer.sync("Slow")
    seen = set()
    while True:
        job = flyer.job(job_id)
        seen.add((job["state"], job["images_done"]))
        assert job["bytes_done"] == job["images_done"] * 400_000
        if job["state"] not in ("queued", "running"):
            break
        time.sleep(0.1)
    assert len({done for state, done in seen if state == "running"}) >= 3


def test_cancelling_the_task_in_webodm_ends_the_sync(flyer, tapis):
    ready(flyer, "Cancelled", 60)
    tapis.fault("slow", operation="content", seconds=0.5)
    job_id = flyer.sync("Cancelled")
    _until(lambda: flyer.job(job_id)["images_done"] > 2)
    task = flyer.task("Cancelled")
    answer = flyer.call("POST", f"projects/{task.project_id}/tasks/{task.pk}/cancel/")
    assert answer.status_code == 200, answer.text
    job = flyer.wait(job_id)
    assert job["state"] == "canceled" and job["images_done"] < 60
    _until(lambda: _leftovers(flyer, "Cancelled") == [])
    tapis.end_faults()
    assert flyer.synced("Cancelled")["state"] == "completed"
    assert flyer.task("Cancelled").images_count == 60


def test_removing_the_task_in_webodm_ends_the_sync_and_leaves_no_files(flyer, tapis):
    from app_extensions.host import tasks

    ready(flyer, "Removed", 60)
    tapis.fault("slow", operation="content", seconds=0.5)
    job_id = flyer.sync("Removed")
    _until(lambda: flyer.job(job_id)["images_done"] > 2)
    task = flyer.task("Removed")
    directory, incoming = tasks.task_dir(task), tasks.incoming_path(task.pk)
    answer = flyer.call("POST", f"projects/{task.project_id}/tasks/{task.pk}/remove/")
    assert answer.status_code == 200, answer.text
    assert flyer.wait(job_id)["state"] == "canceled"
    _until(lambda: not incoming.exists())
    assert not directory.exists()
    tapis.end_faults()
    assert flyer.synced("Removed")["images_done"] == 60
    assert flyer.task("Removed").pk != task.pk


def _until(true, seconds=120, seen=lambda: None):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, seen()
        time.sleep(0.1)


def test_a_quota_that_does_not_bear_the_flight_is_told_before_anything_is_fetched(flyer, tapis):
    ready(flyer, "TooMuch", 4, size_bytes=600_000)
    flyer.user.profile.quota = 1  # megabyte
    flyer.user.profile.save()
    job = flyer.synced("TooMuch")
    assert job["state"] == "failed" and "quota" in job["error"]
    assert tapis.counters().get("content", 0) == 0 and flyer.files("TooMuch") == {}


def test_a_disk_that_is_nearly_full_is_told(flyer, tapis, settings):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    ready(flyer, "Full", 2)
    settings.TAPIS_DISK_RESERVE_BYTES = 10**18
    assert run.sync_task(flyer.task("Full")) is False
    job = TapisJob.objects.get(flight=flyer.row("Full"))
    assert job.state == "failed" and "free" in job.error and flyer.files("Full") == {}


def test_quota_and_disk_are_looked_at_while_it_runs(flyer, tapis, settings, monkeypatch):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import fetch, run

    ready(flyer, "Fills", 40)
    tapis.fault("slow", operation="content", seconds=0.3)
    monkeypatch.setattr(fetch, "ROOM_SECONDS", 0.0)
    monkeypatch.setattr(fetch, "TICK_SECONDS", 0.2)
    timer = threading.Timer(1.5, lambda: setattr(settings, "TAPIS_DISK_RESERVE_BYTES", 10**18))
    timer.start()
    assert run.sync_task(flyer.task("Fills")) is False
    timer.join()
    job = TapisJob.objects.get(flight=flyer.row("Fills"))
    assert job.state == "failed" and "free" in job.error and 0 < job.images_done < 40


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
    other.create()
    flyer.synced("Shared")
    mine = _paths(flyer, "Shared")
    mine[3].write_bytes(mine[3].read_bytes()[:-2] + b"\x00\x00")  # the same size, other bytes: not the same picture any more
    other.synced("Shared")
    theirs = _paths(other, "Shared")
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
    from worker.tasks import process_pending_tasks

    from app_extensions.host import tasks

    def completed(images):
        process_pending_tasks()  # beat's part
        time.sleep(0.5)
        task = flyer.task("Processed")
        return tasks.task_state(task).status == "completed" and task.images_count == images

    flyer.post("tapis-preferences/", {"process_after_sync": True})
    ready(flyer, "Processed", 4)
    assert flyer.synced("Processed")["state"] == "completed"
    _until(lambda: completed(4), 120, lambda: tasks.task_state(flyer.task("Processed")))
    # Nothing new: nothing is started again. Something new: it is.
    flyer.synced("Processed")
    assert tasks.task_state(flyer.task("Processed")).status == "completed"
    tapis.file(flyer.system, "Processed/code/images/NEW.JPG")
    flyer.synced("Processed")
    _until(lambda: completed(5), 120, lambda: tasks.task_state(flyer.task("Processed")))
