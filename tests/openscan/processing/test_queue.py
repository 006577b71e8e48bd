"""Whose turn it is, when there is room, and how long it takes."""
import datetime
import uuid
from collections import Counter

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_extensions.host import nodes as host_nodes
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.processing import queue, status
from app_extensions.openscan.upkeep import site
from tests.openscan.flow import T0, approved, without_nodes
from tests.openscan.helpers import private_token, public_token

ADA, BOB = "198.51.100.7", "198.51.100.8"


def stands(token: Token, minute: int, address: str = "", state: str = Scan.APPROVED, photos: int = 10) -> Scan:
    """A row with the columns of a scan that the queue reads."""
    return Scan.objects.create(
        token=token, name=uuid.uuid4().hex, state=state, client_address=address, photos=photos, images_count=photos, parts_count=1,
        declared_bytes=1, upload_nonce="x", links_expire_at=T0, started_at=T0 + datetime.timedelta(minutes=minute))


def order(*scans_of_the_test: Scan) -> list:
    """The places of these scans in the queue, as numbers from 1 in the order in which they are given."""
    number = {scan.pk: place for place, scan in enumerate(scans_of_the_test, 1)}
    return [number[entry.pk] for entry in queue.waiting_scans()]


def test_oldest_first(empty):
    assert order(*(stands(private_token()[0], minute) for minute in (5, 3, 4))) == [2, 3, 1]


def test_private_before_public(empty):
    public, private = public_token()[0], private_token()[0]
    assert order(stands(public, 0), stands(private, 50), stands(public, 1)) == [2, 1, 3]


def test_tokens_take_turns(empty):
    busy = private_token()[0]
    many = [stands(busy, number) for number in range(4)]
    assert order(*many, stands(private_token()[0], 60), stands(private_token()[0], 70)) == [1, 5, 6, 2, 3, 4]


def test_clients_of_a_public_token_take_turns(empty):
    """Before, one client with many sets stood before everybody who came later under the same token."""
    public = public_token()[0]
    many = [stands(public, number, ADA) for number in range(3)]
    late = stands(public, 60, BOB)
    assert order(*many, late) == [1, 4, 2, 3] and queue.position(late) == 2


def test_what_runs_counts_as_a_turn(empty):
    busy, other = private_token()[0], private_token()[0]
    stands(busy, 0, state=Scan.RELEASED)
    assert order(stands(busy, 0), stands(other, 30)) == [2, 1]


def test_what_runs_for_one_client_is_no_turn_of_another(empty):
    public = public_token()[0]
    stands(public, 0, ADA, state=Scan.RELEASED)
    assert order(stands(public, 1, ADA), stands(public, 30, BOB)) == [2, 1]


@given(rows=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", ADA, BOB]), st.integers(0, 20)), max_size=12),
       running=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["", ADA, BOB])), max_size=6))
@settings(suppress_health_check=list(HealthCheck))
def test_every_order_is_fair(empty, rows, running):
    with transaction.atomic():
        tokens = [private_token()[0], private_token()[0], public_token()[0], public_token()[0]]
        turns = Counter()
        for token, address in running:
            stands(tokens[token], 0, address, state=Scan.RELEASED)
            turns[tokens[token].pk, address] += 1
        scans_by_pk = {}
        for token, address, minute in rows:
            scan = stands(tokens[token], minute, address)
            scans_by_pk[scan.pk] = scan
        line = queue.waiting_scans()
        assert sorted(entry.pk for entry in line) == sorted(scans_by_pk)
        assert [entry.is_public for entry in line] == sorted(entry.is_public for entry in line)
        assert [queue.position(scans_by_pk[entry.pk]) for entry in line] == list(range(1, len(line) + 1))
        for most in (1, 20):
            assert list(queue.front(most).places.items()) == [(entry.pk, place) for place, entry in enumerate(line, 1)][:most]
            assert queue.front(most).waiting == len(line)
        whose = [(entry.token_id, scans_by_pk[entry.pk].client_address) for entry in line]
        for client in set(whose):
            own = [(entry.started_at, entry.pk) for entry, of in zip(line, whose) if of == client]
            assert own == sorted(own)  # a client's own scans stay in their order
        for (entry, client), (following, next_client) in zip(zip(line, whose), list(zip(line, whose))[1:]):
            if entry.is_public == following.is_public:
                # Nobody has a second turn while another, who waits, has had fewer.
                assert turns[client] <= turns[next_client] + (client == next_client)
            turns[client] += 1
        transaction.set_rollback(True)


def test_the_front_of_one_owner_keeps_its_places_among_all(empty):
    boss = without_nodes()
    others, own = private_token()[0], private_token(owner=boss)[0]
    stands(others, 0)
    first, second = stands(own, 1), stands(own, 2)
    stands(others, 3)
    front = queue.front(1, boss.pk)
    assert front == ({first.pk: 2}, 2)
    assert list(queue.front(5, boss.pk).places) == [first.pk, second.pk]


def test_a_scan_held_back_is_listed_behind_a_long_queue(empty):
    """Before, an administrator could not let it go on while fifty others waited."""
    token = private_token()[0]
    held = stands(token, 0)
    queue.hold(held)
    for minute in range(site.MOST_ROWS + 1):
        stands(token, minute)
    seen = site.for_admin(get_user_model().objects.create_superuser("boss", "boss@example.org", "pass"))["queue"]
    assert [row["place"] for row in seen["waiting"]] == [*range(1, site.MOST_ROWS + 1), 0]
    assert (seen["waiting"][-1]["name"], seen["waiting"][-1]["on_hold"], seen["count"]) == (held.name, True, site.MOST_ROWS + 2)


def test_a_client_that_asks_loads_one_number_and_release_one_list(empty, django_assert_num_queries):
    """Before, each rig that asked for its place loaded the whole queue, and a release asked for each waiting scan again."""
    token = private_token(owner=without_nodes())[0]
    scan = [stands(token, minute) for minute in range(40)][-1]
    with django_assert_num_queries(1):
        assert queue.position(scan) == 40
    queue.release()  # Django looks content types up once per process
    with CaptureQueriesContext(connection) as few:
        assert queue.release() == 0
    for minute in range(40, 80):
        stands(token, minute)
    with CaptureQueriesContext(connection) as many:
        assert queue.release() == 0
    assert len(many) == len(few)


def test_only_as_many_as_the_nodes_have_room_for(node, quiet, settings):
    token, _ = private_token(owner=node.owner)
    first, second, third = (approved(token, minute) for minute in (0, 1, 2))
    assert queue.release() == 1
    assert [Scan.objects.get(pk=scan.pk).state for scan in (first, second, third)] == ["released", "approved", "approved"]
    assert queue.release() == 0
    settings.OPENSCAN_TASKS_PER_NODE = 2
    assert queue.release() == 1
    assert Scan.objects.get(pk=third.pk).state == Scan.APPROVED
    assert [queue.position(scan) for scan in (first, second, third)] == [0, 0, 1]
    task = host_tasks.get_task(first.webodm_task_id)
    assert task.auto_processing_node and task.processing_node_id is None and task.images_count == 1


def test_what_others_gave_the_node_counts(node, quiet):
    token, _ = private_token(owner=node.owner)
    approved(token)
    type(node).objects.filter(pk=node.pk).update(queue_count=1)
    assert queue.release() == 0
    type(node).objects.filter(pk=node.pk).update(queue_count=0)
    assert queue.release() == 1


def test_a_full_owner_does_not_hold_up_another(node, quiet):
    from nodeodm.models import ProcessingNode

    other_node = ProcessingNode.objects.create(hostname="127.0.0.1", port=10, last_refreshed=timezone.now(), queue_count=0)
    other = without_nodes()
    host_nodes.permit_node(other, other_node.pk)
    full, free = private_token(owner=node.owner)[0], private_token(owner=other)[0]
    approved(full, 0), approved(full, 1)
    late = approved(free, 5)
    assert queue.release() == 2
    assert Scan.objects.get(pk=late.pk).state == Scan.RELEASED


def test_two_owners_of_one_node_share_it(node, quiet):
    other = without_nodes()
    host_nodes.permit_node(other, node.pk)
    approved(private_token(owner=node.owner)[0], 0)
    late = approved(private_token(owner=other)[0], 5)
    assert queue.release() == 1
    assert Scan.objects.get(pk=late.pk).state == Scan.APPROVED and queue.release() == 0


def test_a_scan_on_a_node_of_its_own_leaves_the_other_nodes_alone(node, quiet):
    """An administrator may use all nodes; who may use one alone does not wait for what the administrator runs elsewhere."""
    from nodeodm.models import ProcessingNode

    other_node = ProcessingNode.objects.create(hostname="127.0.0.1", port=10, last_refreshed=timezone.now(), queue_count=0)
    other = without_nodes()
    for row in (node, other_node):
        host_nodes.permit_node(other, row.pk)
    early = approved(private_token(owner=other)[0], 0)
    assert queue.release() == 1
    late = approved(private_token(owner=node.owner)[0], 5)
    assert queue.release() == 0  # the early one may still be given this node
    task = host_tasks.get_task(early.webodm_task_id)
    task.processing_node_id = other_node.pk
    task.save(update_fields=["processing_node"])
    assert queue.release() == 1
    assert Scan.objects.get(pk=late.pk).state == Scan.RELEASED


def test_a_private_scan_overtakes_public_ones(node, quiet):
    public = approved(public_token(owner=node.owner)[0], 0)
    private = approved(private_token(owner=node.owner)[0], 9)
    assert queue.position(public) == 2
    assert queue.release() == 1
    assert Scan.objects.get(pk=private.pk).state == Scan.RELEASED


def test_an_offline_node_releases_nothing_and_says_so(node, quiet):
    token, _ = private_token(owner=node.owner)
    scan = approved(token)
    type(node).objects.filter(pk=node.pk).update(last_refreshed=timezone.now() - timezone.timedelta(hours=1))
    assert queue.release() == 0
    info = status.project_info(token, scan.name)
    assert info["status"] == "file approved" and info["queue_position"] == 1
    assert "no processing node" in info["message"]


def test_an_owner_without_nodes_waits_with_a_clear_word(empty):
    token, _ = private_token(owner=without_nodes())
    scan = approved(token)
    assert queue.release() == 0
    assert "no processing node that this token's WebODM user may use is online" in queue.what_it_waits_for(scan)


def test_nodes_that_are_too_small_are_not_used(node, quiet):
    from nodeodm.models import ProcessingNode

    type(node).objects.filter(pk=node.pk).update(max_images=5)
    token, _ = private_token(owner=node.owner)
    scan = approved(token, photos=10)
    assert queue.release() == 0
    assert "take 5 at most" in queue.what_it_waits_for(scan)
    large = ProcessingNode.objects.create(hostname="127.0.0.1", port=10, last_refreshed=timezone.now(), queue_count=0, max_images=50)
    host_nodes.permit_node(node.owner, large.pk)
    assert queue.release() == 1
    task = host_tasks.get_task(scan.webodm_task_id)
    assert task.processing_node_id == large.pk and not task.auto_processing_node


def test_options_come_from_the_preset_as_far_as_the_node_knows_them(node, quiet, settings):
    from app.models import Preset

    type(node).objects.filter(pk=node.pk).update(
        available_options=[{"name": "mesh-size", "type": "int"}, {"name": "use-3dmesh", "type": "bool"}])
    Preset.objects.create(owner=node.owner, name="Turntable", options=[
        {"name": "mesh-size", "value": "300000"}, {"name": "unknown-option", "value": "1"}, {"name": "use-3dmesh", "value": False}])
    settings.OPENSCAN_PRESET = "Turntable"
    scan = approved(private_token(owner=node.owner)[0])
    assert queue.release() == 1
    assert host_tasks.get_task(scan.webodm_task_id).options == [{"name": "mesh-size", "value": "300000"}]


def test_a_node_that_can_is_asked_for_the_glb_that_the_page_shows():
    knows = host_nodes.NodeInfo(1, "a", True, 0, None, "odm", options=[{"name": "gltf"}, {"name": "mesh-size"}])
    does_not = host_nodes.NodeInfo(2, "b", True, 0, None, "odm", options=[{"name": "mesh-size"}])
    mesh, glb = {"name": "mesh-size", "value": "1"}, {"name": "gltf", "value": True}
    assert queue.with_glb([mesh], [knows]) == [mesh, glb]
    assert queue.with_glb([mesh, glb], [knows]) == [mesh, glb]
    assert queue.with_glb([mesh], [knows, does_not]) == queue.with_glb([mesh], []) == [mesh]


def test_a_preset_that_is_missing_stops_nothing(node, quiet, settings):
    settings.OPENSCAN_PRESET = "no such preset"
    approved(private_token(owner=node.owner)[0])
    assert queue.release() == 1


def test_only_one_process_releases(node, quiet):
    import threading

    from app_extensions.openscan.locks import job_lock

    approved(private_token(owner=node.owner)[0])
    held, go_on = threading.Event(), threading.Event()

    def other():
        from django.db import connection

        with job_lock("openscan.queue") as mine:
            assert mine
            held.set()
            go_on.wait(10)
        connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(10)
    assert queue.release(patience_seconds=0) == 0
    threading.Timer(0.3, go_on.set).start()
    assert queue.release() == 1  # waits for the other, which may have looked before this scan was there
    thread.join()


def test_a_task_that_its_owner_started_by_hand_is_not_started_again(node, quiet):
    scan = approved(private_token(owner=node.owner)[0])
    task = host_tasks.get_task(scan.webodm_task_id)
    task.status, task.processing_node = 20, node
    task.save()
    assert status.scan_status(scan) == "processing started"
    queue.release()
    task.refresh_from_db()
    assert Scan.objects.get(pk=scan.pk).state in (Scan.RELEASED, Scan.APPROVED) and task.status == 20


def finished(token, seconds, photos):
    scan = approved(token, photos=photos)
    Scan.objects.filter(pk=scan.pk).update(state=Scan.DONE, processing_seconds=seconds, finished_at=timezone.now())


def test_the_estimate_is_nothing_while_a_node_is_free(node):
    token, _ = private_token(owner=node.owner)
    assert queue.estimate_seconds(token) == 0


def test_the_estimate_comes_from_real_processing_times(node):
    token, _ = private_token(owner=node.owner)
    finished(token, 200.0, 100)
    finished(token, 400.0, 100)
    assert queue.seconds_per_photo() == 3.0
    running = approved(token, photos=50)
    Scan.objects.filter(pk=running.pk).update(state=Scan.RELEASED)
    approved(token, photos=100)
    assert queue.estimate_seconds(token) == 450
    task = host_tasks.get_task(running.webodm_task_id)
    task.status, task.running_progress = 20, 0.5
    task.save()
    assert queue.estimate_seconds(token) == 375


def test_the_estimate_knows_the_queues_order(node):
    private, public = private_token(owner=node.owner)[0], public_token(owner=node.owner)[0]
    finished(private, 100.0, 100)
    running = approved(private, photos=10)
    Scan.objects.filter(pk=running.pk).update(state=Scan.RELEASED)
    approved(public, photos=500)
    assert queue.estimate_seconds(private) == 10
    assert queue.estimate_seconds(public) == 510
    assert queue.estimate_seconds(private_token(owner=node.owner)[0]) == 10


def test_the_first_estimate_is_a_guess(empty):
    assert queue.seconds_per_photo() == queue.FIRST_GUESS_SECONDS_PER_PHOTO


def test_estimates_are_whole_seconds_over_http_with_and_without_a_token(rig):
    for answer in (rig.get("getQueueEstimate"), rig.session.get(rig.root + "getQueueEstimate", timeout=120)):
        assert answer.status_code == 200
        assert type(answer.json()["estimated_time_seconds"]) is int


def test_retry_of_what_cannot_be_retried(node):
    token, _ = private_token(owner=node.owner)
    scan = scans.create_scan(token, "fresh", photos=1, parts=1, filesize_bytes=10)
    with pytest.raises(OpenScanError, match="created cannot be tried again"):
        queue.retry(scan)
    refused = approved(token, state=Scan.FAILED, released_at=None)
    with pytest.raises(OpenScanError, match="has to send it again"):
        queue.retry(refused)


def test_retry_of_a_failed_task_restarts_it(node, quiet):
    token, _ = private_token(owner=node.owner)
    scan = approved(token, state=Scan.FAILED, released_at=timezone.now(), error="Processing failed: x")
    task = host_tasks.get_task(scan.webodm_task_id)
    task.status, task.last_error = 30, "x"
    task.save()
    queue.retry(scan)
    scan.refresh_from_db()
    assert scan.state == Scan.RELEASED and scan.error == "" and status.scan_status(scan) == "file approved"
