"""A storage that is away, or no longer what it was: downloads, removals, other settings, objects that others took."""
import pytest
import requests
from django.utils import timezone

from app_extensions.openscan import part_files
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import lifecycle, publish, records
from app_extensions.openscan.upkeep import periodic
from dev.standins.s3 import BUCKET
from tests.openscan.finished import fill, link_text
from tests.openscan.flow import task_of
from tests.openscan.stored import LARGE, in_the_bucket, in_the_file_system, later, link_of


@pytest.fixture
def scan(completed, store):
    """A scan whose model is ready to be published in three parts."""
    return completed(LARGE)


def test_uploads_that_never_became_complete_are_given_up(scan, store):
    """A part that is refused ends the upload at once; a worker that was killed leaves one, and the daily round ends it."""
    store.line.fail(503, lambda seen: seen.part == 3)
    finish.finish(scan.pk)
    entry = StoredObject.objects.get(scan=scan)
    assert store.open_uploads(entry.key) == []
    store.client.create_multipart_upload(Bucket=BUCKET, Key=entry.key)
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
    link = link_of(s3_web, scan)
    store.line.is_down = True
    answer = requests.get(link, timeout=120, allow_redirects=False)
    assert answer.status_code == 503 and answer.headers["Retry-After"] == "60"
    assert "does not answer at the moment" in answer.json()["error"] and "try again" in answer.json()["error"]
    publish.restore(scan.pk)  # the job that the download queued
    data = in_the_file_system(scan)
    answer = requests.get(link, timeout=120, allow_redirects=False)
    assert answer.status_code == 200 and answer.content == data
    publish.publish_file(scan.pk)
    assert Scan.objects.get(pk=scan.pk).result_file, "kept while it is away"
    store.line.heal()
    later(scan)
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)
    assert store.line.parts_sent() == [], "it was there all the time"
    assert requests.get(link, timeout=120, allow_redirects=False).status_code == 302


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_an_object_that_somebody_took_away_is_made_again(scan, store, s3_web, what):
    finish.finish(scan.pk)
    scan.refresh_from_db()
    link, old = link_of(s3_web, scan), scan.result_object
    if what == "removed":
        store.client.delete_object(Bucket=BUCKET, Key=old)
    else:
        store.client.put_object(Bucket=BUCKET, Key=old, Body=b"something else")
    assert requests.get(link, timeout=120, allow_redirects=False).status_code == 503
    publish.restore(scan.pk)
    assert requests.get(link, timeout=120, allow_redirects=False).content == in_the_file_system(scan)
    publish.publish_file(scan.pk)
    assert in_the_bucket(scan, store)["texture.png"] == LARGE["odm_texturing/texture.png"] and scan.result_object != old
    assert requests.get(link, timeout=120).status_code == 200


def test_settings_that_no_longer_name_the_bucket(scan, store, settings):
    finish.finish(scan.pk)
    scan.refresh_from_db()
    link = link_text(scan)
    settings.OPENSCAN_S3_BUCKET = ""
    with pytest.raises(OpenScanError) as away:
        packing.find_result(link)
    assert away.value.status == 503
    publish.restore(scan.pk)
    assert packing.find_result(link).path.read_bytes() == in_the_file_system(scan)


def test_a_site_that_changes_its_bucket(scan, store, settings):
    finish.finish(scan.pk)
    store.client.create_bucket(Bucket="another-bucket")
    settings.OPENSCAN_S3_BUCKET = "another-bucket"
    publish.restore(scan.pk)
    publish.publish_file(scan.pk)
    scan.refresh_from_db()
    entry = StoredObject.objects.get(key=scan.result_object)
    assert entry.place.endswith("/another-bucket") and not scan.result_file
    assert any("which is no longer in the settings" in sentence for sentence in lifecycle.discrepancies())


def test_a_restart_while_the_result_is_sent_wins(scan, store):
    """The task's files change between two parts: what is published then is the old model, and is replaced by the next look."""
    task = task_of(scan)
    store.line.fail(503, lambda seen: seen.part == 2, times=1,
                    then=lambda: fill(task, {"odm_texturing/odm_textured_model_geo.mtl": b"newmtl other\n"}))
    finish.finish(scan.pk)
    finish.finish(scan.pk)
    assert in_the_bucket(scan, store)["odm_textured_model_geo.mtl"] in (b"newmtl other\n",)


def test_downloads_under_way_outlive_the_move(completed, store, settings, s3_web):
    settings.OPENSCAN_S3_BUCKET = ""
    scan = completed(LARGE)
    finish.finish(scan.pk)
    settings.OPENSCAN_S3_BUCKET = BUCKET
    data = in_the_file_system(scan)
    link = link_of(s3_web, scan)
    with requests.get(link, timeout=120, stream=True) as answer:
        got = answer.raw.read(1000)
        publish.publish_file(scan.pk)
        scan.refresh_from_db()
        assert scan.result_object and not scan.result_file
        got += answer.raw.read()
    assert got == data


def test_a_result_whose_file_is_gone_holds_nobody_up(completed, store, settings):
    settings.OPENSCAN_S3_BUCKET = ""
    scan, other = completed(), completed()
    for one in (scan, other):
        finish.finish(one.pk)
        one.refresh_from_db()
    settings.OPENSCAN_S3_BUCKET = BUCKET
    (part_files.results_dir() / scan.result_file).unlink()
    for one in (scan, other):
        publish.publish_file(one.pk)
    assert "cannot be read" in StoredObject.objects.get(scan=scan).problem
    assert scan.pk not in records.results_to_publish(10_000)
    in_the_bucket(other, store)
