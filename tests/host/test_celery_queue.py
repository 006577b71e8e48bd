"""The queue of our own jobs, and rows that several workers share."""
import threading

import pytest
from django.db import connection, transaction

from app_extensions.host import celery_queue, heartbeat
from app_extensions.openscan.conf import conf as openscan_conf
from app_extensions.tapis.conf import conf as tapis_conf
from tests.support.waiting import until


def test_both_apps_send_to_the_same_queue_unless_a_setting_says_otherwise(settings, monkeypatch):
    assert celery_queue.queue_name() == openscan_conf.celery_queue == tapis_conf.queue == "extensions"
    monkeypatch.setenv("WO_EXTENSIONS_QUEUE", "ours")
    assert celery_queue.queue_name() == openscan_conf.celery_queue == tapis_conf.queue == "ours"
    settings.EXTENSIONS_QUEUE = celery_queue.default_queue()
    assert openscan_conf.celery_queue == tapis_conf.queue == "celery"
    settings.TAPIS_QUEUE, settings.OPENSCAN_CELERY_QUEUE = "flights", "scans"
    assert (openscan_conf.celery_queue, tapis_conf.queue) == ("scans", "flights")


def test_none_of_our_periodic_jobs_waits_in_webodms_queue_except_the_heartbeat(ground):
    from worker.celery import app

    ours = {name: entry for name, entry in app.conf.beat_schedule.items()
            if entry["task"].startswith(("app_extensions.", "app.tasks.tapis_storage."))}
    in_webodms = [name for name, entry in ours.items() if entry["options"].get("queue", "celery") == "celery"]
    assert in_webodms == ["app-extensions-heartbeat"] and len(ours) > 8


def test_workers_are_found_by_the_queue_that_they_listen_to(stack):
    until(lambda: celery_queue.listening_workers(timeout_seconds=0.5) == ["worker@sandbox"])
    until(lambda: celery_queue.listening_workers("celery", timeout_seconds=0.5) == ["worker@sandbox"])
    assert celery_queue.listening_workers("nobody", timeout_seconds=0.5) == []
    before = heartbeat.last_own_job_at() or 0
    heartbeat.note_own.apply_async(queue=celery_queue.queue_name())
    until(lambda: (heartbeat.last_own_job_at() or 0) > before)


def test_two_workers_never_claim_the_same_row(live_db, unique):
    from django.contrib.auth.models import User

    for number in range(2):
        User.objects.create(username=f"{unique}-{number}")
    rows = User.objects.filter(username__startswith=unique).order_by("username")
    both = threading.Barrier(2, timeout=30)
    claimed = []

    def claim() -> None:
        try:
            with transaction.atomic():
                row = celery_queue.claim_one(rows)
                both.wait()  # each still has its row
                claimed.append(row.username)
        finally:
            connection.close()

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"{unique}-0", f"{unique}-1"]


def test_an_advisory_lock_needs_a_transaction(live_db):
    with pytest.raises(transaction.TransactionManagementError):
        celery_queue.hold(1)
