"""The app's pages in Django admin, as an administrator's browser uses them."""
import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils import timezone

from app_extensions.openscan.accounts import books, ledger, token_requests, tokens
from app_extensions.openscan.models import LedgerEntry, OutgoingMail, Scan, Token, TokenRequest
from app_extensions.openscan.upkeep import overview
from tests.openscan.helpers import new_scan, private_token, public_token

PAGES = "/admin/openscan/"
FORM = {"kind": "private", "label": "", "forename": "Ada", "surname": "Lovelace", "mail": "ada@example.org",
        "limit_filesize_bytes": "2000000000", "limit_photos": "2000", "limit_part_bytes": "200000000", "daily_bytes": "",
        "grant": ""}


@pytest.fixture
def boss(db):
    return get_user_model().objects.create_superuser("boss", "boss@example.org", "pass")


@pytest.fixture
def browser(boss) -> Client:
    client = Client()
    client.force_login(boss)
    return client


def act(browser: Client, page: str, action: str, row) -> str:
    """Runs an action of a list page on one row and returns the page that follows."""
    answer = browser.post(f"{PAGES}{page}/", {"action": action, "_selected_action": [row.pk]}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


class TestTokens:
    def add(self, browser: Client, boss, **changes: str):
        return browser.post(f"{PAGES}token/add/", {**FORM, "owner": str(boss.pk), **changes})

    def test_a_token_made_here_is_shown_once(self, browser, boss):
        answer = self.add(browser, boss, grant="3GB")
        text = re.search(r'id="openscan-token"[^>]*>([A-Za-z0-9]{32})<', answer.content.decode()).group(1)
        token = tokens.find_token(text)
        assert (token.credit_bytes, token.owner, token.kind) == (3 * 10**9, boss, "private")
        assert "no-store" in answer["Cache-Control"]
        assert token.entries.get().actor == "boss"
        for page in (f"{PAGES}token/", f"{PAGES}token/{token.pk}/change/", "/admin/", f"{PAGES}ledgerentry/"):
            assert text not in browser.get(page).content.decode()
        assert not any(text in f"{entry.object_repr}{entry.change_message}" for entry in LogEntry.objects.all())
        assert text not in "".join(f"{key}{morsel.value}" for key, morsel in browser.cookies.items())

    def test_defaults_for_credit_and_the_daily_amount(self, browser, boss):
        self.add(browser, boss)
        assert Token.objects.latest("pk").credit_bytes == 50 * 10**9
        self.add(browser, boss, kind="public", label="everybody", forename="", surname="", mail="")
        public = Token.objects.latest("pk")
        assert (public.daily_bytes, public.credit_bytes, public.person) == (10**10, 10**10, "everybody")

    @pytest.mark.parametrize("changes, words", [
        ({"forename": ""}, "bound to a person"), ({"mail": "nobody"}, "valid email"), ({"grant": "lots"}, "number of bytes"),
        ({"limit_photos": "0"}, "above zero"), ({"daily_bytes": "5"}, "Only public"), ({"grant": "0"}, "at least 1 byte"),
        ({"daily_bytes": "-1", "kind": "public"}, "greater than or equal to 0"),
        ({"daily_bytes": "9" * 20, "kind": "public"}, "at most 1,000,000,000,000,000"), ({"limit_part_bytes": "9" * 17}, "at most"),
        ({"limit_photos": "2000000"}, "at most 1,000,000"), ({"forename": "A\x01da"}, "plain text"),
        ({"label": "every\u202ebody", "kind": "public"}, "plain text"), ({"label": "a\x9bb", "kind": "public"}, "plain text")])
    def test_mistakes_are_shown_at_their_field(self, browser, boss, changes, words):
        before = Token.objects.count()
        answer = self.add(browser, boss, **changes)
        assert answer.status_code == 200 and words in answer.content.decode()
        assert Token.objects.count() == before

    def test_changing_grants_credit_and_cannot_overwrite_the_balance(self, browser, boss):
        token, _ = private_token(100)
        page = f"{PAGES}token/{token.pk}/change/"
        assert browser.get(page).status_code == 200
        ledger.grant(token, 11)  # meanwhile
        answer = browser.post(page, {**FORM, "owner": str(boss.pk), "limit_photos": "5", "grant": "1kB", "credit_bytes": "7"})
        assert answer.status_code == 302
        token.refresh_from_db()
        assert (token.credit_bytes, token.limit_photos) == (1111, 5) and books.find_discrepancies([token]) == []

    def test_revoking_and_no_deleting(self, browser):
        token, text = private_token()
        assert "1 token is revoked." in act(browser, "token", "revoke", token)
        assert Token.objects.get(pk=token.pk).revoked_at is not None
        assert browser.post(f"{PAGES}token/{token.pk}/delete/", {"post": "yes"}).status_code == 403


class TestRequests:
    def asked(self) -> TokenRequest:
        token_requests.request_token("eve@example.org", "Eve", "Example", "somewhere")
        return TokenRequest.objects.get(mail="eve@example.org")

    def test_approve_mails_the_token_once_and_does_not_show_it(self, browser):
        request, before = self.asked(), OutgoingMail.objects.count()
        page = act(browser, "tokenrequest", "approve", request)
        request.refresh_from_db()
        assert f"Token {request.token_id} is mailed to eve@example.org" in page
        assert not re.search(r"[^A-Za-z0-9][A-Za-z0-9]{32}[^A-Za-z0-9=]", re.sub(r"csrfmiddlewaretoken.*", "", page).replace("\n", " "))
        assert "only once" in act(browser, "tokenrequest", "approve", request)
        assert OutgoingMail.objects.count() == before + 1 and request.decided_by == "boss"

    def test_a_token_whose_email_was_given_up_is_shown_as_lost_and_made_anew(self, browser):
        request = self.asked()
        act(browser, "tokenrequest", "approve", request)
        request.refresh_from_db()
        lost = request.token
        OutgoingMail.objects.filter(pk=request.token_mail_id).update(state=OutgoingMail.GIVEN_UP, last_error="recipient refused (550)")
        page = browser.get(f"{PAGES}tokenrequest/").content.decode()
        assert "given up: recipient refused (550). Approve again" in page
        assert overview.for_operator(get_user_model().objects.get(username="boss"))["tokens_lost"] == 1
        assert "is mailed to eve@example.org" in act(browser, "tokenrequest", "approve", request)
        request.refresh_from_db()
        lost.refresh_from_db()
        assert lost.revoked_at is not None and request.token != lost
        assert overview.for_operator(get_user_model().objects.get(username="boss"))["tokens_lost"] == 0

    def test_without_working_mail_an_approved_token_is_shown_once(self, browser, settings):
        settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
        request = self.asked()
        answer = browser.post(f"{PAGES}tokenrequest/", {"action": "approve", "_selected_action": [request.pk]})
        text = re.search(r"<code>([A-Za-z0-9]{32})</code>", answer.content.decode()).group(1)
        request.refresh_from_db()
        assert tokens.find_token(text) == request.token and "no-store" in answer["Cache-Control"]
        for page in (f"{PAGES}tokenrequest/", f"{PAGES}token/", "/admin/"):
            assert text not in browser.get(page).content.decode()
        assert "only once" in act(browser, "tokenrequest", "approve", request)

    def test_the_mail_says_where_the_admin_approved_it_unless_a_setting_does(self, browser, settings):
        for url, says in (("", "http://testserver/api/openscan"), ("https://scan.example.org", "https://scan.example.org/api/openscan")):
            settings.OPENSCAN_PUBLIC_URL = url
            TokenRequest.objects.all().delete()
            act(browser, "tokenrequest", "approve", self.asked())
            assert says in OutgoingMail.objects.filter(kind="token").latest("pk").payload

    def test_refuse(self, browser):
        request, before = self.asked(), OutgoingMail.objects.count()
        assert "is refused" in act(browser, "tokenrequest", "refuse", request)
        assert "was refused before" in act(browser, "tokenrequest", "refuse", request)
        assert OutgoingMail.objects.count() == before


class TestScans:
    def test_lists_and_shows_a_scan_with_its_parts(self, browser):
        scan = new_scan(private_token()[0], parts=3)
        scan.parts.create(number=2, size_bytes=1234567, file_name="2.part", received_at=timezone.now())
        page = browser.get(f"{PAGES}scan/{scan.pk}/change/").content.decode()
        assert "1,234,567 bytes" in page and "<td>2</td>" in page and "<td>1</td>" not in page and "created" in page
        assert scan.name in browser.get(f"{PAGES}scan/").content.decode()

    def test_a_hostile_name_is_only_text(self, browser):
        from app_extensions.openscan.intake import scans

        scan = scans.create_scan(private_token()[0], "<script>alert(1)</script>", photos=1, parts=1, filesize_bytes=5)
        for page in (f"{PAGES}scan/", f"{PAGES}scan/{scan.pk}/change/"):
            assert "<script>alert(1)" not in browser.get(page).content.decode()

    def test_reset_gives_the_credit_back(self, browser):
        token, _ = private_token()
        scan = new_scan(token)
        assert "is reset" in act(browser, "scan", "reset", scan)
        scan.refresh_from_db()
        token.refresh_from_db()
        assert scan.state == Scan.RESET and token.credit_bytes == 100_000_000

    def test_its_history_says_when_from_where_to_where_why_and_who(self, browser):
        scan = new_scan(private_token()[0])
        act(browser, "scan", "reset", scan)
        text = browser.get(f"{PAGES}scan/{scan.pk}/change/").content.decode()
        assert "new → created" in text and "createProject was called." in text
        assert "created → reset" in text and "An administrator reset it." in text
        assert scan.events.last().actor == get_user_model().objects.get(pk=browser.session["_auth_user_id"]).get_username()
        assert f"<td>{scan.events.last().actor}</td>" in text

    def test_retry_says_why_it_cannot(self, browser):
        scan = new_scan(private_token()[0])
        assert "cannot be tried again" in act(browser, "scan", "retry", scan)

    def test_retry_takes_a_stuck_scan_up_again(self, browser, settings):
        settings.OPENSCAN_CELERY_QUEUE = "nobody"
        scan = new_scan(private_token()[0])
        Scan.objects.filter(pk=scan.pk).update(state=Scan.INITIALIZED, ingest_attempts=7)
        assert "is tried again" in act(browser, "scan", "retry", scan)
        scan.refresh_from_db()
        assert (scan.state, scan.ingest_attempts) == (Scan.INITIALIZED, 0)

    def test_a_state_is_found_by_search(self, browser):
        token, _ = private_token()
        failed, fresh = new_scan(token), new_scan(token)
        Scan.objects.filter(pk=failed.pk).update(state=Scan.FAILED)
        text = browser.get(f"{PAGES}scan/?q=failed").content.decode()
        assert f"scan/{failed.pk}/change/" in text and f"scan/{fresh.pk}/change/" not in text

    def test_a_deleted_task_is_said_to_be_so(self, browser):
        scan = new_scan(private_token()[0])
        Scan.objects.filter(pk=scan.pk).update(state=Scan.RELEASED, webodm_task_id="00000000-0000-4000-8000-000000000000")
        assert "was deleted in WebODM" in browser.get(f"{PAGES}scan/{scan.pk}/change/").content.decode()


class TestLedger:
    def test_is_there_to_look_at_only(self, browser):
        token, _ = public_token()
        entry = token.entries.get()
        assert "refill" in browser.get(f"{PAGES}ledgerentry/").content.decode()
        assert browser.get(f"{PAGES}ledgerentry/{entry.pk}/change/").status_code == 200
        for page in ("add/", f"{entry.pk}/delete/"):
            assert browser.post(f"{PAGES}ledgerentry/{page}", {"post": "yes"}).status_code == 403
        assert browser.post(f"{PAGES}ledgerentry/{entry.pk}/change/", {"amount_bytes": "1"}).status_code == 403
        browser.post(f"{PAGES}ledgerentry/", {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"})
        assert LedgerEntry.objects.filter(pk=entry.pk).exists()


def test_actions_fit_beside_each_other_on_a_phone():
    """A select is as wide as its longest option, and a page that has one too wide scrolls sideways as a whole."""
    labels = [words for kind in admin.site._registry.values() if type(kind).__module__.startswith("app_extensions.")
              for name in kind.actions for words in [getattr(type(kind), name).short_description]]
    assert labels and [words for words in labels if len(words) > 40] == []


@pytest.mark.parametrize("page", ["token/", "token/add/", "scan/", "tokenrequest/", "ledgerentry/"])
def test_others_see_nothing(db, page):
    client = Client()
    client.force_login(get_user_model().objects.create_user("user"))
    assert client.get(PAGES + page).status_code == 302


def test_a_helper_without_the_permission_cannot_decide_or_steer(db):
    from django.contrib.auth.models import Permission

    helper = get_user_model().objects.create_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=["view_scan", "view_tokenrequest"]))
    client = Client()
    client.force_login(helper)
    scan = new_scan(private_token()[0])
    act(client, "scan", "reset", scan)
    scan.refresh_from_db()
    assert scan.state == Scan.CREATED
