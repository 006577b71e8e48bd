"""Stored tokens: refreshed once however many ask, used only while valid, deleted when revoked."""
import subprocess
import sys
from datetime import timedelta

import pytest
import requests
from django.utils import timezone

from tests.support.tapis import CLIENT_ID


@pytest.fixture
def token(stack, tapis, browser, live_db, unique):
    """The stored token of a Tapis user who logged in with ``browser``; no discovery follows that would use it."""
    from django.contrib.auth.models import User

    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Token, TapisPreferences

    user = User.objects.create_user(tapis.user(f"tok{unique}"))
    TapisPreferences.objects.create(user=user, auto_discover_on_login=False)
    TapisIdentity.objects.create(issuer=tapis.base + "/v3/tokens", subject=f"{user.username}@portals", user=user)
    assert browser.log_in(user.username).status_code == 302
    tapis.reset()
    return TapisOAuth2Token.objects.select_related("user", "client").get(user=user)


def let_it_age(token, seconds_left: float) -> None:
    """Make the stored access token look as old as wanted."""
    from app_extensions.tapis.models import TapisOAuth2Token

    TapisOAuth2Token.objects.filter(pk=token.pk).update(expires_at=timezone.now() + timedelta(seconds=seconds_left))


ASK = """
import multiprocessing, sys
import django; django.setup()
from django.contrib.auth.models import User
from app_extensions.tapis.login import tokens
from app_extensions.tapis.models import TapisOAuth2Client

def ask(barrier):
    user, client = User.objects.get(pk=sys.argv[1]), TapisOAuth2Client.objects.get(pk=sys.argv[2])
    barrier.wait()
    # one write a line: print() would make two, and eight unbuffered processes share the pipe
    sys.stdout.write(tokens.access_token_for(user, client, refused=sys.argv[3]) + "\\n")
    sys.stdout.flush()

processes = multiprocessing.get_context("fork")
barrier = processes.Barrier(8)
children = [processes.Process(target=ask, args=(barrier,)) for _ in range(8)]
for child in children:
    child.start()
for child in children:
    child.join()
sys.exit(sum(child.exitcode != 0 for child in children))
"""


@pytest.mark.parametrize("case", ["old", "refused"])
def test_eight_processes_make_one_refresh(stack, tapis, token, case):
    tapis.settings(latency_ms=100)
    if case == "old":
        let_it_age(token, 300)
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(token.user_id), str(token.client_id), token.access_token if case == "refused" else ""],
        env=stack.environment(), capture_output=True, text=True, timeout=120,
    )
    got = done.stdout.split()
    assert done.returncode == 0 and len(got) == 8, done.stderr[-2000:]
    assert len(set(got)) == 1 and got[0] != token.access_token
    assert tapis.counters()["token.refresh_token"] == 1


def test_a_young_token_is_not_refreshed(tapis, token):
    from app_extensions.tapis.login import tokens

    let_it_age(token, 700)
    assert tokens.access_token_for(token.user, token.client) == token.access_token
    let_it_age(token, 590)
    assert tokens.access_token_for(token.user, token.client) != token.access_token
    assert tapis.counters()["token.refresh_token"] == 1


def test_a_refused_token_that_was_replaced_already_costs_no_refresh(tapis, token):
    from app_extensions.tapis.login import tokens

    assert tokens.access_token_for(token.user, token.client, refused="an older one") == token.access_token
    assert "token.refresh_token" not in tapis.counters()


def test_while_tapis_fails_a_living_token_is_used_on_and_tapis_left_alone(tapis, token):
    from app_extensions.tapis.login import tokens
    from app_extensions.tapis.problems import TapisUnreachable

    let_it_age(token, 300)
    tapis.fault("status", operation="token", status=503)
    for _ in range(5):
        assert tokens.access_token_for(token.user, token.client) == token.access_token
    assert tapis.counters()["token.refresh_token"] == 1
    let_it_age(token, -1)
    with pytest.raises(TapisUnreachable):
        tokens.access_token_for(token.user, token.client)
    token.refresh_from_db()
    assert token.is_valid, "an outage of Tapis ended a login"
    tapis.end_faults()
    assert tokens.access_token_for(token.user, token.client) != token.access_token


def test_a_revoked_refresh_token_ends_the_login(tapis, token):
    from app_extensions.tapis.login import authenticator, tokens
    from app_extensions.tapis.problems import TokenExpired

    authenticator.revoke(token.client, token.refresh_token)
    let_it_age(token, -1)
    for _ in range(3):
        with pytest.raises(TokenExpired):
            tokens.access_token_for(token.user, token.client)
    token.refresh_from_db()
    assert not token.is_valid and token.invalid_reason
    assert tapis.counters()["token.refresh_token"] == 1, "an ended login keeps asking Tapis"


def test_invalid_tokens_are_never_used(tapis, token):
    from app_extensions.tapis.login import tokens
    from app_extensions.tapis.models import TapisOAuth2Token
    from app_extensions.tapis.problems import NoToken, TokenExpired

    TapisOAuth2Token.objects.filter(pk=token.pk).update(is_valid=False)
    with pytest.raises(TokenExpired):
        tokens.access_token_for(token.user, token.client)
    TapisOAuth2Token.objects.filter(pk=token.pk).delete()
    with pytest.raises(NoToken):
        tokens.access_token_for(token.user, token.client)


def test_a_refresh_that_gives_another_users_token_ends_the_login(tapis, token):
    from app_extensions.tapis.login import tokens
    from app_extensions.tapis.problems import TokenExpired

    let_it_age(token, 100)
    tapis.fault("swap", operation="token", body=tapis.token("bob"))
    with pytest.raises(TokenExpired):
        tokens.access_token_for(token.user, token.client)
    token.refresh_from_db()
    assert not token.is_valid


def test_a_login_after_the_end_restores_the_token(stack, tapis, browser, token):
    from app_extensions.tapis.models import TapisOAuth2Token

    TapisOAuth2Token.objects.filter(pk=token.pk).update(is_valid=False, invalid_reason="x")
    assert browser.log_in(token.user.username).status_code == 302
    token.refresh_from_db()
    assert token.is_valid and token.invalid_reason == ""


def test_refresh_on_request(stack, tapis, browser, token):
    url = f"{stack.address()}/api/oauth2/tapis/refresh/{CLIENT_ID}/"
    assert browser.post(url).status_code == 403, "a session's POST without CSRF token was taken"
    answer = browser.post(url, headers=browser.csrf())
    assert answer.status_code == 200 and answer.json()["refreshed_at"], answer.text
    token.refresh_from_db()
    assert token.refreshed_at is not None
    assert token.access_token not in answer.text


def test_revoke_calls_tapis_for_both_and_deletes(stack, tapis, browser, token):
    from app_extensions.tapis.models import TapisOAuth2Token

    url = f"{stack.address()}/api/oauth2/tapis/revoke/{CLIENT_ID}/"
    answer = browser.post(url, headers=browser.csrf())
    assert answer.status_code == 200 and answer.json()["revoked_at_tapis"] is True, answer.text
    assert tapis.counters()["revoke"] == 2
    assert not TapisOAuth2Token.objects.filter(pk=token.pk).exists()
    told = requests.get(f"{tapis.base}/v3/systems", headers={"X-Tapis-Token": token.access_token})
    assert told.status_code == 500 and told.json()["message"] == "Token is revoked."
    missing = browser.post(url, headers=browser.csrf())
    assert missing.status_code == 401 and missing.json()["error"] == "No Tapis token found"


def test_tokens_that_no_key_opens_are_not_said_to_be_revoked(stack, tapis, browser, token):
    from django.db import connection

    from app_extensions.tapis.models import TapisOAuth2Token

    with connection.cursor() as cursor:
        cursor.execute("UPDATE tapis_tapisoauth2token SET access_token = %s, refresh_token = %s WHERE id = %s",
                       ["fernet1:x", "fernet1:x", token.pk])
    answer = browser.post(f"{stack.address()}/api/oauth2/tapis/revoke/{CLIENT_ID}/", headers=browser.csrf())
    assert answer.status_code == 200 and answer.json()["revoked_at_tapis"] is False and "decrypted" in answer.json()["detail"]
    assert tapis.counters().get("revoke", 0) == 0 and not TapisOAuth2Token.objects.filter(pk=token.pk).exists()


def test_the_login_pages_button_revokes_too(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisOAuth2Token

    assert browser.log_in(tapis.user("b" + unique)).status_code == 302
    base = f"{stack.address()}/api/oauth2/tapis/"
    page = browser.get(base)
    assert 'action="/api/oauth2/tapis/disconnect/"' in page.text
    tapis._call("POST", "counters/reset")
    form = {"client_id": CLIENT_ID, "tenant_id": "portals"}
    assert browser.post(base + "disconnect/", data=form).status_code == 403, "without the CSRF token"
    assert browser.get(base + "disconnect/").status_code == 405
    mine = TapisOAuth2Token.objects.filter(user__username="b" + unique)
    assert mine.exists()
    done = browser.post(base + "disconnect/", data=form, headers=browser.csrf(), allow_redirects=False)
    assert done.status_code == 302 and done.headers["Location"] == "/api/oauth2/tapis/"
    assert not mine.exists() and tapis.counters()["revoke"] == 2
    assert "disconnect/" not in browser.get(base).text
    assert browser.post(base + "disconnect/", data=form, headers=browser.csrf()).status_code == 401, "there is no login any more"


def test_revoke_deletes_even_when_tapis_is_down_and_says_so(stack, tapis, browser, token):
    from app_extensions.tapis.models import TapisOAuth2Token

    tapis.fault("status", operation="revoke", status=503)
    answer = browser.post(f"{stack.address()}/api/oauth2/tapis/revoke/{CLIENT_ID}/", headers=browser.csrf())
    assert answer.status_code == 200 and answer.json()["revoked_at_tapis"] is False and answer.json()["detail"]
    assert not TapisOAuth2Token.objects.filter(pk=token.pk).exists()
