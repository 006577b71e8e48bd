"""A job that is killed at any line continues where it was: nothing is lost or done twice.

The kill points are lines of our own code, found by running each job once and counting. A few are tried always, every
single one with `--long`.
"""
import os
import signal
import time

import pytest
from django.utils import timezone

from app_extensions.host import assets
from app_extensions.host import nodes as host_nodes
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import books, ledger
from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import OutgoingMail, Scan
from app_extensions.openscan.processing import finish, projects, queue
from app_extensions.openscan.results import packing
from tests.openscan.crash import run_in_child, spread
from tests.openscan.finished import MODEL, fill
from tests.openscan.flow import empty_queue, files_of_parts, photos_of, poke, send, started_scan, task_of, without_nodes
from tests.openscan.helpers import private_token, wanted_by_catch_up
from tests.openscan.make_sets import cut, jpeg, make_zip, photos
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")

FEW = 5


@pytest.fixture
def token(monkeypatch):
    """A private token whose tasks no node takes; the live worker is not told of what happens to it."""
    from app_extensions.openscan import dispatch

    monkeypatch.setattr(dispatch, "dispatch", lambda *_, **__: True)
    return private_token(owner=without_nodes())[0]


def settle(work, done):
    """Repeats a job until it did what it should; the lock of a killed process is gone once PostgreSQL noticed its end."""
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "not recovered"
        work()


def state_of(scan):
    scan.refresh_from_db()
    return scan.state


# Each job: make(token) -> scan, work(scan), done(scan) -> bool, check(scan, token)

def make_ingest(token):
    return started_scan(token, cut(make_zip({**photos(3), "fake.jpg": b"no"}), 2))


def check_ingest(scan, token):
    from app.models import Task

    assert scan.state == Scan.APPROVED and photos_of(scan) == photos(3)
    assert Task.objects.filter(project_id=scan.webodm_project_id, name=scan.name).count() == 1
    assert scan.charge == Scan.POSTED and scan.posted_bytes == scan.received_bytes
    assert not scan.parts.exists()
    part_files.sweep(0)
    assert not files_of_parts(scan)
    assert not host_tasks.incoming_path(scan.webodm_task_id).exists()


def make_refusal(token):
    return started_scan(token, [make_zip({"1.jpg": jpeg(1), "../evil.jpg": b"x"})])


def check_refusal(scan, token):
    assert "“../evil.jpg” leads out" in scan.error and scan.charge == Scan.VOIDED
    part_files.sweep(0)
    assert not files_of_parts(scan)
    token.refresh_from_db()
    assert token.credit_bytes == 100_000_000


def make_finish(token):
    scan = scans.create_scan(token, f"f{time.monotonic_ns()}", photos=3, parts=1, filesize_bytes=1000)
    task = projects.make_waiting_task(scan)
    host_tasks.task_dir(task)
    fill(task, MODEL)
    task.status, task.processing_time = 40, 3000
    task.save()
    now = timezone.now()
    Scan.objects.filter(pk=scan.pk).update(state=Scan.RELEASED, released_at=now, started_at=now, approved_at=now,
                                           images_count=3, received_bytes=1000)
    scan.refresh_from_db()
    ledger.post(scan)
    scan.mails_before = OutgoingMail.objects.filter(kind="done").count()
    return scan


def check_finish(scan, token):
    for path in packing.stray_files(0):
        path.unlink()
    mine = [path.name for path in part_files.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]
    assert mine == [scan.result_file]
    assert OutgoingMail.objects.filter(kind="done").count() == scan.mails_before + 1
    assert scan.charge == Scan.POSTED


def make_failed(token):
    scan = make_finish(token)
    task = task_of(scan)
    task.status, task.last_error = 30, "out of memory"
    task.save()
    scan.mails_before = OutgoingMail.objects.filter(kind="failed").count()
    return scan


def check_failed(scan, token):
    assert scan.charge == Scan.REFUNDED
    assert OutgoingMail.objects.filter(kind="failed").count() == scan.mails_before + 1


def make_discard(token):
    scan = make_finish(token)
    finish.finish(scan.pk)
    scans.reset_scan(token, scan.name)
    return scan


def check_discard(scan, token):
    assert not [path for path in part_files.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]
    assert task_of(scan) is not None and assets.assets_dir(task_of(scan)).exists()


JOBS = {
    "ingest": (make_ingest, run.ingest, lambda scan: state_of(scan) == Scan.APPROVED, check_ingest),
    "refusal": (make_refusal, run.ingest, lambda scan: state_of(scan) == Scan.FAILED, check_refusal),
    "finish": (make_finish, finish.finish, lambda scan: state_of(scan) == Scan.DONE, check_finish),
    "failed": (make_failed, finish.finish, lambda scan: state_of(scan) == Scan.FAILED, check_failed),
    "discard": (make_discard, finish.discard, lambda scan: state_of(scan) == Scan.RESET and not scan.result_file, check_discard),
}


def killed_and_recovered(job, token, line):
    make, work, done, check = JOBS[job]
    scan = make(token)
    run_in_child(lambda: work(scan.pk), kill_at=line)
    settle(lambda: work(scan.pk), lambda: done(scan))
    check(scan, token)
    work(scan.pk)  # and once more changes nothing
    scan.refresh_from_db()
    check(scan, token)
    assert books.find_discrepancies([token]) == []


def lines_of(job, token):
    make, work, done, check = JOBS[job]
    scan = make(token)
    total = run_in_child(lambda: work(scan.pk))
    assert done(scan)
    check(scan, token)
    return total


@pytest.mark.parametrize("job", JOBS)
def test_killed_at_some_lines(job, token):
    for line in spread(lines_of(job, token), FEW):
        killed_and_recovered(job, token, line)


@pytest.mark.long
@pytest.mark.parametrize("job", JOBS)
def test_killed_at_every_line(job, token, settings):
    total = lines_of(job, token)
    print(f"\n{job}: {total} lines")
    for line in range(1, total + 1):
        killed_and_recovered(job, token, line)


@pytest.fixture
def node(token):
    from nodeodm.models import ProcessingNode

    empty_queue()
    row = ProcessingNode.objects.create(hostname="127.0.0.1", port=9, label="nobody", last_refreshed=timezone.now(), queue_count=0)
    host_nodes.permit_node(token.owner, row.pk)
    yield row
    empty_queue()  # what is on this node would stand in the way of others
    row.delete()


def release_killed_at(token, line):
    scan = started_scan(token, [make_zip(photos(2))])
    run.ingest(scan.pk)
    killed = run_in_child(queue.release, kill_at=line)
    settle(queue.release, lambda: state_of(scan) == Scan.RELEASED)
    task = task_of(scan)
    assert task.auto_processing_node and task.images_count == 2 and not task.partial
    # Finished, so that the next one finds the node free.
    task.status, task.auto_processing_node = 50, False
    task.save()
    finish.finish(scan.pk)
    return killed


def test_the_queue_killed_at_some_lines(token, node, monkeypatch):
    from worker.tasks import process_task

    monkeypatch.setattr(process_task, "delay", lambda *_: None)  # there is nothing behind this node
    total = release_killed_at(token, None)
    for line in spread(total, FEW):
        release_killed_at(token, line)


@pytest.mark.long
def test_the_queue_killed_at_every_line(token, node, monkeypatch):
    from worker.tasks import process_task

    monkeypatch.setattr(process_task, "delay", lambda *_: None)
    for line in range(1, release_killed_at(token, None) + 1):
        release_killed_at(token, line)


def kill_group(service):
    """SIGKILL to the worker and its children, all at once."""
    os.killpg(os.getpgid(service.process.pid), signal.SIGKILL)
    service.process.wait()


def test_the_live_worker_killed_in_the_middle_of_an_ingest(rig, stack, running_worker):
    empty_queue()
    members = photos(250)
    project = send(rig, members, parts=3)
    scan = Scan.objects.get(name=project)

    def written():
        scan.refresh_from_db()
        directory = host_tasks.task_dir(task_of(scan)) if scan.webodm_task_id else None
        return len(list(directory.iterdir())) if directory else 0

    until(lambda: written() > 3, every=0.01)
    kill_group(running_worker)
    scan.refresh_from_db()
    print(f"killed with {written()} of {len(members)} photos written, state {scan.state}")
    stack.services.pop("worker")
    stack.start(["worker"])
    Scan.objects.filter(pk=scan.pk).update(started_at=timezone.now() - timezone.timedelta(minutes=1))
    # The broker still holds nothing of the lost job; only the periodic look finds it.
    until(lambda: poke("catch_up", "release_queue") or state_of(scan) not in (Scan.INITIALIZED,), 240, 0.5)
    assert photos_of(scan) == members and scan.images_count == len(members)
    assert scan.charge == Scan.POSTED and not scan.parts.exists()
    until(lambda: poke("catch_up", "release_queue") or state_of(scan) == Scan.DONE, 240, 0.5)
    assert books.find_discrepancies([scan.token]) == []


def test_what_is_under_way_is_not_queued_as_lost(token):
    scan = make_ingest(token)
    assert scan.pk not in wanted_by_catch_up("ingest_scan")  # it was started a moment ago
    Scan.objects.filter(pk=scan.pk).update(started_at=timezone.now() - timezone.timedelta(minutes=1))
    assert scan.pk in wanted_by_catch_up("ingest_scan")
    Scan.objects.filter(pk=scan.pk).update(retry_at=timezone.now() + timezone.timedelta(minutes=1))
    assert scan.pk not in wanted_by_catch_up("ingest_scan")

