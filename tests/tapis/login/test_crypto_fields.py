"""Secrets at rest: what the database, dumps and rotations hold."""
import io
import json
import subprocess

import pytest
from django.core.exceptions import FieldError, ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from app_extensions.shared import crypto

SECRET = "a secret – ünïcode"
FIRST, SECOND = "first-key-first-key-first", "second-key-second-key-2nd"


def stored(pk: int) -> str:
    """What the database itself holds."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT client_secret FROM tapis_tapisoauth2client WHERE id = %s", [pk])
        return cursor.fetchone()[0]


@pytest.fixture
def client_row(db, unique):
    from app_extensions.tapis.models import TapisOAuth2Client

    return TapisOAuth2Client.objects.create(
        client_id=unique, name="n", client_secret=SECRET, callback_url="http://127.0.0.1/cb", base_url="http://127.0.0.1"
    )


def test_the_database_holds_no_plain_text(client_row):
    first = stored(client_row.pk)
    assert first.startswith(crypto.PREFIX) and "secret" not in first
    client_row.refresh_from_db()
    assert client_row.client_secret == SECRET
    client_row.save()
    assert stored(client_row.pk) != first, "two encryptions of one text are equal"


def test_damaged_text_is_noticed(client_row):
    text = stored(client_row.pk)
    damaged = text[:-10] + ("A" if text[-10] != "A" else "B") + text[-9:]
    for bad in (damaged, SECRET, crypto.PREFIX, text[:40], crypto.PREFIX + "ü"):
        with pytest.raises(crypto.DecryptionError):
            crypto.decrypt(bad)


def test_keys_rotate_and_old_ones_can_go(client_row, settings):
    before = stored(client_row.pk)
    settings.ENCRYPTION_KEYS = [FIRST]
    out = io.StringIO()
    call_command("tapis_rotate_keys", stdout=out)
    assert "tapis.TapisOAuth2Client" in out.getvalue() and SECRET not in out.getvalue()
    after = stored(client_row.pk)
    assert after != before and crypto.decrypt(after) == SECRET
    settings.SECRET_KEY = "another secret key of this site"  # the old one is not needed any more
    client_row.refresh_from_db()
    assert client_row.client_secret == SECRET
    settings.ENCRYPTION_KEYS = f"{SECOND}, {FIRST}"
    call_command("tapis_rotate_keys", stdout=out)
    settings.ENCRYPTION_KEYS = SECOND
    client_row.refresh_from_db()
    assert client_row.client_secret == SECRET


def test_a_lost_key_hides_the_secret_but_loses_nothing(client_row, settings, caplog):
    before = stored(client_row.pk)
    original = settings.SECRET_KEY
    settings.SECRET_KEY = "a different secret key altogether"
    client_row.refresh_from_db()
    assert not client_row.client_secret and isinstance(client_row.client_secret, crypto.Unreadable)
    client_row.name = "renamed"
    client_row.save()
    assert stored(client_row.pk) == before, "saving overwrote what could not be read"
    with pytest.raises(CommandError, match="could not be decrypted"):
        call_command("tapis_rotate_keys", stdout=io.StringIO())
    assert stored(client_row.pk) == before
    assert before not in caplog.text
    settings.SECRET_KEY = original
    client_row.refresh_from_db()
    assert client_row.client_secret == SECRET


def test_the_old_secret_key_can_be_listed(client_row, settings):
    settings.ENCRYPTION_KEYS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the site changed its secret key"
    client_row.refresh_from_db()
    assert client_row.client_secret == SECRET


def test_encrypted_fields_cannot_be_searched(db):
    from app_extensions.tapis.models import TapisOAuth2Client

    with pytest.raises(FieldError):
        TapisOAuth2Client.objects.filter(client_secret=SECRET).exists()
    assert not TapisOAuth2Client.objects.filter(client_secret__isnull=True).exists()


def test_dumps_hold_ciphertext_and_load_again(client_row):
    from app_extensions.tapis.models import TapisOAuth2Client

    out = io.StringIO()
    call_command("dumpdata", "tapis.TapisOAuth2Client", stdout=out)
    assert SECRET not in out.getvalue() and json.loads(out.getvalue())
    from django.core import serializers

    rows = {row.object.pk: row for row in serializers.deserialize("json", out.getvalue())}
    client_row.client_secret = "other"
    client_row.save()
    rows[client_row.pk].save()
    assert TapisOAuth2Client.objects.get(pk=client_row.pk).client_secret == SECRET


def test_short_keys_are_refused_by_name(settings):
    settings.ENCRYPTION_KEYS = "short"
    with pytest.raises(ImproperlyConfigured, match="WO_ENCRYPTION_KEYS"):
        crypto.key_texts()
    from app_extensions.tapis.checks import check_settings

    assert [each.id for each in check_settings(None)] == ["tapis.E004"]


def test_the_command_generates_keys():
    outs = [io.StringIO(), io.StringIO()]
    for out in outs:
        call_command("tapis_rotate_keys", "--generate", stdout=out)
    first, second = (out.getvalue().strip() for out in outs)
    assert len(first) == 64 and first != second


def test_keys_from_the_environment(ground):
    """A key in WO_ENCRYPTION_KEYS is used by a real process, and SECRET_KEY still reads what was there."""
    import sys

    code = (
        "import django; django.setup()\n"
        "from app_extensions.shared import crypto\n"
        f"print(crypto.key_texts()[0] == {FIRST!r}, crypto.decrypt({crypto.encrypt(SECRET)!r}) == {SECRET!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**ground.environment(), "WO_ENCRYPTION_KEYS": FIRST},
        capture_output=True, text=True,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
