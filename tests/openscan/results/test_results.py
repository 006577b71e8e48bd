"""Results: packed once, a link that is good without a login, ranges, and their end."""
import errno
import io
import os
import re
import socket
import zipfile

import pytest
import requests
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.host.faults import explain
from app_extensions.openscan import part_files
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import OutgoingMail, Scan
from app_extensions.openscan.processing import finish, status
from app_extensions.openscan.results import packing
from tests.openscan.finished import MODEL, fill, link_text, result_file
from tests.openscan.flow import poke, send, task_of, wait_for
from tests.openscan.make_sets import photos
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")


def test_the_model_lies_at_the_archives_root(completed):
    scan = completed()
    finish.finish(scan.pk)
    with zipfile.ZipFile(result_file(scan)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["odm_textured_model_geo.glb", "odm_textured_model_geo.mtl",
                                              "odm_textured_model_geo.obj", "texture.png"]
        assert archive.read("texture.png") == MODEL["odm_texturing/texture.png"]
    assert scan.state == Scan.DONE and scan.processing_seconds == 12.0
    assert scan.result_bytes == result_file(scan).stat().st_size
    assert status.scan_status(scan) == "processing done"
    assert timezone.timedelta(days=6, hours=23) < scan.result_expires_at - timezone.now() <= timezone.timedelta(days=7)


def test_it_is_packed_once(completed):
    scan = completed()
    finish.finish(scan.pk)
    first = result_file(scan).stat()
    for _ in range(3):
        finish.finish(scan.pk)
    again = result_file(scan).stat()
    assert (first.st_ino, first.st_mtime_ns) == (again.st_ino, again.st_mtime_ns)
    assert OutgoingMail.objects.filter(kind="done", created_at__gte=scan.finished_at).count() >= 1


def test_files_that_come_out_of_a_backup_are_still_the_same_model(completed):
    """tar and others keep whole seconds; a result must not be lost, made again, or said to be under way for that."""
    scan = completed()
    files = packing.model_files(assets.assets_dir(task_of(scan)))
    for path in files:
        os.utime(path, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    finish.finish(scan.pk)
    first = Scan.objects.get(pk=scan.pk).result_file
    for path in files:
        os.utime(path, (1_700_000_000, 1_700_000_000))
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert status.scan_status(scan) == "processing done" and scan.result_file == first
    os.utime(files[0], (1_700_000_001, 1_700_000_001))
    assert status.scan_status(scan) == "processing started"


def test_a_result_that_an_older_version_packed_is_current(completed):
    """It noted times in nanoseconds."""
    scan = completed()
    finish.finish(scan.pk)
    files = packing.model_files(assets.assets_dir(task_of(scan)))
    Scan.objects.filter(pk=scan.pk).update(result_source=packing.fingerprint(files, exact=True))
    scan.refresh_from_db()
    assert status.scan_status(scan) == "processing done"
    os.utime(files[0], ns=(1, 1))
    assert status.scan_status(scan) == "processing started"


def test_links_in_the_model_directory_are_not_followed(completed, tmp_path):
    scan = completed()
    secret = tmp_path / "secret.obj"
    secret.write_text("v 1 2 3")
    (assets.assets_dir(task_of(scan)) / "odm_texturing" / "evil.obj").symlink_to(secret)
    finish.finish(scan.pk)
    with zipfile.ZipFile(result_file(scan)) as archive:
        assert "evil.obj" not in archive.namelist()


@given(st.text(min_size=1, max_size=60))
def test_names_in_the_archive_are_plain(name):
    from app_extensions.openscan.ingest.names import plain

    assert re.fullmatch(r"[A-Za-z0-9._-]+", plain(name)) and "/" not in plain(name)


def test_a_point_cloud_stands_in_where_there_is_no_mesh(completed):
    scan = completed({"odm_georeferencing/odm_georeferenced_model.laz": b"LASF", "odm_texturing/note.conf": b"x"})
    finish.finish(scan.pk)
    with zipfile.ZipFile(result_file(scan)) as archive:
        assert archive.namelist() == ["odm_georeferenced_model.laz"]


def test_no_model_at_all_is_a_failure_that_costs_nothing(completed):
    scan = completed({"odm_report/stats.json": b"{}"})
    from app_extensions.openscan.accounts import ledger

    Scan.objects.filter(pk=scan.pk).update(received_bytes=1000)
    ledger.post(scan)
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.FAILED and "without a model" in scan.error and scan.charge == Scan.REFUNDED
    assert status.scan_status(scan) == "processing failed"
    finish.finish(scan.pk)
    assert Scan.objects.get(pk=scan.pk).finished_at == scan.finished_at


def test_done_is_said_only_when_there_is_something_to_download(completed, settings):
    settings.OPENSCAN_PUBLIC_URL = ""
    scan = completed()
    assert status.scan_status(scan) == "processing started"
    assert status.scan_details(scan)["dlink"] == ""
    finish.finish(scan.pk)
    scan.refresh_from_db()
    details = status.scan_details(scan, "http://h")
    assert details["status"] == "processing done" and details["dlink"].startswith("http://h/api/openscan/download/")


def test_a_full_disk_while_packing_is_tried_again(completed, monkeypatch):
    scan = completed()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(packing.zipfile.ZipFile, "write", full)
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert scan.state == Scan.RELEASED and scan.finish_attempts == 1 and scan.retry_at > timezone.now()
    assert status.scan_status(scan) == "processing started"
    assert not [path for path in part_files.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]
    monkeypatch.undo()
    finish.finish(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.RELEASED  # not before its time
    Scan.objects.filter(pk=scan.pk).update(retry_at=None)
    finish.finish(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.DONE


def test_a_task_restarted_in_webodm_shows_it_and_gets_a_new_result(completed):
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    old_link, old_file = link_text(scan), result_file(scan)
    task = task_of(scan)
    task.status = 20
    task.save()
    assert status.scan_status(scan) == "processing started" and status.scan_details(scan)["dlink"] == ""
    fill(task, {**MODEL, "odm_texturing/texture.png": b"new"})
    task.status = 40
    task.save()
    assert status.scan_status(scan) == "processing started"  # the old result is not the new model
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert status.scan_status(scan) == "processing done" and link_text(scan) != old_link
    assert not old_file.exists() and result_file(scan).exists()
    with pytest.raises(OpenScanError) as gone:
        packing.find_result(old_link)
    assert gone.value.status == 404


def test_a_task_that_fails_after_a_restart_takes_its_old_result_away(completed):
    scan = completed()
    finish.finish(scan.pk)
    old = result_file(scan)
    task = task_of(scan)
    task.status, task.last_error = 30, "out of memory"
    task.save()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert status.scan_status(scan) == "processing failed" and not old.exists()
    assert status.scan_details(scan)["error_text"] == "Processing failed: " + explain("out of memory")


def test_a_task_canceled_in_webodm(completed):
    scan = completed()
    task = task_of(scan)
    task.status = 50
    task.save()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert status.scan_status(scan) == "processing failed" and "canceled in WebODM" in scan.error


def test_a_task_deleted_in_webodm_is_expired_at_once(completed):
    scan = completed()
    finish.finish(scan.pk)
    path, link = result_file(scan), link_text(scan)
    task_of(scan).delete()
    assert status.scan_status(Scan.objects.get(pk=scan.pk)) == "expired"
    # The live worker hears of it, too: whoever has the scan's lock does it.
    until(lambda: finish.finish(scan.pk) or Scan.objects.get(pk=scan.pk).state == Scan.EXPIRED)
    scan.refresh_from_db()
    assert status.scan_status(scan) == "expired"
    until(lambda: not path.exists(), says="the result's file goes")  # whoever came first, we or the live worker, removes it
    assert status.scan_details(scan)["dlink"] == ""
    with pytest.raises(OpenScanError) as gone:
        packing.find_result(link)
    assert gone.value.status == 410


def test_results_expire(completed, stack):
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    path, url = result_file(scan), packing.result_url(scan, stack.address())
    assert requests.get(url, timeout=120).status_code == 200
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now() - timezone.timedelta(seconds=1))
    scan.refresh_from_db()
    assert status.scan_status(scan) == "expired" and status.scan_details(scan)["dlink"] == ""
    assert finish.expire_results() >= 1
    scan.refresh_from_db()
    assert scan.state == Scan.EXPIRED and not path.exists() and scan.expired_at
    answer = requests.get(url, timeout=120)
    assert answer.status_code == 410 and "expired" in answer.json()["error"]
    finish.finish(scan.pk)  # nothing brings it back but a new run
    assert Scan.objects.get(pk=scan.pk).state == Scan.EXPIRED


def test_a_link_cannot_be_stretched_or_guessed(completed, stack):
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    number, expires, signature = link_text(scan).split(".")
    for wrong in (f"{number}.{int(expires) + 1}.{signature}", f"{int(number) + 1}.{expires}.{signature}",
                  f"{number}.{expires}.{'A' * 22}", f"{number}.{expires}.", "x", "999999999999999999.1." + "A" * 22):
        answer = requests.get(f"{stack.address()}/api/openscan/download/{wrong}.zip", timeout=120)
        assert answer.status_code == 404 and list(answer.json()) == ["error"], wrong


def test_reset_takes_the_result_away_and_leaves_a_finished_model_in_webodm(completed):
    scan = completed(name="reset me")
    finish.finish(scan.pk)
    path, link = result_file(scan), link_text(scan)
    scans.reset_scan(scan.token, "reset me")
    with pytest.raises(OpenScanError):
        packing.find_result(link)
    finish.discard(scan.pk)
    assert not path.exists() and task_of(scan) is not None


def test_reset_takes_an_unfinished_task_away(completed, stack):
    scan = completed(name="reset me too")
    task = task_of(scan)
    task.status = None
    task.save()
    scans.reset_scan(scan.token, "reset me too")
    finish.discard(scan.pk)
    until(lambda: poke() or task_of(scan) is None, every=0.4)


def test_a_project_name_never_goes_into_a_url_but_into_the_file_name(completed, stack):
    scan = completed(name='Vase "blau" & grün/../x')
    finish.finish(scan.pk)
    scan.refresh_from_db()
    url = packing.result_url(scan, stack.address())
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api/openscan/download/[A-Za-z0-9._-]+\.zip", url) and "Vase" not in url
    disposition = requests.get(url, timeout=120).headers["Content-Disposition"]
    assert disposition == 'attachment; filename="Vase_blau_grun_.._x.zip"'


@pytest.fixture
def served(completed, stack):
    """A result behind the live server: (url, bytes)."""
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    return packing.result_url(scan, stack.address()), result_file(scan).read_bytes()


def test_the_whole_file(served):
    url, data = served
    answer = requests.get(url, timeout=120)
    assert answer.status_code == 200 and answer.content == data
    assert answer.headers["Content-Length"] == str(len(data)) and answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Accept-Ranges"] == "bytes" and answer.headers["ETag"] and answer.headers["Last-Modified"]
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("asked, first, last", [
    ("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-500", -500, None), ("bytes=5-5", 5, 5),
    ("bytes=10-99999999999", 10, None), ("bytes=-99999999999", 0, None),
])
def test_one_range(served, asked, first, last):
    url, data = served
    start = max(0, len(data) + first) if first < 0 else first
    end = len(data) - 1 if last is None else last
    answer = requests.get(url, headers={"Range": asked}, timeout=120)
    assert answer.status_code == 206 and answer.content == data[start:end + 1]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{len(data)}"
    assert answer.headers["Content-Length"] == str(end + 1 - start)


@pytest.mark.parametrize("asked", ["bytes=0-1,5-9", "bytes=x-y", "bytes=9-5", "lines=1-2", "bytes=-"])
def test_ranges_that_are_not_understood_get_the_whole_file(served, asked):
    url, data = served
    answer = requests.get(url, headers={"Range": asked}, timeout=120)
    assert answer.status_code == 200 and answer.content == data


@pytest.mark.parametrize("asked", ["bytes=99999999999-", "bytes=-0"])
def test_ranges_beyond_the_end(served, asked):
    url, data = served
    answer = requests.get(url, headers={"Range": asked}, timeout=120)
    assert answer.status_code == 416 and answer.headers["Content-Range"] == f"bytes */{len(data)}"


def test_if_range_protects_against_mixing_two_results(served):
    url, data = served
    tags = requests.head(url, timeout=120).headers
    for condition, code in ((tags["ETag"], 206), (tags["Last-Modified"], 206), ('"other"', 200),
                            ("Thu, 01 Jan 1998 00:00:00 GMT", 200), ("nonsense", 200)):
        answer = requests.get(url, headers={"Range": "bytes=7-", "If-Range": condition}, timeout=120)
        assert answer.status_code == code, condition
        assert answer.content == (data[7:] if code == 206 else data)


@pytest.mark.parametrize(("start", "end"), [(0, 9_999), (100, 4_099), (9_999, 9_999)])
def test_the_kernel_sends_a_piece_without_a_complaint(tmp_path, start, end):
    """As gunicorn's file wrapper does it; what fails after the last byte is seen in its log alone."""
    from plugins.openscan_cloud.views.results import FilePiece

    data = os.urandom(10_000)
    (tmp_path / "whole").write_bytes(data)
    told: list[int] = []
    ours, theirs = socket.socketpair()
    with ours, theirs, FilePiece(open(tmp_path / "whole", "rb", buffering=0), start, end, told.append) as piece:
        place = os.lseek(piece.fileno(), 0, os.SEEK_CUR)
        assert ours.sendfile(piece, offset=place, count=end - start + 1) == end - start + 1
        ours.shutdown(socket.SHUT_WR)
        assert theirs.makefile("rb").read() == data[start:end + 1]
        assert piece.read() == b"", "it stands behind its last byte"
        piece.seek(start)
        assert piece.read() == data[start:end + 1]
    assert told == [end - start + 1]


def test_unchanged_files_are_not_sent_again(served):
    url, _ = served
    tags = requests.head(url, timeout=120).headers
    assert requests.get(url, headers={"If-None-Match": tags["ETag"]}, timeout=120).status_code == 304
    assert requests.get(url, headers={"If-Modified-Since": tags["Last-Modified"]}, timeout=120).status_code == 304
    assert requests.get(url, headers={"If-None-Match": '"other"'}, timeout=120).status_code == 200


def test_a_file_that_vanishes_after_its_link_was_looked_up_is_gone(completed):
    scan = completed()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    result = packing.find_result(packing.result_url(scan).rpartition("/")[2][:-len(".zip")])
    result.path.unlink()
    with pytest.raises(OpenScanError) as gone:
        packing.open_file(result.path)
    assert gone.value.status == 410


def test_downloads_that_are_cut_give_their_place_back(served):
    link, _ = served
    for _ in range(40):  # more than a process takes at a time
        with requests.get(link, stream=True, timeout=120) as answer:
            assert answer.status_code == 200
    assert requests.get(link, timeout=120).status_code == 200


def test_head_says_the_same_without_a_body(served):
    url, data = served
    answer = requests.head(url, timeout=120)
    assert answer.status_code == 200 and answer.headers["Content-Length"] == str(len(data)) and not answer.content
    assert requests.post(url, timeout=120).status_code == 405


def test_a_download_cut_at_half_goes_on_where_it_was(served):
    url, data = served
    half = len(data) // 2
    first = requests.get(url, stream=True, timeout=120)
    got = first.raw.read(half)
    first.close()
    rest = requests.get(url, headers={"Range": f"bytes={half}-", "If-Range": first.headers["ETag"]}, timeout=120)
    assert got + rest.content == data


def test_a_disabled_plugin_hands_nothing_out(served, stack):
    from app.models import Plugin

    url, _ = served
    Plugin.objects.filter(pk="openscan_cloud").update(enabled=False)
    try:
        assert requests.get(url, timeout=120).status_code == 404
    finally:
        Plugin.objects.filter(pk="openscan_cloud").update(enabled=True)
    assert requests.get(url, timeout=120).status_code == 200


def test_dlink_over_http_fits_openscan2s_unquoted_href(rig):
    project = send(rig, photos(3))
    info = wait_for(rig, project, "processing done")
    assert re.fullmatch(r"[A-Za-z0-9/_.:-]+", info["dlink"])
    with zipfile.ZipFile(io.BytesIO(requests.get(info["dlink"], timeout=120).content)) as archive:
        assert archive.testzip() is None
    task = task_of(Scan.objects.get(name=project))
    host_tasks.remove_task(task)
    assert wait_for(rig, project, "expired")["dlink"] == ""
