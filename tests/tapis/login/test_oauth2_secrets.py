"""No secret, token, code or state in a log, in the database's plain text, or in any answer of ours."""

import pytest
import requests

from tests.support.database import database_dump
from tests.support.tapis import Browser


def logs(stack) -> str:
    """All that the Django processes wrote."""
    return "\n".join(
        path.read_text(errors="replace") for path in (stack.data / "log").glob("*.log") if path.stem != "tapis"
    )


@pytest.fixture
def whole_story(stack, tapis, browser, live_db, unique):
    """A client and a person who logs in, refreshes, fails in every way in which Tapis echoes secrets, and revokes.

    :return: the secrets that there were, and all answers of ours
    """
    from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client, TapisOAuth2Token

    callback = f"{stack.address()}/api/oauth2/tapis/callback/"
    key = tapis.client(f"sec-{unique}", callback, f"client-key-{unique}")
    client = TapisOAuth2Client.objects.create(
        client_id=f"sec-{unique}", name="Secrets", client_secret=key, base_url=tapis.base, callback_url=callback)
    name = tapis.user(f"sec{unique}")
    secrets, answers = {"client secret": key}, []
    base = f"{stack.address()}/api/oauth2/tapis/"

    def keep(answer: requests.Response) -> requests.Response:
        answers.append(answer)
        return answer

    begun = keep(browser.authorize(client.client_id))
    back = browser.at_tapis(begun.headers["Location"], name).headers["Location"]
    secrets["code"], secrets["state"] = back.split("code=")[1].split("&state=")
    keep(browser.get(back, allow_redirects=False))
    token = TapisOAuth2Token.objects.get(client=client)
    secrets["access token"], secrets["refresh token"] = token.access_token, token.refresh_token
    keep(browser.post(f"{base}refresh/{client.client_id}/", headers=browser.csrf()))
    token.refresh_from_db()
    secrets["second access token"], secrets["second refresh token"] = token.access_token, token.refresh_token
    keep(browser.get(f"{base}status/"))
    keep(browser.get(base))
    # Errors that echo: a wrong secret, a used code, a refused refresh, a bad answer at revocation.
    TapisOAuth2Client.objects.filter(pk=client.pk).update()
    client.client_secret = f"wrong-key-{unique}"
    client.save()
    secrets["wrong client secret"] = client.client_secret
    with Browser(stack.address()) as other:
        keep(other.log_in(name, client.client_id))
    with Browser(stack.address()) as program:
        program.headers["Accept"] = "application/json"
        keep(program.log_in(name, client.client_id))
    keep(browser.post(f"{base}refresh/{client.client_id}/", headers=browser.csrf()))
    tapis.fault("status", operation="revoke", status=400, body=f'{{"message": "{token.refresh_token} {key}"}}')
    keep(browser.post(f"{base}revoke/{client.client_id}/", headers=browser.csrf()))
    # A login that waits for its choice.
    waiting = tapis.user(f"wait{unique}")
    client.client_secret = key
    client.save()
    TapisIdentity.objects.filter(subject=f"{waiting}@portals").delete()
    from django.contrib.auth.models import User

    User.objects.create_user(waiting)
    tapis.end_faults()
    tapis.fault("swap", operation="token", body=tapis.token(waiting))
    secrets["waiting token"] = tapis.token(waiting, claims={"jti": f"waiting-{unique}"})
    tapis.end_faults()
    tapis.fault("swap", operation="token", body=secrets["waiting token"])
    with Browser(stack.address()) as third:
        keep(third.log_in(waiting, client.client_id))
        keep(third.get(f"{base}link/"))
    keep(requests.get(f"{base}status/", headers={"Authorization": f"Bearer {secrets['waiting token']}"}))
    return secrets, answers


def test_nothing_leaks(stack, whole_story):
    secrets, answers = whole_story
    codes = [answer.status_code for answer in answers]
    assert codes.count(302) == 3 and 400 in codes and 401 in codes, codes
    said = "\n".join(f"{answer.headers}\n{answer.text}" for answer in answers[1:])  # [0] is the redirect with the state
    database, log = database_dump(stack), logs(stack)
    assert "tapis_tapisoauth2token" in database and "fernet1:" in database and "Tapis" in log, "nothing was looked at"
    for what, secret in secrets.items():
        assert len(secret) > 20, what
        for where, text in (("database", database), ("log", log), ("answers", said)):
            assert secret not in text, f"{what} in {where}"
            if what.endswith("token"):
                assert secret.split(".")[2] not in text, f"the {what}'s signature in {where}"


def test_reprs_show_nothing(whole_story):
    from app_extensions.tapis.login.authenticator import TokenAnswer
    from app_extensions.tapis.models import TapisOAuth2Client, TapisOAuth2Token

    secrets, _ = whole_story
    shown = "".join(repr(row) + str(row) for model in (TapisOAuth2Client, TapisOAuth2Token) for row in model.objects.all())
    shown += repr(TokenAnswer("access-secret", None, "refresh-secret", None))
    assert not [what for what, secret in secrets.items() if secret in shown] and "secret" not in shown
