"""The sandbox's own pages, in a real browser on a desk and on a phone."""
import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from typing import Callable

import pytest
import requests

from tests.plugin import need

#: Put into each page: what the browser says about its width once scripts have run.
MEASURE = b"""<script>setTimeout(function () {
document.documentElement.dataset.overflow = document.documentElement.scrollWidth - window.innerWidth; }, 2500);</script></body>"""


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


@pytest.fixture(scope="module")
def browse(stack, session, tmp_path_factory) -> Iterator[Callable[[str, int], str]]:
    """browse(path, width) -> the page as Chromium has it after its scripts ran, logged in (by a proxy that adds the session)."""
    chromium = need("chromium")

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = session.get(stack.address() + self.path)
            body = answer.content.replace(b"</body>", MEASURE) if "html" in answer.headers["Content-Type"] else answer.content
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def look(path: str, width: int) -> str:
        profile = tmp_path_factory.mktemp("chromium")
        done = subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", f"--window-size={width},900",
             "--virtual-time-budget=5000", "--dump-dom", f"http://127.0.0.1:{server.server_port}{path}"],
            capture_output=True, text=True, timeout=90)
        assert done.stdout, done.stderr[-2000:]
        return done.stdout

    yield look
    server.shutdown()
    server.server_close()


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


def overflow(dom: str) -> int:
    """By how many pixels the page is wider than the window."""
    return int(re.search(r'data-overflow="(-?\d+)"', dom).group(1))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_dashboard_shows_tasks_and_fits(browse, tasks, unique, width):
    dom = browse(f"/dashboard/?project_task_expanded={tasks['running']}", width)
    assert overflow(dom) <= 0
    for state, number in tasks.items():
        row = re.search(rf'<div class="task[^"]*" id="task-{number}">.*?<div class="task-actions">.*?</div>', dom, re.DOTALL).group(0)
        assert f"{state} {unique}" in row
        assert re.search(rf'class="label[^"]*">{state}<', row)
    assert "only 3 of 16 photos could be placed" in dom
    assert f"/tasks/{tasks['completed']}/download/textured_model.glb" in dom
    assert 'aria-valuenow="43"' in dom
    assert re.search(rf'class="task expanded" id="task-{tasks["running"]}"', dom)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["/about/", "/login/"])
def test_other_pages_fit(browse, path, width):
    assert overflow(browse(path, width)) <= 0


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
