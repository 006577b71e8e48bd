"""Tasks that WebODM or their owner deletes, and what a reset leaves behind. No useless files stay, and somebody is notified."""
import uuid

import pytest
from app.models import Task
from django.utils import timezone
from worker.tasks import check_quotas

from app_extensions.openscan import lifecycle
from app_extensions.openscan.accounts import books, ledger
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import OutgoingMail, Scan
from app_extensions.openscan.processing import finish, projects, status
from tests.openscan.flow import task_of, without_nodes
from tests.openscan.helpers import private_token, wanted_by_catch_up


@pytest.fixture(autouse=True)
def nobody_works(settings, live_db):
    """Jobs go to a queue that no worker listens to."""
    settings.OPENSCAN_CELERY_QUEUE = "nobody"


def taken_in(state: str = Scan.RELEASED) -> Scan:
    """A scan of a private token that was taken in and paid for, in this state, with a waiting task."""
    token, _ = private_token(10_000, owner=without_nodes())
    scan = scans.create_scan(token, f"lost {uuid.uuid4().hex[:8]}", photos=3, parts=1, filesize_bytes=1000)
    projects.make_waiting_task(scan)
    Scan.objects.filter(pk=scan.pk).update(state=Scan.INITIALIZED, started_at=timezone.now(), received_bytes=1000, images_count=3)
    for event in (lifecycle.APPROVE, lifecycle.HAND_OVER):
        if Scan.objects.get(pk=scan.pk).state != state:
            lifecycle.apply(scan.pk, event)
    scan.refresh_from_db()
    assert (scan.state, scan.charge) == (state, Scan.POSTED)
    return scan


def mails(scan: Scan, kind: str) -> int:
    """How many mails of this kind wait or were sent to the owner of the scan's token since the scan was made."""
    return OutgoingMail.objects.filter(kind=kind, created_at__gte=scan.created_at).count()


@pytest.mark.parametrize("state", [Scan.APPROVED, Scan.RELEASED])
def test_webodms_quota_job_costs_nobody_credit_for_nothing(state):
    """Before, the scan expired, the site kept the credit, and nobody was told."""
    scan = taken_in(state)
    Task.objects.filter(pk=scan.webodm_task_id).update(size=5)
    profile = scan.token.owner.profile
    profile.quota = 1
    profile.save()
    profile.set_quota_deadline(0)
    check_quotas()
    assert task_of(scan) is None
    Scan.objects.filter(pk=scan.pk).update(started_at=timezone.now() - timezone.timedelta(minutes=1))
    assert scan.pk in wanted_by_catch_up("finish_scan")
    finish.finish(scan.pk)
    finish.finish(scan.pk)
    scan.refresh_from_db()
    scan.token.refresh_from_db()
    assert (scan.state, scan.charge, scan.token.credit_bytes) == (Scan.EXPIRED, Scan.REFUNDED, 10_000)
    assert status.scan_status(scan) == "expired" and "storage quota" in scan.error and mails(scan, "failed") == 1
    assert scan.events.last().event == lifecycle.LOSE_TASK and books.find_discrepancies([scan.token]) == []


def test_a_finished_model_that_is_deleted_is_no_refund_but_its_owner_is_told():
    scan = taken_in()
    lifecycle.apply(scan.pk, lifecycle.COMPLETE, result_file="", result_expires_at=timezone.now() + timezone.timedelta(days=7))
    task_of(scan).delete()
    finish.finish(scan.pk)
    scan.refresh_from_db()
    assert (scan.state, scan.charge) == (Scan.EXPIRED, Scan.POSTED) and mails(scan, "gone") == 1
    assert scan.events.last().event == lifecycle.LOSE_RESULT


def test_a_failed_scan_whose_reset_lost_its_job_is_picked_up():
    """Before, its task and photos stayed in WebODM forever: a failed scan has an end, which was taken for that of the discard."""
    scan = taken_in()
    lifecycle.apply(scan.pk, lifecycle.FAIL, error="Processing failed.")
    Task.objects.filter(pk=scan.webodm_task_id).update(status=30)
    scans.reset_scan(scan.token, scan.name)
    Scan.objects.filter(pk=scan.pk).update(reset_at=timezone.now() - timezone.timedelta(minutes=1))
    assert scan.pk in wanted_by_catch_up("discard_scan")
    finish.discard(scan.pk)
    assert Task.objects.get(pk=scan.webodm_task_id).pending_action is not None  # on its way out of WebODM
    assert scan.pk in wanted_by_catch_up("discard_scan")  # until it is gone
    Task.objects.filter(pk=scan.webodm_task_id).delete()
    finish.discard(scan.pk)
    assert scan.pk not in wanted_by_catch_up("discard_scan")
    assert ledger.refund(scan) is False and books.find_discrepancies([scan.token]) == []


def test_a_reset_after_a_model_is_discarded_once_and_the_model_stays():
    scan = taken_in()
    lifecycle.apply(scan.pk, lifecycle.COMPLETE, result_file="", result_expires_at=timezone.now() + timezone.timedelta(days=7))
    Task.objects.filter(pk=scan.webodm_task_id).update(status=40)
    scans.reset_scan(scan.token, scan.name)
    Scan.objects.filter(pk=scan.pk).update(reset_at=timezone.now() - timezone.timedelta(minutes=1))
    assert scan.pk in wanted_by_catch_up("discard_scan")
    finish.discard(scan.pk)
    assert scan.pk not in wanted_by_catch_up("discard_scan")
    assert Task.objects.get(pk=scan.webodm_task_id).pending_action is None
