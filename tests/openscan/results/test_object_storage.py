"""Results in object storage: moved there, handed out by a redirect, gone with their scan."""
import hashlib
import io
import os
import re
import zipfile
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from django.db import connection
from django.utils import timezone

from app_extensions.host import assets
from app_extensions.openscan import part_files
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.processing import finish, status
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import lifecycle, publish
from app_extensions.openscan.upkeep import periodic
from dev.standins.s3 import ACCESS_KEY, BUCKET, PART_BYTES, SECRET_KEY
from tests.openscan.finished import MODEL, fill, link_text
from tests.openscan.flow import task_of
from tests.openscan.stored import LARGE, files_of, link_of


@pytest.fixture
def published(completed, store):
    """Makes scans whose result was published: published(files) -> Scan."""
    def make(files=None, name=None):
        scan = completed(files, name)
        finish.finish(scan.pk)
        scan.refresh_from_db()
        assert scan.state == Scan.DONE and scan.result_object and not scan.result_file
        return scan

    return make


def test_a_model_is_packed_sent_and_removed_from_the_disk(published, store):
    scan = published(LARGE)
    key, = store.results_of(scan)
    assert key == scan.result_object and files_of(scan) == []
    data = store.read(key)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            name.rpartition("/")[2]: content for name, content in LARGE.items()
            if name.startswith("odm_texturing/") and not name.endswith(".conf")}
    entry = StoredObject.objects.get(key=key)
    assert (entry.state, entry.size_bytes, entry.sha256) == ("stored", len(data), hashlib.sha256(data).hexdigest())
    assert entry.sent_bytes == scan.result_bytes == len(data) and entry.etag.endswith("-3")
    assert store.line.parts_sent() == [1, 2, 3]
    assert status.scan_status(scan) == "processing done"
    finish.finish(scan.pk)
    assert store.line.parts_sent() == [1, 2, 3], "done once"


def test_the_link_stays_short_and_leads_to_the_storage(published, s3_web, store):
    scan = published(LARGE, name='Vase "blau" & grün/../x')
    link = link_of(s3_web, scan)
    assert re.fullmatch(r"[A-Za-z0-9/_.:-]+", link) and len(link) < 120 and link.endswith(".zip")
    answer = requests.get(link, allow_redirects=False, timeout=120)
    assert answer.status_code == 302 and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer" and not answer.content
    url = urlsplit(answer.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert f"{url.scheme}://{url.netloc}" == store.line.address and url.path == f"/{BUCKET}/{scan.result_object}"
    assert query["response-content-disposition"] == 'attachment; filename="Vase_blau_grun_.._x.zip"'
    assert query["X-Amz-Expires"] == "3600" and "X-Amz-Signature" in query and SECRET_KEY not in answer.headers["Location"]
    data = store.read(scan.result_object)
    whole = requests.get(link, timeout=120)
    assert whole.status_code == 200 and whole.content == data and whole.headers["Content-Length"] == str(len(data))
    assert whole.headers["Content-Disposition"] == 'attachment; filename="Vase_blau_grun_.._x.zip"'
    assert whole.headers["Content-Type"] == "application/zip"
    piece = requests.get(link, headers={"Range": f"bytes={PART_BYTES - 5}-"}, timeout=120)
    assert piece.status_code == 206 and piece.content == data[PART_BYTES - 5:]
    head = requests.head(link, timeout=120)
    assert head.status_code == 200 and head.headers["Content-Length"] == str(len(data)) and head.headers["Accept-Ranges"] == "bytes"
    assert head.headers["ETag"] == whole.headers["ETag"], "a continued download is compared by the storage's own tag"
    assert requests.get(link, headers={"If-None-Match": head.headers["ETag"]}, timeout=120).status_code == 304


def test_a_presigned_link_ends_with_the_result_at_the_latest(published, store):
    scan = published()
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() + timezone.timedelta(minutes=10))
    scan.refresh_from_db()
    url = packing.find_result(link_text(scan)).url
    assert 500 <= int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) <= 600


def test_clients_may_reach_the_storage_under_another_address(published, store, settings):
    settings.OPENSCAN_S3_PUBLIC_ENDPOINT = "https://files.example.org"
    scan = published()
    assert packing.find_result(link_text(scan)).url.startswith(f"https://files.example.org/{BUCKET}/openscan/results/{scan.pk}-")


def test_with_amazon_the_bucket_is_a_host_of_its_region(settings):
    from app_extensions.openscan.results.object_storage import client

    settings.OPENSCAN_S3_REGION, settings.OPENSCAN_S3_ACCESS_KEY, settings.OPENSCAN_S3_SECRET_KEY = "eu-central-1", "a", "b"
    for bucket, start in (("scans", "https://scans.s3.eu-central-1.amazonaws.com/k?"),
                          ("scans.example.org", "https://s3.eu-central-1.amazonaws.com/scans.example.org/k?")):
        settings.OPENSCAN_S3_BUCKET = bucket
        assert client.current().link("k", "x.zip", 60).startswith(start)


def test_secrets_are_in_no_log_no_row_and_no_address(published, s3_web, store, stack, caplog):
    caplog.set_level("INFO")
    scan = published()
    link = link_of(s3_web, scan)
    assert requests.get(link, timeout=120).status_code == 200
    store.line.fail(403, lambda seen: seen.method == "HEAD")
    assert requests.get(link, timeout=120).status_code == 503
    told = s3_web.log.read_text(errors="replace") + caplog.text
    assert "cannot be handed out from object storage" in told, "the log is the right one"
    assert SECRET_KEY not in told and ACCESS_KEY not in told and "X-Amz-Signature" not in told
    with connection.cursor() as cursor:
        for table in [name for name in connection.introspection.table_names() if name.startswith("openscan_")]:
            cursor.execute(f"SELECT count(*) FROM {table} AS t WHERE row_to_json(t)::text LIKE %s", [f"%{SECRET_KEY}%"])
            assert cursor.fetchone()[0] == 0, table


def test_expiry_takes_the_object_away(published, s3_web, store):
    scan = published()
    link, key = link_of(s3_web, scan), scan.result_object
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    assert requests.get(link, timeout=120, allow_redirects=False).status_code == 410
    periodic.tidy_up()
    scan.refresh_from_db()
    assert scan.state == Scan.EXPIRED and scan.result_object == "" and store.results_of(scan) == []
    entry = StoredObject.objects.get(key=key)
    assert entry.state == "gone" and entry.gone_at
    assert requests.get(link, timeout=120, allow_redirects=False).status_code == 410


@pytest.mark.parametrize("end", ["reset", "failed", "deleted"])
def test_the_object_goes_with_what_it_was_made_from(published, store, end):
    scan = published(name=f"ends {end}")
    link = link_text(scan)
    task = task_of(scan)
    if end == "reset":
        scans.reset_scan(scan.token, scan.name)
        finish.discard(scan.pk)
    elif end == "failed":
        task.status, task.last_error = 30, "out of memory"
        task.save()
        finish.finish(scan.pk)
    else:
        type(task).objects.filter(pk=task.pk).delete()
        finish.finish(scan.pk)
    scan.refresh_from_db()
    assert scan.result_object == "" and StoredObject.objects.get(scan=scan).state == "leaving"
    with pytest.raises(OpenScanError):
        packing.find_result(link)
    lifecycle.remove_leaving()
    assert store.results_of(scan) == [] and StoredObject.objects.get(scan=scan).state == "gone"


def test_a_reset_whose_job_was_lost_is_found_by_its_object(published, store, monkeypatch):
    scan = published(name="reset and lost")
    scans.reset_scan(scan.token, scan.name)
    Scan.objects.filter(pk=scan.pk).update(reset_at=timezone.now() - timezone.timedelta(minutes=1), webodm_task_id=None)
    found = []
    monkeypatch.setattr(periodic, "dispatch", lambda name, *arguments, **_: found.append((name, *arguments)))
    periodic.catch_up()
    assert ("discard_scan", scan.pk) in found


def test_a_new_run_brings_a_new_object_and_takes_the_old_one(published, store):
    scan = published()
    old, old_link = scan.result_object, link_text(scan)
    fill(task_of(scan), {**MODEL, "odm_texturing/texture.png": b"new"})
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert scan.result_object != old and link_text(scan) != old_link
    lifecycle.remove_leaving()
    assert store.results_of(scan) == [scan.result_object]
    with zipfile.ZipFile(io.BytesIO(store.read(scan.result_object))) as archive:
        assert archive.read("texture.png") == b"new"


def test_without_a_bucket_nothing_changes(completed, live_db):
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert scan.result_file and not scan.result_object and not StoredObject.objects.filter(scan=scan).exists()


def test_results_of_a_site_that_gains_a_bucket_move_there(completed, store, settings, monkeypatch):
    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    scan.refresh_from_db()
    link, data = link_text(scan), (part_files.results_dir() / scan.result_file).read_bytes()
    assert packing.find_result(link).path
    settings.OPENSCAN_S3_BUCKET = BUCKET
    wanted = []
    monkeypatch.setattr(periodic, "dispatch", lambda name, *arguments, **_: wanted.append((name, *arguments)))
    monkeypatch.setattr(periodic, "_MOST_OBJECTS", 10_000)
    periodic.catch_up()
    assert ("publish_result", scan.pk) in wanted
    publish.publish_file(scan.pk)
    scan.refresh_from_db()
    assert files_of(scan) == [] and store.read(scan.result_object) == data
    assert packing.find_result(link).url, "the mailed link stays valid"
    periodic.catch_up()
    assert wanted.count(("publish_result", scan.pk)) == 1


def test_a_model_with_times_that_zips_cannot_hold(published, store, completed):
    scan = completed()
    for path in packing.model_files(assets.assets_dir(task_of(scan))):
        os.utime(path, (0, 0))
    finish.finish(scan.pk)
    scan.refresh_from_db()
    with zipfile.ZipFile(io.BytesIO(store.read(scan.result_object))) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
