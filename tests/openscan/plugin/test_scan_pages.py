"""A scan's page and the list of scans, in a real browser, and what their API gives to whom."""
import json
import time
import uuid

import pytest
import requests
from django.contrib.auth.models import User
from django.utils import timezone

from app_extensions.openscan import page_links
from app_extensions.openscan.models import Scan
from tests.openscan.flow import poke, send, task_of, wait_for
from tests.openscan.helpers import private_token, public_token
from tests.openscan.make_sets import photos
from tests.support.chromium import PHONE
from tests.support.waiting import until


def sign_in(page, text):
    page.goto("/openscan/")
    page.fill("#token", text)
    page.click('button:has-text("Show credit and scans")')
    page.wait('a:has-text("Upload photos")')


def model_shown(page):
    """A software renderer keeps the page so busy that playwright's own waits starve."""
    until(lambda: page.evaluate("(document.getElementById('os-model') || {dataset: {}}).dataset.loaded") == "yes", 300, 0.5)


@pytest.fixture
def done(stack, rig):
    """A scan of the rig's that is done, with a file left out."""
    project = send(rig, {**photos(4), "notes.md": b"x"}, project=f"<b>vase</b> {uuid.uuid4().hex}")
    wait_for(rig, project, "processing done")
    return Scan.objects.select_related("token").get(name=project)


def test_the_model_turns_on_the_page_that_the_rig_names(open_page, rig, done):
    page = open_page()
    page.goto(rig.info(done.name)["page"][len(page.web):])
    page.wait('.os-tag:has-text("The model is ready")')
    model_shown(page)
    assert page.text("#os-name") == done.name
    assert "12 triangles" in page.text("#os-model") and "notes.md" in page.text("#os-more")
    link = page.evaluate("document.querySelector('#os-state a[download]').href")
    assert requests.get(link, timeout=60).status_code == 200
    picture = requests.get(f"{page.web}/openscan/api/scans/{page_links.page_key(done)}/picture", timeout=60)
    assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/jpeg")
    # The link alone lets its holder look, not change.
    assert "Delete this scan" not in page.text("body") and "History" not in page.text("body")
    page.assert_fits_everywhere()
    page.assert_accessible()
    page.resize(PHONE)
    page.assert_accessible()
    page.dark()
    page.assert_accessible()
    assert page.complaints == []


def test_the_owner_shares_runs_again_with_another_preset_and_deletes(open_page, rig, done):
    page = open_page(models=False)
    sign_in(page, rig.token)
    page.goto(f"/openscan/scans/{page_links.page_key(done)}/")
    page.wait('.os-history li:has-text("Model ready")')
    page.click('button:has-text("Share")')
    page.fill("#os-days", "2")
    page.click('button:has-text("Make a link")')
    page.wait('input[aria-label="Link to share"]')
    shared = page.evaluate("document.querySelector('input[aria-label=\"Link to share\"]').value")
    guest = open_page(models=False)
    guest.goto(shared[len(page.web):])
    guest.wait("model-viewer")
    assert guest.evaluate("fetch(document.querySelector('model-viewer').getAttribute('src')).then(answer => answer.status)") == 200
    assert guest.texts("#os-name") == [done.name] and "Delete" not in guest.text("#os-main")
    guest.close()

    page.choose("#os-preset", "Fast Orthophoto")
    page.click('button:has-text("Process again")')
    page.wait('#os-notice:has-text("processed again")')
    assert {"name": "fast-orthophoto", "value": True} not in task_of(done).options  # the node does not know it

    def made_again():
        poke()
        done.refresh_from_db()
        return done.state == Scan.DONE and done.events.filter(event="complete").count() == 2

    until(made_again, 120, 0.5)
    assert done.events.filter(event="retry", why__contains="Fast Orthophoto").exists()
    # What was shared was that result.
    assert requests.get(shared, timeout=60).status_code == 410
    page.goto(f"/openscan/scans/{page_links.page_key(done)}/")
    page.click('button:has-text("Delete this scan")')
    page.wait_url("**/openscan/scans/")
    done.refresh_from_db()
    assert done.state == Scan.RESET
    assert requests.get(f"{page.web}/openscan/scans/{page_links.page_key(done)}/", timeout=60).status_code == 404


def test_a_failure_is_told_in_plain_words(open_page, rig):
    project = send(rig, {"a.txt": b"no photo at all"})
    wait_for(rig, project, "processing failed")
    page = open_page(PHONE)
    sign_in(page, rig.token)
    page.goto("/openscan/scans/?group=failed")
    page.click(f'.os-scan:has-text("{project}")')
    page.wait('.os-tag:has-text("There is no model")')
    assert rig.info(project)["error_text"] in page.text("#os-state")
    page.assert_fits()
    page.assert_accessible()


def test_who_may_see_and_change_what(stack, live_db, unique):
    token, text = private_token(10**9)
    scan = _scan(token)
    key, bare = page_links.page_key(scan), str(scan.pk)
    api = stack.address() + "/openscan/api/scans/"
    assert requests.get(api + key, timeout=60).json()["may_change"] is False
    for bad in (bare, f"{scan.pk}.{'A' * 22}", f"{scan.pk}.9999999999.{key.split('.')[1]}", "999999999"):
        assert requests.get(api + bad, timeout=60).status_code in (404, 410), bad
    assert requests.post(f"{api}{key}/reset", timeout=60).status_code == 403  # no CSRF token
    mine, others = User.objects.create_user(f"a-{unique}", password=unique), User.objects.create_user(f"b-{unique}", password=unique)
    token.owner = mine
    token.save()
    inside = "/plugins/openscan_cloud/api/scans/"
    assert _session(stack, mine, unique).get(stack.address() + inside + bare, timeout=60).json()["may_change"] is True
    assert _session(stack, others, unique).get(stack.address() + inside + bare, timeout=60).status_code == 404
    stranger = _session(stack, others, unique)
    answer = stranger.post(f"{stack.address()}{inside}{key}/reset", headers={"X-CSRFToken": stranger.cookies["csrftoken"]}, timeout=60)
    assert answer.status_code == 403 and "you can only look" in answer.json()["error"]
    scan.refresh_from_db()
    assert scan.state == Scan.CREATED


def test_a_share_link_ends(stack, live_db):
    scan = _scan(private_token(10**9)[0])
    ended = page_links.shared_url(scan, "", int(time.time()) - 1)
    answer = requests.get(stack.address() + ended, timeout=60)
    assert answer.status_code == 410 and "has expired" in answer.text


def test_a_revoked_token_is_forgotten(open_page, live_db):
    token, text = private_token(10**9)
    page = open_page()
    sign_in(page, text)
    token.revoked_at = timezone.now()
    token.save()
    page.goto("/openscan/scans/")
    page.wait("#token")


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_thousands_of_scans_are_a_page(open_page, live_db, unique, count):
    token, text = private_token(10**12)
    Scan.objects.bulk_create([Scan(
        token=token, name=f"{unique} {number:05d}", state=Scan.FAILED if number % 3 else Scan.EXPIRED, photos=20 + number % 50,
        parts_count=1, declared_bytes=10**6, upload_nonce="n", links_expire_at=timezone.now(), error="No <i>photo</i> could be placed.",
    ) for number in range(count)])
    page = open_page()
    sign_in(page, text)
    page.goto("/openscan/scans/")
    page.wait(f'#os-total:has-text("{count:,} scans")')
    assert len(page.texts(".os-scan")) == 24 and "<i>photo</i>" in page.text(".os-scan")
    page.assert_fits()
    page.assert_accessible()
    page.click('#os-pages a:has-text("Next")')
    page.wait(f'#os-pages:has-text("Page 2 of {-(-count // 24)}")')
    page.fill("#os-q", f"{unique} 0012")
    page.wait('#os-total:has-text("10 scans")')
    page.choose("#os-group", "expired")
    page.wait('#os-total:has-text("4 scans"), #os-total:has-text("3 scans")')
    page.choose("#os-sort", "name")
    page.reload()
    page.wait(".os-scan")
    assert page.evaluate("document.getElementById('os-q').value") == f"{unique} 0012"
    assert page.complaints == []


def test_the_list_refuses_what_is_no_filter(stack, live_db):
    _, text = private_token(10**9)
    session = requests.Session()
    _give_token(stack, session, text)
    api = stack.address() + "/openscan/api/scans?"
    for query in ("group=none", "sort=none", "page=x", "token=x"):
        assert session.get(api + query, timeout=60).status_code == 400, query
    assert session.get(api + "page=99&q=%00", timeout=60).json()["page"] == 1


def test_a_public_tokens_scans_are_listed_to_nobody(stack, live_db):
    token, text = public_token(10**9)
    scan = _scan(token, client_address="127.0.0.1")
    session = requests.Session()
    _give_token(stack, session, text)
    assert session.get(stack.address() + "/openscan/api/scans", timeout=60).json()["scans"] == []
    assert session.get(f"{stack.address()}/openscan/api/scans/{scan.pk}", timeout=60).status_code == 404


def _scan(token, **fields):
    return Scan.objects.create(token=token, name=uuid.uuid4().hex, photos=3, parts_count=1, declared_bytes=10**6, upload_nonce="n",
                               links_expire_at=timezone.now(), **fields)


def _session(stack, user, password):
    session = requests.Session()
    session.get(stack.address() + "/login/", timeout=60)
    answer = session.post(stack.address() + "/login/", timeout=60, allow_redirects=False, data={
        "csrfmiddlewaretoken": session.cookies["csrftoken"], "username": user.username, "password": password, "next": "/dashboard/"})
    assert answer.status_code == 302
    return session


def _give_token(stack, session, text):
    session.get(stack.address() + "/openscan/", timeout=60)
    session.post(stack.address() + "/openscan/", timeout=60, data={"csrfmiddlewaretoken": session.cookies["csrftoken"], "token": text})


def test_json_is_what_the_api_wants(stack, live_db):
    _, text = private_token(10**9)
    session = requests.Session()
    _give_token(stack, session, text)
    headers = {"X-CSRFToken": session.cookies["csrftoken"]}
    for body in (b"[]", b"{", b"\xff", json.dumps({"name": "x", "files": [["a.jpg", 0]]}).encode(), json.dumps({"name": "x"}).encode(),
                 json.dumps({"name": "x", "files": [["a.jpg", 5], ["a.jpg", 5]]}).encode(), json.dumps({"files": [["a.jpg", 5]]}).encode()):
        answer = session.post(stack.address() + "/openscan/api/uploads", data=body, headers=headers, timeout=60)
        assert answer.status_code == 400 and answer.json()["error"], body


def test_a_token_that_the_json_names_wrongly_is_not_taken_for_the_one_that_was_given(stack, live_db):
    """The set would be charged to another token than the one that was meant."""
    token, text = private_token(10**9)
    session = requests.Session()
    _give_token(stack, session, text)
    headers = {"X-CSRFToken": session.cookies["csrftoken"]}
    for wrong, status in ((str(token.pk), 400), (True, 400), (False, 400), ("", 400), (1.5, 400), ([token.pk], 400), ({}, 400),
                          (0, 404), (-1, 404), (2**31, 404), (10**30, 404)):
        body = {"token": wrong, "name": "x", "files": [["a.jpg", 5], ["b.jpg", 5], ["c.jpg", 5]]}
        answer = session.post(stack.address() + "/openscan/api/uploads", json=body, headers=headers, timeout=60)
        assert answer.status_code == status and "token" in answer.json()["error"], wrong
    assert not Scan.objects.filter(token=token).exists()


def test_what_the_json_says_of_a_zip_is_checked(stack, live_db):
    token, text = private_token(10**9)
    session = requests.Session()
    _give_token(stack, session, text)
    headers = {"X-CSRFToken": session.cookies["csrftoken"]}
    for wrong in ({"archive": 5}, {"archive": None}, {"archive": ["a.zip"]}, {"size": "5"}, {"size": None}, {"size": True}, {"size": 1.5},
                  {"size": -1}, {"size": 10**30}, {"size": [5]}, {"photos": "3"}, {"photos": None}, {"photos": {}}, {"photos": 10**30}):
        body = {"token": token.pk, "name": "x", "archive": "a.zip", "size": 5000, "photos": 3, **wrong}
        answer = session.post(stack.address() + "/openscan/api/uploads", json=body, headers=headers, timeout=60)
        assert answer.status_code == 400 and answer.json()["error"], wrong
    assert not Scan.objects.filter(token=token).exists()


def test_the_person_of_a_token_made_on_the_page_has_to_be_text(stack, live_db, unique):
    session = _session(stack, User.objects.create_user(f"a-{unique}", password=unique), unique)
    headers = {"X-CSRFToken": session.cookies["csrftoken"], "Referer": stack.address()}
    for name in ("forename", "surname", "mail"):
        body = {"forename": "Ada", "surname": "Lovelace", "mail": "ada@example.org", name: 5}
        answer = session.post(stack.address() + "/plugins/openscan_cloud/api/tokens", json=body, headers=headers, timeout=60)
        assert answer.status_code == 400 and name in answer.json()["error"] and "text" in answer.json()["error"], name
