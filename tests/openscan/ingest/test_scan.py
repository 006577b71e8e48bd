"""A started scan becomes photos in a waiting WebODM task, or fails with a sentence and costs nothing."""
import errno
import shutil
import time
from pathlib import Path

import pytest
from django.utils import timezone

from app_extensions.host import projects as host_projects
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.accounts import books
from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans
from app_extensions.openscan.locks import scan_lock
from app_extensions.openscan.models import OutgoingMail, Scan, Token
from app_extensions.openscan.processing import status
from app_extensions.shared import photo_files
from tests.openscan.flow import before_approval, files_of_parts, photos_of, started_scan, task_of, without_nodes
from tests.openscan.helpers import private_token, public_token
from tests.openscan.make_sets import cut, jpeg, make_zip, photos, raw_zip
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.fixture
def token():
    return private_token(owner=without_nodes())[0]


def credit(token):
    return Token.objects.get(pk=token.pk).credit_bytes


def test_photos_reach_a_waiting_task_and_the_parts_go(token):
    members = photos(5)
    data = make_zip(members)
    scan = started_scan(token, cut(data, 3))
    assert len(files_of_parts(scan)) == 3
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.APPROVED and status.scan_status(scan) == "file approved"
    assert photos_of(scan) == members
    task = task_of(scan)
    assert host_tasks.task_state(task).status == "waiting" and task.images_count == 5 and scan.images_count == 5
    assert not files_of_parts(scan) and not scan.parts.exists()
    assert not host_tasks.incoming_path(task.id).exists()
    assert scan.charge == Scan.POSTED and scan.posted_bytes == len(data)
    assert credit(token) == 100_000_000 - len(data)
    assert books.find_discrepancies([token]) == []


def test_one_project_a_token_one_task_a_scan(token):
    first, second = (started_scan(token, [make_zip(photos(2))]) for _ in range(2))
    for scan in (first, second):
        run.ingest(scan.pk)
    tasks = [task_of(scan) for scan in (first, second)]
    assert tasks[0].id != tasks[1].id and tasks[0].project_id == tasks[1].project_id
    assert tasks[0].name == first.name
    project = tasks[0].project
    assert project.owner == token.owner and "Ada Lovelace" in project.name
    assert host_projects.project_tags(project) == ["openscan", "private"]


def test_public_sets_carry_their_consent_in_webodm_too():
    token, _ = public_token(owner=without_nodes())
    scan = started_scan(token, [make_zip(photos(2))])
    run.ingest(scan.pk)
    project = task_of(scan).project
    assert host_projects.project_tags(project) == ["openscan", "public", "research-consent"]
    assert "research" in project.description
    assert Scan.objects.get(pk=scan.pk).research_consent


def test_a_project_deleted_in_webodm_is_made_anew(token):
    first = started_scan(token, [make_zip(photos(2))])
    run.ingest(first.pk)
    host_projects.delete_project(task_of(first).project)
    second = started_scan(token, [make_zip(photos(2))])
    run.ingest(second.pk)
    assert task_of(second) is not None
    assert task_of(second).project_id != Scan.objects.get(pk=first.pk).webodm_project_id


REFUSED = {
    "no archive": ([b"hello, this is no zip"], "neither a zip nor a set of photos"),
    "truncated": ([make_zip(photos(4))[:-100]], "not complete"),
    "traversal": ([raw_zip([{"name": b"../evil.jpg", "data": jpeg(1)}])], "“../evil.jpg” leads out of its folder"),
    "one photo": ([make_zip(photos(1))], "at least 2 are needed"),
    "fakes": ([make_zip({"1.jpg": jpeg(1), "fake.jpg": b"no"})], "“fake.jpg” is not a photo"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_set_fails_with_its_reason_and_costs_nothing(token, case):
    pieces, says = REFUSED[case]
    scan = started_scan(token, pieces)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    info = status.project_info(token, scan.name)
    assert info["status"] == "processing failed" and says in info["error_text"] and info["dlink"] == ""
    assert scan.charge == Scan.VOIDED and credit(token) == 100_000_000
    assert not files_of_parts(scan)
    run.ingest(scan.pk)  # again: nothing happens twice
    assert OutgoingMail.objects.filter(kind="failed", created_at__gte=scan.finished_at).count() >= 1
    assert books.find_discrepancies([token]) == []


def test_what_a_refused_set_left_in_webodm_is_removed(stack, token):
    from tests.openscan.flow import poke

    scan = started_scan(token, [make_zip({"1.jpg": jpeg(1), "fake.jpg": b"no"})])
    run.ingest(scan.pk)
    Scan.objects.filter(pk=scan.pk).update(finished_at=timezone.now() - timezone.timedelta(minutes=1))
    until(lambda: poke() or Scan.objects.get(pk=scan.pk).webodm_task_id is None, every=0.4)
    assert status.scan_status(Scan.objects.get(pk=scan.pk)) == "processing failed"


def test_what_was_left_out_is_told(token):
    scan = started_scan(token, [make_zip({**photos(3), "cut.jpg": jpeg(9)[:-50], "readme.md": b"x"})])
    run.ingest(scan.pk)
    info = status.project_info(token, scan.name)
    assert info["status"] == "file approved"
    assert info["set_aside"] == [
        "“readme.md” is not a photo and was left out. Photos are JPEG, PNG, TIFF, WebP, HEIC or BMP.",
        "“cut.jpg” is a JPEG that breaks off before its end and was left out. Copy it from the camera again and send the set again.",
    ]


def test_more_photos_than_the_token_allows(token):
    Token.objects.filter(pk=token.pk).update(limit_photos=3)
    scan = started_scan(token, [make_zip(photos(4))])
    run.ingest(scan.pk)
    assert "holds 4 photos; this token allows 3" in Scan.objects.get(pk=scan.pk).error


def test_a_set_beyond_the_owners_quota(token, unique):
    from django.contrib.auth.models import User

    owner = User.objects.create_user(f"small-{unique}")
    owner.profile.quota = 0.001
    owner.profile.save()
    scan = started_scan(token, [make_zip(photos(2))])
    Token.objects.filter(pk=token.pk).update(owner=owner)
    run.ingest(scan.pk)
    assert "storage quota" in Scan.objects.get(pk=scan.pk).error and credit(token) == 100_000_000


def test_a_token_whose_user_is_gone(token):
    scan = started_scan(token, [make_zip(photos(2))])
    Token.objects.filter(pk=token.pk).update(owner=None)
    run.ingest(scan.pk)
    assert "was deleted" in Scan.objects.get(pk=scan.pk).error and credit(token) == 100_000_000


def test_two_workers_never_take_in_the_same_scan(token):
    """The lock is the database's: while another session holds it, ingest leaves at once."""
    import threading

    scan = started_scan(token, [make_zip(photos(2))])
    held, go_on = threading.Event(), threading.Event()

    def other():
        from django.db import connection

        with scan_lock(scan.pk) as mine:
            assert mine
            held.set()
            go_on.wait(10)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.INITIALIZED and scan.ingest_attempts == 0
    go_on.set()
    thread.join()
    run.ingest(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.APPROVED


def test_a_full_disk_is_tried_again_later_and_loses_nothing(token, monkeypatch):
    members = photos(4)
    scan = started_scan(token, [make_zip(members)])
    calls = iter(range(100))
    real = photo_files.examine

    def full(path):
        if next(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path)

    monkeypatch.setattr(photo_files, "examine", full)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.INITIALIZED and scan.charge == Scan.HELD and scan.retry_at > timezone.now()
    assert len(photos_of(scan)) == 2 and files_of_parts(scan)
    run.ingest(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.INITIALIZED  # not before its time
    Scan.objects.filter(pk=scan.pk).update(retry_at=None)
    run.ingest(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.APPROVED and photos_of(scan) == members


def test_no_room_is_noticed_before_anything_is_written(token, settings):
    settings.OPENSCAN_FREE_RESERVE = "10MB"
    scan = started_scan(token, [make_zip(photos(2))])
    settings.OPENSCAN_FREE_RESERVE = "900000TB"
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.INITIALIZED and scan.retry_at and not photos_of(scan)


def test_a_set_that_fails_every_time_is_given_up_for_free_and_an_admin_may_retry(token, settings, monkeypatch):
    from app_extensions.openscan.processing import queue

    settings.OPENSCAN_INGEST_ATTEMPTS = 3
    scan = started_scan(token, [make_zip(photos(2))])

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(photo_files, "examine", broken)
    for _ in range(4):
        Scan.objects.filter(pk=scan.pk).update(retry_at=None)
        run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.FAILED and scan.ingest_attempts == 3 and "not your fault" in scan.error
    assert credit(token) == 100_000_000 and files_of_parts(scan)
    monkeypatch.undo()
    queue.retry(scan)
    for _ in range(5):  # the live worker may still be clearing the failed attempt away: then this one is put off, as it should be
        Scan.objects.filter(pk=scan.pk).update(retry_at=None)
        run.ingest(scan.pk)
        scan.refresh_from_db()
        if scan.state == Scan.APPROVED:
            break
        time.sleep(1)
    assert scan.state == Scan.APPROVED and credit(token) == 100_000_000  # free of charge


def test_reset_while_it_is_taken_in_stops_the_work(token, monkeypatch):
    scan = started_scan(token, [make_zip(photos(6))])
    real, calls = photo_files.examine, iter(range(100))

    def inspect(path):
        if next(calls) == 2:
            scans.reset_scan(token, scan.name)
        return real(path)

    monkeypatch.setattr(photo_files, "examine", inspect)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.RESET and scan.charge == Scan.VOIDED and credit(token) == 100_000_000
    assert len(photos_of(scan)) <= 3


def test_reset_in_the_last_moment_wins_or_loses_but_never_both(token, monkeypatch):
    scan = started_scan(token, [make_zip(photos(2))])
    before_approval(monkeypatch, lambda: scans.reset_scan(token, scan.name))
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.RESET and credit(token) == 100_000_000
    assert books.find_discrepancies([token]) == []


def test_waiting_tasks_survive_webodms_own_polls_and_clean_ups(token):
    from worker.tasks import cleanup_tasks, get_pending_tasks

    scan = started_scan(token, [make_zip(photos(2))])
    run.ingest(scan.pk)
    task = task_of(scan)
    type(task).objects.filter(pk=task.pk).update(created_at=timezone.now() - timezone.timedelta(days=30))
    cleanup_tasks()
    assert task_of(scan) is not None and not get_pending_tasks().filter(pk=task.pk).exists()


def test_files_of_an_earlier_run_that_are_not_whole_are_written_again(token):
    scan = started_scan(token, [make_zip(photos(3))])
    run.ingest(scan.pk)
    other = started_scan(token, [make_zip(photos(3))])
    directory = Path(task_of(scan).task_path())
    # A power cut can leave a renamed file empty.
    from app_extensions.openscan.processing import projects

    task = projects.make_waiting_task(other)
    target = host_tasks.task_dir(task)
    shutil.copy(directory / "scan01_001.jpg", target / "scan01_001.jpg")
    (target / "scan01_002.jpg").write_bytes(b"")
    run.ingest(other.pk)
    assert photos_of(other) == photos(3)
