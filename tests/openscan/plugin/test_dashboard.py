"""What the plugin adds to WebODM's dashboard, on a page with a stand-in for WebODM's React and plugin API."""
import json

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from app_extensions.openscan import page_links
from app_extensions.openscan.models import Scan
from tests.openscan.flow import approved, task_of, without_nodes
from tests.openscan.helpers import private_token
from tests.support.dashboard import dashboard

FORGOTTEN = {"id": "7d6b0a54-94b5-4a2e-9a3b-2f0f5c3f5a10", "import_url": "", "processing_node": None, "status": None}


@pytest.fixture
def waiting(live_db):
    """A scan that waits for its turn, since its owner may not use any node."""
    return approved(private_token(10**9, owner=without_nodes())[0])


def show(page, task):
    page.evaluate(f"standIn.row({json.dumps(task)})")


def as_json(scan):
    return {**FORGOTTEN, "id": str(scan.webodm_task_id)}


def test_a_waiting_scan_says_so_in_its_row_and_leads_to_its_page(open_page, waiting):
    page = dashboard(open_page, waiting.token.owner, "openscan_cloud")
    show(page, as_json(waiting))
    show(page, FORGOTTEN)
    row = f'[id="row-{waiting.webodm_task_id}"]'
    page.wait(f'{row} .status-label:has-text("Waiting: place ")')
    assert "may use is online" in page.attribute(f"{row} .status-label", "title")
    assert page.attribute(f"{row} .status-label i", "class") == "far fa-hourglass"
    page.wait(f'{row} a.btn:has-text("OpenScan: Waiting for its turn (place ")')
    assert page.text(f'[id="row-{FORGOTTEN["id"]}"]').strip() == "Set a processing node"
    page.click(f'[id="row-{FORGOTTEN["id"]}"] .status-label')
    assert page.evaluate("standIn.edited") == [FORGOTTEN["id"]]
    page.click(f"{row} .status-label")
    page.wait_url(f"**/plugins/openscan_cloud/scans/{page_links.page_key(waiting)}/")
    assert page.complaints == []


def test_a_row_is_read_again_when_the_scan_waits_no_longer(open_page, waiting):
    page = dashboard(open_page, waiting.token.owner, "openscan_cloud")
    show(page, as_json(waiting))
    page.wait('.status-label:has-text("Waiting: place ")')
    assert page.evaluate("standIn.refreshed") == []
    task = task_of(waiting)
    task.status = 20
    task.save()
    Scan.objects.filter(pk=waiting.pk).update(state=Scan.RELEASED, released_at=timezone.now())
    page.wait('.status-label:has-text("Processing")')
    assert page.evaluate("standIn.refreshed") == [str(task.pk)]


def test_others_see_nothing_of_a_scan(open_page, waiting, unique):
    page = dashboard(open_page, User.objects.create_user(f"other-{unique}"), "openscan_cloud")
    show(page, as_json(waiting))
    page.until("document.querySelector('a[data-openscan]')")
    assert page.text(".task-list-item").strip() == "Set a processing node"
    api = "/plugins/openscan_cloud/api/tasks"
    asked = f"Promise.all(['{waiting.webodm_task_id}', 'x', '', '{'-' * 36}'].map(id => fetch('{api}?ids=' + id).then(one => one.json())))"
    assert page.evaluate(asked) == [{"scans": {}}] * 4
    assert page.evaluate(f"fetch('{api}/{'-' * 36}').then(one => one.json())") == {"scan": None}
    assert page.evaluate(f"fetch('{api}?ids=' + 'x,'.repeat(100)).then(one => one.status)") == 400


def test_the_import_menu_leads_to_the_upload(open_page, waiting):
    page = dashboard(open_page, waiting.token.owner, "openscan_cloud")
    page.evaluate("standIn.importMenu(17)")
    page.click('.import-dropdown a:has-text("Upload to OpenScan")')
    page.wait_url("**/plugins/openscan_cloud/upload/?project=17")
