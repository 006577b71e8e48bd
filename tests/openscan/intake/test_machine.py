"""A scan's life in random order, with crashes: what has to be true is true after every step.

Real rules on the real database and disk: create, upload, send again, start, take in, hand over, fail, complete, restart and
delete in WebODM, expire, reset, and any client's call cut off by SIGKILL at a random line. WebODM's part, the task's status
and its model, is set as its worker sets it.
"""
import datetime
import os
import random
import signal
from typing import Optional

import pytest
from app.models import Task
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import links, part_files
from app_extensions.openscan.accounts import ledger
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans, uploads
from app_extensions.openscan.models import LedgerEntry, Scan
from app_extensions.openscan.processing import finish, status
from tests.openscan.crash import run_traced
from tests.openscan.helpers import files_being_received, files_match_rows, private_token
from tests.openscan.make_sets import cut, make_zip, photos

NAMES = st.sampled_from(["vase", "cup"])
GOOD_SET = make_zip(photos(3))
BAD_SET = random.Random(1).randbytes(500)
WORDS = {"created", "initialized", "file approved", "processing started", "processing done", "processing failed", "expired"}


class ScanLife(RuleBasedStateMachine):
    """Two names under one private token whose credit is enough for some sets and no more."""

    def __init__(self) -> None:
        super().__init__()
        self.credit = 5 * len(GOOD_SET)
        self.token, _ = private_token(self.credit)
        self.sent: dict[int, bytes] = {}

    def current(self, name: str) -> Optional[Scan]:
        return self.token.scans.exclude(state=Scan.RESET).filter(name=name).first()

    def task_of(self, name: str) -> Optional[Task]:
        scan = self.current(name)
        return host_tasks.get_task(scan.webodm_task_id) if scan is not None and scan.webodm_task_id else None

    @rule(name=NAMES, parts=st.integers(1, 3), good=st.booleans())
    def create(self, name: str, parts: int, good: bool) -> None:
        body = GOOD_SET if good else BAD_SET
        before = self.current(name)
        try:
            scan = scans.create_scan(self.token, name, photos=3, parts=parts, filesize_bytes=len(body))
        except OpenScanError as error:
            assert error.status == 400
            assert "credit" in error.sentence or before.started_at is not None, error.sentence
            return
        assert scan.state == Scan.CREATED and scan.held_bytes == len(body)
        self.sent[scan.pk] = body

    @rule(name=NAMES, number=st.integers(1, 3), spoiled=st.integers(0, 6))
    def upload(self, name: str, number: int, spoiled: int) -> None:
        scan = self.current(name)
        if scan is None or number > scan.parts_count:
            return
        piece = cut(self.sent[scan.pk], scan.parts_count)[number - 1]
        body = piece[:-1] if spoiled == 0 else piece
        try:
            self.send(scan, number, body)
        except OpenScanError as error:
            assert scan.state != Scan.CREATED and error.status in (409, 410)
        else:
            assert scan.state == Scan.CREATED
            assert scan.parts.get(number=number).size_bytes == len(body)

    @staticmethod
    def send(scan: Scan, number: int, body: bytes) -> None:
        link = links.upload_links(scan, "")[number - 1].rsplit("/", 1)[1]
        uploads.receive(uploads.open_upload(link), iter([body]), len(body))

    @rule(name=NAMES)
    def upload_all_and_start(self, name: str) -> None:
        scan = self.current(name)
        if scan is not None and scan.state == Scan.CREATED:
            for number, piece in enumerate(cut(self.sent[scan.pk], scan.parts_count), 1):
                self.send(scan, number, piece)
            assert scans.start_scan(self.token, name).state == Scan.INITIALIZED

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        scan = self.current(name)
        complete = scan is not None and scan.received_bytes == scan.declared_bytes
        try:
            started = scans.start_scan(self.token, name)
        except OpenScanError as error:
            assert error.status == 400 and (scan is None or scan.state == Scan.EXPIRED or not complete)
        else:
            assert started.state != Scan.CREATED and started.started_at is not None

    @rule(name=NAMES)
    def take_in(self, name: str) -> None:
        scan = self.current(name)
        if scan is None or scan.state != Scan.INITIALIZED:
            return
        run.ingest(scan.pk)
        scan.refresh_from_db()
        if self.sent[scan.pk] is GOOD_SET:
            assert (scan.state, scan.charge, scan.posted_bytes) == (Scan.APPROVED, Scan.POSTED, len(GOOD_SET))
        else:
            assert (scan.state, scan.charge) == (Scan.FAILED, Scan.VOIDED) and scan.error

    @rule(name=NAMES)
    def hand_over(self, name: str) -> None:
        scan = self.current(name)
        if scan is not None and scans.advance(scan.pk, [Scan.APPROVED], Scan.RELEASED, released_at=timezone.now()):
            Task.objects.filter(pk=scan.webodm_task_id).update(status=20)

    @rule(name=NAMES, ours=st.booleans())
    def fail_in_webodm(self, name: str, ours: bool) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state == Scan.RELEASED:
            Task.objects.filter(pk=task.pk).update(status=30, last_error="disk full" if ours else "not enough overlap")
            finish.finish(scan.pk)
            scan.refresh_from_db()
            assert scan.state == Scan.FAILED and (scan.charge == Scan.REFUNDED or not ours)

    @rule(name=NAMES)
    def restart_in_webodm(self, name: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state in (Scan.FAILED, Scan.DONE, Scan.EXPIRED):
            Task.objects.filter(pk=task.pk).update(status=20, last_error="")
            scans.advance(scan.pk, [Scan.FAILED, Scan.DONE, Scan.EXPIRED], Scan.RELEASED)

    @rule(name=NAMES)
    def complete_in_webodm(self, name: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state == Scan.RELEASED:
            model = assets.assets_dir(task) / "odm_texturing" / "odm_textured_model_geo.obj"
            model.parent.mkdir(parents=True, exist_ok=True)
            model.write_text(f"v 0 0 {random.random()}\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
            Task.objects.filter(pk=task.pk).update(status=40)
            finish.finish(scan.pk)
            scan.refresh_from_db()
            assert scan.state == Scan.DONE and status.scan_status(scan) == "processing done"

    @rule(name=NAMES)
    def delete_in_webodm(self, name: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state in (Scan.RELEASED, Scan.DONE, Scan.FAILED):
            task.delete()
            finish.finish(scan.pk)
            assert status.scan_status(self.current(name)) in ("expired", "processing failed")

    @rule(name=NAMES)
    def expire(self, name: str) -> None:
        scan = self.current(name)
        if scan is not None:
            past = timezone.now() - datetime.timedelta(days=9)
            self.token.scans.filter(pk=scan.pk).update(created_at=past, links_expire_at=past, result_expires_at=past)
            scans.expire_unstarted()
            finish.expire_results()
            assert self.current(name).state not in (Scan.CREATED, Scan.DONE)

    @rule(name=NAMES)
    def reset(self, name: str) -> None:
        scan = self.current(name)
        assert scans.reset_scan(self.token, name) is (scan is not None)
        assert self.current(name) is None
        if scan is not None:
            finish.discard(scan.pk)

    @rule(name=NAMES, call=st.sampled_from(["create", "upload", "start", "reset", "expire"]), line=st.integers(1, 120))
    def crash(self, name: str, call: str, line: int) -> None:
        scan = self.current(name)
        body = self.sent[scan.pk] if scan is not None else GOOD_SET

        def work() -> None:
            if call == "create":
                scans.create_scan(self.token, name, photos=3, parts=2, filesize_bytes=len(body))
            elif call == "upload" and scan is not None:
                self.send(scan, 1, cut(body, scan.parts_count)[0])
            elif call == "start":
                scans.start_scan(self.token, name)
            elif call == "reset":
                scans.reset_scan(self.token, name)
            elif call == "expire" and scan is not None and scan.state == Scan.CREATED:
                scans.expire_unstarted(timezone.now() + datetime.timedelta(days=9))

        def quietly() -> None:
            try:
                work()
            except OpenScanError:
                pass  # a refusal is an answer too; what matters is what the crash leaves

        def kill(file: str, number: int, count: int) -> None:
            if count == line:
                os.kill(os.getpid(), signal.SIGKILL)

        run_traced(quietly, kill)
        now = self.current(name)
        if now is not None and now.pk not in self.sent:
            self.sent[now.pk] = body

    @invariant()
    def the_books_add_up(self) -> None:
        self.token.refresh_from_db()
        assert ledger.find_discrepancies([self.token]) == []
        rows = list(self.token.scans.all())
        assert self.token.credit_bytes == self.credit - sum(scan.held_bytes + scan.posted_bytes for scan in rows) >= 0

    @invariant()
    def a_scan_is_charged_at_most_once(self) -> None:
        for scan in self.token.scans.all():
            entries = list(LedgerEntry.objects.filter(scan=scan))
            assert sum(entry.kind == LedgerEntry.POST for entry in entries) <= 1
            assert 0 <= -sum(entry.amount_bytes for entry in entries) <= scan.declared_bytes
            assert not (scan.state in (Scan.RESET, Scan.EXPIRED) and scan.held_bytes)

    @invariant()
    def files_and_rows_belong_together(self) -> None:
        for scan in self.token.scans.all():
            for part in scan.parts.exclude(size_bytes=None):
                assert part_files.part_path(part).stat().st_size == part.size_bytes
        part_files.sweep(0)
        for scan in self.token.scans.all():
            assert files_match_rows(scan) and not files_being_received(scan)
            assert bool(scan.result_file) == (scan.state == Scan.DONE)
            assert not scan.result_file or (part_files.results_dir() / scan.result_file).is_file()

    @invariant()
    def clients_are_told_a_word_of_the_contract(self) -> None:
        for name in ("vase", "cup"):
            if self.current(name) is None:
                with pytest.raises(OpenScanError) as refused:
                    status.project_info(self.token, name)
                assert refused.value.status == 401
            else:
                info = status.project_info(self.token, name, base_url="http://h")
                assert info["status"] in WORDS and isinstance(info["dlink"], str)
                assert bool(info["dlink"]) == (info["status"] == "processing done")


def live(examples: int, steps: int) -> None:
    run_state_machine_as_test(ScanLife, settings=settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True, derandomize=examples < 50,
        suppress_health_check=list(HealthCheck)))


@pytest.fixture
def alone(settings, live_db) -> None:
    """Jobs go to a queue that no worker listens to: nothing else moves these scans."""
    settings.OPENSCAN_CELERY_QUEUE = "nobody"


def test_a_scans_life(alone):
    live(examples=15, steps=25)


@pytest.mark.long
def test_many_scans_lives(alone):
    live(examples=300, steps=50)
