"""Publishing that fails: cut lines, lost answers, damaged bytes, killed workers. A result is never lost or half, and is found in one
place in the end."""
import multiprocessing
import os
from contextlib import contextmanager

import pytest
import requests
from django.db import connection, connections
from django.test import override_settings
from django.utils import timezone

from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import lifecycle, publish, records
from app_extensions.openscan.upkeep import periodic
from dev.standins.s3 import BUCKET
from tests.openscan.crash import run_in_child, spread
from tests.openscan.helpers import in_processes
from tests.openscan.stored import LARGE, files_of, in_a_thread, in_the_bucket, in_the_file_system, later, link_of

LONG = pytest.mark.long


@pytest.fixture
def scan(completed, store):
    """A scan whose model is ready to be published in three parts."""
    return completed(LARGE)


@pytest.mark.parametrize("kind", ["cut", "lost", 503, pytest.param(500, marks=LONG)])
def test_a_part_that_fails_once_is_sent_again(scan, store, kind):
    store.line.fail(kind, lambda seen: seen.part == 2, times=1)
    finish.finish(scan.pk)
    assert in_the_bucket(scan, store)["texture.png"] == LARGE["odm_texturing/texture.png"]
    assert store.line.parts_sent() == ([1, 2, 2, 3] if kind == "lost" else [1, 2, 3])
    assert StoredObject.objects.get(scan=scan).failures == 0


def test_a_part_that_arrives_damaged_is_noticed(scan, store):
    """Where the storage itself does not compare Content-MD5 (as this one does not), its tag tells."""
    store.line.fail("damaged", lambda seen: seen.part == 2)
    finish.finish(scan.pk)
    data = in_the_file_system(scan)
    assert "the object has" in StoredObject.objects.get(scan=scan).problem
    store.line.faults.clear()
    later(scan)
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)
    assert store.read(scan.result_object) == data


def test_a_storage_whose_tags_are_no_checksums(scan, store, s3_web):
    """Sizes and Content-MD5 are what is left then."""
    store.line.fail("tagged", lambda seen: seen.method == "HEAD")
    finish.finish(scan.pk)
    in_the_bucket(scan, store)
    assert StoredObject.objects.get(scan=scan).etag == ""
    link = link_of(s3_web, scan)
    assert requests.get(link, timeout=120, allow_redirects=False).status_code == 302
    assert len(requests.head(link, timeout=120).headers["ETag"]) > 20


def test_a_storage_that_cannot_list_what_arrived_gets_it_again(scan, store):
    store.line.fail(503, lambda seen: seen.part == 3, times=3)
    finish.finish(scan.pk)
    in_the_file_system(scan)
    store.line.heal()
    store.line.fail(405, lambda seen: seen.method == "GET" and ("uploads" in seen.query or "uploadId" in seen.query))
    later(scan)
    publish.publish_file(scan.pk)
    scan.refresh_from_db()
    assert store.line.parts_sent() == [1, 2, 3] and scan.result_object
    store.line.heal()
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    periodic.tidy_up()
    assert store.results_of(scan) == [] and store.open_uploads(f"openscan/results/{scan.pk}-") == []


@pytest.mark.parametrize("down", ["refused", 503, pytest.param("closed", marks=LONG), pytest.param(403, marks=LONG)])
def test_a_storage_that_is_away_at_publishing(scan, store, settings, s3_web, down):
    if down == "refused":
        settings.OPENSCAN_S3_ENDPOINT = "http://127.0.0.1:1"
    elif down == "closed":
        store.line.is_down = True
    else:
        store.line.fail(down)
    finish.finish(scan.pk)
    data = in_the_file_system(scan)
    scan.refresh_from_db()
    link = link_of(s3_web, scan)
    answer = requests.get(link, timeout=120, allow_redirects=False)
    assert answer.status_code == 200 and answer.content == data, "served from here meanwhile"
    later(scan)
    publish.publish_file(scan.pk)
    assert scan.pk not in records.results_to_publish(10_000), "put off"
    assert StoredObject.objects.filter(scan=scan, retry_at__gt=timezone.now()).exists()
    in_the_file_system(scan)
    store.line.heal()
    store.switch_on(settings)
    later(scan)
    assert scan.pk in records.results_to_publish(10_000)
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)
    assert requests.get(link, timeout=120).content == data, "the same link, from the bucket"


def test_after_a_failure_others_do_not_wait_for_it_in_their_turn(scan, store, completed):
    store.line.is_down = True
    finish.finish(scan.pk)
    assert records.is_pausing()
    store.line.heal()
    other = completed()
    finish.finish(other.pk)
    in_the_file_system(other)
    publish.publish_file(other.pk)
    assert not store.line.seen, "nothing was asked of it"
    later(scan)
    publish.publish_file(other.pk)
    assert not records.is_pausing(), "it works again"


def test_a_worker_killed_between_two_parts_leaves_a_result_that_is_sent_again(scan, store):
    def kill_child() -> None:
        os.kill(child[0], 9)

    child = []
    store.line.fail("cut", lambda seen: seen.part == 3, times=1, then=kill_child)
    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=finish.finish, args=(scan.pk,))
    process.start()
    child.append(process.pid)
    process.join(120)
    assert process.exitcode == -9
    in_the_file_system(scan)
    assert store.line.parts_sent() == [1, 2] and StoredObject.objects.get(scan=scan).state == "writing"
    publish.publish_file(scan.pk)
    assert store.line.parts_sent() == [1, 2, 1, 2, 3]
    assert in_the_bucket(scan, store)["texture.png"] == LARGE["odm_texturing/texture.png"]


def test_a_worker_killed_between_completing_and_the_row(scan, store):
    def kill_child() -> None:
        os.kill(child[0], 9)

    child = []
    # The first HEAD comes after the upload was completed.
    store.line.fail("lost", lambda seen: seen.method == "HEAD", times=1, then=kill_child)
    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=finish.finish, args=(scan.pk,))
    process.start()
    child.append(process.pid)
    process.join(120)
    assert process.exitcode == -9 and len(store.results_of(scan)) == 1
    publish.publish_file(scan.pk)
    assert store.line.parts_sent() == [1, 2, 3], "it was all there: only compared"
    in_the_bucket(scan, store)


def test_the_answer_to_completing_is_lost(scan, store):
    store.line.fail("lost", lambda seen: seen.method == "POST" and "uploadId" in seen.query, times=1)
    finish.finish(scan.pk)
    in_the_bucket(scan, store)
    assert StoredObject.objects.get(scan=scan).failures == 0 and store.line.parts_sent() == [1, 2, 3]


@pytest.mark.parametrize("what", ["finish", "publish_file", "restore"])
def test_killed_at_any_line(completed, store, request, what):
    def case():
        StoredObject.objects.update(failed_at=None)
        made = completed()
        if what == "publish_file":
            with override_settings(OPENSCAN_S3_BUCKET=""):
                finish.finish(made.pk)
        elif what == "restore":
            finish.finish(made.pk)
            made.refresh_from_db()
            store.client.delete_object(Bucket=BUCKET, Key=made.result_object)
        return made

    def work(made) -> None:
        {"finish": finish.finish, "publish_file": publish.publish_file, "restore": publish.restore}[what](made.pk)

    first = case()
    lines = run_in_child(lambda: work(first))
    assert lines > 40
    for line in spread(lines, lines // 3 if request.config.getoption("--long") else 3):
        made = case()
        run_in_child(lambda made=made: work(made), line)
        work(made)
        publish.publish_file(made.pk)
        for path in packing.stray_files(0):  # packed by the killed process; tidy_up removes it once it is old
            path.unlink()
        in_the_bucket(made, store)


def test_two_processes_that_publish_the_same(completed, store, settings):
    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    settings.OPENSCAN_S3_BUCKET = BUCKET
    in_processes(publish.publish_file, [scan.pk] * 3)
    in_the_bucket(scan, store)
    assert StoredObject.objects.filter(scan=scan).count() == 1


def test_a_lost_lock_costs_double_work_and_nothing_else(completed, store, settings, monkeypatch):
    """Two writers at once, as after a database connection that broke: one upload, one object."""
    @contextmanager
    def no_lock(_):
        yield True

    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    settings.OPENSCAN_S3_BUCKET = BUCKET
    monkeypatch.setattr(publish, "scan_lock", no_lock)
    in_processes(publish.publish_file, [scan.pk] * 2)
    later(scan)
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)


def test_a_writer_that_is_overtaken_leaves_the_object_of_the_other(completed, store, settings, monkeypatch):
    """As above, in the order that once removed the object that the scan names: the second writer does all its work between two
    parts of the first."""
    @contextmanager
    def no_lock(_):
        yield True

    def overtake() -> None:
        publish.publish_file(scan.pk)
        connection.close()

    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    settings.OPENSCAN_S3_BUCKET = BUCKET
    monkeypatch.setattr(publish, "scan_lock", no_lock)
    store.line.fail(503, lambda seen: seen.part == 2, times=1, then=lambda: in_a_thread(overtake))
    publish.publish_file(scan.pk)
    assert StoredObject.objects.get(scan=scan).state == "stored"
    in_the_bucket(scan, store)


@pytest.mark.parametrize("how", ["reset", "expired"])
def test_a_scan_that_ends_while_its_result_is_sent(completed, store, settings, how):
    name = f"ends while sent {how}"
    scan = completed(LARGE, name=name)
    if how == "expired":
        settings.OPENSCAN_S3_BUCKET = ""
        finish.finish(scan.pk)
        settings.OPENSCAN_S3_BUCKET = BUCKET

    def end() -> None:
        if how == "reset":
            scans.reset_scan(scan.token, name)
        else:
            Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now())
            finish.expire_results()
        connection.close()

    store.line.fail(503, lambda seen: seen.part == 2, times=1, then=lambda: in_a_thread(end))
    (finish.finish if how == "reset" else publish.publish_file)(scan.pk)
    scan.refresh_from_db()
    assert scan.state == (Scan.RESET if how == "reset" else Scan.EXPIRED) and scan.result_object == ""
    finish.discard(scan.pk)
    lifecycle.tidy()
    assert store.results_of(scan) == [] and store.open_uploads(f"openscan/results/{scan.pk}-") == []
    assert files_of(scan) == []
    assert set(StoredObject.objects.filter(scan=scan).values_list("state", flat=True)) == {"gone"}
