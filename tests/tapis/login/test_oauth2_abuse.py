"""What an attacker, a stale browser or a broken Tapis does to the login."""
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.support.tapis import CLIENT_ID, FALSE_KINDS, Browser


def back_from_tapis(browser: Browser, username: str, **query: str) -> str:
    """The address that Tapis sends the browser back to."""
    return browser.at_tapis(browser.authorize(**query).headers["Location"], username).headers["Location"]


def test_a_state_is_used_once(stack, tapis, browser, unique):
    back = back_from_tapis(browser, tapis.user(f"replay{unique}"))
    assert browser.get(back, allow_redirects=False).status_code == 302
    before = tapis.counters()["token.authorization_code"]
    assert browser.get(back, allow_redirects=False).status_code == 400
    assert tapis.counters()["token.authorization_code"] == before, "a used state reached Tapis"


def test_a_state_is_used_once_even_if_the_login_failed(stack, tapis, browser, unique):
    back = back_from_tapis(browser, tapis.user(f"again{unique}"))
    tapis.fault("status", operation="token", status=500, times=1)
    assert browser.get(back, allow_redirects=False).status_code == 502
    before = tapis.counters()["token.authorization_code"]
    assert browser.get(back, allow_redirects=False).status_code == 400
    assert tapis.counters()["token.authorization_code"] == before


def test_another_session_cannot_use_a_state_nor_spend_it(stack, tapis, browser, unique):
    back = back_from_tapis(browser, tapis.user(f"cross{unique}"))
    with Browser(stack.address()) as stranger:
        assert stranger.get(back, allow_redirects=False).status_code == 400
        stranger.authorize()  # in a separate session
        assert stranger.get(back, allow_redirects=False).status_code == 400
    assert browser.get(back, allow_redirects=False).status_code == 302


def test_a_state_lives_ten_minutes(stack, tapis, browser, live_db, unique):
    from datetime import timedelta
    from hashlib import sha256

    from django.utils import timezone

    from app_extensions.tapis.login import states
    from app_extensions.tapis.models import TapisOAuth2State

    back = back_from_tapis(browser, tapis.user(f"late{unique}"))
    text = parse_qs(urlsplit(back).query)["state"][0]
    row = TapisOAuth2State.objects.get(state=sha256(text.encode()).hexdigest())
    assert abs(row.expires_at - timezone.now() - timedelta(minutes=10)) < timedelta(seconds=30)
    TapisOAuth2State.objects.filter(pk=row.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert browser.get(back, allow_redirects=False).status_code == 400
    assert states.remove_expired() >= 1
    assert not TapisOAuth2State.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize("change", [{"state": "x"}, {"state": ""}, {"code": ""}, {"code": "x"}, {"state": "x" * 5000}])
def test_a_changed_callback_is_refused(stack, tapis, browser, change):
    back = urlsplit(back_from_tapis(browser, "alice"))
    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    answer = browser.get(f"{stack.address()}{back.path}", params={**query, **change}, allow_redirects=False)
    assert 400 <= answer.status_code <= 502 and answer.status_code != 500
    assert browser.get(f"{stack.address()}/api/oauth2/tapis/status/").status_code == 401


def test_signing_in_as_somebody_else_meanwhile_ends_the_login(stack, tapis, browser, live_db, unique):
    from django.contrib.auth.models import User

    for name in (f"one{unique}", f"two{unique}"):
        User.objects.create_user(name, password="Pa55-word!")
    browser.sign_in(f"one{unique}", "Pa55-word!")
    back = back_from_tapis(browser, tapis.user(f"mid{unique}"))
    browser.sign_in(f"two{unique}", "Pa55-word!")
    assert browser.get(back, allow_redirects=False).status_code == 400


ELSEWHERE = (
    "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example/", "https:evil.example", "https:/evil.example",
    "http:///evil.example", "///evil.example", "/\t/evil.example", "\t//evil.example", "/\n/evil.example", " //evil.example",
    "javascript:alert(1)", "data:text/html,x", "ftp://127.0.0.1/", "evil.example", "/%09/../\x00", "//127.0.0.1@evil.example",
    "http://127.0.0.1@evil.example/", "/\r\nSet-Cookie: a=b", "\u2028//evil.example", "/\u00a0/evil", "http://[", "x" * 3000,
)


@pytest.mark.parametrize("target", ELSEWHERE)
def test_redirects_lead_nowhere_else(stack, tapis, browser, target):
    assert browser.authorize(redirect_after=target).status_code == 400
    posted = requests.post(
        f"{stack.address()}/api/oauth2/tapis/authorize/{CLIENT_ID}/", data={"redirect_after": target}
    )
    assert posted.status_code == 400 and "redirect_after" in posted.json()["detail"]


def test_redirects_on_this_host_are_kept_as_paths(stack, tapis, browser, unique):
    name = tapis.user(f"local{unique}")
    answer = browser.log_in(name, redirect_after=f"{stack.address()}/map/project/1/?x=1#y")
    assert answer.headers["Location"] == "/map/project/1/?x=1#y"


@pytest.mark.parametrize("kind", FALSE_KINDS)
def test_a_false_token_logs_nobody_in(stack, tapis, browser, live_db, unique, kind):
    """Even one that comes from the token address itself."""
    from django.contrib.auth.models import User

    name = tapis.user(f"victim{unique}")
    with Browser(stack.address()) as victim:
        victim.log_in(name)
    tapis.fault("swap", operation="token", body=tapis.token(name, kind, lifetime=-60 if kind == "expired" else 3600))
    answer = browser.log_in(name)
    assert answer.status_code == 401, (kind, answer.status_code, answer.text)
    assert browser.get(f"{stack.address()}/api/oauth2/tapis/status/").status_code == 401
    assert User.objects.filter(username__startswith=name).count() == 1
    tapis.end_faults()
    tapis.fault("swap", operation="token", body=tapis.token(name))
    assert browser.log_in(name).status_code == 302, "the same way with a true token does not work: the test proves nothing"


@pytest.mark.parametrize("fault", [
    {"kind": "status", "status": 500}, {"kind": "status", "status": 502, "body": "<html>", "content_type": "text/html"},
    {"kind": "status", "status": 200, "body": "not json"}, {"kind": "status", "status": 200, "body": "{}"},
    {"kind": "status", "status": 200, "body": "[]"}, {"kind": "status", "status": 201, "body": '{"result": []}'},
    {"kind": "status", "status": 200, "body": '{"result": {"access_token": "flat"}}'},
    {"kind": "status", "status": 302, "body": "", "headers": {"Location": "http://127.0.0.1:9/"}}, {"kind": "disconnect"},
    {"kind": "status", "status": 400, "body": '"bare string"'},
])
def test_whatever_tapis_does_it_is_no_500(stack, tapis, browser, fault):
    tapis.fault(operation="token", **fault)
    answer = browser.log_in("alice")
    assert answer.status_code in (400, 401, 502), answer.status_code
    assert answer.headers["Content-Type"].startswith("text/html") and "Server Error" not in answer.text


def test_an_unreachable_tapis_is_502(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisOAuth2Client
    from dev.sandbox.processes import free_port

    TapisOAuth2Client.objects.create(
        client_id=f"gone-{unique}", name="gone", client_secret="x", base_url=f"http://127.0.0.1:{free_port()}",
        callback_url=f"{stack.address()}/api/oauth2/tapis/callback/",
    )
    begun = browser.authorize(f"gone-{unique}")
    state = parse_qs(urlsplit(begun.headers["Location"]).query)["state"][0]
    answer = browser.get(f"{stack.address()}/api/oauth2/tapis/callback/", params={"state": state, "code": "c"})
    assert answer.status_code == 502
    assert requests.get(f"{stack.address()}/api/oauth2/tapis/authorize/nothing/").status_code == 404


def test_several_clients_and_tenants(stack, tapis, browser, live_db, unique, lone_tapis):
    """A second tenant elsewhere, with a client of the same id: the tenant must be named, and the two users are two."""
    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client

    callback = f"{stack.address()}/api/oauth2/tapis/callback/"
    shared = f"both-{unique}"
    for stand_in in (tapis, lone_tapis):
        key = stand_in.client(shared, callback)
        TapisOAuth2Client.objects.create(
            client_id=shared, name="Both", client_secret=key, base_url=stand_in.base, callback_url=callback,
            tenant_id="portals",
        )
    name = tapis.user(f"same{unique}")
    lone_tapis.user(name)
    assert browser.authorize(shared).status_code == 400
    assert browser.authorize(shared, tenant_id="elsewhere").status_code == 404
    TapisOAuth2Client.objects.filter(client_id=shared, base_url=lone_tapis.base).update(client_id=f"second-{unique}")
    lone_tapis.client(f"second-{unique}", callback, key)
    assert browser.log_in(name, shared).headers["Location"] == "/dashboard/"
    with Browser(stack.address()) as other:
        assert other.log_in(name, f"second-{unique}").headers["Location"] == "/api/oauth2/tapis/link/"
    assert TapisIdentity.objects.filter(subject=f"{name}@portals").count() == 1


def test_a_switched_off_client_logs_nobody_in(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisOAuth2Client

    callback = f"{stack.address()}/api/oauth2/tapis/callback/"
    key = tapis.client(f"off-{unique}", callback)
    client = TapisOAuth2Client.objects.create(
        client_id=f"off-{unique}", name="Off", client_secret=key, base_url=tapis.base, callback_url=callback)
    begun = browser.authorize(client.client_id)
    back = browser.at_tapis(begun.headers["Location"], "alice").headers["Location"]
    TapisOAuth2Client.objects.filter(pk=client.pk).update(is_active=False)
    assert browser.get(back, allow_redirects=False).status_code == 404
    assert browser.authorize(client.client_id).status_code == 404


def test_users_are_not_made_where_the_setting_is_off(stack, tapis, browser, live_db, unique, settings):
    """The rule itself; the live server has the setting on."""
    from app_extensions.tapis.login import identity
    from app_extensions.tapis.login.verification import Claims

    settings.TAPIS_CREATE_USERS = "NO"
    claims = Claims("i", f"none{unique}@portals", f"none{unique}", "portals", 0.0, "")
    with pytest.raises(identity.NotLinked):
        identity.identity_for_login(claims, None)


def test_the_tenants_key_is_fetched_anew_when_it_changes(stack, tapis, browser, live_db, unique, lone_tapis):
    from app_extensions.tapis.login import verification
    from app_extensions.tapis.models import TapisOAuth2Client

    client = TapisOAuth2Client(client_id="c", base_url=lone_tapis.base, tenant_id="portals")
    verification.keys.clear()
    assert verification.verify(lone_tapis.token("alice"), client).username == "alice"
    calls = lone_tapis.counters()["tenant"]
    for _ in range(5):
        verification.verify(lone_tapis.token("alice"), client)
    assert lone_tapis.counters()["tenant"] == calls, "the key is not cached"
    lone_tapis.rotate_key()
    verification.keys._attempts.clear()  # as if ten seconds had passed
    assert verification.verify(lone_tapis.token("bob"), client).subject == "bob@portals"
    calls = lone_tapis.counters()["tenant"]
    for _ in range(20):
        with pytest.raises(verification.InvalidToken):
            verification.verify(lone_tapis.token("alice", "forged"), client)
    assert lone_tapis.counters()["tenant"] <= calls + 1, "forged tokens make us hammer the tenant"


def test_many_who_need_the_tenants_key_at_once_wait_for_one_fetch(stack, live_db, lone_tapis):
    from concurrent.futures import ThreadPoolExecutor

    from app_extensions.tapis.login import verification
    from app_extensions.tapis.models import TapisOAuth2Client

    client = TapisOAuth2Client(client_id="c", base_url=lone_tapis.base, tenant_id="portals")
    token = lone_tapis.token("alice")
    verification.keys.clear()
    calls = lone_tapis.counters().get("tenant", 0)
    lone_tapis.fault("slow", operation="tenant", seconds=1)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: verification.verify(token, client).username, range(8)))
    lone_tapis.end_faults()
    assert found == ["alice"] * 8 and lone_tapis.counters()["tenant"] == calls + 1


def test_an_identity_whose_user_webodm_deleted_meanwhile_starts_anew(stack, tapis, browser, live_db, unique):
    """Deleted by plain SQL, as WebODM's own deletion would while our app is not loaded."""
    from django.contrib.auth.models import User
    from django.db import connection

    name = tapis.user(f"lost{unique}")
    with Browser(stack.address()) as first:
        first.log_in(name)
    user = User.objects.get(username=name)
    with connection.cursor() as cursor:
        for table in ("auth_user_groups", "app_profile"):
            cursor.execute(f"DELETE FROM {table} WHERE user_id = %s", [user.pk])
        cursor.execute("DELETE FROM auth_user WHERE id = %s", [user.pk])
    assert browser.log_in(name).status_code == 302
    assert User.objects.get(username=name).pk != user.pk


def test_pages_cannot_be_framed_or_cached(stack, tapis, browser):
    page = browser.get(f"{stack.address()}/api/oauth2/tapis/")
    assert page.headers["X-Frame-Options"] == "DENY" and "no-cache" in page.headers["Cache-Control"]
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert browser.get(f"{stack.address()}/api/oauth2/tapis/status/").headers["Cache-Control"] == "no-store"
