"""Object storage that fails: cut lines, lost answers, killed workers, a storage that is away, objects that others removed.

A result is never lost or half, and is found in one place in the end.
"""
import io
import os
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from django.utils import timezone

from app_extensions.openscan import finish, periodic, results, scans, status, storage
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.objects import lifecycle, publish, records
from tests.openscan.crash import run_in_child, spread
from tests.openscan.flow import task_of, until
from tests.openscan.helpers import in_processes
from tests.openscan.test_results import MODEL, completed, fill, link_text  # noqa: F401 - a fixture
from tests.support.s3 import BUCKET, PART_BYTES

LONG = pytest.mark.long
LARGE = {**MODEL, "odm_texturing/texture.png": os.urandom(2 * PART_BYTES + 1000)}


@pytest.fixture
def scan(completed, store):  # noqa: F811
    """A scan whose model is ready to be published in three parts."""
    return completed(LARGE)


def in_the_bucket(scan, store) -> dict:
    """What the scan's only object holds, after everything was tidied up; nothing of it lies elsewhere."""
    lifecycle.tidy()
    scan.refresh_from_db()
    assert scan.state == Scan.DONE and scan.result_file == "" and status.scan_status(scan) == "processing done"
    assert store.results_of(scan) == [scan.result_object] and store.open_uploads(f"openscan/results/{scan.pk}-") == []
    assert not [path for path in storage.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]
    entry = StoredObject.objects.get(key=scan.result_object)
    data = store.read(entry.key)
    assert entry.state == "stored" and len(data) == entry.size_bytes
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def in_the_file_system(scan) -> bytes:
    scan.refresh_from_db()
    assert scan.state == Scan.DONE and status.scan_status(scan) == "processing done"
    data = (storage.results_dir() / scan.result_file).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    return data


def later(scan) -> None:
    """As if the waits after a failure were over."""
    StoredObject.objects.filter(scan=scan).update(retry_at=None, failed_at=None)


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
    assert "not what was sent" in StoredObject.objects.get(scan=scan).problem
    store.line.faults.clear()
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)
    assert store.read(scan.result_object) == data


def test_a_storage_whose_tags_are_no_checksums(scan, store, s3_web):
    """Sizes and Content-MD5 are what is left then."""
    store.line.fail("tagged", lambda seen: seen.method == "HEAD")
    finish.finish(scan.pk)
    in_the_bucket(scan, store)
    assert StoredObject.objects.get(scan=scan).etag == ""
    link = f"{s3_web.address}{results.DOWNLOAD_PATH}{link_text(scan)}.zip"
    assert requests.get(link, timeout=60, allow_redirects=False).status_code == 302
    assert len(requests.head(link, timeout=60).headers["ETag"]) > 20


def test_a_storage_that_cannot_list_what_arrived_gets_it_again(scan, store):
    store.line.fail(503, lambda seen: seen.part == 3, times=3)
    finish.finish(scan.pk)
    StoredObject.objects.filter(scan=scan).update(state="writing", retry_at=None, failed_at=None)
    Scan.objects.filter(pk=scan.pk).update(state=Scan.RELEASED, result_source="")
    store.line.heal()
    store.line.fail(405, lambda seen: seen.method == "GET" and ("uploads" in seen.query or "uploadId" in seen.query))
    finish.finish(scan.pk)
    assert store.line.parts_sent() == [1, 2, 3]
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
    link = f"{s3_web.address}{results.DOWNLOAD_PATH}{link_text(scan)}.zip"
    answer = requests.get(link, timeout=60, allow_redirects=False)
    assert answer.status_code == 200 and answer.content == data, "served from here meanwhile"
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
    assert requests.get(link, timeout=60).content == data, "the same link, from the bucket"


def test_after_a_failure_others_do_not_wait_for_it_in_their_turn(scan, store, completed):  # noqa: F811
    store.line.is_down = True
    finish.finish(scan.pk)
    assert records.is_pausing()
    store.line.heal()
    other = completed()
    finish.finish(other.pk)
    in_the_file_system(other)
    assert not store.line.seen, "nothing was asked of it"
    publish.publish_file(other.pk)
    assert not records.is_pausing(), "it works again"


def test_a_worker_killed_between_two_parts_goes_on_with_what_arrived(scan, store):
    def kill_child() -> None:
        os.kill(child[0], 9)

    child = []
    store.line.fail("cut", lambda seen: seen.part == 3, times=1, then=kill_child)
    import multiprocessing

    from django.db import connections

    connections.close_all()
    process = multiprocessing.get_context("fork").Process(target=finish.finish, args=(scan.pk,))
    process.start()
    child.append(process.pid)
    process.join(120)
    assert process.exitcode == -9
    scan.refresh_from_db()
    assert scan.state == Scan.RELEASED and store.line.parts_sent() == [1, 2]
    assert StoredObject.objects.get(scan=scan).state == "writing"
    finish.finish(scan.pk)
    assert store.line.parts_sent() == [1, 2, 3], "what arrived was not sent again"
    assert in_the_bucket(scan, store)["texture.png"] == LARGE["odm_texturing/texture.png"]
    assert StoredObject.objects.get(scan=scan).sent_bytes < scan.result_bytes


def test_a_worker_killed_between_completing_and_the_row(scan, store):
    import multiprocessing

    from django.db import connections

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
    finish.finish(scan.pk)
    assert store.line.parts_sent() == [1, 2, 3], "it was all there: only compared"
    in_the_bucket(scan, store)


def test_the_answer_to_completing_is_lost(scan, store):
    store.line.fail("lost", lambda seen: seen.method == "POST" and "uploadId" in seen.query, times=1)
    finish.finish(scan.pk)
    in_the_bucket(scan, store)
    assert StoredObject.objects.get(scan=scan).failures == 0 and store.line.parts_sent() == [1, 2, 3]


@pytest.mark.parametrize("what", ["finish", "publish_file", "restore"])
def test_killed_at_any_line(completed, store, settings, request, what):  # noqa: F811
    def case():
        StoredObject.objects.update(failed_at=None)
        made = completed()
        settings.OPENSCAN_S3_BUCKET = "" if what == "publish_file" else BUCKET
        if what != "finish":
            finish.finish(made.pk)
        settings.OPENSCAN_S3_BUCKET = BUCKET
        if what == "restore":
            made.refresh_from_db()
            store.client.delete_object(Bucket=BUCKET, Key=made.result_object)
        return made

    def work(made) -> None:
        {"finish": finish.finish, "publish_file": publish.publish_file, "restore": publish.restore}[what](made.pk)

    first = case()
    lines = run_in_child(lambda: work(first))
    assert lines > 40
    count = lines if request.config.getoption("--long") else 3
    for line in spread(lines, count):
        made = case()
        run_in_child(lambda made=made: work(made), line)
        work(made)
        publish.publish_file(made.pk)
        for path in results.stray_files(0):  # packed by the killed process; tidy_up removes it once it is old
            path.unlink()
        in_the_bucket(made, store)


def test_two_processes_that_publish_the_same(completed, store, settings):  # noqa: F811
    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    settings.OPENSCAN_S3_BUCKET = BUCKET
    in_processes(publish.publish_file, [scan.pk] * 3)
    in_the_bucket(scan, store)
    assert StoredObject.objects.filter(scan=scan).count() == 1


def test_a_lost_lock_costs_double_work_and_nothing_else(completed, store, settings, monkeypatch):  # noqa: F811
    """Two writers at once, as after a database connection that broke: one upload, one object."""
    from contextlib import contextmanager

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


@pytest.mark.parametrize("how", ["reset", "expired"])
def test_a_scan_that_ends_while_its_result_is_sent(completed, store, settings, how):  # noqa: F811
    name = f"ends while sent {how}"
    scan = completed(LARGE, name=name)
    if how == "expired":
        settings.OPENSCAN_S3_BUCKET = ""
        finish.finish(scan.pk)
        settings.OPENSCAN_S3_BUCKET = BUCKET

    def end() -> None:
        from django.db import connection

        if how == "reset":
            scans.reset_scan(scan.token, name)
        else:
            Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now())
            finish.expire_results()
        connection.close()

    store.line.fail(503, lambda seen: seen.part == 2, times=1, then=lambda: run(end))
    (finish.finish if how == "reset" else publish.publish_file)(scan.pk)
    scan.refresh_from_db()
    assert scan.state == (Scan.RESET if how == "reset" else Scan.EXPIRED) and scan.result_object == ""
    finish.discard(scan.pk)
    lifecycle.tidy()
    assert store.results_of(scan) == [] and store.open_uploads(f"openscan/results/{scan.pk}-") == []
    assert not [path for path in storage.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]
    assert set(StoredObject.objects.filter(scan=scan).values_list("state", flat=True)) == {"gone"}


def run(work) -> None:
    """In a thread with database access of its own, to its end."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(60)


def test_uploads_that_never_became_complete_are_given_up(scan, store):
    store.line.fail(503, lambda seen: seen.part == 3)
    finish.finish(scan.pk)
    entry = StoredObject.objects.get(scan=scan)
    assert store.open_uploads(entry.key) == [entry.key]
    store.line.heal()
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() - timezone.timedelta(hours=1))
    StoredObject.objects.filter(pk=entry.pk).update(
        state="writing", created_at=timezone.now() - timezone.timedelta(hours=25))
    periodic.tidy_up()
    assert store.open_uploads(entry.key) == [] and StoredObject.objects.get(pk=entry.pk).state == "gone"


def test_removal_waits_for_a_storage_that_is_away(scan, store):
    finish.finish(scan.pk)
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    store.line.is_down = True
    periodic.tidy_up()
    assert Scan.objects.get(pk=scan.pk).state == Scan.EXPIRED and store.results_of(scan)
    store.line.heal()
    periodic.tidy_up()
    assert store.results_of(scan) == [] and StoredObject.objects.get(scan=scan).state == "gone"


def test_a_storage_that_is_away_at_download(scan, store, s3_web, settings):
    finish.finish(scan.pk)
    scan.refresh_from_db()
    link = f"{s3_web.address}{results.DOWNLOAD_PATH}{link_text(scan)}.zip"
    store.line.is_down = True
    answer = requests.get(link, timeout=60, allow_redirects=False)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "60"
    assert "does not answer just now" in answer.json()["error"] and "try again" in answer.json()["error"]
    publish.restore(scan.pk)  # the job that the download queued
    data = in_the_file_system(scan)
    answer = requests.get(link, timeout=60, allow_redirects=False)
    assert answer.status_code == 200 and answer.content == data
    publish.publish_file(scan.pk)
    assert Scan.objects.get(pk=scan.pk).result_file, "kept while it is away"
    store.line.heal()
    later(scan)
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)
    assert store.line.parts_sent() == [], "it was there all the time"
    assert requests.get(link, timeout=60, allow_redirects=False).status_code == 302


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_an_object_that_somebody_took_away_is_made_again(scan, store, s3_web, what):
    finish.finish(scan.pk)
    scan.refresh_from_db()
    link, old = f"{s3_web.address}{results.DOWNLOAD_PATH}{link_text(scan)}.zip", scan.result_object
    if what == "removed":
        store.client.delete_object(Bucket=BUCKET, Key=old)
    else:
        store.client.put_object(Bucket=BUCKET, Key=old, Body=b"something else")
    assert requests.get(link, timeout=60, allow_redirects=False).status_code == 503
    publish.restore(scan.pk)
    assert requests.get(link, timeout=60, allow_redirects=False).content == in_the_file_system(scan)
    publish.publish_file(scan.pk)
    assert in_the_bucket(scan, store)["texture.png"] == LARGE["odm_texturing/texture.png"] and scan.result_object != old
    assert requests.get(link, timeout=60).status_code == 200


def test_settings_that_no_longer_name_the_bucket(scan, store, settings):
    finish.finish(scan.pk)
    scan.refresh_from_db()
    link = link_text(scan)
    settings.OPENSCAN_S3_BUCKET = ""
    with pytest.raises(OpenScanError) as away:
        results.find_result(link)
    assert away.value.status == 503
    publish.restore(scan.pk)
    assert results.find_result(link).path.read_bytes() == in_the_file_system(scan)


def test_a_site_that_changes_its_bucket(scan, store, settings):
    finish.finish(scan.pk)
    store.client.create_bucket(Bucket="another-bucket")
    settings.OPENSCAN_S3_BUCKET = "another-bucket"
    publish.restore(scan.pk)
    publish.publish_file(scan.pk)
    scan.refresh_from_db()
    entry = StoredObject.objects.get(key=scan.result_object)
    assert entry.place.endswith("/another-bucket") and not scan.result_file
    assert any("which the settings do not name any more" in sentence for sentence in lifecycle.discrepancies())


def test_a_restart_while_the_result_is_sent_wins(scan, store):
    """The task's files change between two parts: what is published then is the old model, and is replaced by the next look."""
    task = task_of(scan)
    store.line.fail(503, lambda seen: seen.part == 2, times=1,
                    then=lambda: fill(task, {"odm_texturing/odm_textured_model_geo.mtl": b"newmtl other\n"}))
    finish.finish(scan.pk)
    finish.finish(scan.pk)
    assert in_the_bucket(scan, store)["odm_textured_model_geo.mtl"] in (b"newmtl other\n",)


def test_downloads_under_way_outlive_the_move(completed, store, settings, s3_web):  # noqa: F811
    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    settings.OPENSCAN_S3_BUCKET = BUCKET
    data = in_the_file_system(scan)
    link = f"{s3_web.address}{results.DOWNLOAD_PATH}{link_text(scan)}.zip"
    with requests.get(link, timeout=60, stream=True) as answer:
        got = answer.raw.read(1000)
        publish.publish_file(scan.pk)
        scan.refresh_from_db()
        assert scan.result_object and not scan.result_file
        got += answer.raw.read()
    assert got == data


def test_nothing_of_it_waits_in_threads():
    until(lambda: not [one for one in threading.enumerate() if "ThreadPool" in one.name], 30)
