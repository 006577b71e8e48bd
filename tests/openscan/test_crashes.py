"""A process killed at each line of taking a part in, creating, starting and resetting: the rest can always go on.

A child process is traced and sends itself SIGKILL as it reaches a line of our modules, each line in its turn (every sixth in the quick
run). Afterwards no row lacks its file, the sweep removes every file that lacks a row, the books add up, and the same call made again
succeeds.
"""
import os
import signal
from typing import Callable

import pytest

from app_extensions.openscan import links, part_files
from app_extensions.openscan.accounts import books
from app_extensions.openscan.intake import scans, uploads
from app_extensions.openscan.models import Scan, Token
from tests.openscan.crash import run_traced
from tests.openscan.helpers import files_being_received, files_match_rows, private_token


@pytest.fixture(autouse=True)
def jobs_for_nobody(settings) -> None:
    """Jobs go to a queue that no worker listens to, so that nothing else moves the scans of these tests."""
    settings.OPENSCAN_CELERY_QUEUE = "nobody"


def first_times(work: Callable[[], object]) -> list[int]:
    """At which count each line of ours is run for the first time when `work` does all its work."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    run_traced(work, lambda file, line, count: os.write(write_end, f"{file}:{line} {count}\n".encode()))
    os.close(write_end)
    with os.fdopen(read_end) as events:
        found: dict[str, int] = {}
        for event in events:
            place, _, count = event.rpartition(" ")
            found.setdefault(place, int(count))
    return list(found.values())


@pytest.fixture
def step(request) -> int:
    """Every sixth line in the quick run, each one with --long."""
    return 1 if request.config.getoption("--long") else 6


def each_line(prepare: Callable[[], object], work: Callable[[object], object], check: Callable[[object], None],
              step: int) -> int:
    """Kills `work` at its lines in turn, checking each time what is left. Returns how many lines it has."""
    case = prepare()
    moments = first_times(lambda: work(case))
    check(case)
    for moment in moments[step // 2::step]:
        case = prepare()

        def kill(file: str, line: int, count: int, moment: int = moment) -> None:
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        assert run_traced(lambda case=case: work(case), kill)
        check(case)
    return len(moments)


def nothing_is_lost(scan: Scan) -> None:
    """Rows have their files before the sweep; after it, files have their rows; and the books add up."""
    for part in scan.parts.all():
        assert part_files.part_path(part).stat().st_size == part.size_bytes
    part_files.sweep(0)
    scan.refresh_from_db()
    assert files_match_rows(scan) and not files_being_received(scan)
    assert scan.received_bytes == sum(part.size_bytes or 0 for part in scan.parts.all())
    assert books.find_discrepancies([scan.token]) == []


def send(scan: Scan, number: int, body: bytes) -> None:
    """One upload, from the link to the row."""
    link = links.upload_links(scan, "")[number - 1].rsplit("/", 1)[1]
    uploads.receive(uploads.open_upload(link), iter([body[:2], body[2:]]), len(body))


def new_case(parts: int = 2) -> Scan:
    return scans.create_scan(private_token(1000)[0], "vase", photos=1, parts=parts, filesize_bytes=10)


@pytest.mark.parametrize("resent", [False, True])
def test_receiving_a_part(live_db, step, resent):
    def prepare() -> Scan:
        scan = new_case()
        if resent:
            send(scan, 1, b"old")
        return scan

    def check(scan: Scan) -> None:
        nothing_is_lost(scan)
        assert scan.received_bytes in ((3, 5) if resent else (0, 5))
        send(scan, 1, b"12345")
        send(scan, 2, b"67890")
        nothing_is_lost(scan)
        assert b"".join(path.read_bytes() for path in part_files.part_paths(scan)) == b"1234567890"

    assert each_line(prepare, lambda scan: send(scan, 1, b"12345"), check, step) > 50


def test_creating(live_db, step):
    def create(token: Token) -> Scan:
        return scans.create_scan(token, "vase", photos=1, parts=3, filesize_bytes=10)

    def check(token: Token) -> None:
        assert books.find_discrepancies([token]) == []
        scan = Scan.objects.filter(token=token).first()
        if scan is not None:
            assert (scan.held_bytes, scan.charge, scan.parts.count()) == (10, Scan.HELD, 0)
        again = create(token)
        token.refresh_from_db()
        assert token.credit_bytes == 990 and token.scans.count() == 1 and scans.missing_parts(again) == [1, 2, 3]
        nothing_is_lost(again)

    assert each_line(lambda: private_token(1000)[0], create, check, step) > 40


def test_creating_anew_in_another_cut(live_db, step):
    def prepare() -> Scan:
        scan = new_case()
        send(scan, 1, b"12345")
        return scan

    def check(scan: Scan) -> None:
        nothing_is_lost(scan)
        assert (scan.parts_count, scan.declared_bytes, scan.held_bytes, scan.received_bytes) in ((2, 10, 10, 5), (3, 30, 30, 0))
        assert scan.parts.count() == (1 if scan.parts_count == 2 else 0)

    each_line(prepare, lambda scan: scans.create_scan(scan.token, scan.name, photos=1, parts=3, filesize_bytes=30), check, step)


def test_starting(live_db, step):
    def prepare() -> Scan:
        scan = new_case(1)
        send(scan, 1, b"1234567890")
        return scan

    def check(scan: Scan) -> None:
        nothing_is_lost(scan)
        assert scan.state in (Scan.CREATED, Scan.INITIALIZED) and scan.charge == Scan.HELD
        assert scans.start_scan(scan.token, scan.name).state == Scan.INITIALIZED

    each_line(prepare, lambda scan: scans.start_scan(scan.token, scan.name), check, step)


@pytest.mark.parametrize("expires", [False, True])
def test_resetting_and_expiring(live_db, step, expires):
    def prepare() -> Scan:
        scan = new_case()
        send(scan, 1, b"12345")
        if expires:
            Scan.objects.filter(pk=scan.pk).update(created_at="2020-01-01T00:00Z", links_expire_at="2020-01-01T00:00Z")
        return scan

    def check(scan: Scan) -> None:
        nothing_is_lost(scan)
        assert (scan.state == Scan.CREATED) == (scan.charge == Scan.HELD) == scan.parts.exists()
        assert scans.reset_scan(scan.token, scan.name) is (scan.state != Scan.RESET)
        nothing_is_lost(scan)
        scan.token.refresh_from_db()
        assert scan.token.credit_bytes == 1000

    def work(scan: Scan) -> None:
        scans.expire_unstarted() if expires else scans.reset_scan(scan.token, scan.name)

    each_line(prepare, work, check, step)
