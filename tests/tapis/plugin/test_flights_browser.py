"""The flights page in a real browser, on a desk and on a phone: the whole way from the login to the model, and every state's words."""
import pytest

from dev.standins.tapis import CLIENT_ID
from tests.support.chromium import PHONE
from tests.support.flights import PREFIX

PAGE = "/plugins/tapis_storage/"
PASSWORD = "a good password"


@pytest.fixture
def seen(flyer, open_page):
    """The page of a user who is logged in, here and at Tapis."""
    page = open_page()
    page.become(flyer.user)
    return page


def project(flight: str) -> str:
    """Selects a flight's row among the projects."""
    return f'#tapis-projects tr:has(a:text-matches("^{flight} "))'


def started(seen, flyer, name, count=6, **more):
    """A flight that is imported, and the page that shows it."""
    flyer.flight(name, count, **more)
    flyer.import_all()
    seen.goto(PAGE)
    seen.wait(project(name))


def test_from_the_login_to_the_model(open_page, stack, tapis, live_db, unique):
    """Nothing prepared but a WebODM user, a Tapis user of another name and a system with a flight. Imported on a phone."""
    from worker.tasks import process_pending_tasks, update_nodes_info

    from app_extensions.host import users
    from app_extensions.tapis.models import Flight, TapisOAuth2Client

    user = users.create_user(f"viewer-{unique}", "")
    user.set_password(PASSWORD)
    user.save()
    pilot, system = tapis.user("pilot" + unique), PREFIX + "View-" + unique
    tapis.system(system, owner=pilot, description="Aerial surveys of the coast")
    name = TapisOAuth2Client.objects.get(client_id=CLIENT_ID).name
    page = open_page()
    page.goto(PAGE)
    page.assert_fits_everywhere()
    page.sign_in(user.username, PASSWORD)
    page.goto(PAGE)
    page.wait('#tapis-projects :has-text("No flight was imported yet")')
    assert "You are not logged in to Tapis" in page.text("#tapis-flights") and not page.texts("#tapis-found")
    page.assert_fits_everywhere()
    page.click("#tapis-login")
    page.wait(f'a:has-text("{name}")')
    page.assert_fits_everywhere()
    page.click(f'a:has-text("{name}")')
    page.fill("input[name=username]", pilot)
    page.click('button:has-text("Log in and allow")')
    page.wait(f'button:has-text("Link to {user.username}")')
    page.assert_fits_everywhere()
    page.click('button:has-text("Link to")')
    page.wait('#tapis-systems td:has-text("Aerial surveys of the coast")')
    assert page.url.endswith(PAGE) and f"Logged in to Tapis as {pilot}" in page.text("#tapis-flights")
    page.click("#tapis-discover")
    page.wait('#tapis-found-notice:has-text("No flight directories found (looked for <Flight>/code/images/*.jpg|jpeg")')
    assert page.text("#tapis-found td") == "No flights yet. Press “Discover flights” to look for flights on your systems."
    page.check("[name=process_after_sync]", True)
    page.click('button:has-text("Save preferences")')
    page.wait('#tapis-preferences-notice:has-text("The preferences are saved.")')
    long_name = "Strandvermessung-am-langen-Nachmittag-im-Herbst " * 2
    tapis.flight(system, long_name, 1)
    tapis.flight(system, "Coast", 40, size_bytes=400_000)
    page.click("#tapis-discover")
    page.wait('#tapis-found-notice:has-text("2 flights found.")')
    page.assert_fits_everywhere()
    page.resize(PHONE)
    tapis.fault("slow", operation="content", seconds=1.5)
    page.click('button[aria-label^="Import Coast ("]')
    page.wait(project("Coast") + ':has-text(" of 40 images, "):has-text(" of 16.0 MB, "):has-text("B/s, about ")')
    assert page.attribute(project("Coast") + " progress", "max") == str(40 * 400_000)
    page.assert_fits_everywhere()
    tapis.end_faults()
    page.wait(project("Coast") + ':has-text("All 40 images are here (16.0 MB).")')
    assert "imported" in page.text('#tapis-found tr:has-text("Coast")') and "16.0 MB" in page.text('#tapis-found tr:has-text("Coast")')

    def is_processed() -> bool:
        update_nodes_info()  # beat's part, as a node counts as offline after five minutes
        process_pending_tasks()
        return bool(page.texts(project("Coast") + ' a:has-text("3D model")'))

    for _ in range(600):  # beside other work this takes minutes
        if is_processed():
            break
        page.evaluate("new Promise(done => setTimeout(done, 500))")
    task = Flight.objects.get(user=user, name="Coast").task_id
    assert f"task/{task}/" in page.attribute(project("Coast") + ' a:has-text("3D model")', "href")
    assert "Processed." in page.text(project("Coast")) and not page.texts(project("Coast") + ' a:has-text("Map")')
    page.assert_fits_everywhere()
    page.click(project("Coast") + ' a:text-is("Task")')
    page.wait(f'#task-{task}.expanded:has-text("40 images")')
    page.assert_fits_everywhere()
    assert page.complaints == []


def test_a_map_is_offered_where_there_is_one(seen, flyer):
    started(seen, flyer, "Mapped", 1)
    task = flyer.task("Mapped")
    task.status, task.available_assets = 40, ["orthophoto.tif", "all.zip"]
    task.save()
    seen.goto(PAGE)
    seen.wait(project("Mapped") + ' a:has-text("Map")')
    assert seen.attribute(project("Mapped") + ' a:text-is("Map")', "href") == f"/map/project/{task.project_id}/task/{task.pk}/"
    assert not seen.texts(project("Mapped") + ' a:has-text("3D model")')


def test_all_new_flights_in_the_background_with_a_system_that_fails(seen, flyer, tapis):
    bad = tapis.system(PREFIX + "nocred-" + flyer.name, owner=flyer.name, has_credentials=False)
    for number in range(30):
        flyer.flight(f"F{number:02d}", 2)
    flyer.post("tapis-preferences/", {"sync_on_discovery": False})
    tapis.fault("slow", operation="list", seconds=1.5)
    seen.goto(PAGE)
    seen.wait('#tapis-systems td:has-text("A test system")')
    seen.click("#tapis-import-all")
    seen.wait('#tapis-found-notice:has-text("Looking through your systems on Tapis: ")')
    assert " of 30 directories read, " in seen.text("#tapis-found-notice")
    tapis.end_faults()
    seen.wait('#tapis-found-notice .alert-warning:has-text("30 flights on 1 system: 30 new projects.")')
    assert seen.text("#tapis-found-notice li").startswith(f"{bad}: System not accessible")
    seen.wait(project("F29"))
    assert "The images were not fetched yet." in seen.text(project("F29"))
    seen.assert_fits()


def hold(page, address):
    """Keeps back the answers of addresses that fit until `window.letGo()`, and counts what came through."""
    page.evaluate("""() => {
        const real = window.fetch, let_go = new Promise(resolve => { window.letGo = resolve; });
        window.through = 0;
        window.fetch = async (...given) => {
            const answer = await real(...given);
            if (/ADDRESS/.test(String(given[0]))) {
                await let_go;
                window.through += 1;
            }
            return answer;
        };
    }""".replace("ADDRESS", address))


def test_what_a_discovery_in_the_background_found_does_not_take_the_place_of_an_answer(seen, flyer, consuming):
    consuming.pause()  # so that it is under way when the page has loaded, however long that takes
    flyer.post("tapis-discovery/trigger/", status=202)
    seen.goto(PAGE)
    seen.wait("#tapis-found-notice progress")
    hold(seen, r"tapis-storage\/jobs\/$")
    flyer.flight("Found by the person", 2)
    consuming.resume()
    seen.click("#tapis-discover")
    seen.wait('#tapis-found-notice:has-text("1 flight found.")')
    seen.evaluate("() => window.letGo()")
    seen.until("() => window.through > 2")
    assert "1 flight found." in seen.text("#tapis-found-notice")


def test_a_discovery_that_fails_says_why_and_can_be_repeated(seen, flyer, tapis):
    seen.goto(PAGE)
    seen.wait('#tapis-systems td:has-text("A test system")')
    tapis.fault("status", operation="systems", status=500, body='{"message": "down"}')
    seen.click("#tapis-import-all")
    seen.wait('#tapis-found-notice .alert-danger:has-text("The discovery failed.")')
    assert "Tapis answers 500: down" in seen.text("#tapis-found-notice")
    tapis.end_faults()
    seen.click('#tapis-found-notice button:has-text("Try again")')
    seen.wait('#tapis-found-notice:has-text("0 flights on 1 system: 0 new projects.")')


def test_a_sync_that_fails_says_why_and_can_be_repeated(seen, flyer, tapis):
    started(seen, flyer, "Failing", 3)
    tapis.fault("status", operation="content", path="IMG_00001", status=403, body='{"message": "no"}')
    seen.click(project("Failing") + ' button:has-text("Fetch images")')
    seen.wait(project("Failing") + ':has-text("The sync failed. 1 of 3 images could not be fetched: IMG_00001.JPG")')
    tapis.end_faults()
    seen.click(project("Failing") + ' button:has-text("Try again")')
    seen.wait(project("Failing") + ':has-text("All 3 images are here")')
    seen.wait(project("Failing") + ':has-text("Not processed yet.")')


def test_a_sync_can_be_stopped_and_go_on(seen, flyer, tapis):
    started(seen, flyer, "Stopped", 40)
    tapis.fault("slow", operation="content", seconds=0.5)
    seen.click(project("Stopped") + ' button:has-text("Fetch images")')
    seen.wait(project("Stopped") + ':has-text(" of 40 images, ")')
    seen.click(project("Stopped") + ' button:has-text("Stop")')
    seen.wait(project("Stopped") + ':has-text("The sync was stopped. The task was canceled in WebODM.")')
    tapis.end_faults()
    seen.click(project("Stopped") + ' button:has-text("Continue")')
    seen.wait(project("Stopped") + ':has-text("All 40 images are here")')


def test_a_refusal_is_said_where_it_was_asked_for(seen, flyer):
    started(seen, flyer, "Refused", 1)
    task = flyer.task("Refused")
    type(task).objects.filter(pk=task.pk).update(status=20)  # the page does not know of it yet
    seen.click(project("Refused") + ' button:has-text("Fetch images")')
    seen.wait('#tapis-projects-notice .alert-danger:has-text("The task is being processed. Sync again when it has ended.")')
    assert "Refused (" in seen.text("#tapis-projects-notice")
    type(task).objects.filter(pk=task.pk).update(status=50)


def test_progress_goes_on_after_calls_that_failed(seen, flyer, tapis):
    """A proxy's page, a broken network: said in words, and over when it is over. No parser's words reach the page."""
    started(seen, flyer, "Bumpy", 30)
    tapis.fault("slow", operation="content", seconds=2)
    seen.click(project("Bumpy") + ' button:has-text("Fetch images")')
    seen.wait(project("Bumpy") + ':has-text(" of 30 images, ")')
    seen.instead("**/api/tapis-storage/jobs/", 502, "<html><body><h1>502 Bad Gateway</h1></body></html>", times=1)
    seen.wait('#tapis-connection:has-text("WebODM cannot be reached at the moment (status 502)")')
    assert "asks again in" in seen.text("#tapis-connection") and "JSON" not in seen.text("body")
    assert " of 30 images, " in seen.text(project("Bumpy")), "what was known before is still shown"
    seen.wait_gone("#tapis-connection .alert")
    seen.offline()
    seen.wait('#tapis-connection:has-text("WebODM does not answer")')
    tapis.end_faults()
    seen.offline(False)
    seen.wait(project("Bumpy") + ':has-text("All 30 images are here")')
    seen.wait_gone("#tapis-connection .alert")


def test_failures_while_the_page_loads_are_told_each_in_its_place(seen, flyer):
    seen.instead("**/api/tapis-storage/systems/", 504, "<html>Gateway timeout</html>", times=1)
    seen.instead("**/api/tapis-preferences/", 200, "<html>A captive portal</html>", times=1)
    seen.instead("**/api/tapis-storage/flight-projects/**", 502, "<html>Bad gateway</html>", times=1)
    seen.goto(PAGE)
    seen.wait('#tapis-systems-notice:has-text("status 504")')
    seen.wait('#tapis-preferences-notice:has-text("answered in its place (status 200)")')
    seen.click('#tapis-systems-notice button:has-text("Try again")')
    seen.wait('#tapis-systems td:has-text("A test system")')
    seen.click('#tapis-preferences-notice button:has-text("Try again")')
    seen.wait_gone("#tapis-preferences-notice .alert")
    seen.wait('#tapis-projects :has-text("No flight was imported yet.")')
    seen.wait_gone("#tapis-connection .alert")


def test_whose_login_has_ended_is_led_to_the_right_one(seen, flyer, tapis):
    from app_extensions.tapis.models import TapisOAuth2Token

    seen.goto(PAGE)
    seen.wait('#tapis-systems td:has-text("A test system")')
    TapisOAuth2Token.objects.filter(user=flyer.user).update(is_valid=False, invalid_reason="it was revoked.")
    seen.click("#tapis-discover")
    seen.wait('#tapis-found-notice:has-text("Token expired: Log in to Tapis again: it was revoked.")')
    assert seen.attribute("#tapis-found-notice a", "href").startswith("/api/oauth2/tapis/?redirect_after=")
    seen.goto(PAGE)
    seen.wait('.alert:has-text("has ended: it was revoked.") a:has-text("Log in with Tapis")')
    seen.evaluate("fetch('/logout/')")
    seen.click("#tapis-discover")
    seen.wait('#tapis-found-notice:has-text("You are no longer signed in to WebODM.")')
    assert seen.attribute("#tapis-found-notice a", "href") == "/login/?next=/plugins/tapis_storage/"


def test_a_page_from_before_another_sign_in_still_works(seen, flyer):
    """Django gives a new CSRF token at each sign-in; another tab of the browser has it."""
    flyer.user.set_password(PASSWORD)
    flyer.user.save()
    seen.become(flyer.user)
    seen.goto(PAGE)
    seen.wait('#tapis-systems td:has-text("A test system")')
    seen.evaluate(f"""fetch('/login/').then(page => page.text()).then(text => fetch('/login/', {{method: 'POST',
        body: new URLSearchParams({{csrfmiddlewaretoken: /csrfmiddlewaretoken" value="([^"]+)/.exec(text)[1],
                                   username: '{flyer.name}', password: '{PASSWORD}'}})}}))""")
    seen.click("#tapis-discover")
    seen.wait('#tapis-found-notice:has-text("No flight directories found")')
    seen.evaluate("document.cookie = 'csrftoken=; Max-Age=0; path=/'")
    seen.click("#tapis-discover")
    seen.wait('#tapis-found-notice:has-text("This page was open for too long. Reload it")')


def test_preferences_are_kept_and_refusals_told_at_their_fields(seen, flyer):
    from app_extensions.tapis.models import TapisPreferences

    seen.goto(PAGE)
    seen.until("document.querySelector('[name=max_projects_per_discovery]').value === '50'")
    seen.choose("[name=processing_preset]", "Fast Orthophoto")
    seen.fill("[name=max_projects_per_discovery]", "7")
    seen.fill("[name=preferred_systems]", f"{flyer.system}\nelsewhere")
    seen.check("[name=notify_on_discovery_complete]", False)
    seen.click('button:has-text("Save preferences")')
    seen.wait('#tapis-preferences-notice .alert-danger:has-text("Nothing was saved")')
    assert seen.text(".tapis-wrong").strip() == "elsewhere must be a system id that starts with ptdatax.project."
    assert seen.attribute("[name=preferred_systems]", "aria-invalid") == "true"
    assert TapisPreferences.objects.get(user=flyer.user).max_projects_per_discovery == 50
    seen.assert_fits()
    seen.fill("[name=preferred_systems]", flyer.system)
    seen.click('button:has-text("Save preferences")')
    seen.wait('#tapis-preferences-notice:has-text("The preferences are saved.")')
    assert seen.text(".tapis-wrong").strip() == "" and seen.attribute("[name=preferred_systems]", "aria-invalid") == "false"
    kept = flyer.get("tapis-preferences/")["preferences"]
    assert (kept["processing_preset"], kept["max_projects_per_discovery"], kept["preferred_systems"]) == (
        "Fast Orthophoto", 7, [flyer.system])
    assert kept["notify_on_discovery_complete"] is False and kept["notify_on_discovery_errors"] is True
    TapisPreferences.objects.filter(user=flyer.user).update(processing_preset="Gone since")
    seen.goto(PAGE)
    seen.until("document.querySelector('[name=max_projects_per_discovery]').value === '7'")
    assert seen.evaluate("document.querySelector('[name=processing_preset]').selectedOptions[0].text") == "Gone since (deleted)"


def test_some_of_many_flights_are_chosen_and_imported_with_their_images(seen, flyer):
    """What was found is there when the page is opened again; searching, sorting and turning pages keep what is chosen."""
    for number in range(55):
        flyer.flight(f"Field {number:02d}", 1 + number % 3)
    flyer.flight("<img src=x onerror=alert(1)>", 1)
    seen.goto(PAGE)
    seen.click("#tapis-discover")
    seen.wait('#tapis-found-notice:has-text("56 flights found.")')
    seen.goto(PAGE)
    seen.wait('#tapis-found-pages:has-text("Page 1 of 2")')
    assert seen.text("#tapis-found-totals").startswith("56 flights, 110 images, ")
    assert seen.texts("#tapis-found tr:has-text('<img src=x onerror=alert(1)>')")
    seen.check('[aria-label^="Choose Field 01 ("]', True)
    seen.click('[aria-label="Next page of flights"]')
    seen.wait('#tapis-found td:has-text("Field 54")')
    seen.check("#tapis-found-all", True)
    seen.wait('#tapis-found-chosen:has-text("7 flights chosen")')
    seen.assert_fits()
    seen.click('button:has-text("Choose none")')
    seen.fill("#tapis-found-search", "field 0")
    seen.wait('#tapis-found-totals:has-text("10 flights")')
    assert not seen.texts("#tapis-found-pages")[0]
    seen.choose("#tapis-found-sort", "Most images first")
    seen.until("document.querySelector('#tapis-found tbody tr').textContent.includes('Field 02')")
    seen.check('[aria-label^="Choose Field 02 ("]', True)
    seen.fill("#tapis-found-search", "field 54")
    seen.wait('#tapis-found-totals:has-text("1 flight,")')
    seen.check('[aria-label^="Choose Field 54 ("]', True)
    seen.click('[aria-label="Import the chosen flights"]')
    seen.wait('#tapis-found-notice:has-text("2 flights imported. The images are being fetched.")')
    for name, images in (("Field 02", "3 images"), ("Field 54", "1 image")):
        seen.wait(project(name) + f':has-text("All {images} are here")')
    seen.choose("#tapis-found-imported", "Not imported")
    seen.wait('#tapis-found :has-text("No flight fits this search.")')
    assert not seen.texts("#tapis-found-chosen")[0] and seen.complaints == []


def test_an_import_that_ends_while_a_page_is_on_its_way_does_not_turn_it_back(seen, flyer):
    flyer.tapis._call("POST", "flights", {"system": flyer.system, "flights": [f"Row{number:02d}" for number in range(51)], "count": 1,
                                          "smallest": True})
    flyer.post("tapis-storage/discover-flights/")
    seen.goto(PAGE)
    seen.wait('#tapis-found-pages:has-text("Page 1 of 2")')
    hold(seen, r"found-flights\/\?page=2")
    seen.click('[aria-label="Next page of flights"]')
    seen.click('button[aria-label^="Import Row00 ("]')
    seen.wait(project("Row00"))
    seen.evaluate("() => window.letGo()")
    seen.wait('#tapis-found td:has-text("Row50")')
    seen.wait('#tapis-found-pages:has-text("Page 2 of 2")')


def test_what_takes_longer_than_an_answer_is_followed_to_its_end(seen, flyer, tapis):
    """Another request holds the one place to wait, so the server answers these at once: 202, and a job that continues."""
    from django.db import connection

    from app_extensions.tapis.jobs import WAITING_LOCK

    for number in range(6):
        flyer.flight(f"Slow {number}", 2)
    tapis.fault("slow", operation="list", seconds=0.7)
    seen.goto(PAGE)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [WAITING_LOCK])
        try:
            seen.click("#tapis-discover")
            seen.wait('#tapis-found-notice:has-text("This continues in the background, even if you close this page.")')
            assert "found." not in seen.text("#tapis-found-notice")
            seen.wait('#tapis-found-notice .alert-success:has-text("6 flights found.")')
            seen.click('button[aria-label^="Import Slow 3 ("]')
            seen.wait('#tapis-found-notice:has-text("in the background")')
            seen.wait('#tapis-found-notice .alert-success:has-text("imported. The images are being fetched.")')
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [WAITING_LOCK])
    tapis.end_faults()
    seen.wait(project("Slow 3") + ':has-text("All 2 images are here")')
    assert len(seen.texts("#tapis-projects tbody tr")) == 1


def test_a_sync_that_waits_for_the_login_says_so_and_goes_on_after_it(seen, flyer, tapis):
    from app_extensions.tapis import jobs

    started(seen, flyer, "Patient", 60)
    tapis.fault("slow", operation="content", seconds=4)  # so that some are left when the page shows the first ones, on any machine
    seen.click(project("Patient") + ' button:has-text("Fetch images")')
    seen.wait(project("Patient") + ':has-text(" of 60 images, ")')
    tapis.settings(refresh="refused")
    tapis.expire(flyer.name)
    seen.wait(project("Patient") + ':has-text("Waiting for your Tapis login: ")')
    assert "failed" not in seen.text(project("Patient")) and not seen.texts(project("Patient") + ' button:has-text("Try again")')
    assert seen.attribute(project("Patient") + ' a:has-text("Log in with Tapis")', "href").startswith("/api/oauth2/tapis/?redirect_after=")
    tapis.settings(refresh="works")
    tapis.end_faults()
    flyer.store_token()
    jobs.continue_after_login(flyer.user, flyer.client)
    seen.wait(project("Patient") + ':has-text("All 60 images are here")')


def test_a_login_says_until_when_it_holds_and_can_be_renewed_and_ended(seen, flyer):
    from datetime import timedelta

    from django.utils import timezone

    from app_extensions.tapis.models import TapisOAuth2Token

    mine = TapisOAuth2Token.objects.filter(user=flyer.user)
    seen.goto(PAGE)
    seen.wait('#tapis-account:has-text("WebODM renews this login automatically.")')
    mine.update(expires_at=timezone.now() + timedelta(minutes=7), refresh_failed_at=timezone.now())
    seen.goto(PAGE)
    seen.wait('#tapis-account .alert-warning:has-text("Your Tapis login ends in 6 min, and WebODM could not renew it.")')
    seen.assert_fits()
    seen.click('#tapis-account button:has-text("Renew")')
    seen.wait('#tapis-account:has-text("WebODM renews this login automatically.")')
    seen.evaluate("window.confirm = () => true")
    seen.click('#tapis-account button:has-text("Disconnect")')
    seen.wait("#tapis-login")
    assert not mine.exists()


def test_an_address_for_mail_is_kept_and_a_wrong_one_refused(seen, flyer):
    seen.goto(PAGE)
    seen.until("document.querySelector('[name=max_projects_per_discovery]').value === '50'")
    seen.fill("[name=email]", "nobody")
    seen.click('button:has-text("Save preferences")')
    seen.wait('#tapis-preferences-notice .alert-danger:has-text("Everything but the email address was saved")')
    assert seen.text(".tapis-wrong").strip() == "must be an address such as ada@example.org, or empty for no mail"
    seen.fill("[name=email]", "ada@example.org")
    seen.click('button:has-text("Save preferences")')
    seen.wait('#tapis-preferences-notice:has-text("The preferences are saved.")')
    flyer.user.refresh_from_db()
    assert flyer.user.email == "ada@example.org"
