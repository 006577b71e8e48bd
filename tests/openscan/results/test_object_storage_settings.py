"""Object storage as its operator meets it: half a setting, a bucket that cannot be reached, figures, pages, a check, and a whole
scan through live processes."""
import contextlib
import io
import json

import pytest
import requests
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from app_extensions.openscan import tasks
from app_extensions.openscan.models import ArchivedSet, Scan, StoredObject
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results.object_storage import checks, publish
from app_extensions.shared import metrics
from deploy import doctor, probe
from dev.standins.s3 import BUCKET, S3_QUEUE
from tests.openscan.flow import poke, send
from tests.openscan.helpers import Rig, figures, found_by_checks, public_token
from tests.openscan.make_sets import photos
from tests.support.doctor import SOUND_WEB, sound_facts
from tests.support.waiting import until

SOUND = {"OPENSCAN_S3_BUCKET": "scans", "OPENSCAN_S3_ENDPOINT": "https://minio.example.org:9000", "OPENSCAN_S3_ACCESS_KEY": "a",
         "OPENSCAN_S3_SECRET_KEY": "b"}


@pytest.mark.parametrize("values, expected", [
    ({}, set()),
    ({"OPENSCAN_S3_BUCKET": ""}, {"openscan.E005"}),
    ({"OPENSCAN_S3_ACCESS_KEY": ""}, {"openscan.E006"}),
    ({"OPENSCAN_S3_SECRET_KEY": ""}, {"openscan.E006"}),
    ({"OPENSCAN_S3_ACCESS_KEY": "", "OPENSCAN_S3_SECRET_KEY": ""}, set()),
    ({"OPENSCAN_S3_ENDPOINT": ""}, set()),
    ({"OPENSCAN_S3_ENDPOINT": "minio.example.org"}, {"openscan.E007"}),
    ({"OPENSCAN_S3_ENDPOINT": "https://minio.example.org/scans"}, {"openscan.E007"}),
    ({"OPENSCAN_S3_ENDPOINT": "https://minio.example.org:port"}, {"openscan.E007"}),
    ({"OPENSCAN_S3_ENDPOINT": "https://me:secret@minio.example.org"}, {"openscan.E007"}),
    ({"OPENSCAN_S3_PUBLIC_ENDPOINT": "files.example.org"}, {"openscan.E007"}),
    ({"OPENSCAN_S3_BUCKET": "s3://scans"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_BUCKET": "Scans"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_PREFIX": "a b"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_ADDRESSING": "host"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_PRESIGN_SECONDS": "0"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_PRESIGN_SECONDS": "604801"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_PART": "5MB"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_PART": "1GB"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_ABORT_HOURS": "0"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_VERIFY": "/no/such/authority.pem"}, {"openscan.E008"}),
    ({"OPENSCAN_S3_VERIFY": "NO"}, {"openscan.W004"}),
    ({"OPENSCAN_S3_ENDPOINT": "http://s3.example.org"}, {"openscan.W005"}),
    ({"OPENSCAN_S3_ENDPOINT": "http://minio:9000"}, set()),
    ({"OPENSCAN_S3_ENDPOINT": "http://10.0.0.5:9000"}, set()),
    ({"OPENSCAN_S3_PART": "many"}, {"openscan.E001"}),
    ({"OPENSCAN_S3_RESEARCH": "perhaps"}, {"openscan.E001"})])
def test_half_set_and_wrong_settings_are_found_by_number(values, expected):
    assert found_by_checks(**{**SOUND, **values}) == expected


def test_what_is_said_names_no_secret(settings):
    settings.OPENSCAN_S3_SECRET_KEY = "topsecret"
    said = " ".join(f"{message.msg} {message.hint}" for message in checks.check_object_storage())
    assert "WO_OPENSCAN_S3_SECRET_KEY" in said and "topsecret" not in said


def test_the_jobs_have_their_documented_names(live_db):
    from worker.celery import app

    app.loader.import_default_modules()
    for name in ("publish_result", "restore_result", "archive_set", "remove_objects"):
        assert f"app_extensions.openscan.tasks.{name}" in app.tasks


def test_the_prefix(settings):
    from app_extensions.openscan.conf import conf

    for value, prefix in (("", "openscan/"), ("/", ""), ("a/b", "a/b/"), ("/a/", "a/")):
        settings.OPENSCAN_S3_PREFIX = value
        assert conf.s3_prefix == prefix


def test_the_probe_tries_what_an_upload_does_and_leaves_nothing(store):
    assert checks.try_it() == "" and not [key for key in store.keys("") if "probe" in key]
    assert store.open_uploads("openscan/probe") == []


@pytest.mark.parametrize("wrong, words", [
    ({"S3_BUCKET": "no-such-bucket"}, "NoSuchBucket (HTTP 404)"),
    ({"S3_ENDPOINT": "http://127.0.0.1:1"}, "Could not connect"),
])
def test_the_doctor_names_what_is_wrong_with_the_storage(store, settings, wrong, words):
    for name, value in wrong.items():
        setattr(settings, f"OPENSCAN_{name}", value)
    judged = doctor.judge({**sound_facts(), "objects": probe.objects()}, True, SOUND_WEB)
    finding = next(one for one in judged if one.name == "objects")
    assert finding.level == doctor.FAULT and words in finding.text and "served from the file system" in finding.text
    assert store.values["S3_SECRET_KEY"] not in str(finding) and "docs/admin/object-storage.md" in finding.mend


def test_the_doctor_finds_it_sound(store):
    judged = doctor.judge({**sound_facts(), "objects": probe.objects()}, True, SOUND_WEB)
    finding = next(one for one in judged if one.name == "objects")
    assert finding.level == doctor.GOOD and finding.text.startswith(store.line.address)


def test_figures_of_bytes_and_failures(store, completed):
    before = figures(metrics.render())
    store.line.is_down = True
    scan = completed()
    finish.finish(scan.pk)
    store.line.heal()
    StoredObject.objects.update(failed_at=None)
    other = completed()
    finish.finish(other.pk)
    other.refresh_from_db()
    after = figures(metrics.render())

    def more(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert more('openscan_object_failures_total{kind="result"}') == 1 and more("openscan_results_in_file_system") == 1
    assert more('openscan_object_bytes{kind="result"}') == other.result_bytes
    assert more('openscan_published_bytes_total{kind="result"}') >= other.result_bytes  # with what had left before the line went down
    assert more('openscan_objects{kind="result",state="stored"}') == 1
    for state, _ in ArchivedSet.STATES:
        assert f'openscan_objects{{kind="research",state="{state}"}}' in after


def test_pages_for_those_who_run_the_site(store, completed):
    scan = completed()
    finish.finish(scan.pk)
    client = Client()
    client.force_login(User.objects.filter(is_superuser=True).first())
    page = client.get("/plugins/openscan_cloud/").content.decode()
    assert f"{store.line.address}/{BUCKET}" in page and "sets for research" in page
    for path in ("storedobject", "archivedset", "scan"):
        assert client.get(f"/admin/openscan/{path}/").status_code == 200
    entry = StoredObject.objects.get(scan=scan)
    detail = client.get(f"/admin/openscan/storedobject/{entry.pk}/change/").content.decode()
    assert entry.sha256 in detail and store.values["S3_SECRET_KEY"] not in detail
    store.line.is_down = True
    other = completed()
    finish.finish(other.pk)
    StoredObject.objects.update(failed_at=None)
    publish.publish_file(other.pk)
    page = client.get("/plugins/openscan_cloud/").content.decode()
    assert "Object storage: " in page and "Until it works again, " in page and " served from the file system." in page
    anybody = Client()
    anybody.force_login(User.objects.create_user(f"nobody-{scan.pk}"))
    assert store.line.address not in anybody.get("/plugins/openscan_cloud/").content.decode()


def checked() -> list:
    """The problems that `openscan_check --objects` names."""
    out = io.StringIO()
    with contextlib.suppress(CommandError):
        call_command("openscan_check", "--objects", "--json", stdout=out)
    return json.loads(out.getvalue())["problems"]


def test_the_check_compares_bucket_and_rows(store, completed):
    first, second = completed(), completed()
    for scan in (first, second):
        finish.finish(scan.pk)
        scan.refresh_from_db()
    store.client.put_object(Bucket=BUCKET, Key="openscan/results/nobodys.zip", Body=b"x")
    store.client.delete_object(Bucket=BUCKET, Key=first.result_object)
    store.client.put_object(Bucket=BUCKET, Key=second.result_object, Body=b"short")
    told = checked()
    assert any(first.result_object in one and "gone from the bucket" in one for one in told)
    assert any(second.result_object in one and "it has 5" in one for one in told)
    assert any("openscan/results/nobodys.zip belongs to no scan" in one for one in told)
    store.client.delete_object(Bucket=BUCKET, Key="openscan/results/nobodys.zip")
    store.line.fail(403)
    assert any("could not be checked" in one for one in checked())


def test_a_scan_from_a_rig_through_worker_and_bucket(stack, store, settings, s3_web):
    """A public set by HTTP, a Celery worker of ours on a separate queue, the live node: result and photos end in the bucket."""
    settings.OPENSCAN_CELERY_QUEUE = S3_QUEUE
    worker = stack.add_worker("worker-s3", "-Q", S3_QUEUE, "--autoscale", "2,1")
    worker.env.update(WO_OPENSCAN_CELERY_QUEUE=S3_QUEUE, **store.environment)
    worker.start()
    try:
        worker.wait_ready()
        rig = Rig(s3_web.address, public_token(10**12)[1], address="198.51.100.9")
        project = send(rig, photos(3))
        scan = Scan.objects.get(name=project)

        def there() -> bool:
            poke()
            tasks.release_queue.apply_async(queue=S3_QUEUE, expires=30)
            tasks.catch_up.apply_async(queue=S3_QUEUE, expires=30)
            scan.refresh_from_db()
            entry = ArchivedSet.objects.filter(scan=scan, state="stored").first()
            return bool(scan.result_object and not scan.result_file and entry and entry.source == scan.result_source)

        until(there, 240, 0.5, "the result and the set lie in the bucket")
        info = rig.info(project)
        assert info["status"] == "processing done"
        answer = requests.get(info["dlink"].replace(stack.address(), s3_web.address), timeout=120)
        assert answer.status_code == 200 and answer.content == store.read(scan.result_object)
        assert answer.url.startswith(store.line.address)
        assert len(store.keys(ArchivedSet.objects.get(scan=scan).prefix + "photos/")) == 3
        assert rig.get("resetProject", project=project).json() == {}

        def gone() -> bool:
            tasks.tidy_up.apply_async(queue=S3_QUEUE, expires=30)
            return not store.results_of(scan) and not store.keys(f"openscan/research/scan-{scan.pk}-")

        until(gone, 120, 0.5, "what was reset leaves the bucket")
    finally:
        worker.stop()
