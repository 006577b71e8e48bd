"""WebODM's login page and the flights page in a real browser, by what Tapis clients there are."""
from contextlib import contextmanager

from django.contrib.auth.models import User

from dev.standins.tapis import CLIENT_ID
from tests.support.chromium import PHONE

PAGE = "/plugins/tapis_storage/"


@contextmanager
def clients(*active: str):
    """Only these clients are switched on meanwhile."""
    from app_extensions.tapis.models import TapisOAuth2Client

    others = list(TapisOAuth2Client.objects.filter(is_active=True).exclude(client_id__in=active).values_list("pk", flat=True))
    TapisOAuth2Client.objects.filter(pk__in=others).update(is_active=False)
    try:
        yield
    finally:
        TapisOAuth2Client.objects.filter(pk__in=others).update(is_active=True)


def test_without_a_client_people_are_told_who_can_add_one(open_page, live_db, stack, unique):
    User.objects.create_user(f"c{unique}")
    User.objects.create_user(f"s{unique}", is_superuser=True)
    for name, says in ((f"c{unique}", "An administrator can add one at"), (f"s{unique}", "Add the one that you registered with Tapis.")):
        page = open_page(PHONE)
        with clients():
            page.become(User.objects.get(username=name))
            page.goto(PAGE)
            page.wait('.alert:has-text("No Tapis client is registered here yet.")')
            assert says in page.text(".alert")
            page.wait('#tapis-projects :has-text("No flight was imported yet.")')
            page.assert_fits()


def test_webodms_login_page_offers_tapis(open_page, live_db, stack, tapis, unique):
    """Straight to Tapis where there is one client, to the choice among several, nowhere without any."""
    from app_extensions.tapis.models import TapisOAuth2Client

    first = TapisOAuth2Client.objects.get(client_id=CLIENT_ID)
    query = "redirect_after=%2Fmap%2Fproject%2F1%2F"
    page = open_page(PHONE)
    with clients(CLIENT_ID):
        page.goto("/login/?next=/map/project/1/")
        page.wait("#tapis-login")
        page.assert_fits()
        assert page.attribute("#tapis-login", "href") == (
            f"/api/oauth2/tapis/authorize/{CLIENT_ID}/?tenant_id={first.tenant_id}&{query}")
        second = TapisOAuth2Client.objects.create(
            client_id=f"two-{unique}", name="Another", client_secret="x", base_url=tapis.base, callback_url=first.callback_url)
        page.goto("/login/?next=/map/project/1/")
        page.wait("#tapis-login")
        assert page.attribute("#tapis-login", "href") == f"/api/oauth2/tapis/?{query}"
        page.click("#tapis-login")
        page.wait('a:has-text("Another")')
        page.assert_fits()
        page.goto("/login/?next=https://elsewhere.example/")
        page.wait("#tapis-login")
        assert page.attribute("#tapis-login", "href") == "/api/oauth2/tapis/"
        second.delete()
    with clients():
        page.goto("/login/")
        page.evaluate("fetch('/api/oauth2/tapis/')")  # what the script asks is answered by now, or at once after
        page.evaluate("new Promise(done => setTimeout(done, 1000))")
        assert not page.texts("#tapis-login")
