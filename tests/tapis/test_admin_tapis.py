"""Administration: secrets go in and never come out."""
import io
import re

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.support.tapis import Browser


@pytest.fixture
def admin(stack, tapis, live_db, unique):
    """A superuser's browser."""
    from django.contrib.auth.models import User

    User.objects.create_superuser(f"root{unique}", "", "Pa55-word!")
    with Browser(stack.address()) as browser:
        browser.sign_in(f"root{unique}", "Pa55-word!")
        yield browser


def form_of(page) -> dict[str, str]:
    """The values of a form as a browser would send them."""
    fields = {}
    for tag in re.findall(r"<input[^>]*>", page.text):
        found = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        if "name" in found and (found.get("type") != "checkbox" or "checked" in tag) and found.get("type") != "submit":
            fields[found["name"]] = found.get("value", "")
    return fields


def test_a_client_is_entered_and_its_secret_never_shown(stack, tapis, admin, unique):
    from app_extensions.tapis.models import TapisOAuth2Client

    url = f"{stack.address()}/admin/tapis/tapisoauth2client/"
    page = admin.get(f"{url}add/")
    form = form_of(page)
    assert form["callback_url"] == f"{stack.address()}/api/oauth2/tapis/callback/"
    assert form["base_url"] == tapis.base and form["tenant_id"] == "portals", "WO_TAPIS_BASE_URL is not the default"
    secret = f"the-secret-{unique}"
    form.update(name="Entered", client_id=f"adm-{unique}", client_secret="")
    without = admin.post(f"{url}add/", data=form, headers=admin.csrf(), allow_redirects=False)
    assert without.status_code == 200 and "A client needs its secret" in without.text
    form["client_secret"] = secret
    done = admin.post(f"{url}add/", data=form, headers=admin.csrf(), allow_redirects=False)
    assert done.status_code == 302, done.text
    client = TapisOAuth2Client.objects.get(client_id=f"adm-{unique}")
    assert client.client_secret == secret and client.token_url == f"{tapis.base}/v3/oauth2/tokens"
    change = admin.get(f"{url}{client.pk}/change/")
    ciphertext = TapisOAuth2Client._meta.get_field("client_secret").get_prep_value(client.client_secret)
    for page in (change, admin.get(url), admin.get(f"{url}{client.pk}/history/"), admin.get(f"{url}{client.pk}/delete/")):
        assert page.status_code == 200 and secret not in page.text and ciphertext[:12] not in page.text
    form = form_of(change)
    assert form["client_secret"] == ""
    form["name"] = "Renamed"
    assert admin.post(f"{url}{client.pk}/change/", data=form, headers=admin.csrf(), allow_redirects=False).status_code == 302
    client.refresh_from_db()
    assert client.name == "Renamed" and client.client_secret == secret, "an empty secret box changed the secret"
    form["client_secret"] = secret + "-new"
    admin.post(f"{url}{client.pk}/change/", data=form, headers=admin.csrf())
    client.refresh_from_db()
    assert client.client_secret == secret + "-new"


@pytest.mark.parametrize("field, value", [
    ("base_url", "http://tapis.example.org"), ("token_url", "ftp://127.0.0.1/"), ("callback_url", "/callback/"),
    ("client_id", "a b"), ("base_url", "https://user:word@tapis.example.org"), ("client_id", "a/../b"),
])
def test_addresses_that_would_leak_are_refused(stack, admin, unique, field, value):
    url = f"{stack.address()}/admin/tapis/tapisoauth2client/add/"
    form = form_of(admin.get(url))
    form.update({"name": "Bad", "client_id": f"bad-{unique}", "client_secret": "secret", field: value})
    answer = admin.post(url, data=form, headers=admin.csrf(), allow_redirects=False)
    assert answer.status_code == 200 and answer.text.count('<ul class="errorlist">') == 1


def test_tokens_are_listed_without_themselves_and_can_be_switched_off(stack, tapis, admin, unique):
    from app_extensions.tapis.models import TapisOAuth2Token

    name = tapis.user(f"adm{unique}")
    with Browser(stack.address()) as person:
        person.log_in(name)
    token = TapisOAuth2Token.objects.get(user__username=name)
    url = f"{stack.address()}/admin/tapis/tapisoauth2token/"
    for page in (admin.get(url), admin.get(f"{url}{token.pk}/change/")):
        assert page.status_code == 200 and name in page.text
        for secret in (token.access_token, token.refresh_token, "fernet1:"):
            assert secret not in page.text
    assert admin.get(f"{url}add/").status_code == 403
    data = {"action": "switch_off", "_selected_action": token.pk}
    admin.post(url, data=data, headers=admin.csrf())
    token.refresh_from_db()
    assert not token.is_valid and "administrator" in token.invalid_reason
    admin.post(url, data={**data, "action": "switch_on"}, headers=admin.csrf())
    token.refresh_from_db()
    assert token.is_valid and token.access_token


def test_an_administrator_links_and_moves_an_identity(stack, tapis, admin, unique):
    from django.contrib.auth.models import User

    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Token

    first, second = (User.objects.create_user(f"{name}{unique}") for name in ("first", "second"))
    name = tapis.user(f"linked{unique}")
    url = f"{stack.address()}/admin/tapis/tapisidentity/"
    form = {"issuer": tapis.base + "/v3/tokens", "subject": f"{name}@portals", "user": first.pk}
    wrong = admin.post(f"{url}add/", data={**form, "issuer": "https://evil.example"}, headers=admin.csrf(), allow_redirects=False)
    assert wrong.status_code == 200 and "No client here has this issuer" in wrong.text
    assert admin.post(f"{url}add/", data=form, headers=admin.csrf(), allow_redirects=False).status_code == 302
    identity = TapisIdentity.objects.get(subject=f"{name}@portals")
    assert identity.user == first and identity.linked_by == "admin"
    with Browser(stack.address()) as person:
        assert person.log_in(name).status_code == 302
        assert person.get(f"{stack.address()}/api/oauth2/tapis/status/").json()["user"] == first.username
    assert TapisOAuth2Token.objects.filter(user=first).exists()
    moved = admin.post(f"{url}{identity.pk}/change/", data={**form, "user": second.pk}, headers=admin.csrf(), allow_redirects=False)
    assert moved.status_code == 302
    assert not TapisOAuth2Token.objects.filter(identity=identity).exists(), "the former user keeps the tokens"
    with Browser(stack.address()) as person:
        person.log_in(name)
        assert person.get(f"{stack.address()}/api/oauth2/tapis/status/").json()["user"] == second.username


def test_help_is_shown_whole(stack, tapis, admin):
    """Django writes help texts as they are into the page: what looks like a tag is not to be seen."""
    from django.apps import apps

    for model in apps.get_app_config("tapis").get_models():
        for field in model._meta.get_fields():
            assert not set("<>&") & set(str(getattr(field, "help_text", ""))), field
    assert "the base URL followed by /v3/oauth2/authorize" in admin.get(f"{stack.address()}/admin/tapis/tapisoauth2client/add/").text


def test_a_token_that_is_switched_off_on_its_page_says_so_and_keeps_what_a_refresh_brought(stack, tapis, admin, unique):
    from app_extensions.tapis.models import TapisOAuth2Token
    from tests.support.flights import Flyer

    flyer = Flyer(stack.address(), tapis, "a" + unique)
    token = TapisOAuth2Token.objects.get(user=flyer.user)
    url = f"{stack.address()}/admin/tapis/tapisoauth2token/{token.pk}/change/"
    fields = form_of(admin.get(url))
    fields.pop("is_valid")
    assert admin.post(url, data=fields, headers=admin.csrf(), allow_redirects=False).status_code == 302
    after = TapisOAuth2Token.objects.get(pk=token.pk)
    assert not after.is_valid and after.invalid_reason == "switched off by an administrator."
    assert after.access_token == token.access_token and after.refresh_token == token.refresh_token
    assert admin.post(url, data={**fields, "is_valid": "on"}, headers=admin.csrf(), allow_redirects=False).status_code == 302
    after.refresh_from_db()
    assert after.is_valid and after.invalid_reason == ""


def test_jobs_and_flights_can_be_looked_at_but_not_changed(stack, tapis, admin, unique):
    from app_extensions.tapis.models import TapisJob
    from tests.support.flights import Flyer

    flyer = Flyer(stack.address(), tapis, "a" + unique)
    flyer.flight("Looked", 1)
    flyer.import_all()
    carried = tapis.token(flyer.name)
    job = TapisJob.objects.create(kind="sync", user=flyer.user, client=flyer.client, flight=flyer.row("Looked"), state="failed",
                                  error="the reason " + unique, access_token=carried)
    base = f"{stack.address()}/admin/tapis"
    listed = admin.get(f"{base}/tapisjob/?q={flyer.name}")
    assert listed.status_code == 200 and "the reason " + unique in listed.text and "Looked" in listed.text
    page = admin.get(f"{base}/tapisjob/{job.pk}/change/")
    assert page.status_code == 200 and "the reason " + unique in page.text
    assert carried not in listed.text + page.text and "Access token" not in page.text and 'name="_save"' not in page.text
    assert "Looked" in admin.get(f"{base}/flight/?q={flyer.name}").text
    assert admin.get(f"{base}/flight/{flyer.row('Looked').pk}/change/").status_code == 200
    for path in ("tapisjob", "flight"):
        assert admin.get(f"{base}/{path}/add/").status_code == 403
    job.delete()


def test_the_documented_import_path(stack, db):
    from app.models.oauth2 import TapisOAuth2Client, TapisOAuth2State, TapisOAuth2Token

    from app_extensions.tapis import models

    assert TapisOAuth2Client is models.TapisOAuth2Client and TapisOAuth2Token is models.TapisOAuth2Token
    assert {model._meta.app_label for model in (TapisOAuth2Client, TapisOAuth2State, TapisOAuth2Token)} == {"tapis"}
    known = {
        "client_id", "client_secret", "tenant_id", "base_url", "authorization_url", "token_url", "callback_url", "name",
        "is_active",
    }
    assert known <= {field.name for field in TapisOAuth2Client._meta.fields}
    for name in ("access_token", "refresh_token", "expires_at", "is_valid", "is_expired"):
        assert hasattr(TapisOAuth2Token, name)


def test_webodms_own_users_can_be_deleted(stack, tapis, live_db, unique):
    """Our rows carry no database constraint: WebODM deletes its user even by plain SQL, as when our app is away."""
    from django.contrib.auth.models import User
    from django.db import connection

    name = tapis.user(f"gone{unique}")
    with Browser(stack.address()) as person:
        person.log_in(name)
    user = User.objects.get(username=name)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.table_constraints tc "
            "JOIN information_schema.constraint_column_usage u USING (constraint_name) "
            "WHERE tc.constraint_type = 'FOREIGN KEY' AND tc.table_name LIKE 'tapis_%' AND u.table_name NOT LIKE 'tapis_%'")
        assert cursor.fetchone()[0] == 0
    user.delete()
    from app_extensions.tapis.models import TapisIdentity

    assert not TapisIdentity.objects.filter(subject=f"{name}@portals").exists()


def test_a_client_is_registered_on_the_command_line(ground, manage, live_db, unique, monkeypatch):
    from app_extensions.tapis.models import TapisOAuth2Client

    def call(*more: str, secret: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(secret + "\n"))
        out = io.StringIO()
        call_command("tapis_client", *more, stdout=out)
        assert not secret or secret not in out.getvalue()
        return out.getvalue()

    arguments = ["--client-id", f"cli-{unique}", "--base-url", "https://tapis.example/"]
    with pytest.raises(CommandError, match="callback_url"):
        call(*arguments, secret="s3cret-s3cret")
    arguments += ["--callback-url", "https://webodm.example/api/oauth2/tapis/callback/"]
    with pytest.raises(CommandError, match="client_secret"):
        call(*arguments)
    done = manage("tapis_client", *arguments, input="s3cret-s3cret\n")
    assert "Registered" in done.stdout and "s3cret" not in done.stdout + done.stderr
    client = TapisOAuth2Client.objects.get(client_id=f"cli-{unique}")
    assert client.client_secret == "s3cret-s3cret" and client.base_url == "https://tapis.example"
    assert "Changed" in call(*arguments, "--inactive")
    client.refresh_from_db()
    assert not client.is_active and client.client_secret == "s3cret-s3cret"
    assert f"cli-{unique}\tportals\t" in call()


def test_addresses_follow_a_changed_base_url_unless_set_by_hand(db, unique):
    from app_extensions.tapis.models import TapisOAuth2Client

    TapisOAuth2Client.objects.create(
        client_id=unique, name="n", client_secret="x", base_url="https://one.example/", callback_url="https://w.example/cb",
        token_url="https://by-hand.example/tokens")
    client = TapisOAuth2Client.objects.get(client_id=unique)
    assert client.base_url == "https://one.example" and client.issuer == "https://one.example/v3/tokens"
    client.base_url = "https://two.example"
    client.save()
    client.refresh_from_db()
    assert client.authorization_url == "https://two.example/v3/oauth2/authorize"
    assert client.token_url == "https://by-hand.example/tokens"
