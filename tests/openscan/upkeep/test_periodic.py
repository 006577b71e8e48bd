"""Jobs in WebODM's beat, and what they find: work that was lost, and things past their time."""
import os
import subprocess
import sys
import threading
import time

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from app_extensions.openscan import part_files
from app_extensions.openscan.ingest import run
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Part, Scan, Token
from app_extensions.openscan.processing import finish, status
from app_extensions.openscan.results import packing
from app_extensions.openscan.upkeep import periodic
from dev.sandbox.stack import HOST_DIR
from tests.openscan.flow import files_of_parts, send, started_scan, task_of, wait_for, webodm_polls, without_nodes
from tests.openscan.helpers import private_token, public_token, put_part, wanted_by_catch_up
from tests.openscan.make_sets import make_zip, photos
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("live_db")


def test_our_jobs_stand_beside_webodms_in_its_beat():
    from worker.celery import app

    schedule = app.conf.beat_schedule
    assert "process-pending-tasks" in schedule and "cleanup-tasks" in schedule
    ours = {name: entry for name, entry in schedule.items() if name.startswith("openscan-")}
    assert sorted(ours) == ["openscan-catch-up", "openscan-deliver-mails", "openscan-release-queue", "openscan-tidy-up",
                            "openscan-watch-nodes"]
    app.loader.import_default_modules()
    for entry in ours.values():
        assert entry["task"] in app.tasks and entry["options"]["expires"] <= entry["schedule"]


def test_documented_names_are_registered():
    from worker.celery import app

    app.loader.import_default_modules()
    for name in ("ingest_scan", "release_queue", "finish_scan", "discard_scan", "deliver_mails", "catch_up", "tidy_up",
                 "watch_nodes"):
        assert f"app_extensions.openscan.tasks.{name}" in app.tasks


def test_a_start_while_the_broker_is_away_is_caught_up_with(stack, rig):
    """startProject in a process whose broker cannot be reached answers as always; the job is found later."""
    data = make_zip(photos(3))
    project = f"no broker {time.monotonic_ns()}"
    link, = rig.create(project, len(data), 1, 3)
    assert put_part(link, data).status_code == 200
    scan = Scan.objects.get(name=project)
    code = ("import django; django.setup(); from app_extensions.openscan.intake import scans; from app_extensions.openscan.models import "
            f"Scan; scan = Scan.objects.get(pk={scan.pk}); scans.start_scan(scan.token, scan.name); print('started')")
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=HOST_DIR, timeout=120, capture_output=True,
                          env={**stack.environment(), "WO_BROKER": "redis://127.0.0.1:1"}, text=True)
    assert done.returncode == 0 and "started" in done.stdout, done.stderr
    assert "a periodic job will pick it up" in done.stderr and time.monotonic() - began < 60
    assert rig.info(project)["status"] == "initialized"
    Scan.objects.filter(pk=scan.pk).update(started_at=timezone.now() - timezone.timedelta(minutes=1))
    wait_for(rig, project, "processing done")


def test_a_lost_signal_is_caught_up_with(completed):
    scan = completed()
    assert scan.pk in wanted_by_catch_up("finish_scan")
    finish.finish(scan.pk)
    assert scan.pk not in wanted_by_catch_up("finish_scan")


def test_a_task_that_vanished_without_a_signal_is_caught_up_with(completed):
    scan = completed()
    type(task_of(scan)).objects.filter(pk=scan.webodm_task_id).delete()  # in bulk: WebODM sends no signal
    assert scan.pk in wanted_by_catch_up("finish_scan")
    finish.finish(scan.pk)
    assert Scan.objects.get(pk=scan.pk).state == Scan.EXPIRED and scan.pk not in wanted_by_catch_up("finish_scan")


def test_an_ended_scan_whose_task_was_restarted_unheard_is_found_by_tidy_up(completed, monkeypatch):
    scan = completed()
    finish.finish(scan.pk)
    # A run looks at one block of numbers, and it is the clock that chooses it: beside the scans of other tests, not always this one's.
    monkeypatch.setattr(periodic, "_MOST_ENDED", 10**6)
    found = []
    monkeypatch.setattr(periodic, "dispatch", lambda name, pk, **_: found.append((name, pk)))
    periodic.tidy_up()
    assert ("finish_scan", scan.pk) not in found
    from tests.openscan.finished import MODEL, fill

    fill(task_of(scan), {**MODEL, "odm_texturing/texture.png": b"other"})
    periodic.tidy_up()
    assert ("finish_scan", scan.pk) in found


def test_a_reset_whose_job_was_lost_is_caught_up_with(completed):
    scan = completed(name=f"reset {time.monotonic_ns()}")
    task = task_of(scan)
    task.status = None
    task.save()
    scans.reset_scan(scan.token, scan.name)
    Scan.objects.filter(pk=scan.pk).update(reset_at=timezone.now() - timezone.timedelta(minutes=1))
    assert scan.pk in wanted_by_catch_up("discard_scan")


def test_a_backlog_sends_few_messages_a_minute_and_the_oldest_first():
    token, _ = private_token()
    long_ago = timezone.now() - timezone.timedelta(days=1000)
    waiting = [Scan.objects.create(token=token, name=f"waits {number} {time.monotonic_ns()}", state=Scan.INITIALIZED, photos=1,
                                   parts_count=1, declared_bytes=1, links_expire_at=long_ago,
                                   started_at=long_ago + timezone.timedelta(minutes=number)).pk for number in range(300)]
    try:
        most = periodic._MOST_MESSAGES
        assert wanted_by_catch_up("ingest_scan", most) == waiting[:most]
        Scan.objects.filter(pk__in=waiting[:most]).update(retry_at=timezone.now() + timezone.timedelta(minutes=5))
        assert wanted_by_catch_up("ingest_scan", most) == waiting[most:2 * most]
    finally:
        Scan.objects.filter(pk__in=waiting).delete()


def test_leftovers_that_cannot_be_removed_do_not_keep_others_waiting():
    token, _ = private_token()
    long_ago = timezone.now() - timezone.timedelta(days=1000)
    left = {Scan.objects.create(token=token, name=f"left {number} {time.monotonic_ns()}", state=Scan.RESET, photos=1, parts_count=1,
                                declared_bytes=1, links_expire_at=long_ago, reset_at=long_ago, result_file=f"{number}.zip").pk
            for number in range(120)}
    wanted = set()
    try:
        for _ in range(200):
            wanted |= left & set(wanted_by_catch_up("discard_scan", 50))
            if wanted == left:
                break
    finally:
        Scan.objects.filter(pk__in=left).delete()
    assert wanted == left


def test_tidy_up_refills_public_tokens(monkeypatch):
    token, _ = public_token(daily_bytes=1000)
    scans.create_scan(token, "x", photos=1, parts=1, filesize_bytes=400)
    periodic.tidy_up()
    assert Token.objects.get(pk=token.pk).credit_bytes == 600  # once a day
    tomorrow = timezone.now().date() + timezone.timedelta(days=1)
    monkeypatch.setattr(periodic.ledger, "_today", lambda: tomorrow)
    periodic.tidy_up()
    assert Token.objects.get(pk=token.pk).credit_bytes == 1000


def test_a_step_that_fails_does_not_stop_the_others(completed, monkeypatch):
    scan = completed()
    finish.finish(scan.pk)
    Scan.objects.filter(pk=scan.pk).update(result_expires_at=timezone.now())

    def broken():
        raise RuntimeError("the books are closed")

    monkeypatch.setattr(periodic.ledger, "refill_all", broken)
    with pytest.raises(RuntimeError, match="books"):
        periodic.tidy_up()
    assert Scan.objects.get(pk=scan.pk).state == Scan.EXPIRED


def test_only_one_process_tidies_up(monkeypatch):
    begun, go_on, times = threading.Event(), threading.Event(), []

    def slow():
        times.append(1)
        begun.set()
        go_on.wait(60)

    monkeypatch.setattr(periodic.ledger, "refill_all", slow)

    def first():
        periodic.tidy_up()
        connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(60)
    periodic.tidy_up()  # comes back at once, as the other is at it
    assert times == [1]
    go_on.set()
    thread.join()


def test_looking_at_what_ended_reads_many_tasks_at_a_time(completed, monkeypatch):
    """It used to make one query for each scan of the last 30 days."""
    queued = []
    monkeypatch.setattr(periodic, "dispatch", lambda name, pk, **_: queued.append(pk))
    monkeypatch.setattr(periodic, "_MOST_ENDED", 10**9)  # all of them are one block

    def failed_again():
        scan = completed()
        finish.finish(scan.pk)
        type(task_of(scan)).objects.filter(pk=scan.webodm_task_id).update(status=30)
        return scan.pk

    scans_of_tasks = [failed_again() for _ in range(3)]
    with CaptureQueriesContext(connection) as few:
        periodic._look_at_ended()
    assert set(scans_of_tasks) <= set(queued)
    scans_of_tasks += [failed_again() for _ in range(5)]
    with CaptureQueriesContext(connection) as many:
        periodic._look_at_ended()
    assert set(scans_of_tasks) <= set(queued)
    assert len(many) == len(few), [query["sql"][:150] for query in many.captured_queries]


def test_every_ended_scan_has_its_turn_while_others_come_and_go():
    """300 blocks are watched. Every twenty runs there is one more, and the oldest is over."""
    seen = set()
    for number in range(20_000):
        seen.add(periodic._block_of(number, 100 * (number // 20), 100 * (number // 20 + 300)))
    assert set(range(300, 900)) <= seen
    assert {periodic._block_of(number, 7, 7) for number in range(9)} == {0}
    assert {periodic._block_of(number, 150, 450) for number in range(4)} == {1, 2, 3, 4}


def test_tidy_up_expires_what_nobody_started():
    token, _ = private_token()
    scan = scans.create_scan(token, "never started", photos=1, parts=1, filesize_bytes=1000)
    long_ago = timezone.now() - timezone.timedelta(days=3)
    Scan.objects.filter(pk=scan.pk).update(created_at=long_ago, links_expire_at=long_ago)
    periodic.tidy_up()
    scan.refresh_from_db()
    assert scan.state == Scan.EXPIRED and scan.charge == Scan.VOIDED and status.scan_status(scan) == "expired"


def test_a_set_created_anew_while_tidy_up_waits_for_the_old_one_is_not_expired():
    token, _ = private_token()
    scan = scans.create_scan(token, "renewed just in time", photos=1, parts=1, filesize_bytes=1000)
    long_ago = timezone.now() - timezone.timedelta(days=3)
    Scan.objects.filter(pk=scan.pk).update(created_at=long_ago, links_expire_at=long_ago)
    job = threading.Thread(target=in_a_connection_of_its_own, args=(scans.expire_unstarted,))
    with transaction.atomic():
        Scan.objects.select_for_update().get(pk=scan.pk)
        job.start()
        until(somebody_waits, 60, says="the job to wait for the row")
        scans.create_scan(token, scan.name, photos=1, parts=1, filesize_bytes=1000)
    job.join(60)
    assert not job.is_alive()
    assert list(Scan.objects.filter(token=token).order_by("pk").values_list("state", "charge")) == [
        (Scan.RESET, Scan.VOIDED), (Scan.CREATED, Scan.HELD)]


def in_a_connection_of_its_own(work):
    try:
        work()
    finally:
        connection.close()


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return cursor.fetchone()[0] > 0


def test_tidy_up_removes_results_that_no_row_names(completed):
    scan = completed()
    finish.finish(scan.pk)
    stray = part_files.results_dir() / "999999-0123456789abcdef.zip.packing"
    stray.write_bytes(b"half a result of a killed worker")
    periodic.tidy_up()
    assert stray.exists()  # young: somebody may be writing it
    strays = packing.stray_files(0)
    assert stray in strays and part_files.results_dir() / Scan.objects.get(pk=scan.pk).result_file not in strays


def test_files_of_somebody_else_in_our_directory_are_left_alone(settings, tmp_path, monkeypatch):
    """An administrator may name a directory that holds `results` and `scans` of another program."""
    settings.OPENSCAN_STORAGE_DIR = str(tmp_path)
    monkeypatch.setattr(periodic, "_STRAY_SECONDS", -1)
    theirs = [tmp_path / name for name in ("results/report.zip", "results/2026/report.zip", "scans/17/photo.part", "scans/me/1.txt",
                                           ".incoming/mail.part", "scans/empty/x")]
    ours = [tmp_path / name for name in ("results/1-0123456789abcdef.zip", "scans/999999/1-0123456789abcdef.part",
                                         ".incoming/999999-1-0123456789abcdef.part")]
    for path in theirs + ours:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    theirs[-1].unlink()
    periodic.tidy_up()
    part_files.sweep(0)
    assert all(path.exists() for path in theirs[:-1]) and theirs[-1].parent.exists()
    assert not any(path.exists() for path in ours)


def test_tidy_up_drops_parts_that_were_kept_for_another_attempt(settings):
    token, _ = private_token(owner=without_nodes())
    scan = started_scan(token, [make_zip(photos(2))])
    run.refuse(scan.pk, "The server could not take the set in.", keep_parts=True)
    periodic.tidy_up()
    assert files_of_parts(scan)
    Scan.objects.filter(pk=scan.pk).update(finished_at=timezone.now() - timezone.timedelta(days=3))
    periodic.tidy_up()
    assert not files_of_parts(scan) and not Part.objects.filter(scan=scan).exists()


def test_every_job_runs_in_the_live_worker(stack):
    from worker.celery import app

    app.loader.import_default_modules()
    jobs = ("release_queue", "deliver_mails", "catch_up", "tidy_up", "watch_nodes")
    for name in jobs:
        app.tasks[f"app_extensions.openscan.tasks.{name}"].delay()
    log = stack.log_path("worker")

    def succeeded():
        text = log.read_text(errors="replace")
        return all(f"Task app_extensions.openscan.tasks.{name}[" in text and
                   any(f"tasks.{name}[" in line and "succeeded" in line for line in text.splitlines())
                   for name in jobs)

    until(succeeded)


def test_jobs_of_scans_that_are_gone_do_nothing():
    for job in (run.ingest, finish.finish, finish.discard):
        job(2**31 - 1)


def test_a_scan_is_processed_without_any_beat_of_ours_but_the_signals(rig):
    """Signals in the worker are enough: only WebODM's own polls run here, none of our periodic jobs."""
    wait_for(rig, send(rig, photos(2)), "processing done", seconds=120, beat=webodm_polls)


def test_storage_is_where_the_settings_say(settings, tmp_path):
    settings.OPENSCAN_STORAGE_DIR = str(tmp_path / "elsewhere")
    assert part_files.results_dir() == tmp_path / "elsewhere" / "results" and os.path.isdir(tmp_path / "elsewhere" / "results")
