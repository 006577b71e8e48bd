"""Who gets an account, which tokens count, what a refused code and a NUL character lead to, and what anonymous people may store."""
import pytest
import requests

from tests.support.tapis import CLIENT_ID, PAGE, Browser
from tests.support.waiting import until


def claims(username="ada", tenant="portals"):
    from app_extensions.tapis.login.verification import Claims

    return Claims("https://portals.tapis.io/v3/tokens", f"{username}@{tenant}", username, tenant, 0.0, "")


@pytest.mark.parametrize("allowed, who, may", [
    ("", "ada", False), ("*", "ada", True), ("ada", "ada", True), ("ada", "adam", False), ("ada*", "adam", True),
    ("*@portals", "ada", True), ("*@other", "ada", False), ("bob, ada@portals", "ada", True), (",,", "ada", False),
])
def test_only_those_on_the_list_get_an_account(settings, monkeypatch, allowed, who, may):
    from app_extensions.tapis.login.identity import is_allowed

    monkeypatch.delenv("WO_TAPIS_ALLOWED_USERS", raising=False)
    settings.TAPIS_ALLOWED_USERS = allowed
    assert is_allowed(claims(who)) is may


def test_nobody_gets_an_account_by_default(settings, monkeypatch, db, unique):
    from app_extensions.tapis.login import identity

    monkeypatch.delenv("WO_TAPIS_ALLOWED_USERS", raising=False)
    settings.TAPIS_ALLOWED_USERS = ""
    with pytest.raises(identity.NotLinked) as refused:
        identity.create_identity(claims("n" + unique), "n" + unique)
    assert refused.value.status == 403


def test_a_refused_code_is_a_page_that_offers_to_try_again(stack, tapis, browser, unique):
    name = tapis.user(f"code{unique}")
    back = browser.at_tapis(browser.authorize().headers["Location"], name).headers["Location"]
    wrong = back.replace("code=", "code=x")
    answer = browser.get(wrong, allow_redirects=False)
    assert answer.status_code == 400 and "did not work" in answer.text and "/api/oauth2/tapis/" in answer.text
    back = browser.at_tapis(browser.authorize().headers["Location"], name).headers["Location"]
    program = browser.get(back.replace("code=", "code=x"), headers={"Accept": "application/json"}, allow_redirects=False)
    assert program.status_code == 400 and program.json()["error"] == "The Tapis login did not work"


@pytest.mark.parametrize("method, path, more", [
    ("GET", "/api/oauth2/tapis/authorize/{client}/?tenant_id=%00", {}),
    ("POST", "/api/oauth2/tapis/authorize/{client}/", {"data": {"tenant_id": "a\0b"}}),
    ("POST", "/api/oauth2/tapis/authorize/{client}/", {"json": {"tenant_id": "a\0b"}}),
    ("GET", "/api/oauth2/tapis/callback/?state=%00&code=%00", {}),
    ("GET", "/api/oauth2/tapis/?redirect_after=/%00", {}),
    ("GET", "/api/tapis-storage/systems/?client_id=%00", {}),
    ("GET", "/api/oauth2/tapis/status/", {"auth": ("a\0b", "c")}),
    ("POST", "/api/tapis-storage/discover-flights/", {"json": {"systems": ["\0"]}, "auth": ("a\0b", "c")}),
])
def test_a_nul_character_is_400_for_anybody(stack, method, path, more):
    answer = requests.request(method, stack.address() + path.format(client=CLIENT_ID), timeout=60, allow_redirects=False, **more)
    assert answer.status_code == 400 and "NUL" in answer.json()["detail"], answer.text[:300]


def test_a_nul_character_of_somebody_logged_in_is_400(flyer):
    for body in ({"systems": ["ptdatax.project.\0"]}, {"client_id": "\0"}, {"\0": 1}):
        answer = flyer.post("tapis-storage/discover-flights/", body, 400)
        assert answer["success"] is False
    assert flyer.call("GET", "tapis-storage/found-flights/?search=%00").status_code == 400


def test_anonymous_people_store_no_session_and_few_states(stack, tapis, live_db):
    from django.contrib.sessions.models import Session

    from app_extensions.tapis.login import states
    from app_extensions.tapis.models import TapisOAuth2State

    TapisOAuth2State.objects.all().delete()
    sessions = Session.objects.count()
    for _ in range(2 * states.MOST_PER_ORIGIN):
        answer = requests.get(f"{stack.address()}/api/oauth2/tapis/authorize/{CLIENT_ID}/", headers=PAGE, allow_redirects=False, timeout=60)
        assert answer.status_code == 302 and "tapis_login" in answer.cookies
    assert Session.objects.count() == sessions
    assert TapisOAuth2State.objects.count() <= states.MOST_PER_ORIGIN
    with Browser(stack.address()) as browser:  # and whoever means it still gets in
        assert browser.log_in("alice").status_code == 302


def test_a_forged_login_cookie_is_none(stack, tapis, browser):
    back = browser.at_tapis(browser.authorize().headers["Location"], "alice").headers["Location"]
    value = browser.cookies["tapis_login"]
    browser.cookies.set("tapis_login", "x" + value, domain="127.0.0.1", path="/api/oauth2/tapis/")
    for cookie in list(browser.cookies):
        if cookie.name == "tapis_login" and cookie.value == value:
            browser.cookies.clear(cookie.domain, cookie.path, cookie.name)
    assert browser.get(back, allow_redirects=False).status_code == 400


def test_tokens_of_other_applications_count_unless_a_setting_says_otherwise(flyer, tapis, settings):
    """The live server has the default; the stricter one is looked at in this process."""
    from django.test import RequestFactory
    from rest_framework.exceptions import AuthenticationFailed
    from rest_framework.request import Request

    from plugins.tapis_storage.authentication import BearerAuthentication

    def user_of(client_id):
        token = tapis._call("POST", "tokens", {"username": flyer.name, "client_id": client_id})["token"]
        request = Request(RequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}"))
        return BearerAuthentication().authenticate(request)[0]

    assert user_of("another-application") == user_of(CLIENT_ID) == flyer.user
    settings.TAPIS_BEARER_CLIENTS = "own"
    assert user_of(CLIENT_ID) == flyer.user
    with pytest.raises(AuthenticationFailed, match="another application"):
        user_of("another-application")


def test_a_client_that_moves_needs_its_secret_again_and_ends_its_logins(flyer, live_db, unique):
    from django.core.exceptions import ValidationError

    from app_extensions.tapis.admin.clients import ClientForm
    from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token

    client = TapisOAuth2Client.objects.create(
        name="Moves", client_id="moves" + unique, client_secret="the secret", base_url=flyer.client.base_url,
        callback_url=flyer.client.callback_url)
    token = TapisOAuth2Token.objects.get(user=flyer.user)
    token.pk, token.client = None, client
    token.save()
    fields = {name: getattr(client, name) for name in ClientForm.Meta.fields if name != "client_secret"}
    moved = {**fields, "token_url": "https://elsewhere.example.org/v3/oauth2/tokens"}
    form = ClientForm({**moved, "client_secret": ""}, instance=TapisOAuth2Client.objects.get(pk=client.pk))
    assert not form.is_valid() and "Enter the client's secret again" in form.errors["client_secret"][0]
    assert ClientForm({**fields, "name": "New name", "client_secret": ""}, instance=TapisOAuth2Client.objects.get(pk=client.pk)).is_valid()
    form = ClientForm({**moved, "client_secret": "the secret"}, instance=TapisOAuth2Client.objects.get(pk=client.pk))
    assert form.is_valid(), form.errors
    form.save()
    token.refresh_from_db()
    assert not token.is_valid and "address was changed" in token.invalid_reason
    row = TapisOAuth2Client.objects.get(pk=client.pk)
    row.base_url = "https://third.example.org"
    with pytest.raises(ValidationError):
        row.full_clean()
    client.delete()


def test_five_who_wait_for_a_refresh_that_fails_share_its_outcome(flyer, tapis, live_db):
    """They waited 2, 4, 6, 8 and 10 seconds, one after the other under the row lock."""
    import threading
    import time

    from django.db import connection

    from app_extensions.tapis.login import tokens
    from app_extensions.tapis.models import TapisOAuth2Token
    from app_extensions.tapis.problems import TapisUnreachable

    TapisOAuth2Token.objects.filter(user=flyer.user).update(expires_at="2020-01-01T00:00:00Z")
    tapis._call("POST", "counters/reset")
    outcomes, began = [], time.monotonic()
    together = threading.Barrier(5)

    def ask():
        try:
            together.wait()
            tokens.access_token_for(flyer.user, flyer.client)
            outcomes.append("a token")
        except TapisUnreachable:
            outcomes.append("unreachable")
        finally:
            connection.close()

    tapis.fault("status", operation="token", status=503, times=1)
    tapis.settings(latency_ms=1500)
    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tapis.settings(latency_ms=0)
    assert outcomes == ["unreachable"] * 5
    assert tapis.counters()["token.refresh_token"] == 1, "one call, whose outcome all of them share"
    assert time.monotonic() - began < 60
    tapis.end_faults()
    assert tokens.access_token_for(flyer.user, flyer.client)


def test_nobody_holds_a_row_lock_while_tapis_is_asked(flyer, tapis, live_db):
    import threading

    from django.db import connection, transaction

    from app_extensions.tapis.login import tokens
    from app_extensions.tapis.models import TapisOAuth2Token

    TapisOAuth2Token.objects.filter(user=flyer.user).update(expires_at="2020-01-01T00:00:00Z")
    tapis.fault("slow", operation="token", seconds=3.0, times=1)
    thread = threading.Thread(target=lambda: (tokens.access_token_for(flyer.user, flyer.client), connection.close()))
    thread.start()
    until(lambda: TapisOAuth2Token.objects.exclude(refresher="").filter(user=flyer.user).exists())
    with transaction.atomic():
        assert TapisOAuth2Token.objects.select_for_update(nowait=True).get(user=flyer.user).refresher
    assert thread.is_alive()
    thread.join()
    assert TapisOAuth2Token.objects.get(user=flyer.user).refresher == ""
