"""The login's way through real redirects: gunicorn, browser session, stand-in Tapis."""
import requests

from tests.support.tapis import CLIENT_ID, Browser


def test_a_new_tapis_user_gets_an_account_and_is_signed_in(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Token

    name = tapis.user(f"new{unique}")
    answer = browser.log_in(name, redirect_after="/plugins/tapis_storage/")
    assert answer.status_code == 302 and answer.headers["Location"] == "/plugins/tapis_storage/"
    identity = TapisIdentity.objects.get(subject=f"{name}@portals")
    assert identity.user.username == name and not identity.user.has_usable_password()
    assert [group.name for group in identity.user.groups.all()] == ["Default"]
    token = TapisOAuth2Token.objects.get(user=identity.user)
    assert token.is_valid and not token.is_expired and token.client.client_id == CLIENT_ID
    status = browser.get(f"{stack.address()}/api/oauth2/tapis/status/")
    assert status.status_code == 200, status.text
    assert status.json()["tokens"][0]["tapis_username"] == name
    assert token.access_token not in status.text and token.refresh_token not in status.text


def account(live_user: str, password: str = "Pa55-word!"):
    """A WebODM account with a password."""
    from django.contrib.auth.models import User

    return User.objects.create_user(live_user, password=password)


def signed_in_as(browser: Browser) -> str:
    """Who the browser is signed in as at WebODM; empty: nobody."""
    answer = browser.get(f"{browser.web}/api/oauth2/tapis/status/")
    return answer.json().get("user", "") if answer.status_code == 200 else ""


def test_the_second_login_is_the_same_account(stack, tapis, browser, live_db, unique):
    from django.contrib.auth.models import User

    name = tapis.user(f"twice{unique}")
    browser.log_in(name)
    with Browser(stack.address()) as second:
        assert second.log_in(name).headers["Location"] == "/dashboard/"
        assert signed_in_as(second) == name
    assert User.objects.filter(username__startswith=name).count() == 1


def test_token_answers_with_201_are_taken_too(stack, tapis, browser, unique):
    tapis.settings(token_status=201)
    assert browser.log_in(tapis.user(f"created{unique}")).status_code == 302


def test_an_equal_name_never_hands_over_an_account(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Token

    name = tapis.user(f"clash{unique}")
    owner = account(name)
    answer = browser.log_in(name)
    assert answer.headers["Location"] == "/api/oauth2/tapis/link/"
    assert signed_in_as(browser) == ""
    assert not TapisIdentity.objects.filter(subject=f"{name}@portals").exists()
    page = browser.get(f"{stack.address()}/api/oauth2/tapis/link/")
    assert page.status_code == 200 and f"New account {name}@portals" in page.text
    done = browser.post(page.url, data={"choice": "create"}, headers=browser.csrf(), allow_redirects=False)
    assert done.status_code == 302, done.text
    assert signed_in_as(browser) == f"{name}@portals"
    assert not TapisOAuth2Token.objects.filter(user=owner).exists()
    again = browser.post(page.url, data={"choice": "create"}, headers=browser.csrf(), allow_redirects=False)
    assert again.status_code == 400


def test_a_name_clash_differing_in_case_is_one_too(stack, tapis, browser, live_db, unique):
    name = tapis.user(f"case{unique}")
    account(name.upper())
    assert browser.log_in(name).headers["Location"] == "/api/oauth2/tapis/link/"


def test_an_owner_can_link_after_signing_in(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisIdentity

    name = tapis.user(f"owner{unique}")
    owner = account(name)
    browser.log_in(name)
    browser.sign_in(name, "Pa55-word!")
    page = browser.get(f"{stack.address()}/api/oauth2/tapis/link/")
    assert f"Link to {name}" in page.text and "New account" not in page.text
    done = browser.post(page.url, data={"choice": "link"}, headers=browser.csrf(), allow_redirects=False)
    assert done.status_code == 302, done.text
    identity = TapisIdentity.objects.get(subject=f"{name}@portals")
    assert identity.user == owner and identity.linked_by == "self"
    with Browser(stack.address()) as later:
        later.log_in(name)
        assert signed_in_as(later) == name


def test_linking_needs_the_persons_own_click(stack, tapis, browser, live_db, unique):
    from app_extensions.tapis.models import TapisIdentity

    owner = account(f"local{unique}")
    name = tapis.user(f"remote{unique}")
    browser.sign_in(owner.username, "Pa55-word!")
    assert browser.log_in(name).headers["Location"] == "/api/oauth2/tapis/link/"
    assert not TapisIdentity.objects.filter(subject=f"{name}@portals").exists()
    url = f"{stack.address()}/api/oauth2/tapis/link/"
    assert browser.post(url, data={"choice": "link"}).status_code == 403, "a POST without the CSRF token was taken"
    assert browser.post(url, data={"choice": "create"}, headers=browser.csrf()).status_code == 400
    done = browser.post(url, data={"choice": "link"}, headers=browser.csrf(), allow_redirects=False)
    assert done.status_code == 302
    assert TapisIdentity.objects.get(subject=f"{name}@portals").user == owner


def test_a_linked_identity_does_not_change_who_is_signed_in(stack, tapis, browser, live_db, unique):
    name = tapis.user(f"taken{unique}")
    with Browser(stack.address()) as first:
        first.log_in(name)
    other = account(f"other{unique}")
    browser.sign_in(other.username, "Pa55-word!")
    answer = browser.log_in(name)
    assert answer.status_code == 409 and "linked to another WebODM user" in answer.text
    assert signed_in_as(browser) == other.username


def test_a_disabled_account_cannot_log_in(stack, tapis, browser, live_db, unique):
    from django.contrib.auth.models import User

    name = tapis.user(f"off{unique}")
    browser.log_in(name)
    User.objects.filter(username=name).update(is_active=False)
    with Browser(stack.address()) as second:
        assert second.log_in(name).status_code == 403
        assert signed_in_as(second) == ""


def test_a_denial_never_comes_back(stack, tapis, browser):
    begun = browser.authorize()
    denied = browser.at_tapis(begun.headers["Location"], "alice", approve="no")
    assert denied.status_code == 200 and "Location" not in denied.headers


def test_two_callbacks_of_one_new_user_at_once_make_one_account(stack, tapis, live_db, unique):
    from concurrent.futures import ThreadPoolExecutor

    from django.contrib.auth.models import User

    name = tapis.user(f"race{unique}")
    backs = []
    for _ in range(4):
        fresh = Browser(stack.address())
        backs.append((fresh, fresh.at_tapis(fresh.authorize().headers["Location"], name).headers["Location"]))
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda pair: pair[0].get(pair[1], allow_redirects=False).status_code, backs))
    assert codes == [302] * 4
    assert User.objects.filter(username__startswith=name).count() == 1


def test_programs_get_json_where_people_get_pages(stack, tapis, browser):
    url = f"{stack.address()}/api/oauth2/tapis/"
    listed = requests.get(url).json()
    assert listed["success"] and CLIENT_ID in [client["client_id"] for client in listed["clients"]]
    assert "Log in with Tapis" in browser.get(url).text
    for path in ("callback/?state=x&code=y", "authorize/no-such-client/", "link/"):
        program, person = requests.get(url + path), browser.get(url + path)
        assert program.status_code == person.status_code >= 400
        assert program.json()["success"] is False and program.json()["error"]
        assert person.headers["Content-Type"].startswith("text/html") and program.json()["error"] in person.text


def test_post_names_our_own_address(stack, tapis, browser):
    """As `curl -X POST` in the documentation: no cookie, no CSRF token, nothing is made yet."""
    url = f"{stack.address()}/api/oauth2/tapis/authorize/{CLIENT_ID}/"
    answer = requests.post(url, json={"redirect_after": "/dashboard/?a=b"})
    assert answer.status_code == 200 and not answer.cookies
    address = answer.json()["authorization_url"]
    assert address.startswith(url)
    begun = browser.get(address, allow_redirects=False)
    assert begun.status_code == 302 and begun.headers["Location"].startswith(f"{tapis.base}/v3/oauth2/authorize?")
    back = browser.at_tapis(begun.headers["Location"], "alice")
    assert browser.get(back.headers["Location"], allow_redirects=False).headers["Location"] == "/dashboard/?a=b"


def test_the_endpoints_are_gone_while_the_plugin_is_disabled(stack, tapis, browser, live_db):
    from app.models import Plugin

    Plugin.objects.filter(name="tapis_storage").update(enabled=False)
    try:
        for path in ("", f"authorize/{CLIENT_ID}/", "callback/", "link/", "status/", f"refresh/{CLIENT_ID}/"):
            assert browser.get(f"{stack.address()}/api/oauth2/tapis/{path}").status_code == 404, path
        assert requests.post(f"{stack.address()}/api/oauth2/tapis/revoke/{CLIENT_ID}/").status_code == 404
    finally:
        Plugin.objects.filter(name="tapis_storage").update(enabled=True)


def test_methods_that_make_no_sense_are_405(stack, tapis, browser):
    url = f"{stack.address()}/api/oauth2/tapis/"
    assert requests.put(url + f"authorize/{CLIENT_ID}/").status_code == 405
    assert requests.get(url + f"refresh/{CLIENT_ID}/", auth=("nobody", "x")).status_code == 401
