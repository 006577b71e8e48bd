"""Pages for makers and operators, through the live server, and seen in chromium."""
import re
import uuid

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone

from app_extensions.openscan.models import Scan
from app_extensions.openscan.upkeep import overview
from tests.openscan.flow import send, wait_for
from tests.openscan.helpers import Rig, private_token, public_token
from tests.openscan.make_sets import photos


def ask(stack, token):
    """The maker's page with a token in its form, as a browser sends it."""
    session = requests.Session()
    page = session.get(stack.address() + "/openscan/", timeout=120)
    hidden = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text).group(1)
    return session.post(stack.address() + "/openscan/", data={"csrfmiddlewaretoken": hidden, "token": token}, timeout=120)


def logged_in(stack, name, password):
    session = requests.Session()
    page = session.get(stack.address() + "/login/", timeout=120)
    hidden = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text).group(1)
    answer = session.post(stack.address() + "/login/", timeout=120, headers={"Referer": stack.address() + "/login/"},
                          data={"csrfmiddlewaretoken": hidden, "username": name, "password": password})
    assert answer.status_code == 200 and "/login/" not in answer.url
    return session


def test_makers_need_no_login_and_learn_how_to_connect(stack, live_db):
    page = requests.get(stack.address() + "/openscan/", timeout=120)
    assert page.status_code == 200 and not page.history
    assert f"{stack.address()}/api/openscan" in page.text and "/api/plugins/openscan_cloud" in page.text
    for client in ("OpenScan3", "OpenScan2", "uploader.py", "curl"):
        assert client in page.text
    assert page.headers["Cache-Control"] == "no-store"
    assert requests.get(stack.address() + "/plugins/openscan_cloud/openscan.css", timeout=120).status_code == 200


def test_a_token_goes_into_a_form_and_nowhere_else(stack, live_db):
    token, text = private_token(5_000_000_000)
    answer = ask(stack, text)
    assert answer.status_code == 200
    assert "5 GB" in answer.text and "Ada Lovelace" in answer.text
    assert text not in answer.text and text not in answer.url
    page = requests.get(stack.address() + "/openscan/", timeout=120).text
    form = re.search(r"<form[^>]*>", page).group(0)
    assert 'method="post"' in form and 'type="password"' in page
    assert text not in (stack.log_path("web").read_text(errors="replace"))


def test_the_form_is_guarded_against_other_sites(stack, live_db):
    answer = requests.post(stack.address() + "/openscan/", data={"token": "x" * 32}, timeout=120)
    assert answer.status_code == 403


@pytest.mark.parametrize("token, says", [("A" * 32, "not known here"), ("***abcd", "masked"), ("", "missing")])
def test_a_wrong_token_is_told_so(stack, live_db, token, says):
    answer = ask(stack, token)
    assert answer.status_code == 400 and says in answer.text


def test_a_private_tokens_scans_are_listed_with_their_results(stack, rig):
    project = send(rig, {**photos(3), "<b>notes</b>.md": b"x"}, project=f"<script>alert(1)</script> {uuid.uuid4().hex}")
    wait_for(rig, project, "processing done")
    page = ask(stack, rig.token).text
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "processing done" in page and "1 file left out" in page and "&lt;b&gt;notes" in page
    link = re.search(r'href="([^"]+/download/[^"]+\.zip)"', page).group(1)
    assert requests.get(link, timeout=120).status_code == 200


def test_a_public_token_lists_nobodys_scans_and_says_what_it_means(stack, live_db):
    token, text = public_token(10**10)
    project = send(Rig(stack.address(), text, address="203.0.113.9"), photos(2))
    page = ask(stack, text).text
    assert project not in page
    assert "kept and may be used for research" in page and "10 GB" in page and "00:00 UTC" in page


def test_operators_log_in_first(stack, live_db):
    answer = requests.get(stack.address() + "/plugins/openscan_cloud/", allow_redirects=False, timeout=120)
    assert answer.status_code in (302, 401, 403)


def test_a_superuser_sees_every_token_and_the_queue(stack, rig):
    project = send(rig, photos(2))
    session = logged_in(stack, str(stack.config["admin_user"]), str(stack.config["admin_password"]))
    page = session.get(stack.address() + "/plugins/openscan_cloud/", timeout=120)
    assert page.status_code == 200
    assert project in page.text and rig.token[:6] in page.text and rig.token not in page.text
    assert "Create a token" in page.text
    dashboard = session.get(stack.address() + "/dashboard/", timeout=120).text
    assert "/plugins/openscan_cloud/" in dashboard and "OpenScan Cloud" in dashboard
    wait_for(rig, project, "processing done")


def test_other_users_see_their_own_tokens_only(stack, rig, unique):
    project = send(rig, photos(2))
    user = User.objects.create_user(f"maker-{unique}", password=unique)
    mine, _ = private_token(10**9, owner=user)
    page = logged_in(stack, user.username, unique).get(stack.address() + "/plugins/openscan_cloud/", timeout=120).text
    assert mine.prefix in page
    assert project not in page and rig.token[:6] not in page and "/admin/openscan/" not in page
    wait_for(rig, project, "processing done")


def test_a_table_that_is_cut_off_says_so(stack, live_db, unique):
    user = User.objects.create_user(f"busy-{unique}", password=unique)
    session = logged_in(stack, user.username, unique)
    token, _ = private_token(10**9, owner=user)
    for _ in range(overview.MOST_ROWS - 1):
        private_token(10**9, owner=user)

    def told():
        return re.findall(r"At most [^<]*listed here[^<]*", session.get(stack.address() + "/plugins/openscan_cloud/", timeout=120).text)

    assert told() == [f"At most {overview.MOST_ROWS} tokens are listed here, the most recently used ones first."]
    now = timezone.now()
    Scan.objects.bulk_create([Scan(token=token, name=f"{unique} {number}", state=Scan.FAILED, photos=1, parts_count=1, declared_bytes=1,
                                   links_expire_at=now, finished_at=now) for number in range(overview.MOST_ROWS)])
    assert told() == [f"At most {overview.MOST_ROWS} tokens are listed here, the most recently used ones first.",
                      f"At most {overview.MOST_ROWS} scans are listed here."]


@pytest.fixture
def ended(stack, live_db):
    """The text of a private token, and the name of its scan, which is done. The name is long, and a file was left out."""
    _, text = private_token(10**12)
    rig = Rig(stack.address(), text)
    project = send(rig, {**photos(3), "notes.md": b"x"}, project=f"{'a-very-long-name' * 8} {uuid.uuid4().hex}")
    wait_for(rig, project, "processing done")
    return text, project


def test_the_makers_page_in_a_browser(open_page, ended, live_db):
    """From the first look to the download's link; nothing sticks out to the right."""
    text, project = ended
    page = open_page()
    page.goto("/openscan/")
    page.wait('h2:has-text("Connect your rig")')
    page.assert_fits_everywhere()
    page.fill("#token", "A" * 32)
    page.click('button:has-text("Show credit and scans")')
    page.wait('#token-error:has-text("not known here")')
    page.assert_fits_everywhere()
    page.fill("#token", text)
    page.click('button:has-text("Show credit and scans")')
    page.wait(f'td:has-text("{project}")')
    page.click('summary:has-text("1 file left out")')
    page.wait('li:has-text("notes.md")')
    page.assert_fits_everywhere()
    assert requests.get(page.attribute('a:has-text("Download")', "href"), timeout=120).status_code == 200
    page.click('button:has-text("Sign out")')
    page.fill("#token", public_token(10**10)[1])
    page.click('button:has-text("Show credit and scans")')
    page.wait('h2:has-text("What a public token means")')
    page.assert_fits_everywhere()
    assert text not in page.url and [each for each in page.complaints if "400" not in each] == []


def test_the_operators_page_in_a_browser(open_page, stack, ended, live_db):
    page = open_page()
    page.become(User.objects.get(username=stack.config["admin_user"]))
    page.goto("/plugins/openscan_cloud/")
    page.wait(f'td:has-text("{ended[1]}")')
    page.assert_fits_everywhere()
    page.click(f'tr:has-text("{ended[1]}") a:has-text("Open task")')
    page.wait("#dashboard .task-actions")
    assert page.complaints == []
