"""The sandbox's own pages, in a real browser on a desk and on a phone."""
import re
from typing import Callable

import pytest
import requests
from PIL import Image

from tests.support.chromium import DESK, PHONE, Page


@pytest.fixture(scope="module")
def session(stack) -> requests.Session:
    """Logged in as the sandbox's administrator."""
    session, url = requests.Session(), stack.address()
    session.get(f"{url}/login/")
    answer = session.post(f"{url}/login/", allow_redirects=False, data={
        "username": stack.config["admin_user"], "password": stack.config["admin_password"], "next": "/dashboard/",
        "csrfmiddlewaretoken": session.cookies["csrftoken"]})
    assert answer.status_code == 302
    return session


@pytest.fixture
def browse(stack, open_page, live_db) -> Callable[..., Page]:
    """browse(path, width=DESK) -> the page in chromium, logged in as the administrator."""
    def look(path: str, width: int = DESK) -> Page:
        from django.contrib.auth.models import User

        page = open_page(width)
        page.become(User.objects.get(username=stack.config["admin_user"]))
        page.goto(path)
        return page

    return look


@pytest.fixture
def tasks(live_db, stack, unique) -> dict[str, str]:
    """A project of the administrator's with one task in each state; ids by state."""
    from django.contrib.auth.models import User

    from app_extensions.host.projects import create_project
    from app_extensions.host.tasks import create_waiting_task

    owner = User.objects.get(username=stack.config["admin_user"])
    project = create_project(owner, f"project {unique} " + "with a long name " * 8)
    made = {}
    for name, fields in {
        "waiting for files": {}, "running": {"status": 20, "running_progress": 0.43, "partial": True},
        "failed": {"status": 30, "last_error": "only 3 of 16 photos could be placed"},
        "completed": {"status": 40, "available_assets": ["textured_model.glb", "all.zip"]},
    }.items():
        task = create_waiting_task(project, f"{name} {unique}")
        for field, value in fields.items():
            setattr(task, field, value)
        task.save()
        made[name] = str(task.pk)
    yield made
    project.task_set.all().update(status=50, pending_action=None)


def test_the_dashboard_shows_tasks_and_fits(browse, tasks, unique):
    page = browse(f"/dashboard/?project_task_expanded={tasks['running']}")
    for number in tasks.values():
        page.wait(f"#task-{number} .task-actions")
    page.assert_fits_everywhere()
    dom = page.html
    for state, number in tasks.items():
        row = re.search(rf'<div class="task[^"]*" id="task-{number}">.*?<div class="task-actions">.*?</div>', dom, re.DOTALL).group(0)
        assert f"{state} {unique}" in row
        assert re.search(rf'class="label[^"]*">{state}<', row)
    assert "only 3 of 16 photos could be placed" in dom
    assert f"/tasks/{tasks['completed']}/download/textured_model.glb" in dom
    assert 'aria-valuenow="43"' in dom
    assert re.search(rf'class="task expanded" id="task-{tasks["running"]}"', dom)
    assert page.complaints == []


def test_other_pages_fit(browse, open_page, tasks):
    from app.models import Task
    from nodeodm.models import ProcessingNode

    task = Task.objects.get(pk=tasks["completed"])
    page = browse("/about/")
    for path in ("/about/", f"/3d/project/{task.project_id}/task/{task.pk}/", f"/processingnode/{ProcessingNode.objects.first().pk}/"):
        page.goto(path)
        page.assert_fits_everywhere()
    stranger = open_page()
    stranger.goto("/login/")
    stranger.assert_fits_everywhere()
    stranger.sign_in("nobody", "wrong", leads_to="**/login/**")
    stranger.wait('[role=alert]:has-text("did not match")')
    stranger.assert_fits_everywhere()


def test_the_menu_opens_on_a_phone(browse):
    page = browse("/about/", PHONE)
    assert page.texts("#sidebar a:visible") == []
    page.click(".navbar-toggle")
    page.wait('#sidebar a:has-text("Dashboard")')
    page.assert_fits()
    page.click('#sidebar a:has-text("Dashboard")')
    page.wait("#dashboard")


def test_pages_want_a_login_and_lead_back(stack, session):
    url = stack.address()
    answer = requests.get(f"{url}/dashboard/", allow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login/?next=/dashboard/")
    assert requests.get(f"{url}/", allow_redirects=False).headers["Location"] == "/login/"
    assert session.get(f"{url}/", allow_redirects=False).headers["Location"] == "/dashboard/"


def test_a_wrong_password_is_said(stack):
    browser = requests.Session()
    browser.get(f"{stack.address()}/login/")
    page = browser.post(f"{stack.address()}/login/", data={
        "username": "admin", "password": "wrong", "csrfmiddlewaretoken": browser.cookies["csrftoken"]})
    assert "did not match" in page.text


def test_the_model_page_lists_results_and_hides_them_from_strangers(stack, session, tasks, live_db):
    from app.models import Task

    task = Task.objects.get(pk=tasks["completed"])
    path = f"{stack.address()}/3d/project/{task.project_id}/task/{task.pk}/"
    assert f"/tasks/{task.pk}/download/all.zip" in session.get(path).text
    assert session.get(path.replace(str(task.pk), "7d6b0a54-94b5-4a2e-9a3b-2f0f5c3f5a10")).status_code == 404
    assert "/login/" in requests.get(path).url


def test_plugins_templates_stand_on_webodms_names():
    """Blocks that plugins' pages override."""
    from django.template.loader import get_template

    nodes = get_template("app/plugins/templates/base.html").template.nodelist.get_nodes_by_type(object)
    names = {node.name for node in nodes if type(node).__name__ == "BlockNode"}
    assert "content" in names
    source = get_template("app/base.html").template.source + get_template("app/logged_in_base.html").template.source
    for block in ("extra-headers", "headers-before-bundle", "body", "navbar-top-links", "navbar-sidebar", "page-wrapper", "messages",
                  "content"):
        assert f"block {block} " in source


def test_a_picture_of_a_page_is_laid_out_for_its_width(chromium, tmp_path):
    page = chromium.page("data:text/html,")
    page.goto("<meta name=viewport content='width=device-width'><style>body{background:blue;height:2000px;margin:0}"
              "@media(max-width:767px){body{background:red}}</style>")
    for width, color in ((DESK, (0, 0, 255)), (PHONE, (255, 0, 0)), (DESK, (0, 0, 255))):
        page.resize(width)
        page.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as picture:
            assert picture.size == (width, 2000) and picture.convert("RGB").getpixel((width - 1, 1999)) == color
    page.close()
