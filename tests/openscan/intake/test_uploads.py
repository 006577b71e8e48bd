"""Upload links over live gunicorn: every form of body that clients send, what is refused, and what is left behind."""
import hashlib
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from django.test import Client

from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.intake import uploads
from app_extensions.openscan.models import Scan
from tests.openscan.helpers import (
    MB,
    RawConnection,
    Rig,
    files_being_received,
    files_match_rows,
    in_processes,
    kept_files,
    own_gunicorn,
    private_token,
    put_part,
    refused,
)
from tests.plugin import need
from tests.support.waiting import until


def scan_named(name: str) -> Scan:
    return Scan.objects.exclude(state=Scan.RESET).get(name=name)


def content_of(name: str) -> bytes:
    return b"".join(path.read_bytes() for path in part_files.part_paths(scan_named(name)))


def chunks_of(data: bytes, size: int):
    return (data[start:start + size] for start in range(0, len(data), size))


class TestBodies:
    DATA = os.urandom(1_500_001)

    def accepted(self, answer: requests.Response, project: str) -> None:
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("application/json"), answer.text
        assert content_of(project) == self.DATA
        assert files_match_rows(scan_named(project)) and not files_being_received(scan_named(project))

    def test_post_with_content_length(self, rig, unique):
        self.accepted(put_part(rig.create(unique, len(self.DATA))[0], self.DATA), unique)

    @pytest.mark.parametrize("size", [1000, 65536, 512 * 1024, 10**7])
    def test_chunks_without_content_length_as_openscan3_sends_them(self, rig, unique, size):
        self.accepted(put_part(rig.create(unique, len(self.DATA))[0], chunks_of(self.DATA, size)), unique)

    def test_put_without_a_content_type_and_with_a_foreign_authorization(self, rig, unique):
        link = rig.create(unique, len(self.DATA))[0]
        request = requests.Request("PUT", link, data=self.DATA, headers={"Authorization": "Bearer not-ours"}).prepare()
        request.headers.pop("Content-Type", None)
        self.accepted(requests.Session().send(request, timeout=120), unique)

    def test_with_basic_credentials_and_a_form_content_type(self, rig, unique):
        link = rig.create(unique, len(self.DATA))[0]
        self.accepted(requests.post(link, data=self.DATA, auth=("openscan", "free"), timeout=120,
                                    headers={"Content-Type": "application/x-www-form-urlencoded"}), unique)

    def test_a_session_cookie_is_no_obstacle(self, stack, rig, unique):
        link = rig.create(unique, len(self.DATA))[0]
        self.accepted(put_part(link, self.DATA, Cookie="sessionid=nonsense; csrftoken=x"), unique)

    def test_expect_100_continue(self, rig, unique):
        link = rig.create(unique, len(self.DATA))[0]
        connection = RawConnection(link, Expect="100-continue", Content_Length=str(len(self.DATA)))
        assert connection.status() == 100
        connection.send(self.DATA)
        assert connection.status() == 200
        assert content_of(unique) == self.DATA

    def test_curl_as_openscan2_calls_it_with_an_unquoted_link(self, rig, unique, tmp_path):
        need("curl")
        link, part = rig.create(unique, len(self.DATA))[0], tmp_path / "part"
        part.write_bytes(self.DATA)
        done = subprocess.run(
            f"curl -s -o /dev/null -w %{{http_code}} -X POST {link} --header Content-Type:application/octet-stream "
            f"--data-binary @{part}", shell=True, capture_output=True, text=True, timeout=120)
        assert done.stdout == "200", done.stderr
        assert content_of(unique) == self.DATA

    @pytest.mark.parametrize("form", ["-T {part}", "-T {part} -H Transfer-Encoding:chunked", "-F file=@{part}"])
    def test_other_forms_of_curl(self, rig, unique, tmp_path, form):
        need("curl")
        part = tmp_path / "part"
        part.write_bytes(self.DATA)
        link = rig.create(unique, len(self.DATA))[0]
        done = subprocess.run(["curl", "-s", "-o", str(tmp_path / "answer"), "-w", "%{http_code}",
                               *form.format(part=part).split(), link], capture_output=True, text=True, timeout=120)
        # -F wraps the part into a form: that is more than was declared, and refused instead of kept as an archive.
        assert done.stdout == ("413" if form.startswith("-F") else "200"), (tmp_path / "answer").read_text()

    def test_parts_out_of_order_and_in_parallel(self, rig, unique):
        pieces = list(chunks_of(self.DATA, 100_000))
        links = rig.create(unique, len(self.DATA), parts=len(pieces))
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(put_part, reversed(links), reversed(pieces)))
        assert {answer.status_code for answer in answers} == {200}
        assert content_of(unique) == self.DATA and rig.get("startProject", project=unique).status_code == 200

    def test_a_part_sent_again_replaces_the_earlier_one(self, rig, unique):
        link = rig.create(unique, 10, parts=2)[0]
        for body in (b"12345", b"abc", b"abcdefghi", b"12"):
            assert put_part(link, body).status_code == 200
            assert content_of(unique) == body and scan_named(unique).received_bytes == len(body)
            assert files_match_rows(scan_named(unique))

    def test_one_part_sent_eight_times_at_once_is_kept_once(self, rig, unique):
        link = rig.create(unique, 1000)[0]
        assert in_processes(send, [(link, bytes([number]) * 1000) for number in range(8)]) == [200] * 8
        content = content_of(unique)
        assert len(content) == 1000 and len(set(content)) == 1
        assert scan_named(unique).received_bytes == 1000
        until(lambda: files_match_rows(scan_named(unique)))


def send(work: tuple) -> int:
    link, body = work
    return put_part(link, body).status_code


class TestRefusals:
    def nothing_kept(self, project: str) -> None:
        scan = scan_named(project)
        assert kept_files(scan) == [] and scan.received_bytes == 0
        until(lambda: not files_being_received(scan))

    @pytest.mark.parametrize("body", [b"", iter([])])
    def test_empty_bodies(self, rig, unique, body):
        refused(put_part(rig.create(unique, 10)[0], body), 400, "empty")
        self.nothing_kept(unique)

    def test_no_length_and_no_chunks(self, rig, unique):
        connection = RawConnection(rig.create(unique, 10)[0])
        assert connection.status() == 400
        self.nothing_kept(unique)

    @pytest.mark.parametrize("chunked", [False, True])
    def test_more_than_was_declared(self, rig, unique, chunked):
        body = b"x" * 100_000
        refused(put_part(rig.create(unique, 99_999)[0], chunks_of(body, 1000) if chunked else body), 413, "99,999")
        self.nothing_kept(unique)

    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_total_beyond_what_was_declared(self, rig, unique, chunked):
        links = rig.create(unique, 10, parts=2)
        put_part(links[0], b"1234567")
        refused(put_part(links[1], iter([b"89", b"01"]) if chunked else b"8901"), 413, "11 bytes")
        assert content_of(unique) == b"1234567" and scan_named(unique).received_bytes == 7
        assert files_match_rows(scan_named(unique))

    @pytest.mark.parametrize("chunked", [False, True])
    def test_beyond_the_part_limit(self, rig, unique, chunked):
        token = tokens.find_token(rig.token)
        token.limit_part_bytes = 5000
        token.save()
        body = b"x" * 5001
        refused(put_part(rig.create(unique, 6000, parts=2)[0], iter([body]) if chunked else body), 413, "5,000")
        self.nothing_kept(unique)

    def test_a_large_refused_body_still_gets_its_answer(self, rig, unique):
        body = b"x" * (30 * MB)
        refused(put_part(rig.create(unique, 10)[0], body), 413)
        refused(put_part(rig.create("c" + unique, 10)[0], chunks_of(body, 500_000)), 413)
        refused(put_part(rig.root + "u/nonsense", body), 404)

    def test_links_that_are_none(self, rig, unique):
        link = rig.create(unique, 10, parts=2)[0]
        scan, part, expiry, signature = link.rsplit("/", 1)[1].split(".")
        root = rig.root + "u/"
        other = ("A" if signature[0] != "A" else "B") + signature[1:]
        for text in (f"{scan}.2.{expiry}.{signature}", f"{scan}.{part}.{int(expiry) + 1}.{signature}",
                     f"{int(scan) + 1}.{part}.{expiry}.{signature}", f"{scan}.{part}.{expiry}.{other}",
                     f"{scan}.{part}.{expiry}", "", "a/b", "%00", "9" * 400, f"{'9' * 18}.1.1.{signature}",
                     f"{scan}.{part}.{expiry}.{signature}x", f"{scan}.{part}.{expiry}.{signature}%0a"):
            refused(put_part(root + text, b"abc"), 404, "not valid")

    def test_an_expired_link(self, rig, unique):
        link = rig.create(unique, 10)[0]
        scan = scan_named(unique)
        from app_extensions.openscan import links

        scan.links_expire_at = scan.created_at
        old = links.upload_links(scan, "")[0]
        refused(put_part(rig.root + old.split("/api/openscan/")[1], b"abc"), 410, "expired")
        assert put_part(link, b"abc").status_code == 200

    def test_links_are_good_for_four_hours(self, rig, unique):
        rig.create(unique, 10)
        scan = scan_named(unique)
        assert 4 * 3600 - 60 < (scan.links_expire_at - scan.created_at).total_seconds() < 4 * 3600 + 60

    def test_after_start_reset_expiry_and_revocation(self, rig, unique):
        started, reset, expired, revoked = (rig.create(word + unique, 3)[0] for word in ("started", "reset", "expired", "revoked"))
        put_part(started, b"abc")
        rig.get("startProject", project="started" + unique)
        refused(put_part(started, b"xyz"), 409, "started")
        rig.get("resetProject", project="reset" + unique)
        refused(put_part(reset, b"xyz"), 410)
        Scan.objects.filter(name="expired" + unique).update(state=Scan.EXPIRED)
        refused(put_part(expired, b"xyz"), 410)
        tokens.revoke(tokens.find_token(rig.token))
        refused(put_part(revoked, b"xyz"), 410, "revoked")

    @pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH", "HEAD"])
    def test_other_methods_are_405(self, rig, unique, method):
        answer = requests.request(method, rig.create(unique, 3)[0], timeout=120)
        assert answer.status_code == 405 and answer.headers["Allow"] == "POST, PUT"

    def test_the_disabled_plugin_answers_404_in_json_at_every_root_view(self, rig, unique):
        from app.models import Plugin

        link = rig.create(unique, 3)[0]
        Plugin.objects.filter(name="openscan_cloud").update(enabled=False)
        try:
            refused(put_part(link, b"abc"), 404, "switched off")
            for path in ("status", "nonsense", "download/x.zip"):
                refused(rig.get(path), 404, "switched off")
        finally:
            Plugin.objects.filter(name="openscan_cloud").update(enabled=True)
        assert put_part(link, b"abc").status_code == 200


class TestBrokenConnections:
    def gone(self, project: str) -> None:
        scan = scan_named(project)
        until(lambda: not files_being_received(scan))
        assert kept_files(scan) == [] and scan_named(project).received_bytes == 0

    def test_a_client_that_closes_half_way(self, rig, unique):
        connection = RawConnection(rig.create(unique, 1000)[0], Content_Length="1000")
        connection.send(b"x" * 500)
        connection.close()
        self.gone(unique)

    def test_a_client_that_closes_in_the_middle_of_a_chunk(self, rig, unique):
        connection = RawConnection(rig.create(unique, 1000)[0], Transfer_Encoding="chunked")
        connection.send(b"1f4\r\n" + b"x" * 100)
        connection.close()
        self.gone(unique)

    def test_a_client_that_closes_between_chunks(self, rig, unique):
        connection = RawConnection(rig.create(unique, 1000)[0], Transfer_Encoding="chunked")
        connection.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        connection.close()
        self.gone(unique)

    @pytest.mark.parametrize("junk", [b"zz\r\nabc\r\n", b"-1\r\nabc\r\n", b"3\r\nabcdef\r\n0\r\n\r\n"])
    def test_broken_chunks_are_400(self, rig, unique, junk):
        connection = RawConnection(rig.create(unique, 1000)[0], Transfer_Encoding="chunked")
        connection.send(b"64\r\n" + b"x" * 100 + b"\r\n" + junk)
        assert connection.status() == 400
        self.gone(unique)

    def test_a_silent_client_is_given_up(self, impatient_web, live_db, unique):
        rig = Rig(impatient_web.address, private_token()[1])
        silent = {}
        for name, headers, start in ((f"sized {unique}", {"Content_Length": "1000"}, b"x" * 10),
                                     (f"chunked {unique}", {"Transfer_Encoding": "chunked"}, b"5\r\nabc")):
            silent[name] = RawConnection(rig.create(name, 1000)[0], **headers)
            silent[name].send(start)
        for name, connection in silent.items():
            assert connection.status() == 408
            self.gone(name)


@pytest.fixture(scope="module")
def impatient_web(stack):
    """It waits two seconds for a client's next byte, and its files can have 2 MB."""
    need("prlimit")
    with own_gunicorn(stack, "web-impatient", wrapper=("prlimit", f"--fsize={2 * MB}"), workers=1,
                      WO_OPENSCAN_UPLOAD_IDLE_SECONDS="2") as web:
        yield web


@pytest.fixture(scope="module")
def single_web(stack):
    """One process."""
    with own_gunicorn(stack, "web-single", workers=1) as web:
        yield web


class TestMemory:
    @pytest.mark.parametrize("chunked", [False, True])
    def test_a_part_of_50_mb_takes_no_memory_for_itself(self, stack, single_web, live_db, unique, chunked):
        size, piece = 50 * MB, os.urandom(MB)
        rig = Rig(single_web.address, private_token(10**12)[1])
        put_part(rig.create("warm" + unique, 3 * MB)[0], piece * 3)
        before = new_peak_memory_bytes(single_web.pid)
        body = (piece for _ in range(50))
        answer = put_part(rig.create(unique, size)[0], body if chunked else Sized(body, size))
        assert answer.status_code == 200, answer.text
        assert peak_memory_bytes(single_web.pid) - before < 16 * MB
        digest = hashlib.sha256()
        for path in part_files.part_paths(scan_named(unique)):
            with path.open("rb") as file:
                for block in iter(lambda: file.read(MB), b""):
                    digest.update(block)
        assert digest.digest() == hashlib.sha256(piece * 50).digest()
        rig.root = stack.address() + "/api/openscan/"
        rig.get("resetProject", project=unique)


class Sized:
    """An iterable body whose length is known, so that it is sent with a Content-Length."""

    def __init__(self, pieces, size: int):
        self.pieces, self.size, self.rest = pieces, size, b""

    def __len__(self) -> int:
        return self.size

    def read(self, amount: int = -1) -> bytes:
        return self.rest or next(self.pieces, b"")


def worker_of(master: int) -> int:
    """A gunicorn's only worker."""
    worker, = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return int(worker)


def new_peak_memory_bytes(master: int) -> int:
    """The resident set of a gunicorn's worker. What it had before is forgotten."""
    Path(f"/proc/{worker_of(master)}/clear_refs").write_text("5")
    return peak_memory_bytes(master)


def peak_memory_bytes(master: int) -> int:
    """The largest resident set that a gunicorn's worker ever had."""
    status = Path(f"/proc/{worker_of(master)}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class TestCrashes:
    def test_a_web_worker_killed_in_mid_upload_leaves_nothing_and_the_client_sends_again(self, single_web, live_db, unique):
        rig = Rig(single_web.address, private_token()[1])
        link = rig.create(unique, 1000)[0]
        scan = scan_named(unique)
        connection = RawConnection(link, Content_Length="1000")
        connection.send(b"x" * 600)
        until(lambda: files_being_received(scan))
        assert part_files.sweep(0) == 0 and files_being_received(scan), "a living upload is left alone"
        os.kill(worker_of(single_web.pid), signal.SIGKILL)
        with pytest.raises((ConnectionError, OSError)):
            connection.status()
        assert files_being_received(scan), "the dead process could not tidy up"
        until(lambda: part_files.sweep(0))
        assert not files_being_received(scan) and kept_files(scan) == []
        assert put_part(link, b"y" * 1000).status_code == 200
        assert rig.get("startProject", project=unique).status_code == 200


class TestFullDisk:
    def test_a_file_that_cannot_grow_is_507_and_nothing_is_kept(self, impatient_web, live_db, unique):
        # EFBIG from a limit on the process takes the same way as ENOSPC from a full disk and EDQUOT from a quota.
        rig = Rig(impatient_web.address, private_token()[1])
        link = rig.create(unique, 5 * MB)[0]
        for body in (b"x" * (5 * MB), chunks_of(b"x" * (5 * MB), 100_000)):
            answer = put_part(link, body)
            refused(answer, 507, "full")
            assert answer.headers["Retry-After"]
            assert kept_files(scan_named(unique)) == [] and not files_being_received(scan_named(unique))
        assert put_part(link, b"x" * MB).status_code == 200

    def test_without_room_nothing_is_created_or_charged(self, rig, settings, unique):
        link = urlsplit(rig.create("before" + unique, 9)[0]).path
        settings.OPENSCAN_FREE_RESERVE = "900TB"
        token = tokens.find_token(rig.token)
        client = Client(HTTP_AUTHORIZATION=f"Bearer {rig.token}")
        answer = client.get("/api/openscan/createProject", {"project": unique, "photos": 1, "parts": 1, "filesize": 9})
        assert answer.status_code == 507 and "full" in answer.json()["error"]
        assert tokens.find_token(rig.token).credit_bytes == token.credit_bytes and not Scan.objects.filter(name=unique).exists()
        answer = client.post(link, b"123456789", "application/octet-stream")
        assert answer.status_code == 507 and "full" in answer.json()["error"]
        assert kept_files(scan_named("before" + unique)) == []

    def test_a_tmpfs_that_fills_up(self, stack, live_db, unique, tmp_path):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)], capture_output=True,
                                 check=False) if os.geteuid() == 0 else None
        if mounted is None or mounted.returncode:
            pytest.skip("mounting a tmpfs needs root")
        try:
            with own_gunicorn(stack, "web-tmpfs", workers=1, WO_OPENSCAN_STORAGE_DIR=str(tmp_path), WO_OPENSCAN_FREE_RESERVE="0") as web:
                token, text = private_token()
                refused(Rig(web.address, text).get("createProject", project=unique, photos=1, parts=1, filesize=4 * MB), 507, "full")
                assert tokens.find_token(text).credit_bytes == token.credit_bytes and not Scan.objects.filter(name=unique).exists()
                # Created where there is room: here, the second one would be refused, as the room is promised to the first.
                rig = Rig(stack.address(), text)
                links = [rig.create(f"{unique}{number}", 2 * MB)[0].replace(stack.address(), web.address) for number in range(2)]
                threads = [threading.Thread(target=put_part, args=(link, chunks_of(b"x" * (2 * MB), 50_000))) for link in links]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                kept = [scan_named(f"{unique}{number}").received_bytes for number in range(2)]
                assert sorted(kept) in ([0, 0], [0, 2 * MB])
                assert list((tmp_path / ".incoming").iterdir()) == []
                assert len(list(tmp_path.glob("scans/*/*"))) == sum(1 for size in kept if size)
                for number in range(2):
                    rig.get("resetProject", project=f"{unique}{number}")
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)


def test_the_lock_of_an_upload_is_held_until_its_row_is_committed(live_db, unique, rig):
    """What the sweep relies on: between rename and commit the file has no row yet, but a living owner."""
    rig.create(unique, 5)
    scan = scan_named(unique)
    seen = []

    class Watching(uploads.Upload):
        def check_total(self, size_bytes, scan, other_bytes):
            seen.append(part_files.sweep(0))
            super().check_total(size_bytes, scan, other_bytes)

    uploads.receive(Watching(Scan.objects.select_related("token").get(pk=scan.pk), 1), iter([b"12345"]), None)
    assert seen and set(seen) == {0} and files_match_rows(scan)
