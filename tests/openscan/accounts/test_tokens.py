"""Tokens, requests for them, their limits and their command; what is stored, shown and mailed."""
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command, load_command_class
from django.db import connection

from app_extensions.openscan.accounts import books, limits, token_requests, tokens
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import OutgoingMail, RequestAttempt, Token, TokenRequest
from tests.openscan.helpers import private_token, public_token

PERSON = {"forename": "Ada", "surname": "Lovelace", "mail": "Ada@Example.org"}


def dump(*tables: str) -> str:
    """Everything that tables hold, as text."""
    with connection.cursor() as cursor:
        rows = []
        for table in tables:
            cursor.execute(f"SELECT * FROM {table}")
            rows += cursor.fetchall()
    return repr(rows)


@pytest.mark.django_db
class TestMaking:
    def test_a_token_is_stored_as_prefix_and_hash_only(self):
        token, text = private_token()
        assert re.fullmatch(r"[A-Za-z0-9]{32}", text)
        assert token.prefix == text[:6] and token.digest == tokens.digest(text)
        assert text not in dump("openscan_token", "openscan_ledgerentry", "openscan_outgoingmail")

    def test_it_is_found_by_its_text_alone(self):
        token, text = private_token()
        assert tokens.find_token(text) == token and tokens.require_token(f" {text}\n") == token
        assert tokens.find_token(text.swapcase()) is None and tokens.find_token(text[:-1]) is None

    @pytest.mark.parametrize("missing", ["forename", "surname", "mail"])
    def test_a_private_one_needs_a_person(self, missing):
        with pytest.raises(OpenScanError):
            tokens.create_token(**{**PERSON, missing: " "})

    def test_the_defaults_are_the_contracts(self):
        token, _ = tokens.create_token(**PERSON)
        assert (token.limit_filesize_bytes, token.limit_photos, token.limit_part_bytes) == (2_000_000_000, 2000, 200_000_000)
        assert token.mail == "ada@example.org" and token.owner.is_superuser
        public, _ = tokens.create_token(kind="public")
        assert public.credit_bytes == public.daily_bytes == 10_000_000_000

    def test_settings_change_the_defaults(self, settings):
        settings.OPENSCAN_LIMIT_FILESIZE, settings.OPENSCAN_LIMIT_PHOTOS = "1.5GB", "10"
        settings.OPENSCAN_PRIVATE_CREDIT = "7 MB"
        token, _ = tokens.create_token(**PERSON)
        assert (token.limit_filesize_bytes, token.limit_photos, token.credit_bytes) == (1_500_000_000, 10, 7_000_000)

    def test_the_default_owner_is_a_setting(self, settings):
        user = get_user_model().objects.create_user("scans")
        settings.OPENSCAN_DEFAULT_OWNER = "scans"
        assert private_token()[0].owner == user
        settings.OPENSCAN_DEFAULT_OWNER = "nobody here"
        with pytest.raises(OpenScanError, match="nobody here"):
            private_token()

    def test_a_revoked_token_is_refused_and_keeps_its_books(self):
        token, text = private_token(5)
        assert tokens.revoke(token) is True and tokens.revoke(token) is False
        with pytest.raises(OpenScanError, match="revoked"):
            tokens.require_token(text)
        assert books.find_discrepancies([token]) == []

    def test_a_deleted_webodm_user_takes_no_token_with_him(self):
        user = get_user_model().objects.create_user("short-lived")
        token, _ = private_token(owner=user)
        user.delete()
        token.refresh_from_db()
        assert token.owner_id is None and tokens.token_owner(token) is None

    def test_using_a_token_is_noted_without_a_write_for_each_call(self, django_assert_num_queries):
        _, text = private_token()
        assert tokens.require_token(text).last_used_at is None
        first = Token.objects.get(digest=tokens.digest(text)).last_used_at
        assert first is not None
        with django_assert_num_queries(1):
            tokens.require_token(text)

    def test_a_token_shows_no_more_than_its_beginning(self):
        token, text = private_token()
        assert text[:6] in str(token) and text[:7] not in str(token)


@pytest.mark.django_db
class TestRequests:
    def request(self, mail: str = "grace@example.org") -> TokenRequest:
        token_requests.request_token(mail, "Grace", "Hopper", mail)
        return TokenRequest.objects.get(mail=mail)

    def test_approving_makes_the_token_and_mails_it_once(self):
        request, before = self.request(), OutgoingMail.objects.count()
        token, text = token_requests.approve(request, actor="admin", credit_bytes=5)
        assert (request.state, request.token, request.decided_by) == ("approved", token, "admin")
        assert (token.forename, token.surname, token.mail, token.credit_bytes) == ("Grace", "Hopper", "grace@example.org", 5)
        assert OutgoingMail.objects.count() == before + 1
        with pytest.raises(OpenScanError, match="only once"):
            token_requests.approve(request)
        token_requests.request_token("grace@example.org", "Grace", "Hopper", "again")
        with pytest.raises(OpenScanError, match="only once"):
            token_requests.approve(TokenRequest.objects.get(mail="grace@example.org"))
        assert OutgoingMail.objects.count() == before + 1
        assert text not in dump("openscan_outgoingmail", "openscan_tokenrequest", "openscan_token"), "the waiting mail is encrypted"

    def test_refusing_mails_nobody_and_can_be_overruled(self):
        request, before = self.request(), OutgoingMail.objects.count()
        assert token_requests.refuse(request, actor="admin") is True and token_requests.refuse(request) is False
        assert request.state == "refused" and OutgoingMail.objects.count() == before
        assert token_requests.approve(request)[0].mail == "grace@example.org"


def test_calls_at_the_same_time_do_not_pass_the_hourly_limit(live_db, settings, monkeypatch, unique):
    """Each call has its own database connection, and notes itself only when the others may have counted."""
    settings.OPENSCAN_TOKEN_REQUESTS_PER_HOUR = "3"
    create, begin = RequestAttempt.objects.create, threading.Barrier(8)

    def slowly(**fields):
        time.sleep(0.2)
        return create(**fields)

    def call(number: int) -> bool:
        begin.wait(60)
        try:
            token_requests.request_token(f"{number}-{unique}@example.org", "Grace", "Hopper", unique)
            return True
        except OpenScanError as refusal:
            assert "3 an hour are allowed" in str(refusal)
            return False
        finally:
            connection.close()

    monkeypatch.setattr(RequestAttempt.objects, "create", slowly)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(call, range(8))) == 3
    assert TokenRequest.objects.filter(mail__endswith=f"-{unique}@example.org").count() == 3


class TestLimits:
    @pytest.mark.parametrize("text", ["a", "ä" * 255, "日本", " x "])
    def test_names_that_can_be_kept(self, text):
        limits.check_name(text)

    @pytest.mark.parametrize("text", ["", " ", "\t", "a\x00", "a\x1f", "\x7f", "\ud800", "a" * 256])
    def test_names_that_cannot(self, text):
        with pytest.raises(OpenScanError):
            limits.check_name(text)


@pytest.mark.django_db
class TestCommand:
    def run(self, capsys, *arguments: str) -> str:
        call_command("openscan_token", *arguments)
        return capsys.readouterr().out

    def create(self, capsys, *arguments: str) -> dict:
        return json.loads(self.run(capsys, "create", "--json", *arguments))

    def test_create_private(self, capsys):
        made = self.create(capsys, "--kind", "private", "--mail", "a@b.org", "--forename", "A", "--surname", "B",
                           "--credit", "50GB", "--limit-photos", "7")
        token = tokens.find_token(made["token"])
        assert (token.credit_bytes, token.limit_photos, token.person, made["id"]) == (50 * 10**9, 7, "A B", token.pk)

    def test_create_public_and_for_an_owner(self, capsys):
        get_user_model().objects.create_user("scans")
        made = self.create(capsys, "--kind", "public", "--daily", "1GB", "--owner", "scans", "--label", "fair")
        token = tokens.find_token(made["token"])
        assert (token.daily_bytes, token.credit_bytes, token.owner.username, token.person) == (10**9, 10**9, "scans", "fair")

    def test_the_text_form_starts_with_the_token_on_its_own_line(self, capsys):
        first = self.run(capsys, "create", "--kind", "public").splitlines()[0]
        assert tokens.find_token(first).is_public

    @pytest.mark.parametrize("arguments", [
        ["create"], ["create", "--mail", "x", "--forename", "A", "--surname", "B"], ["create", "--owner", "nobody"],
        ["create", "--credit", "many"], ["grant", "999999", "5GB"], ["grant", "zzzzzz", "5GB"], ["revoke", "0"],
        ["approve", "nobody@example.org"], ["refuse", "7777777"], ["create", "--kind", "public", "--limit-photos", "0"], []])
    def test_mistakes_are_told(self, arguments):
        with pytest.raises(CommandError):
            call_command("openscan_token", *arguments)

    @pytest.mark.parametrize("option, value", [
        ("--limit-filesize", "999999999TB"), ("--limit-photos", "99999999999"), ("--daily", "99999999TB"), ("--label", "x" * 101),
        ("--label", "a\nb"), ("--credit", "99999999TB")])
    def test_what_the_database_cannot_keep_is_told(self, option, value):
        with pytest.raises(CommandError, match="at most|between"):
            call_command("openscan_token", "create", "--kind", "public", option, value)

    @pytest.mark.parametrize("arguments, words", [(["grant", "1"], "amount"), (["create", "--credit", "5XB"], "5XB")])
    def test_a_mistyped_action_is_told_without_a_traceback(self, capsys, arguments, words):
        command = load_command_class("app_extensions.openscan", "openscan_token")
        with pytest.raises(SystemExit):
            command.run_from_argv(["manage.py", "openscan_token", *arguments])
        assert words in capsys.readouterr().err

    def test_list_grant_and_revoke(self, capsys):
        token, text = private_token(0)
        assert json.loads(self.run(capsys, "grant", str(token.pk), "5GB", "--json"))["credit"] == 5 * 10**9
        assert "5 GB" in self.run(capsys, "list") and text not in self.run(capsys, "list")
        self.run(capsys, "revoke", token.prefix)
        rows = {row["id"]: row for row in json.loads(self.run(capsys, "list", "--json"))["tokens"]}
        assert rows[token.pk]["revoked"] is True and text not in json.dumps(rows)

    def test_approve_and_refuse(self, capsys):
        for name in ("ada", "eve"):
            token_requests.request_token(f"{name}@example.org", name, "X", name)
        made = json.loads(self.run(capsys, "approve", "ada@example.org", "--credit", "1GB", "--json"))
        assert tokens.find_token(made["token"]).credit_bytes == 10**9
        self.run(capsys, "refuse", "eve@example.org")
        assert TokenRequest.objects.get(mail="eve@example.org").state == "refused"
        assert made["token"] not in self.run(capsys, "list")


@pytest.mark.django_db
class TestCheckCommand:
    def test_says_that_everything_adds_up(self, capsys):
        public_token()
        call_command("openscan_check", "--sweep")
        assert "everything adds up" in capsys.readouterr().out

    def test_fails_with_what_is_wrong(self, capsys):
        token, _ = private_token(5)
        Token.objects.filter(pk=token.pk).update(credit_bytes=6)
        with pytest.raises(CommandError):
            call_command("openscan_check", "--json")
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is False and f"Token {token.pk}" in report["problems"][0]
