"""Who calls our REST endpoints: each way to log in, and every token that is none."""
import pytest
import requests

from tests.support.tapis import FALSE_KINDS, Browser


@pytest.fixture
def person(stack, tapis, live_db, unique):
    """A Tapis user with a linked WebODM account that has a password as well."""
    from django.contrib.auth.models import User

    name = tapis.user(f"bearer{unique}")
    with Browser(stack.address()) as browser:
        assert browser.log_in(name).status_code == 302
    user = User.objects.get(username=name)
    user.set_password("Pa55-word!")
    user.save()
    return user


def status(stack, **options) -> requests.Response:
    return requests.get(f"{stack.address()}/api/oauth2/tapis/status/", **options)


def bearer(token: str) -> dict:
    return {"headers": {"Authorization": f"Bearer {token}"}}


def webodm_jwt(stack, user) -> str:
    answer = requests.post(
        f"{stack.address()}/api/token-auth/", data={"username": user.username, "password": "Pa55-word!"}
    )
    return answer.json()["token"]


def test_every_documented_login_works(stack, tapis, person):
    jwt = webodm_jwt(stack, person)
    ways = [
        bearer(tapis.token(person.username)), bearer(jwt), {"headers": {"Authorization": f"JWT {jwt}"}},
        {"auth": (person.username, "Pa55-word!")},
    ]
    for way in ways:
        answer = status(stack, **way)
        assert answer.status_code == 200 and answer.json()["user"] == person.username, answer.text


def test_an_ended_bearer_token_is_told_from_a_false_one(stack, tapis, person):
    ended = status(stack, **bearer(tapis.token(person.username, "expired", lifetime=-60)))
    assert ended.status_code == 401 and ended.json()["error"] == "Token expired" and "Send a new one" in ended.json()["detail"]
    assert status(stack, **bearer(tapis.token(person.username, "forged"))).json()["error"] == "Not logged in"


@pytest.mark.parametrize("kind", FALSE_KINDS)
def test_false_bearer_tokens_are_401(stack, tapis, person, kind):
    token = tapis.token(person.username, kind, lifetime=-60 if kind == "expired" else 3600)
    answer = status(stack, **bearer(token))
    assert answer.status_code == 401, (kind, answer.text)
    assert token not in answer.text and answer.json()["success"] is False
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("claims", [
    {"exp": None}, {"exp": "never"}, {"sub": "other@portals"}, {"sub": None}, {"tapis/username": ""}, {"tapis/username": None},
    {"tapis/username": "x\ny", "sub": "x\ny@portals"}, {"tapis/account_type": None}, {"tapis/token_type": None},
    {"tapis/tenant_id": ["portals"]}, {"nbf": 4102444800}, {"iss": None},
])
def test_really_signed_but_wrong_claims_are_401(stack, tapis, person, claims):
    answer = status(stack, **bearer(tapis.token(person.username, claims=claims)))
    assert answer.status_code == 401, answer.text


@pytest.mark.parametrize("name", ["exp", "iss", "sub", "tapis/tenant_id", "tapis/username", "tapis/token_type", "tapis/account_type"])
def test_really_signed_tokens_without_a_claim_are_401(stack, tapis, person, name):
    answer = status(stack, **bearer(tapis.token(person.username, without=[name])))
    assert answer.status_code == 401, answer.text


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer a b", "Bearer x", "Bearer a.b.c", "Bearer " + "x" * 7000])
def test_odd_headers_are_401(stack, header):
    assert requests.get(
        f"{stack.address()}/api/oauth2/tapis/status/", headers={"Authorization": header}
    ).status_code == 401


def test_an_unlinked_tapis_user_is_told_what_to_do(stack, tapis, unique):
    answer = status(stack, **bearer(tapis.token(tapis.user(f"unlinked{unique}"))))
    assert answer.status_code == 401 and "Log in to Tapis here once" in answer.json()["detail"]


def test_an_equal_name_is_no_link_for_bearer_tokens(stack, tapis, live_db, unique):
    from django.contrib.auth.models import User

    User.objects.create_superuser(f"boss{unique}", "", "Pa55-word!")
    assert status(stack, **bearer(tapis.token(f"boss{unique}"))).status_code == 401


def test_a_disabled_users_tokens_are_worth_nothing(stack, tapis, person):
    from django.contrib.auth.models import User

    jwt = webodm_jwt(stack, person)
    User.objects.filter(pk=person.pk).update(is_active=False)
    assert status(stack, **bearer(tapis.token(person.username))).status_code == 401
    assert status(stack, **bearer(jwt)).status_code == 401


def test_wrong_passwords_and_nobody_are_401(stack, person):
    assert status(stack, auth=(person.username, "wrong")).status_code == 401
    assert status(stack).status_code == 401


def test_a_bearer_token_needs_no_stored_one(stack, tapis, person):
    """``request.auth`` carries it; nothing is stored, refreshed or asked of the authenticator."""
    from rest_framework.test import APIRequestFactory

    from app_extensions.tapis.models import TapisOAuth2Token
    from plugins.tapis_storage.authentication import BearerAuthentication

    TapisOAuth2Token.objects.filter(user=person).delete()
    token = tapis.token(person.username)
    request = APIRequestFactory().get("/", HTTP_AUTHORIZATION=f"Bearer {token}")
    user, auth = BearerAuthentication().authenticate(request)
    assert user == person and auth.access_token == token and token not in repr(auth)
    assert not TapisOAuth2Token.objects.filter(user=person).exists()
