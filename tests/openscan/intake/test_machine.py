"""A scan's life in random order, with crashes: what has to be true is true after every step.

Real rules on the real database and disk: create, upload, send again, start, take in, hand over, fail, complete, restart and
delete in WebODM, expire, reset, and any client's call cut off by SIGKILL at a random line; under a private token, and under a public one
with two clients, midnights, holds that lapse and are renewed, and refusals. WebODM's part, the task's status and its model, is set as
its worker sets it.
"""
import datetime
import os
import random
import signal
from typing import Optional

import pytest
from app.models import Task
from django.db.models import Sum
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from app_extensions.host import assets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import lifecycle, links, part_files
from app_extensions.openscan.accounts import books, ledger
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans, uploads
from app_extensions.openscan.models import LedgerEntry, Scan, Token
from app_extensions.openscan.processing import finish, status
from tests.openscan.crash import run_traced
from tests.openscan.helpers import files_being_received, files_match_rows, private_token, public_token
from tests.openscan.make_sets import cut, make_zip, photos

NAMES = st.sampled_from(["vase", "cup", "jug"])
ADA, BOB = "198.51.100.7", "198.51.100.8"
#: Whose each name is under a public token.
CLIENTS = {"vase": ADA, "cup": BOB, "jug": ADA}
GOOD_SET = make_zip(photos(3))
BAD_SET = random.Random(1).randbytes(500)
WORDS = {"created", "initialized", "file approved", "processing started", "processing done", "processing failed", "expired"}
REASONS = ("credit", "share", "refused sets", "open projects", "started before")


class Clock:
    """The time as the rules see it: the real one, moved on by midnights."""

    real = staticmethod(timezone.now)
    ahead = datetime.timedelta(0)

    @classmethod
    def now(cls) -> datetime.datetime:
        return cls.real() + cls.ahead


class ScanLife(RuleBasedStateMachine):
    """Three names under one private token whose credit is enough for some sets and no more."""

    def __init__(self) -> None:
        super().__init__()
        Clock.ahead = datetime.timedelta(0)
        self.token = self.new_token()
        self.sent: dict[int, bytes] = {}
        #: What happened to the credit, in order: ("grant", bytes), ("refill", bytes), ("take", scan, bytes). What comes back is struck
        #: out here as if it had never been taken; that is the rule.
        self.history: list[tuple] = [("grant", self.token.credit_bytes)]
        self.costs: dict[int, int] = {}

    def new_token(self) -> Token:
        return private_token(5 * len(GOOD_SET))[0]

    def current(self, name: str) -> Optional[Scan]:
        return self.token.scans.exclude(state=Scan.RESET).filter(name=name).first()

    def task_of(self, name: str) -> Optional[Task]:
        scan = self.current(name)
        return host_tasks.get_task(scan.webodm_task_id) if scan is not None and scan.webodm_task_id else None

    @rule(name=NAMES, parts=st.integers(1, 3), good=st.booleans())
    def create(self, name: str, parts: int, good: bool) -> None:
        body = GOOD_SET if good else BAD_SET
        try:
            scan = scans.create_scan(self.token, name, photos=3, parts=parts, filesize_bytes=len(body), address=CLIENTS[name])
        except OpenScanError as error:
            assert error.status == 400 and any(reason in error.sentence for reason in REASONS), error.sentence
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
            lapsed = error.status == 400 and not scan.held_bytes and any(reason in error.sentence for reason in REASONS)
            assert lapsed or error.status == 410 or (scan.state != Scan.CREATED and error.status == 409), error.sentence
        else:
            assert scan.state == Scan.CREATED
            assert scan.parts.get(number=number).size_bytes == len(body) and self.current(name).held_bytes == scan.declared_bytes

    @staticmethod
    def send(scan: Scan, number: int, body: bytes) -> None:
        link = links.upload_links(scan, "")[number - 1].rsplit("/", 1)[1]
        uploads.receive(uploads.open_upload(link), iter([body]), len(body))

    @rule(name=NAMES)
    def upload_all_and_start(self, name: str) -> None:
        scan = self.current(name)
        if scan is None or scan.state != Scan.CREATED or not scan.held_bytes or scan.links_expire_at <= timezone.now():
            return
        for number, piece in enumerate(cut(self.sent[scan.pk], scan.parts_count), 1):
            self.send(scan, number, piece)
        assert scans.start_scan(self.token, name, CLIENTS[name]).state == Scan.INITIALIZED

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        scan = self.current(name)
        complete = scan is not None and scan.received_bytes == scan.declared_bytes
        try:
            started = scans.start_scan(self.token, name, CLIENTS[name])
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
        if scan is not None and lifecycle.apply(scan.pk, lifecycle.HAND_OVER) is not None:
            Task.objects.filter(pk=scan.webodm_task_id).update(status=20)

    @rule(name=NAMES, why=st.sampled_from(["Processing failed", "Disk full", "not enough overlap"]))
    def fail_in_webodm(self, name: str, why: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state == Scan.RELEASED:
            Task.objects.filter(pk=task.pk).update(status=30, last_error=why)
            finish.finish(scan.pk)
            now = self.current(name)
            if why == "Disk full" and scan.moves == 0:
                assert (now.state, now.moves, now.charge) == (Scan.APPROVED, 1, scan.charge)  # another node gets it
            else:
                back = why != "not enough overlap" or scan.charge == Scan.REFUNDED
                assert now.state == Scan.FAILED and (now.charge == Scan.REFUNDED) == back

    @rule(name=NAMES)
    def restart_in_webodm(self, name: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state in (Scan.FAILED, Scan.DONE, Scan.EXPIRED) and scan.released_at is not None:
            Task.objects.filter(pk=task.pk).update(status=20, last_error="")
            finish.restarted(task.pk)
            assert self.current(name).state == (Scan.RELEASED if scan.state == Scan.FAILED else scan.state)

    @rule(name=NAMES)
    def complete_in_webodm(self, name: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state in (Scan.RELEASED, Scan.DONE, Scan.EXPIRED):
            model = assets.assets_dir(task) / "odm_texturing" / "odm_textured_model_geo.obj"
            model.parent.mkdir(parents=True, exist_ok=True)
            model.write_text(f"v 0 0 {random.random()}\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
            Task.objects.filter(pk=task.pk).update(status=40)
            finish.finish(scan.pk)
            assert self.current(name).state == Scan.DONE and status.scan_status(self.current(name)) == "processing done"

    @rule(name=NAMES)
    def delete_in_webodm(self, name: str) -> None:
        scan, task = self.current(name), self.task_of(name)
        if task is not None and scan.state in (Scan.APPROVED, Scan.RELEASED, Scan.DONE):
            task.delete()
            finish.finish(scan.pk)
            now = self.current(name)
            assert now.state == Scan.EXPIRED and status.scan_status(now) == "expired"
            assert now.charge == (scan.charge if scan.state == Scan.DONE or scan.charge != Scan.POSTED else Scan.REFUNDED)

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
        assert scans.reset_scan(self.token, name, CLIENTS[name]) is (scan is not None)
        assert self.current(name) is None
        if scan is not None:
            finish.discard(scan.pk)

    @rule(name=NAMES, call=st.sampled_from(["create", "upload", "start", "reset", "expire", "lapse"]), line=st.integers(1, 160))
    def crash(self, name: str, call: str, line: int) -> None:
        scan = self.current(name)
        body = self.sent[scan.pk] if scan is not None else GOOD_SET

        def work() -> None:
            if call == "create":
                scans.create_scan(self.token, name, photos=3, parts=2, filesize_bytes=len(body), address=CLIENTS[name])
            elif call == "upload" and scan is not None:
                self.send(scan, 1, cut(body, scan.parts_count)[0])
            elif call == "start":
                scans.start_scan(self.token, name, CLIENTS[name])
            elif call == "reset":
                scans.reset_scan(self.token, name, CLIENTS[name])
            elif call == "expire" and scan is not None and scan.state == Scan.CREATED:
                scans.expire_unstarted(timezone.now() + datetime.timedelta(days=9))
            elif call == "lapse":
                scans.release_idle_holds(timezone.now() + datetime.timedelta(hours=2))

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
    def what_has_to_be_true_is_true(self) -> None:
        """One reading of the rows is enough for all checks."""
        rows = list(self.token.scans.prefetch_related("parts", "entries", "events"))
        self.the_credit_is_what_it_would_be_without_what_came_back(rows)
        self.a_scan_is_charged_at_most_once(rows)
        self.the_history_tells_how_each_scan_came_to_its_state(rows)
        self.files_and_rows_belong_together(rows)
        self.clients_are_told_a_word_of_the_contract({scan.name for scan in rows if scan.state != Scan.RESET})

    def the_credit_is_what_it_would_be_without_what_came_back(self, rows: "list[Scan]") -> None:
        """Proved twice: by the check, from the entries, and here from what was seen from outside."""
        self.token.refresh_from_db()
        for scan in rows:
            costs = scan.held_bytes + scan.posted_bytes
            if costs != self.costs.get(scan.pk, 0):
                self.history = [event for event in self.history if event[:2] != ("take", scan.pk)]
                if costs:
                    self.history.append(("take", scan.pk, costs))
                self.costs[scan.pk] = costs
        credit = 0
        for event in self.history:
            if event[0] == "refill":
                credit = max(credit, event[1])
            else:
                credit += event[1] if event[0] == "grant" else -event[2]
        assert self.token.credit_bytes == credit >= 0
        assert books.find_discrepancies([self.token]) == []

    @staticmethod
    def a_scan_is_charged_at_most_once(rows: "list[Scan]") -> None:
        for scan in rows:
            assert sum(entry.kind == LedgerEntry.POST for entry in scan.entries.all()) <= 1
            assert scan.held_bytes + scan.posted_bytes <= scan.declared_bytes and not (scan.held_bytes and scan.posted_bytes)
            assert not (scan.state in (Scan.RESET, Scan.EXPIRED) and scan.held_bytes)

    @staticmethod
    def the_history_tells_how_each_scan_came_to_its_state(rows: "list[Scan]") -> None:
        for scan in rows:
            events = list(scan.events.all())
            assert events[0].from_state == "" and events[-1].to_state == scan.state
            assert all(event.to_state == following.from_state for event, following in zip(events, events[1:]))
            for event in events:
                row = lifecycle.TABLE[event.event]
                assert event.from_state in row.sources and event.to_state == row.target and event.why

    @staticmethod
    def files_and_rows_belong_together(rows: "list[Scan]") -> None:
        for scan in rows:
            for part in scan.parts.all():
                assert part_files.part_path(part).stat().st_size == part.size_bytes
        part_files.sweep(0)
        for scan in rows:
            assert files_match_rows(scan) and not files_being_received(scan)
            assert bool(scan.result_file) == (scan.state == Scan.DONE)
            assert not scan.result_file or (part_files.results_dir() / scan.result_file).is_file()

    def clients_are_told_a_word_of_the_contract(self, names: "set[str]") -> None:
        for name in CLIENTS:
            if name not in names:
                with pytest.raises(OpenScanError) as refused:
                    status.project_info(self.token, name, CLIENTS[name])
                assert refused.value.status == 401
            else:
                info = status.project_info(self.token, name, CLIENTS[name], base_url="http://h")
                assert info["status"] in WORDS and isinstance(info["dlink"], str)
                assert bool(info["dlink"]) == (info["status"] == "processing done")


class SharedLife(ScanLife):
    """The same under a public token, which two clients share and which is topped up at midnight."""

    def new_token(self) -> Token:
        return public_token(4 * len(GOOD_SET))[0]

    @rule(hours=st.integers(0, 30))
    def midnight(self, hours: int) -> None:
        """The next day begins, and some time of it passes."""
        now = timezone.now()
        tomorrow = (now + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        for ahead in (tomorrow - now, datetime.timedelta(hours=hours)):
            before = timezone.now().date()
            Clock.ahead += ahead
            if timezone.now().date() != before:
                ledger.refill(self.token)
                self.history.append(("refill", self.token.daily_bytes))

    @rule()
    def an_hour_passes_without_a_byte(self) -> None:
        Clock.ahead += datetime.timedelta(minutes=61)
        if timezone.now().date() != (timezone.now() - datetime.timedelta(minutes=61)).date():
            ledger.refill(self.token)
            self.history.append(("refill", self.token.daily_bytes))
        scans.release_idle_holds()
        assert not self.token.scans.filter(state=Scan.CREATED, first_byte_at=None, held_bytes__gt=0).exists()

    @rule(name=NAMES)
    def somebody_else_gets_nothing(self, name: str) -> None:
        stranger = BOB if CLIENTS[name] == ADA else ADA
        scan = self.current(name)
        if scan is None or (scan.state == Scan.EXPIRED and scan.started_at is None):
            return
        for call in (lambda: scans.start_scan(self.token, name, stranger), lambda: scans.reset_scan(self.token, name, stranger),
                     lambda: scans.create_scan(self.token, name, photos=3, parts=1, filesize_bytes=1, address=stranger)):
            with pytest.raises(OpenScanError):
                call()
        assert self.current(name).pk == scan.pk and self.current(name).state == scan.state

    @invariant()
    def nobody_holds_more_than_a_share(self) -> None:
        for address in (ADA, BOB):
            held = self.token.scans.filter(client_address=address).aggregate(held=Sum("held_bytes"))["held"] or 0
            assert held <= self.token.daily_bytes * conf.public_share // 100


def live(machine: type, examples: int, steps: int) -> None:
    run_state_machine_as_test(machine, settings=settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, print_blob=True, derandomize=examples < 50,
        suppress_health_check=list(HealthCheck)))


@pytest.fixture
def alone(settings, live_db, monkeypatch) -> None:
    """Jobs go to a queue that no worker listens to: nothing else moves these scans. A second attempt on a node is all there is, one
    client gets 60 % of a public token, and three refusals are enough."""
    settings.OPENSCAN_CELERY_QUEUE = "nobody"
    settings.OPENSCAN_NODE_ATTEMPTS, settings.OPENSCAN_PUBLIC_SHARE, settings.OPENSCAN_REFUSALS_PER_DAY = 2, 60, 3
    monkeypatch.setattr(timezone, "now", Clock.now)


@pytest.mark.parametrize("machine", [ScanLife, SharedLife])
def test_a_scans_life(alone, machine):
    live(machine, examples=10, steps=25)


@pytest.mark.long
@pytest.mark.parametrize("machine", [ScanLife, SharedLife])
def test_many_scans_lives(alone, machine):
    live(machine, examples=300, steps=50)
