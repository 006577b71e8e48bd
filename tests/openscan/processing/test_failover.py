"""Nodes that die, hang, fill up or forget: their scans go to another node, are charged once, and told of once."""
import datetime

import pytest
from django.utils import timezone

from app_extensions.host import nodes as host_nodes
from app_extensions.host import processing
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.accounts import books, ledger
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import NodeRecord, NodeWatch, OutgoingMail, Scan
from app_extensions.openscan.processing import failover, finish, nodes, queue, status
from tests.openscan.crash import run_in_child, spread
from tests.openscan.flow import approved, started_scan, task_of, without_nodes
from tests.openscan.helpers import private_token
from tests.openscan.make_sets import make_zip, photos


@pytest.mark.parametrize("error, kind", [
    ("Processing node went offline. This could be due to insufficient memory or a network error.", "unreachable"),
    ("Connection error: HTTPConnectionPool(host='n', port=3000): Max retries exceeded with url: /task/new/init", "unreachable"),
    ("Unexpected status code: 502", "unreachable"), ("502", "unreachable"),
    ("d8a3c0de-1111-4222-8333-944455556666 not found", "forgotten"),
    ("Invalid route for taskId d8a3c0de-1111-4222-8333-944455556666:info, no task table entry.", "forgotten"),
    ("No room on the node's disk: 12 MB are free, 0 MB are wanted", "full"),
    ("ENOSPC: no space left on device, write", "full"), ("The processing node's disk is full.", "full"),
    ("No nodes available", "no machine"), ("Failed to forward task to processing node after 5 attempts. Try again later.", "no machine"),
    ("Invalid zip file", "broken"), ("The processing node failed: KeyError: 'x'", "broken"),
    ("only 3 of 16 photos could be placed: take more photos with more overlap", None),
    ("Not enough features", None), ("Process exited with code 1", None), ("The engine crashed (signal 11).", None),
    ("The engine was killed, most likely because there was not enough memory.", None), ("", None),
    ("file reconstruction.json not found: there is too little overlap", None), ("cannot process: camera model not found", None)])
def test_a_nodes_faults_are_told_from_the_photos(error, kind):
    found = failover.fault_in(error)
    assert (found.kind if found else None) == kind


@pytest.fixture
def second(node):
    """A second node for the same owner."""
    from nodeodm.models import ProcessingNode

    row = ProcessingNode.objects.create(hostname="127.0.0.1", port=10, label="second", last_refreshed=timezone.now(), queue_count=0,
                                        available_options=[])
    host_nodes.permit_node(node.owner, row.pk)
    return row


def released(owner, on, task_status=20, **fields):
    """A scan that the node `on` has in hand."""
    scan = approved(private_token(owner=owner)[0], state=Scan.RELEASED, released_at=timezone.now(), received_bytes=1000)
    ledger.post(scan)
    set_task(scan, status=task_status, processing_node=on, auto_processing_node=False, uuid="0" * 32, **fields)
    return scan


def set_task(scan, **fields):
    task = task_of(scan)
    type(task).objects.filter(pk=task.pk).update(**fields)


def offline(node_row):
    type(node_row).objects.filter(pk=node_row.pk).update(last_refreshed=timezone.now() - datetime.timedelta(hours=1))


def backdate(scan, minutes, *names):
    """As if the scan's last signs of life had been seen so long ago."""
    at = timezone.now() - datetime.timedelta(minutes=minutes)
    NodeWatch.objects.filter(scan=scan).update(**dict.fromkeys(names, at))


@pytest.fixture
def dispatched(monkeypatch):
    """The jobs that would be queued, as (name, scan id)."""
    found = []
    monkeypatch.setattr(failover, "dispatch", lambda name, pk, **_: found.append((name, pk)))
    return found


@pytest.mark.parametrize("task_status", [20, 10, None])
def test_a_scan_on_a_node_that_went_offline_is_taken_off_it(node, second, quiet, dispatched, task_status):
    scan = released(node.owner, node, task_status)
    assert failover.watch() == 0
    failover.move(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.RELEASED
    offline(node)
    assert failover.watch() == 1 and dispatched == [("move_scan", scan.pk)]
    failover.move(scan.pk)
    scan.refresh_from_db()
    task = task_of(scan)
    assert (scan.state, scan.moves, scan.tried_nodes, scan.retry_at, scan.charge) == (Scan.APPROVED, 1, str(node.pk), None, Scan.POSTED)
    assert host_tasks.task_state(task).status == "waiting" and task.uuid == "" and not task.partial
    assert status.scan_status(scan) == "file approved" and "another one will process it, free of charge" in queue.what_it_waits_for(scan)
    assert "taken off test node, it went offline" in scan.node_notes
    failover.move(scan.pk)  # once more changes nothing
    assert Scan.objects.get(pk=scan.pk).moves == 1
    assert queue.release() == 1
    assert task_of(scan).processing_node_id == second.pk
    assert [entry.kind for entry in scan.entries.order_by("pk")] == ["hold", "post"]


def test_silence_and_standstill(node, second, quiet, dispatched):
    scan = released(node.owner, node, processing_time=1000)
    failover.watch()
    backdate(scan, conf.silent_minutes - 1, "answer_at", "progress_at")
    assert failover.watch() == 0
    backdate(scan, conf.silent_minutes + 1, "answer_at", "progress_at")
    assert failover.watch() == 1
    set_task(scan, processing_time=61000)
    assert failover.watch() == 0, "the node answered"
    backdate(scan, conf.stalled_minutes + 1, "progress_at")
    assert failover.watch() == 1
    set_task(scan, running_progress=0.3)
    assert failover.watch() == 0, "it got on"


def test_a_watch_with_gaps_begins_anew(node, quiet, dispatched):
    """Otherwise every scan would be moved after the one worker that polls the nodes was away."""
    scan = released(node.owner, node)
    failover.watch()
    backdate(scan, 600, "answer_at", "progress_at", "looked_at")
    assert failover.watch() == 0 and failover.watch() == 0


def test_what_waits_in_a_nodes_own_queue_may_wait(node, quiet, dispatched):
    scan = released(node.owner, node, task_status=10)
    failover.watch()
    backdate(scan, 600, "answer_at", "progress_at")
    assert failover.watch() == 0


def test_a_full_disk_of_ours_is_not_the_nodes_fault(node, quiet, dispatched, settings):
    scan = released(node.owner, node)
    failover.watch()
    backdate(scan, 600, "answer_at", "progress_at")
    settings.OPENSCAN_FREE_RESERVE = "900TB"
    assert failover.watch() == 0
    settings.OPENSCAN_FREE_RESERVE = "1kB"
    assert failover.watch() == 1


def test_a_full_node_rests(node, second, quiet):
    scan = released(node.owner, second, 30, last_error="No room on the node's disk: 1 MB are free")
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.APPROVED and nodes.Places().rests(second.pk) and not nodes.Places().rests(node.pk)
    other = approved(private_token(owner=node.owner)[0], minute=5)
    assert queue.release() == 1
    assert task_of(scan).processing_node_id == node.pk and Scan.objects.get(pk=other.pk).state == Scan.APPROVED
    NodeRecord.objects.filter(node_id=second.pk).update(rests_until=timezone.now())
    assert queue.release() == 1 and task_of(other).processing_node_id == second.pk


def test_without_another_node_it_is_tried_again_later(node, quiet):
    scan = released(node.owner, node, 30, last_error="Connection error: refused")
    waits = []
    for _ in range(conf.node_attempts - 1):
        finish.finish(scan.pk)
        scan.refresh_from_db()
        assert scan.state == Scan.APPROVED and queue.release() == 0
        waits.append(round((scan.retry_at - timezone.now()).total_seconds() / 60))
        Scan.objects.filter(pk=scan.pk).update(retry_at=timezone.now())
        assert queue.release() == 1
        set_task(scan, status=30, last_error="Connection error: refused", auto_processing_node=False, processing_node=node)
    assert waits == [1, 5]
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert (scan.state, scan.charge) == (Scan.FAILED, Scan.REFUNDED) and "could not be reached" in scan.error
    assert "refused" not in scan.error and "Connection error: refused" in scan.node_notes
    assert books.find_discrepancies([scan.token]) == []


def test_the_last_node_that_hangs_ends_the_scan(node, quiet):
    scan = released(node.owner, node, processing_time=5)
    Scan.objects.filter(pk=scan.pk).update(moves=conf.node_attempts - 1)
    mails = OutgoingMail.objects.filter(kind="failed").count()
    failover.watch()
    backdate(scan, 600, "answer_at", "progress_at")
    NodeWatch.objects.filter(scan=scan).update(looked_at=timezone.now())
    failover.move(scan.pk)
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert (scan.state, scan.charge) == (Scan.FAILED, Scan.REFUNDED) and "3 attempts were made" in scan.error
    assert OutgoingMail.objects.filter(kind="failed").count() == mails + 1


def test_the_photos_faults_and_canceled_tasks_end_at_once(node, second, quiet):
    for task_status, error, charge in ((30, "only 3 of 16 photos could be placed", Scan.POSTED),
                                       (30, "The engine crashed (signal 11).", Scan.REFUNDED), (50, "", Scan.POSTED)):
        scan = released(node.owner, node, task_status, last_error=error)
        finish.finish(scan.pk)
        scan.refresh_from_db()
        assert (scan.state, scan.charge, scan.moves) == (Scan.FAILED, charge, 0)


def test_a_wish_of_the_owner_comes_first(node, quiet, dispatched):
    scan = released(node.owner, node, pending_action=2)
    offline(node)
    assert failover.watch() == 0
    failover.move(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.RELEASED


@pytest.mark.parametrize("task_status", [20, 10, None])
def test_a_node_that_is_taken_out_of_webodm(node, second, quiet, dispatched, task_status):
    scan = released(node.owner, node, task_status)
    node.delete()
    assert failover.watch() == 1
    failover.move(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.APPROVED and queue.release() == 1
    assert host_tasks.task_state(task_of(scan)).status == "queued"  # WebODM finds the only node itself


def test_clients_are_not_told_of_a_failure_that_is_none(node, second, quiet):
    scan = released(node.owner, node, 30, last_error="Connection error: refused")
    assert status.scan_status(scan) == "file approved"
    scan.moves = conf.node_attempts - 1
    assert status.scan_status(scan) == "processing failed"
    scan.moves = 0
    set_task(scan, last_error="The engine crashed (signal 11).")
    assert status.scan_status(scan) == "processing failed"


def test_webodms_own_step_is_waited_for(node, second, quiet, monkeypatch):
    scan = released(node.owner, node)
    offline(node)
    monkeypatch.setattr(failover, "PATIENCE_SECONDS", 0.2)
    with processing.task_lock(scan.webodm_task_id) as mine:
        assert mine
        failover.move(scan.pk)
        assert Scan.objects.get(pk=scan.pk).state == Scan.RELEASED
    failover.move(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.APPROVED


def test_settings_say_how_many_a_node_takes(node, second, quiet, settings):
    NodeRecord.objects.create(node_id=second.pk, is_cluster=True, parallel=None)
    by_id = {entry.id: entry for entry in host_nodes.nodes_for(node.owner)}
    assert (nodes.Places()(by_id[node.pk]), nodes.Places()(by_id[second.pk])) == (1, 4)
    NodeRecord.objects.filter(node_id=second.pk).update(parallel=7)
    assert nodes.Places()(by_id[second.pk]) == 7
    settings.OPENSCAN_NODE_TASKS = "127.0.0.1:9=3, second=0"
    assert (nodes.Places()(by_id[node.pk]), nodes.Places()(by_id[second.pk])) == (3, 0)
    assert [entry.id for entry in nodes.Places().usable(node.owner)] == [node.pk]
    for wrong in ("second", "second=", "=4", "a=b"):
        settings.OPENSCAN_NODE_TASKS = wrong
        with pytest.raises(Exception, match="NODE_TASKS"):
            _ = conf.node_tasks


def test_scans_spread_over_nodes_by_their_room(node, second, quiet, settings):
    token, _ = private_token(owner=node.owner)
    many = [approved(token, minute) for minute in range(6)]
    settings.OPENSCAN_NODE_TASKS = "test node=1,second=4"
    assert queue.release() == 5
    on = [task_of(scan).processing_node_id for scan in many]
    assert sorted(filter(None, on)) == [node.pk] + [second.pk] * 4 and on[-1] is None
    assert queue.release() == 0


# Killed at any line

@pytest.fixture
def two_nodes(live_db, monkeypatch):
    """An owner with a node that is offline and one that is not, with nothing behind either; the live worker is not told."""
    from nodeodm.models import ProcessingNode

    from app_extensions.openscan import dispatch

    monkeypatch.setattr(dispatch, "dispatch", lambda *_, **__: True)
    owner = without_nodes()
    rows = [ProcessingNode.objects.create(hostname="127.0.0.1", port=9, label=f"n{number}", queue_count=0, available_options=[],
                                          last_refreshed=timezone.now()) for number in (1, 2)]
    offline(rows[0])
    for row in rows:
        host_nodes.permit_node(owner, row.pk)
    yield owner, rows
    for row in rows:
        row.delete()


def moved_killed_at(owner, rows, line):
    from app_extensions.openscan.ingest import run

    scan = started_scan(private_token(owner=owner)[0], [make_zip(photos(2))])
    run.ingest(scan.pk)
    Scan.objects.filter(pk=scan.pk).update(state=Scan.RELEASED, released_at=timezone.now())
    set_task(scan, status=20, processing_node=rows[0], uuid="0" * 32, processing_time=5)
    lines = run_in_child(lambda: failover.move(scan.pk), kill_at=line)
    for _ in range(400):
        if Scan.objects.get(pk=scan.pk).state == Scan.APPROVED:
            break
        # A lock of the killed process in Redis ends by itself after half a minute.
        processing.redis_client.delete(f"task_lock_{scan.webodm_task_id}")
        failover.move(scan.pk)
    scan.refresh_from_db()
    assert (scan.state, scan.moves, scan.charge) == (Scan.APPROVED, 1, Scan.POSTED)
    assert scan.node_notes.count("taken off") == 1 and host_tasks.task_state(task_of(scan)).status == "waiting"
    assert books.find_discrepancies([scan.token]) == []
    Scan.objects.filter(pk=scan.pk).update(state=Scan.EXPIRED)
    return lines


def test_moving_killed_at_some_lines(two_nodes):
    owner, rows = two_nodes
    for line in spread(moved_killed_at(owner, rows, None), 8):
        moved_killed_at(owner, rows, line)


@pytest.mark.long
def test_moving_killed_at_every_line(two_nodes):
    owner, rows = two_nodes
    for line in range(1, moved_killed_at(owner, rows, None) + 1):
        moved_killed_at(owner, rows, line)
