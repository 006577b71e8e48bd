"""A node's error on its way to people: client, owner's email, pages and admin, Tapis users."""
import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.models import OutgoingMail, Scan, ScanEvent
from app_extensions.openscan.processing import finish, status
from app_extensions.openscan.upkeep import overview
from tests.host.test_faults import LEAK
from tests.openscan.helpers import new_scan, private_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(db):
    """A scan whose task failed with an error that holds the node's token; it has been on as many nodes as it may."""
    from app_extensions.openscan.processing import projects

    owner = get_user_model().objects.create_superuser("owner", "owner@example.org", "pass")
    token, _ = private_token(owner=owner)
    scan = new_scan(token)
    task = projects.make_waiting_task(scan)
    type(task).objects.filter(pk=task.pk).update(status=30, last_error=LEAK)
    Scan.objects.filter(pk=scan.pk).update(state=Scan.RELEASED, released_at=timezone.now(), moves=9)
    scan.refresh_from_db()
    return scan


def seen_by_the_client(scan: Scan) -> str:
    return str(status.project_info(scan.token, scan.name))


def test_before_and_after_the_row_knows_of_it_nobody_reads_the_nodes_token(failed):
    assert status.scan_status(failed) == "processing failed"
    assert "SECRET" not in seen_by_the_client(failed) and "10.0.0.5" not in seen_by_the_client(failed)
    finish.finish(failed.pk)
    failed.refresh_from_db()
    assert failed.state == Scan.FAILED and failed.error.startswith("Processing failed: The processing node failed: it could not be reached")
    told = [seen_by_the_client(failed), OutgoingMail.objects.filter(kind="failed").latest("pk").payload,
            str([event.why for event in ScanEvent.objects.filter(scan=failed)]), str(overview.for_operator(failed.token.owner))]
    assert not [text for text in told if "SECRET" in text or "10.0.0.5" in text]


def test_the_admin_reads_what_the_node_said_masked(failed):
    finish.finish(failed.pk)
    browser = Client()
    browser.force_login(failed.token.owner)
    page = browser.get(f"/admin/openscan/scan/{failed.pk}/change/").content.decode()
    assert "Max retries exceeded" in page and "SECRET" not in page


def test_whoever_asks_the_door_for_a_tasks_error_gets_our_words(failed):
    """Tapis' pages and API show it too."""
    state = host_tasks.task_state(host_tasks.get_task(failed.webodm_task_id))
    assert "could not be reached" in state.error and "SECRET" not in state.error
