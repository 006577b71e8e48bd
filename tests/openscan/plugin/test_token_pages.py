"""My tokens, the form that asks for one, and the administrators' page, in a real browser."""
import re
import uuid

import pytest
import requests
from django.contrib.auth.models import User

from app_extensions.openscan.accounts import books, self_service, tokens
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import CreditRequest, OutgoingMail, RequestAttempt, Scan, Token, TokenRequest
from app_extensions.openscan.processing import queue
from tests.openscan.flow import empty_queue, started_scan, without_nodes
from tests.openscan.helpers import BASIC, in_processes, own_gunicorn, private_token, public_token
from tests.openscan.make_sets import jpeg
from tests.openscan.plugin.test_scan_pages import sign_in
from tests.support.chromium import PHONE


@pytest.fixture
def admin(stack, live_db):
    return User.objects.get(username=stack.config["admin_user"])


def test_credit_is_told_in_words_and_renewed_text_works_at_once(open_page, live_db):
    token, text = private_token(10**9)
    started_scan(token, [jpeg(1), jpeg(2)])
    page = open_page()
    sign_in(page, text)
    page.goto("/openscan/token/")
    page.wait('.os-legend:has-text("set aside")')
    page.click('summary:has-text("What used the credit")')
    page.wait('.os-ledger:has-text("Set aside for")')
    page.wait('.os-ledger:has-text("Credit was granted (first credit)")')
    page.assert_fits_everywhere()
    page.assert_accessible()
    page.click('button:has-text("Renew")')
    page.wait('input[aria-label="The token\'s text"]')
    page.assert_accessible()
    new = page.evaluate("document.querySelector('input[aria-label=\"The token\\'s text\"]').value")
    assert re.fullmatch("[A-Za-z0-9]{32}", new) and new != text
    for old_or_new, status in ((text, 400), (new, 200)):
        answer = requests.get(page.web + "/api/openscan/getTokenInfo", params={"token": old_or_new}, auth=BASIC, timeout=60)
        assert answer.status_code == status
    page.reload()
    page.wait(".os-legend")  # still signed in, and the text is not shown again
    assert new not in page.html and page.complaints == []


def test_a_rigs_first_contact_shows(open_page, live_db):
    token, text = private_token(10**9)
    page = open_page()
    sign_in(page, text)
    Token.objects.filter(pk=token.pk).update(last_used_at=None)
    page.goto("/openscan/token/")
    page.wait('#os-rig-seen:has-text("Waiting for the first contact")')
    page.choose("#os-rig-client", "openscan2")
    page.wait(f"#os-rig-steps:has-text(\"osc_server = '{page.web}/api/openscan/'\")")
    requests.get(page.web + "/api/openscan/getTokenInfo", params={"token": text}, auth=BASIC, timeout=60)
    page.wait('#os-rig-seen:has-text("The rig reaches this server")')


def test_more_credit_is_asked_for_once_and_granted_in_one_click(open_page, live_db, admin):
    token, text = private_token(10**9)
    page = open_page()
    sign_in(page, text)
    page.goto("/openscan/token/")
    page.click('button:has-text("Ask for more credit")')
    page.fill(f"#os-more-{token.pk}", "7")
    page.fill(f"#os-why-{token.pk}", "<i>A workshop</i>")
    page.click('form button:has-text("Ask")')
    page.wait('#os-tokens:has-text("An administrator will decide")')
    self_service.ask_for_more(token, 8 * 10**9, "changed my mind")
    request = CreditRequest.objects.get(token=token)
    page = open_page()
    page.become(admin)
    page.goto("/plugins/openscan_cloud/manage/")
    page.click('li:has-text("changed my mind") button:has-text("Grant 8 GB")')
    page.wait('#os-notice:has-text("has more credit")')
    token.refresh_from_db()
    request.refresh_from_db()
    assert token.credit_bytes == 9 * 10**9 and request.granted_bytes == 8 * 10**9
    assert not self_service.decide(request, 10**9, "again")
    assert books.find_discrepancies([token]) == []


def test_a_token_is_revoked_for_good(open_page, live_db):
    token, text = private_token(10**9)
    page = open_page()
    sign_in(page, text)
    page.goto("/openscan/token/")
    page.click('button:has-text("Revoke")')
    page.wait("#token")
    token.refresh_from_db()
    assert token.revoked_at is not None
    with pytest.raises(OpenScanError):
        self_service.rotate(token)


def test_the_holder_of_a_public_token_cannot_end_it(open_page, live_db):
    token, text = public_token(10**9)
    page = open_page()
    sign_in(page, text)
    page.goto("/openscan/token/")
    page.wait(".os-legend")
    assert "Revoke" not in page.text("#os-tokens")
    asked = f"""fetch('/openscan/api/tokens/{token.pk}/revoke', {{method: 'POST', headers:
        {{'X-CSRFToken': document.getElementById('os-main').dataset.csrf}}}}).then(answer => answer.status)"""
    assert page.evaluate(asked) == 403


def test_users_make_their_own_tokens_where_the_site_allows_it(open_page, stack, live_db, unique):
    user = User.objects.create_user(f"maker-{unique}", email="maker@example.org", password=unique, first_name="Mae", last_name="Jemison")
    with own_gunicorn(stack, "web-self-service", workers=1, WO_OPENSCAN_SELF_SERVICE_TOKENS="1") as web:
        page = open_page()
        page.web = web.address
        page.become(user)
        page.goto("/plugins/openscan_cloud/tokens/")
        page.click('#os-create button:has-text("Create a token")')
        page.wait('input[aria-label="The token\'s text"]')
        text = page.evaluate("document.querySelector('input[aria-label=\"The token\\'s text\"]').value")
        assert tokens.require_token(text).owner_id == user.pk
        assert not page.evaluate("document.getElementById('os-create').hidden === false")
    with pytest.raises(OpenScanError, match="only administrators"):
        self_service.create_own(user, "Mae", "Jemison", "maker@example.org")


def _make_one(user_id):
    from django.contrib.auth.models import User
    from django.test.utils import override_settings

    with override_settings(OPENSCAN_SELF_SERVICE_TOKENS="2"):
        try:
            self_service.create_own(User.objects.get(pk=user_id), "Mae", "Jemison", "mae@example.org")
            return True
        except OpenScanError:
            return False


def test_two_windows_do_not_make_one_token_too_many(live_db, unique):
    user = User.objects.create_user(f"maker-{unique}")
    assert sorted(in_processes(_make_one, [user.pk] * 4)) == [False, False, True, True]
    assert Token.objects.filter(owner=user).count() == 2


def test_a_token_is_asked_for_without_an_account_and_approved_in_one_click(open_page, live_db, admin, unique):
    RequestAttempt.objects.all().delete()  # other tests ask from this address as well
    page = open_page(PHONE)
    page.goto("/openscan/ask/")
    page.assert_fits()
    page.assert_accessible()
    page.fill("#forename", "<b>Grace</b>")
    page.fill("#lastname", "Hopper")
    page.fill("#mail", f"grace-{unique}@example.org")
    page.click('button:has-text("Ask for a private token")')
    page.wait('[role=status]:has-text("was sent to the administrators")')
    page = open_page()
    page.become(admin)
    page.goto("/plugins/openscan_cloud/manage/")
    page.wait(f'li:has-text("grace-{unique}@example.org"):has-text("<b>Grace</b>")')
    page.assert_fits()
    page.assert_accessible()
    page.click(f'li:has-text("grace-{unique}@example.org") button:has-text("Approve")')
    page.wait('#os-notice:has-text("was created and emailed")')
    request = TokenRequest.objects.get(mail=f"grace-{unique}@example.org")
    assert request.state == TokenRequest.APPROVED and OutgoingMail.objects.filter(kind="token").exists()
    before = request.token.digest
    page.click('summary:has-text("never used")')
    page.click(f'li:has-text("grace-{unique}@example.org") button:has-text("Email a new token")')
    page.wait(f'#os-notice:has-text("on its way to grace-{unique}@example.org")')
    request.token.refresh_from_db()
    assert request.token.digest != before
    assert page.evaluate("document.querySelector('details[data-key=unused]').open"), "what somebody opened stays open"
    page.wait(".uplot >> nth=2")
    page.click("#os-by-day")
    page.wait(".uplot >> nth=2")
    assert page.complaints == []


def test_admins_steer_the_queue(open_page, live_db, admin):
    token, _ = private_token(10**9, owner=without_nodes())
    empty_queue()  # the page shows the first fifty that wait
    made = []
    for _ in range(3):
        scan = started_scan(token, [jpeg(1), jpeg(2)])
        Scan.objects.filter(pk=scan.pk).update(state=Scan.APPROVED, name=f"in the queue {uuid.uuid4().hex}")
        scan.refresh_from_db()
        made.append(scan)
    first, second, third = made
    order = lambda: [entry.pk for entry in queue.waiting_scans() if entry.token_id == token.pk]  # noqa: E731
    page = open_page()
    page.become(admin)
    page.goto("/plugins/openscan_cloud/manage/")
    page.click(f'li:has-text("{third.name}") button:has-text("To the front")')
    page.wait(f'li:has-text("1. {third.name}")')
    assert order() == [third.pk, first.pk, second.pk] and queue.waiting_scans()[0].pk == third.pk
    page.click(f'li:has-text("{third.name}") button:has-text("Hold")')
    page.wait(f'li:has-text("{third.name}"):has-text("on hold")')
    assert order() == [first.pk, second.pk]
    third.refresh_from_db()
    assert "has put it on hold" in queue.what_it_waits_for(third)
    page.click(f'li:has-text("{third.name}") button:has-text("Release")')
    page.wait(f'li:has-text("1. {third.name}")')
    for scan in made:
        Scan.objects.filter(pk=scan.pk).update(state=Scan.EXPIRED)


def test_the_administrators_page_is_theirs(stack, open_page, live_db, unique):
    user = User.objects.create_user(f"maker-{unique}", password=unique)
    page = open_page()
    page.become(user)
    page.goto("/plugins/openscan_cloud/manage/")
    assert page.url.endswith("/plugins/openscan_cloud/")
    for path in ("manage", "manage/figures"):
        assert page.evaluate(f"fetch('/plugins/openscan_cloud/api/{path}').then(answer => answer.status)") == 403
    assert requests.get(stack.address() + "/plugins/openscan_cloud/api/manage", timeout=60).status_code == 401
    assert requests.get(stack.address() + "/openscan/api/manage", timeout=60).status_code == 404


def test_the_public_token_has_a_page_where_the_site_wants_one(open_page, stack, live_db, client, settings):
    assert requests.get(stack.address() + "/openscan/public/", timeout=60).status_code == 404
    _, text = public_token(10**9)
    _, private = private_token(10**9)
    with own_gunicorn(stack, "web-public", workers=1, WO_OPENSCAN_PUBLIC_TOKEN=text) as web:
        page = open_page()
        page.web = web.address
        page.goto("/openscan/public/")
        page.wait(f'#os-public-token:has-text("{text}")')
        page.wait('rapi-doc:has-text("createProject")')
        page.assert_fits()
        assert page.complaints == []
        page.click('button:has-text("Use it in this browser")')
        page.wait('a:has-text("Upload photos")')
    settings.OPENSCAN_PUBLIC_TOKEN = private
    assert client.get("/openscan/public/").status_code == 404
    settings.OPENSCAN_PUBLIC_TOKEN = text
    assert client.get("/openscan/public/").status_code == 200
