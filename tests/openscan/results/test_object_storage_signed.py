"""Object storage that checks what S3 checks: signatures, their dates, the lifetime of links, and checksums of what arrives."""
import re

import pytest
import requests
from django.utils import timezone

from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results.object_storage import checks, publish
from dev.standins import sigv4
from dev.standins.s3 import ACCESS_KEY, SECRET_KEY
from tests.openscan.stored import LARGE, in_the_bucket, in_the_file_system, later, link_of

#: The example of AWS' own documentation for presigned links, with its keys.
EXAMPLE_KEYS = {"AKIAIOSFODNN7EXAMPLE": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
EXAMPLE = ("/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
           "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
           "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404")


def test_the_check_itself(monkeypatch):
    """AWS' published example is right, and wrong with anything else about it."""
    host = {"Host": "examplebucket.s3.amazonaws.com"}
    monkeypatch.setattr(sigv4, "_now", lambda: sigv4._time("20130524T120000Z"))
    assert sigv4.problem("GET", EXAMPLE, host, b"", EXAMPLE_KEYS) is None
    assert sigv4.problem("PUT", EXAMPLE, host, b"", EXAMPLE_KEYS) == (403, "SignatureDoesNotMatch")
    assert sigv4.problem("GET", EXAMPLE.replace("test", "best"), host, b"", EXAMPLE_KEYS) == (403, "SignatureDoesNotMatch")
    assert sigv4.problem("GET", EXAMPLE, {"Host": "other.s3.amazonaws.com"}, b"", EXAMPLE_KEYS) == (403, "SignatureDoesNotMatch")
    monkeypatch.setattr(sigv4, "_now", lambda: sigv4._time("20130525T000001Z"))
    assert sigv4.problem("GET", EXAMPLE, host, b"", EXAMPLE_KEYS) == (403, "AccessDenied")
    assert sigv4.problem("GET", "/test.txt", host, b"", EXAMPLE_KEYS) == (403, "AccessDenied")


def test_a_wrong_secret_is_refused_and_the_file_system_serves(store, settings, completed):
    settings.OPENSCAN_S3_SECRET_KEY = "not-the-secret"
    assert "HTTP 403" in checks.try_it()
    scan = completed()
    finish.finish(scan.pk)
    in_the_file_system(scan)
    assert (403, "SignatureDoesNotMatch") in store.line.refused
    problem = StoredObject.objects.get(scan=scan).problem
    assert "403" in problem and "not-the-secret" not in problem


def test_a_part_that_was_altered_is_refused_by_its_checksum(store, completed):
    scan = completed(LARGE)
    store.line.fail("altered", lambda seen: seen.part == 2)
    finish.finish(scan.pk)
    in_the_file_system(scan)
    assert set(store.line.refused) == {(400, "BadDigest")}
    store.line.heal()
    later(scan)
    publish.publish_file(scan.pk)
    in_the_bucket(scan, store)
    assert store.line.refused == []


@pytest.mark.parametrize("change", [
    lambda url: re.sub(r"X-Amz-Signature=.", lambda found: "X-Amz-Signature=" + ("0" if found.group(0)[-1] != "0" else "1"), url),
    lambda url: url.replace("/results/", "/research/"),
    lambda url: re.sub(r"X-Amz-Expires=[0-9]+", "X-Amz-Expires=604800", url),
    lambda url: re.sub(r"response-content-type=[^&]+", "response-content-type=text%2Fhtml", url),
    lambda url: url.partition("?")[0],
])
def test_a_link_is_good_for_what_it_was_signed_for(store, s3_web, completed, change):
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    answer = requests.get(link_of(s3_web, scan), timeout=120, allow_redirects=False)
    url = answer.headers["Location"]
    assert answer.status_code == 302 and change(url) != url
    whole = requests.get(url, timeout=120)
    assert whole.status_code == 200 and whole.content == store.read(scan.result_object)
    assert requests.get(url, headers={"Range": "bytes=0-9"}, timeout=120).content == whole.content[:10]
    assert requests.get(change(url), timeout=120).status_code == 403


def test_a_link_ends_with_the_result(store, completed, monkeypatch):
    """However long links last by the settings; seen from a storage whose clock is past that."""
    from app_extensions.openscan.results.object_storage import offer

    scan = completed()
    finish.finish(scan.pk)
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() + timezone.timedelta(seconds=300))
    scan.refresh_from_db()
    url = offer.offer(scan, "model.zip").url
    target, host = url[len(store.line.address):], {"Host": store.line.address.partition("//")[2]}
    assert sigv4.problem("GET", target, host, b"", {ACCESS_KEY: SECRET_KEY}) is None
    now = sigv4._now()
    monkeypatch.setattr(sigv4, "_now", lambda: now + timezone.timedelta(seconds=301))
    assert sigv4.problem("GET", target, host, b"", {ACCESS_KEY: SECRET_KEY}) == (403, "AccessDenied")
