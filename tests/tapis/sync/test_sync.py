"""Syncs against the stand-in: complete, verified, incremental, and through every fault of the contract's list."""
import os
import threading
import time

import pytest

from tests.support.flights import leftovers, paths, ready


@pytest.mark.quick
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
    flyer.import_all()
    job = flyer.synced("Odd")
    assert job["state"] == "completed" and job["images_done"] == len(names), job
    here = flyer.files("Odd")
    assert len(here) == len(names) and len({name.lower() for name in here}) == len(names)
    assert all(name.isascii() and not name.startswith((".", "-")) and not set(name) & set("#?%/\\ ,") for name in here)
    assert all(name.lower().endswith((".jpg", ".jpeg")) and len(name) <= 210 for name in here)


def test_the_second_sync_of_an_unchanged_flight_moves_no_bytes(flyer, tapis):
    ready(flyer, "Still", 5)
    flyer.synced("Still")
    before = {path: path.stat().st_mtime_ns for path in paths(flyer, "Still")}
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Still")
    assert job["state"] == "completed" and job["images_done"] == 5 and job["rate"] == 0
    counters = tapis.counters()
    assert counters.get("content", 0) == 0 and counters[f"list:{flyer.system}"] == 1
    assert {path: path.stat().st_mtime_ns for path in paths(flyer, "Still")} == before


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
    os.unlink(paths(flyer, "Hole")[1])
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
    assert leftovers(flyer, "Faulty") == []


def test_an_image_that_stays_truncated_is_never_taken_for_whole(flyer, tapis):
    ready(flyer, "Cut", 3, size_bytes=400_000)
    tapis.fault("short", operation="content", path="IMG_00001", after_bytes=5000)
    job = flyer.synced("Cut")
    assert job["state"] == "failed" and "1 of 3 images" in job["error"] and "IMG_00001.JPG" in job["error"]
    assert "5000 bytes instead of 400000" in job["error"]
    assert sorted(flyer.files("Cut")) == ["IMG_00000.JPG", "IMG_00002.JPG"] and leftovers(flyer, "Cut") == []
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


@pytest.mark.parametrize("status", [400, 403])
def test_what_is_forbidden_or_bad_is_not_tried_again(flyer, tapis, status):
    ready(flyer, "Not", 3)
    tapis.fault("status", operation="content", path="IMG_00000", status=status, body='{"message": "no"}')
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Not")
    assert job["state"] == "failed" and str(status) in job["error"]
    assert tapis.counters()["content"] == 3


def test_a_token_that_is_revoked_in_mid_sync_is_not_tried_again(flyer, tapis):
    """Tapis answers 500 to it, as it does for trouble that passes."""
    ready(flyer, "Revoked", 30)
    tapis.fault("status", operation="content", skip=6, status=500, body='{"status": "error", "message": "Token is revoked."}')
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Revoked")
    assert job["state"] == "failed" and job["error"].startswith("Token expired") and "revoked" in job["error"]
    assert tapis.counters()["content"] <= 6 + 8, "one call a connection of each worker at most"
    assert flyer.task("Revoked").size > 0, "what was brought counts in the quota"


def test_images_that_vanish_before_their_turn_are_named_and_no_failure(flyer, tapis):
    ready(flyer, "Vanish", 4)
    tapis.fault("status", operation="content", path="IMG_0000[12]", status=404, body='{"message": "not found"}')
    tapis._call("POST", "counters/reset")
    job = flyer.synced("Vanish")
    assert job["state"] == "completed" and (job["images_done"], job["images_total"]) == (2, 4)
    assert "2 images were deleted at the source before they could be fetched: IMG_00001.JPG, IMG_00002.JPG." in job["error"]
    assert tapis.counters()["content"] == 4
    tapis.end_faults()
    tapis.file(flyer.system, "Vanish/code/images/IMG_00001.JPG", "remove")
    job = flyer.synced("Vanish")
    assert job["state"] == "completed" and (job["images_done"], job["images_total"], job["error"]) == (3, 3, "")
    assert sorted(flyer.files("Vanish")) == ["IMG_00000.JPG", "IMG_00002.JPG", "IMG_00003.JPG"]


def test_fewer_connections_while_tapis_shows_strain(flyer, tapis):
    from app_extensions.tapis.models import TapisJob

    ready(flyer, "Strained", 12)
    tapis.fault("status", operation="content", every=3, status=503)
    assert flyer.synced("Strained")["state"] == "completed"
    assert 1 <= TapisJob.objects.get(flight=flyer.row("Strained")).connections < 4


def test_2500_images_are_planned_in_pages_and_once(flyer, tapis):
    """The contents are left out here; see the long test below."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import FlightFile, TapisJob
    from app_extensions.tapis.sync import run

    ready(flyer, "Large", 2500)
    job, _ = jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row("Large"), queue=False)
    tapis._call("POST", "counters/reset")
    assert run.take_plan(job.pk) is True and run.take_plan(job.pk) is True
    assert tapis.counters()[f"list:{flyer.system}"] == 3
    rows = FlightFile.objects.filter(flight=flyer.row("Large"), state=FlightFile.WANTED)
    assert rows.count() == 2500 and len(set(rows.values_list("local_key", flat=True))) == 2500
    job.refresh_from_db()
    assert (job.images_total, job.images_done, job.bytes_done) == (2500, 0, 0)
    TapisJob.objects.filter(pk=job.pk).update(state="canceled")


@pytest.mark.long
def test_2500_images_are_brought(flyer, tapis):
    ready(flyer, "Large", 2500)
    job = flyer.synced("Large", 1200)
    assert job["state"] == "completed" and job["images_done"] == 2500 and job["error"] == ""
    assert len(flyer.files("Large")) == 2500 == tapis.counters()["content"] and leftovers(flyer, "Large") == []
    tapis._call("POST", "counters/reset")
    assert flyer.synced("Large", 600)["images_done"] == 2500
    assert tapis.counters().get("content", 0) == 0 and tapis.counters()[f"list:{flyer.system}"] == 3


def test_links_are_followed_and_broken_ones_left_out(flyer, tapis):
    tapis.file(flyer.system, "Links/code/images/real.jpg")
    tapis.file(flyer.system, "Links/code/images/link.jpg", "link", target="real.jpg")
    tapis.file(flyer.system, "Links/code/images/broken.jpg", "link", target="nowhere.jpg")
    flyer.import_all()
    job = flyer.synced("Links")
    assert job["state"] == "completed" and "broken.jpg" in job["error"]
    here = flyer.files("Links")
    assert sorted(here) == ["link.jpg", "real.jpg"] and here["link.jpg"] == here["real.jpg"]


def test_a_link_to_a_directory_is_reported_and_does_not_stop_the_rest(flyer, tapis):
    for number in range(3):
        tapis.file(flyer.system, f"Folder/code/images/IMG_{number}.jpg")
    tapis.file(flyer.system, "Folder/code/raw", "directory")
    tapis.file(flyer.system, "Folder/code/images/raw.jpg", "link", target="../raw")
    tapis.file(flyer.system, "Folder/code/images/IMG_9.jpg", "link", target="nowhere/IMG_9.jpg")
    tapis.file(flyer.system, "Elsewhere", "link", target="Folder")
    tapis.file(flyer.system, "Nowhere", "link", target="gone")
    flyer.import_all()
    job = flyer.synced("Folder")
    assert job["state"] == "completed" and "raw.jpg" in job["error"] and "IMG_9.jpg" in job["error"], job
    assert sorted(flyer.files("Folder")) == ["IMG_0.jpg", "IMG_1.jpg", "IMG_2.jpg"]
    assert flyer.synced("Elsewhere")["state"] == "completed" and len(flyer.files("Elsewhere")) == 3


def test_what_a_mac_leaves_beside_images_is_neither_counted_nor_fetched(flyer, tapis):
    for number in range(4):
        tapis.file(flyer.system, f"MacFlight/code/images/DJI_{number}.JPG", photo=number)
        tapis.file(flyer.system, f"MacFlight/code/images/._DJI_{number}.JPG", photo=number, size_bytes=4096)
    flyer.import_all()
    tapis._call("POST", "counters/reset")
    job = flyer.synced("MacFlight")
    assert (job["state"], job["images_done"], job["images_total"], job["error"]) == ("completed", 4, 4, ""), job
    assert tapis.counters()["content"] == 4 and sorted(flyer.files("MacFlight")) == [f"DJI_{number}.JPG" for number in range(4)]


def test_a_connection_that_the_proxy_closed_while_idle_is_opened_anew(flyer, tapis, tmp_path):
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.sync.content import ContentFetcher

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
    from app_extensions.tapis.login import tokens

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
