"""A task that is removed in WebODM while its scan is taken in: WebODM's delete succeeds, the scan ends, and nothing is charged."""
import os
import threading
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.accounts import books
from app_extensions.openscan.ingest import run, write
from app_extensions.openscan.models import OutgoingMail, Scan, Token
from app_extensions.openscan.processing import finish, projects, queue, status
from app_extensions.shared import photo_files
from tests.openscan.flow import before_approval, files_of_parts, photos_of, started_scan, task_of, without_nodes
from tests.openscan.helpers import private_token
from tests.openscan.make_sets import make_zip, photos
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")

PATIENCE = 120


@pytest.fixture
def token():
    return private_token(owner=without_nodes())[0]


class Thread(threading.Thread):
    """Runs work in a thread with its own database connection, and keeps what it raised."""

    def __init__(self, work, *arguments):
        super().__init__(daemon=True)
        self.work, self.arguments, self.problem = work, arguments, None
        self.start()

    def run(self):
        try:
            self.work(*self.arguments)
        except BaseException as problem:  # noqa: BLE001 - raised again by `ended`
            self.problem = problem
        finally:
            connection.close()

    def ended(self):
        self.join(PATIENCE)
        assert not self.is_alive()
        if self.problem is not None:
            raise self.problem


def check_it_ended(scan, token, directory):
    scan.refresh_from_db()
    assert scan.state == Scan.FAILED and "was deleted in WebODM" in scan.error and status.scan_status(scan) == "processing failed"
    assert scan.charge == Scan.VOIDED and Token.objects.get(pk=token.pk).credit_bytes == 100_000_000
    assert books.find_discrepancies([token]) == []
    assert not directory.exists() and not files_of_parts(scan)
    until(lambda: finish.discard(scan.pk) or Scan.objects.get(pk=scan.pk).webodm_task_id is None, PATIENCE)
    incoming = host_tasks.incoming_path(directory.name)
    assert not incoming.exists() and not incoming.with_name(incoming.name + ".inner").exists()


def test_no_photo_comes_into_a_task_that_webodm_is_deleting(token, monkeypatch):
    """WebODM reads the directory's list, removes what it names, then the directory: a file that comes in between fails it."""
    before = timezone.now()
    scan = started_scan(token, [make_zip(photos(6))])
    third, go_on = threading.Event(), threading.Event()
    real, calls, rmdir = photo_files.examine, iter(range(100)), os.rmdir

    def inspect(path):
        if next(calls) == 2:
            third.set()
            assert go_on.wait(PATIENCE)
        return real(path)

    monkeypatch.setattr(photo_files, "examine", inspect)
    ingest = Thread(run.ingest, scan.pk)
    assert third.wait(PATIENCE)
    task = task_of(scan)
    directory = Path(task.task_path())
    assert len(list(directory.iterdir())) == 2

    def emptied(path, *arguments, **options):
        if str(path).rstrip("/") == str(directory):
            go_on.set()
            ingest.join(PATIENCE)
        return rmdir(path, *arguments, **options)

    monkeypatch.setattr(os, "rmdir", emptied)
    task.delete()
    monkeypatch.setattr(os, "rmdir", rmdir)
    ingest.ended()
    check_it_ended(scan, token, directory)
    assert OutgoingMail.objects.filter(kind="failed", created_at__gte=before).exists()


def test_a_removal_waits_for_the_photo_that_is_being_placed(token, monkeypatch):
    scan = started_scan(token, [make_zip(photos(6))])
    placing, go_on, replace = threading.Event(), threading.Event(), os.replace

    def slow(source, target, **options):
        if str(target).endswith("scan01_003.jpg"):
            placing.set()
            assert go_on.wait(PATIENCE)
        return replace(source, target, **options)

    monkeypatch.setattr(write.os, "replace", slow)
    ingest = Thread(run.ingest, scan.pk)
    assert placing.wait(PATIENCE)
    task = task_of(scan)
    directory = Path(task.task_path())
    removal = Thread(task.delete)

    def waits():
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
                           "AND query LIKE 'SELECT \"openscan_scan\"%'")
            return cursor.fetchone()[0]

    until(lambda: waits() or not removal.is_alive(), PATIENCE)
    assert removal.is_alive() and host_tasks.get_task(task.pk) is not None and directory.exists()
    go_on.set()
    removal.ended()
    ingest.ended()
    check_it_ended(scan, token, directory)


def test_a_task_removed_in_the_last_moment_is_not_charged(token, monkeypatch):
    scan = started_scan(token, [make_zip(photos(2))])
    there = []
    before_approval(monkeypatch, lambda: there.append(task_of(scan).task_path()) or task_of(scan).delete())
    run.ingest(scan.pk)
    check_it_ended(scan, token, Path(there[0]))


def test_a_task_that_went_without_a_word_is_not_charged(token, monkeypatch):
    """Where Django deletes a project's rows in one go, no signal tells of its tasks."""
    scan = started_scan(token, [make_zip(photos(2))])
    task = []

    def rows_only():
        task.append(task_of(scan))
        type(task[0]).objects.filter(pk=task[0].pk).delete()

    before_approval(monkeypatch, rows_only)
    run.ingest(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.FAILED and scan.charge == Scan.VOIDED and "was deleted in WebODM" in scan.error


def test_a_retry_is_not_ended_by_the_removal_of_the_attempt_before_it(token):
    scan = started_scan(token, [make_zip(photos(2))])
    first = projects.make_waiting_task(scan)
    run.refuse(scan.pk, "A fault of ours.", keep_parts=True)
    until(lambda: finish.discard(scan.pk) or _is_going(first), PATIENCE)
    queue.retry(scan)
    gone = host_tasks.get_task(first.pk)
    if gone is not None:  # else the live worker was quicker
        gone.delete()
    until(lambda: run.ingest(scan.pk) or Scan.objects.get(pk=scan.pk).state != Scan.INITIALIZED, PATIENCE)
    scan.refresh_from_db()
    assert scan.state == Scan.APPROVED and scan.webodm_task_id != first.pk and photos_of(scan) == photos(2)


def _is_going(task):
    left = host_tasks.get_task(task.pk)
    return left is None or host_tasks.task_state(left).pending_action == "remove"


def test_a_task_that_its_owner_just_deleted_is_not_started(token):
    """A start would forget the wish to delete, and process what nobody wants."""
    scan = started_scan(token, [make_zip(photos(2))])
    run.ingest(scan.pk)
    task = task_of(scan)
    type(task).objects.filter(pk=task.pk).update(pending_action=host_tasks.pending_actions.REMOVE)
    assert queue._hand_over(Scan.objects.get(pk=scan.pk), token.owner, _Node(), alone=True) is False
    left = task_of(scan)
    assert left is None or host_tasks.task_state(left).pending_action == "remove"


class _Node:
    id, label, options, option_names = 0, "none", (), ()
