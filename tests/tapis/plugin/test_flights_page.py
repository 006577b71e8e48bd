"""The flights page and its assets, as a browser fetches them."""
import re


def test_the_page_asks_for_a_login_and_then_shows_its_parts(flyer, browser, stack):
    assert "/login/" in browser.get(f"{stack.address()}/plugins/tapis_storage/").url
    flyer.user.set_password("a good password")
    flyer.user.save()
    browser.sign_in(flyer.name, "a good password")
    page = browser.get(f"{stack.address()}/plugins/tapis_storage/")
    assert page.status_code == 200
    assert f"Logged in to Tapis as <strong>{flyer.name}</strong>" in page.text
    for part in ("tapis-systems", "tapis-found", "tapis-projects", "tapis-preferences", "tapis-discover", "tapis-import-all"):
        assert f'id="{part}"' in page.text
    fields = set(re.findall(r'name="([a-z_]+)"', page.text))
    known = set(flyer.get("tapis-preferences/")["preferences"])
    assert known - {"last_auto_discovery"} | {"email"} <= fields
    assert re.search(r'data-csrf="\w{64}"', page.text)
    scripts = [f"flights/{name}.js" for name in (
        "account", "api", "dom", "found", "main", "notice", "preferences", "projects", "systems", "watch", "words")]
    for asset, kind in [*((script, "javascript") for script in [*scripts, "login_button.js"]), ("flights.css", "css")]:
        answer = browser.get(f"{stack.address()}/plugins/tapis_storage/{asset}")
        assert answer.status_code == 200 and kind in answer.headers["Content-Type"]


def test_what_the_pages_script_sends_is_accepted(flyer, browser, stack):
    flyer.user.set_password("a good password")
    flyer.user.save()
    flyer.flight("Clicked", 2)
    browser.sign_in(flyer.name, "a good password")
    page = browser.get(f"{stack.address()}/plugins/tapis_storage/").text
    headers = {"X-CSRFToken": re.search(r'data-csrf="(\w+)"', page).group(1)}
    api = f"{stack.address()}/api/"
    found = browser.post(api + "tapis-storage/discover-flights/", json={}, headers=headers).json()["flights"]
    made = browser.post(api + "tapis-storage/create-projects/", json={"flights": [found[0]]}, headers=headers).json()
    project_id = made["results"]["created_projects"][0]["project_id"]
    job_id = browser.post(api + "tapis-storage/sync-project-images/", json={"project_id": project_id}, headers=headers
                          ).json()["job_id"]
    assert flyer.wait(job_id)["state"] == "completed"


def test_who_is_not_logged_in_to_tapis_is_offered_the_login(stack, tapis, live_db, unique, browser):
    from tests.support.flights import Flyer

    stranger = Flyer(stack.address(), tapis, "s" + unique, token=False)
    stranger.user.set_password("a good password")
    stranger.user.save()
    browser.sign_in(stranger.name, "a good password")
    assert 'id="tapis-login"' in browser.get(f"{stack.address()}/plugins/tapis_storage/").text
