"""What the plugin adds to WebODM's dashboard, on a page with a stand-in for WebODM's React and plugin API."""
import json

from tests.support.dashboard import dashboard
from tests.support.flights import ready


def show(page, task):
    told = {"id": str(task.pk), "import_url": task.import_url, "processing_node": None, "status": task.status, "pending_action": None}
    page.evaluate(f"standIn.row({json.dumps(told)})")


def test_a_flights_images_are_fetched_from_its_row(open_page, flyer):
    ready(flyer, "Coast", 4)
    task = flyer.task("Coast")
    page = dashboard(open_page, flyer.user, "tapis_storage")
    show(page, task)
    page.wait('.status-label:has-text("Images not fetched yet")')
    assert page.attribute(".tapis-flight a", "href") == "/plugins/tapis_storage/#tapis-projects-title"
    page.click('.tapis-flight button:has-text("Fetch images")')
    page.wait('.tapis-flight a:has-text("Tapis flight: All images are here")')
    page.wait('.tapis-flight button:has-text("Look for new images")')
    page.wait('.status-label:has-text("All images are here")')
    assert page.evaluate("standIn.refreshed") == [str(task.pk)]  # the row has the number of images too
    assert len(flyer.files("Coast")) == 4
    assert page.complaints == []


def test_webodms_words_come_back_when_the_task_starts(open_page, flyer):
    ready(flyer, "Coast", 2)
    task = flyer.task("Coast")
    page = dashboard(open_page, flyer.user, "tapis_storage")
    show(page, task)
    page.wait('.status-label:has-text("Images not fetched yet")')
    task.auto_processing_node = True
    task.save()
    page.wait('.status-label:has-text("Sending images to processing node")')
    assert page.evaluate("standIn.refreshed")[0] == str(task.pk)


def test_a_refusal_is_told_and_other_tasks_stay_as_they_are(open_page, flyer, unique):
    from app_extensions.host import projects, tasks
    from app_extensions.tapis.models import TapisOAuth2Token

    ready(flyer, "Coast", 2)
    other = tasks.create_waiting_task(projects.create_project(flyer.user, f"other {unique}"), "a task", import_url="https://example.org/")
    page = dashboard(open_page, flyer.user, "tapis_storage")
    show(page, other)
    show(page, flyer.task("Coast"))
    TapisOAuth2Token.objects.filter(user=flyer.user).delete()
    page.click('.tapis-flight button:has-text("Fetch images")')
    page.wait('.tapis-flight [role=alert]:has-text("og in")')
    assert page.text(f'[id="row-{other.pk}"]').strip() == "Sending images to processing node"


def test_the_import_menu_leads_to_the_flights(open_page, flyer):
    page = dashboard(open_page, flyer.user, "tapis_storage")
    page.evaluate("standIn.importMenu(17)")
    page.click('.import-dropdown a:has-text("Import from Tapis")')
    page.wait("#tapis-flights")


def test_flights_are_found_by_their_tasks(flyer):
    ready(flyer, "Coast", 2)
    ready(flyer, "Hills", 2)
    mine = str(flyer.task("Hills").pk)
    found = flyer.get(f"tapis-storage/flight-projects/?details=1&tasks={mine},7d6b0a54-94b5-4a2e-9a3b-2f0f5c3f5a10")["projects"]
    assert [(project["id"], project["task"]["id"]) for project in found] == [(flyer.project("Hills"), mine)]
    for wrong in ("", "17", ",".join([mine] * 1001)):
        answer = flyer.call("GET", f"tapis-storage/flight-projects/?tasks={wrong}")
        assert (answer.status_code, answer.json()["field"]) == (400, "tasks")
