"""Calls, jobs and the check on a site with 1,000, 10,000 and 100,000 scans, a tenth as many tokens, and 1,000 scans that wait."""
import json
import logging
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from django.db import connection

from dev.benchmarks.table import Row
from dev.sandbox.stack import HOST_DIR, Stack

SIZES = (1_000, 10_000, 100_000)
WAITING = 1_000
REPEATS = 30
MOST_GROWTH = 1.5
MOST_CPU_MS, MOST_CHECK_SECONDS, MOST_CHECK_MB, MOST_WAIT_SECONDS = 50, 10, 200, 1
#: Numbers of the rows made here start above those that the sandbox and the calls make.
_BASE = 1_000_000
_SCANS_PER_TOKEN = 10
_CREDIT, _SET_BYTES = 10**12, 1000


class Step(NamedTuple):
    """A call that is measured, with what has to come before and after it and is not."""

    call: "Callable[[Any], Any]"
    before: "Callable[[], Any]" = lambda: None
    after: "Callable[[Any], Any]" = lambda _: None


class Cost(NamedTuple):
    """One call: median wall time, and processor time of this process and of its database connection together."""

    median_ms: float
    cpu_ms: float


def measure(stack: Stack) -> "list[Row]":
    """The table: medians at each size, the largest against the smallest, processor time, and the check."""
    site = Site()
    site.add_waiting()
    costs: dict[str, list[Cost]] = {}
    for size in SIZES:
        site.grow(size)
        for name, call in site.calls().items():
            costs.setdefault(name, []).append(_cost(call))
        print(f"scale: {size:,} scans measured", file=sys.stderr)
    rows = []
    for name, measured in costs.items():
        medians = " ".join(f"{cost.median_ms:.1f}" for cost in measured)
        rows.append(Row(f"{name}: median ms at {SIZES[0]:,} {SIZES[1]:,} {SIZES[2]:,} scans", medians, "the first",
                        measured[-1].median_ms / measured[0].median_ms, MOST_GROWTH))
        worst = max(cost.cpu_ms for cost in measured)
        rows.append(Row(f"{name}: most CPU ms", f"{worst:.1f}", str(MOST_CPU_MS), worst / MOST_CPU_MS, 1.0))
    return rows + _check(stack, site)


def _cost(step: Step) -> Cost:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        backend = cursor.fetchone()[0]
    cpu, seconds = 0.0, []
    for number in range(-3, REPEATS):  # three to warm up
        given = step.before()
        began, cpu_before = time.perf_counter(), time.process_time() + _cpu_seconds(backend)
        made = step.call(given)
        if number >= 0:
            cpu += time.process_time() + _cpu_seconds(backend) - cpu_before
            seconds.append(time.perf_counter() - began)
        step.after(made)
    return Cost(statistics.median(seconds) * 1000, cpu / REPEATS * 1000)


def _cpu_seconds(process: int) -> float:
    with open(f"/proc/{process}/schedstat") as stat:  # in nanoseconds; stat counts in ticks of 10 ms
        return int(stat.read().split()[0]) / 1e9


def _check(stack: Stack, site: "Site") -> "list[Row]":
    """`openscan_check` as a program, and the longest that a createProject takes meanwhile."""
    waits: list[float] = []
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            began = time.perf_counter()
            site.create()
            waits.append(time.perf_counter() - began)
        connection.close()

    other = threading.Thread(target=go_on)
    other.start()
    began = time.perf_counter()
    check = subprocess.Popen([sys.executable, str(HOST_DIR / "manage.py"), "openscan_check", "--json"], env=stack.environment(),
                             cwd=HOST_DIR, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told = check.stdout.read()
    _, status, usage = os.wait4(check.pid, 0)
    seconds, megabytes = time.perf_counter() - began, usage.ru_maxrss * 1024 / 1e6
    check.returncode = os.WEXITSTATUS(status)  # Popen must not wait for it again
    over.set()
    other.join()
    report = json.loads(told)
    if not report["ok"]:
        raise RuntimeError(f"the check found problems in the site that was made for it: {report['problems'][:3]}")
    entries = f"{report['tokens']:,} tokens, {report['entries']:,} entries"
    return [
        Row(f"check: seconds, {entries}", f"{seconds:.1f}", str(MOST_CHECK_SECONDS), seconds / MOST_CHECK_SECONDS, 1.0),
        Row("check: MB at most", f"{megabytes:.0f}", str(MOST_CHECK_MB), megabytes / MOST_CHECK_MB, 1.0),
        Row(f"check: longest createProject meanwhile, of {len(waits)}, seconds", f"{max(waits):.2f}", str(MOST_WAIT_SECONDS),
            max(waits) / MOST_WAIT_SECONDS, 1.0),
    ]


class Site:
    """The rows of a large site, and the calls that are measured on it."""

    def __init__(self) -> None:
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.utils import timezone

        from app_extensions.host import tasks as host_tasks
        from app_extensions.openscan.accounts import tokens
        from app_extensions.openscan.intake import scans
        from app_extensions.openscan.processing import projects

        logging.getLogger("app.logger").setLevel(logging.WARNING)  # a line per call would be most of what is printed
        settings.OPENSCAN_CELERY_QUEUE = "nobody"
        settings.OPENSCAN_CALLS_PER_DAY = settings.OPENSCAN_OPEN_SCANS = 10**6
        self.admin = User.objects.filter(is_superuser=True).first()
        self.token, _ = tokens.create_token(forename="Bench", surname="Mark", mail="info@example.org", credit_bytes=_CREDIT)
        self.public, _ = tokens.create_token(kind="public", label="everybody", daily_bytes=10**12)
        scan = scans.create_scan(self.token, "template", photos=100, parts=2, filesize_bytes=_SET_BYTES)
        self.task = projects.make_waiting_task(scan)
        host_tasks.task_dir(self.task)
        self.template = scan
        self.now = timezone.now()
        self.size = 0

    def add_waiting(self) -> None:
        """A thousand scans in the queue: half of them of a token each, half of fifty clients of one public token."""
        half = WAITING // 2
        self._copy("openscan_token", self.token.pk, 1, half, id=f"{2 * _BASE} + i", digest="md5('w' || i) || md5('x' || i)",
                   credit_bytes="0", last_used_at="NULL")
        waits = {"state": "'approved'", "charge": "'none'", "held_bytes": "0", "images_count": "100",
                 "started_at": "now() - i * interval '1 s'",
                 "approved_at": "now()", "webodm_task_id": "md5('w' || i)::uuid", "id": f"{2 * _BASE} + i", "name": "'waiting ' || i"}
        self._copy("openscan_scan", self.template.pk, 1, half, token_id=f"{2 * _BASE} + i", **waits)
        self._copy("openscan_scan", self.template.pk, half + 1, WAITING, token_id=str(self.public.pk), research_consent="TRUE",
                   client_address="'203.0.113.' || (i % 50)", **waits)
        self._copy("app_task", f"'{self.task.pk}'", 1, WAITING, id="md5('w' || i)::uuid", name="'waiting ' || i")

    def grow(self, size: int) -> None:
        """Have so many scans that ended: six of ten done, two expired, one failed, one reset, all paid for, ten per token."""
        first, last = self.size // _SCANS_PER_TOKEN, size // _SCANS_PER_TOKEN - 1
        self._copy("openscan_token", self.token.pk, first, last, id=f"{_BASE} + i", digest="md5('t' || i) || md5('u' || i)",
                   credit_bytes=str(_CREDIT - _SCANS_PER_TOKEN * _SET_BYTES), last_used_at="now() - i * interval '1 minute'")
        state = "(ARRAY['done','done','done','done','done','done','expired','expired','failed','reset'])[1 + i % 10]"
        ended = "now() - (i % 86400) * interval '60 s'"
        self._copy("openscan_scan", self.template.pk, self.size, size - 1, id=f"{_BASE} + i", token_id=f"{_BASE} + i / {_SCANS_PER_TOKEN}",
                   name="'ended ' || i", state=state, charge="'posted'", held_bytes="0", posted_bytes=str(_SET_BYTES),
                   received_bytes=str(_SET_BYTES), images_count="100", created_at=ended, started_at=ended, approved_at=ended,
                   released_at=ended, finished_at=ended, processing_seconds="300", result_source="'none'", result_link="md5('r' || i)",
                   result_expires_at="now() + interval '7 days'", discarded_at=f"CASE WHEN {state} = 'reset' THEN now() END",
                   reset_at=f"CASE WHEN {state} = 'reset' THEN now() END", webodm_task_id="md5('e' || i)::uuid",
                   result_file=f"CASE WHEN {state} = 'done' THEN i || '-' || substr(md5('f' || i), 1, 16) || '.zip' ELSE '' END")
        self._copy("app_task", f"'{self.task.pk}'", self.size, size - 1, id="md5('e' || i)::uuid", name="'ended ' || i",
                   status="CASE WHEN i % 10 = 8 THEN 30 ELSE 40 END")
        self._books(first, last)
        self._histories(size)
        for number in range(self.size, min(size, self.size + 400)):  # six of ten have a file
            self._result(number)
        self.size = size
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")

    def calls(self) -> "dict[str, Step]":
        """What is measured, by name."""
        from app_extensions.openscan.models import Scan, Token
        from app_extensions.openscan.processing import queue, status
        from app_extensions.openscan.results import packing
        from app_extensions.openscan.upkeep import overview, periodic

        some = Token.objects.get(pk=_BASE + 1)
        done = Scan.objects.get(pk=_BASE + 10).name
        queued = Scan.objects.get(pk=2 * _BASE + WAITING)
        steps = {}
        for name, token, address, parts in (("", self.token, "", 10), (", public", self.public, "203.0.113.7", 10),
                                            (", 2,000 parts", self.token, "", 2000)):
            steps[f"createProject{name}"] = Step(partial(self._create, token, address, parts), after=self._reset)
            if parts == 10:
                steps[f"resetProject{name}"] = Step(self._reset, before=partial(self._create, token, address, parts, None))
        return {**steps, **{name: Step(lambda _, call=call: call()) for name, call in {
            "getProjectInfo, done": lambda: status.project_info(some, done, base_url="https://h"),
            "getProjectInfo, waiting": lambda: status.project_info(self.public, queued.name, queued.client_address, "https://h"),
            "getQueueEstimate, anonymous": lambda: queue.estimate_seconds(),
            "getQueueEstimate, public": lambda: queue.estimate_seconds(self.public, "203.0.113.7"),
            "release of the queue": lambda: queue.release(),
            "catch_up": lambda: periodic.catch_up(),
            "tidy_up": lambda: periodic.tidy_up(),
            "tidy_up: 200 files of results": lambda: packing.stray_files(0),
            "page of the operator": lambda: overview.for_operator(self.admin),
            "page of a token": lambda: overview.for_token(some, "https://h"),
            "page of the public token": lambda: overview.for_token(self.public, "https://h", "203.0.113.7"),
        }.items()}}

    def create(self) -> None:
        """createProject by a private token, then reset, so that the number of open scans stays."""
        self._reset(self._create(self.token, "", 10, None))

    @staticmethod
    def _create(token: Any, address: str, parts: int, _: Any) -> Any:
        from app_extensions.openscan import links
        from app_extensions.openscan.intake import scans

        scan = scans.create_scan(token, uuid.uuid4().hex, photos=100, parts=parts, filesize_bytes=2 * _SET_BYTES, address=address)
        links.upload_links(scan, "https://h")
        return scan

    @staticmethod
    def _reset(scan: Any) -> None:
        from app_extensions.openscan.intake import scans

        scans.reset_scan(scan.token, scan.name, scan.client_address)

    def _books(self, first: int, last: int) -> None:
        """A grant for each token, and a hold and a post for each of its scans, numbered in the order in which they happened."""
        entries = 1 + 2 * _SCANS_PER_TOKEN
        token, step = f"{_BASE} + i / {entries}", f"i % {entries}"
        scan = f"{_BASE} + (i / {entries}) * {_SCANS_PER_TOKEN} + ({step} - 1) / 2"
        with connection.cursor() as cursor:
            cursor.execute(f"""
                INSERT INTO openscan_ledgerentry (id, token_id, scan_id, kind, amount_bytes, balance_bytes, key, note, actor, created_at)
                SELECT {_BASE} + i, {token}, CASE WHEN {step} > 0 THEN {scan} END,
                    CASE WHEN {step} = 0 THEN 'grant' WHEN {step} % 2 = 1 THEN 'hold' ELSE 'post' END,
                    CASE WHEN {step} = 0 THEN {_CREDIT} WHEN {step} % 2 = 1 THEN {-_SET_BYTES} ELSE 0 END,
                    {_CREDIT} - ({step} + 1) / 2 * {_SET_BYTES}::bigint, 'bench:' || i, '', '', now()
                FROM generate_series({first * entries}, {(last + 1) * entries - 1}) AS i""")

    def _histories(self, size: int) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"""
                INSERT INTO openscan_scanevent (scan_id, at, event, from_state, to_state, why, actor)
                SELECT {_BASE} + i, now(), 'bench', '', 'created', 'Made for the benchmark.', ''
                FROM generate_series({self.size}, {size - 1}) AS i, generate_series(1, 5)""")

    def _result(self, number: int) -> None:
        from app_extensions.openscan import part_files
        from app_extensions.openscan.models import Scan

        name = Scan.objects.get(pk=_BASE + number).result_file
        if name and len(list(part_files.results_dir().iterdir())) < 200:
            (part_files.results_dir() / name).write_bytes(b"")

    @staticmethod
    def _copy(table: str, template: Any, first: int, last: int, **columns: str) -> None:
        """Copies of a row for i from `first` to `last`, with SQL expressions of i for some columns."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
            names = [name for name, in cursor.fetchall()]
            values = [columns.get(name, f't."{name}"') for name in names]
            cursor.execute(f"""INSERT INTO {table} ({', '.join(f'"{name}"' for name in names)})
                SELECT {', '.join(values)} FROM {table} t, generate_series({first}, {last}) AS i WHERE t.id = {template}""")
