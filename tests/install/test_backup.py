"""`backup`: what it holds, who may read it, and that a fresh database has the same rows once it is brought back."""
import gzip
import os
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pgserver
import pytest

from deploy.report import DeployError
from deploy.webodm import read_env_file
from dev.sandbox.stack import HOST_DIR, Stack
from tests.install.conftest import Target, new_database

#: Rows of both apps, in tables that refer to each other, one of them encrypted.
ROWS = """
from django.contrib.auth.models import User
from django.utils import timezone
from app_extensions.openscan.intake import scans
from app_extensions.openscan.accounts.tokens import create_token
from app_extensions.tapis.models import Flight, FlightFile, SyncBatch, TapisIdentity, TapisJob, TapisOAuth2Client, TapisOAuth2Token
user, now = User.objects.create_user('keeper'), timezone.now()
for label in 'ab':
    token, _ = create_token(forename='Ada', surname="L'ovelace", mail=label + '@example.org', owner=user)
    scans.create_scan(token, 'a set', photos=2, parts=2, filesize_bytes=7)
client = TapisOAuth2Client.objects.create(name='n', client_id='c', client_secret='hush')
identity = TapisIdentity.objects.create(issuer='i', subject='s', user=user)
TapisOAuth2Token.objects.create(user=user, client=client, identity=identity, access_token='eyJ', refresh_token='r', expires_at=now)
flight = Flight.objects.create(user=user, client=client, base_url='b', tenant_id='t', system_id='s', name='f', discovered_at=now)
job = TapisJob.objects.create(kind='sync', user=user, client=client, flight=flight)
batch = SyncBatch.objects.create(job=job, lease_until=now)
FlightFile.objects.create(flight=flight, name='1.jpg', local_name='1.jpg', local_key='1.jpg', size=1, batch=batch)
"""
USE = """
from django.contrib.auth.models import User
from django.core.management import call_command
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Token
from app_extensions.openscan.accounts.tokens import create_token
from app_extensions.tapis.models import TapisOAuth2Token
token = Token.objects.get(mail='a@example.org')
User.objects.create(pk=token.owner_id, username='keeper')  # WebODM's own rows come from its backup
scans.create_scan(Token.objects.get(pk=token.pk), 'another', photos=1, parts=1, filesize_bytes=3)
print(TapisOAuth2Token.objects.get().access_token)
call_command('openscan_check')
"""


@pytest.fixture
def filled(ground: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The run's WebODM on a separate database and directory of parts, both empty. The database's owner is no superuser."""
    role = f"owner_{uuid.uuid4().hex[:8]}"
    with new_database(ground) as name:
        env = {**ground.environment(), "WO_DATABASE_NAME": name, "WO_DATABASE_USER": role,
               "WO_OPENSCAN_STORAGE_DIR": str(tmp_path_factory.mktemp("parts"))}
        found = Target(HOST_DIR, Path(sys.executable), env, ground.data / "media")
        found.sql(f"CREATE ROLE {role} LOGIN", f"ALTER DATABASE {name} OWNER TO {role}", f"SET ROLE {role}",
                  "CREATE SEQUENCE openscan_part_id_seq")  # as a purge of an earlier version left it
        found.run("manage.py", "migrate", "--noinput", "-v", "0")
        yield found


@pytest.fixture
def fresh(filled: Target) -> Iterator[Target]:
    """A copy of the database as it was while it was empty."""
    name, role = f"restored_{uuid.uuid4().hex[:8]}", filled.env["WO_DATABASE_USER"]
    filled.sql(f"CREATE DATABASE {name} TEMPLATE {filled.env['WO_DATABASE_NAME']} OWNER {role}")
    yield Target(filled.directory, filled.python, {**filled.env, "WO_DATABASE_NAME": name}, filled.media)
    filled.sql(f"DROP DATABASE {name} WITH (FORCE)")


def backup(webodm: Target, file: Path, programs: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    """Backs up into `file` with the pg_dump in `programs`."""
    return webodm.deploy("backup", "--python", str(webodm.python), str(file), check=check,
                         env={"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})


def test_a_fresh_database_has_the_same_rows_again(filled: Target, fresh: Target, tmp_path: Path) -> None:
    programs = Path(pgserver.__file__).parent / "pginstall" / "bin"  # of the server's version; this machine's may be older
    filled.shell(ROWS)
    file = tmp_path / "rows of ours.sql.gz"
    printed = backup(filled, file, programs).stdout
    assert "docs/admin/backup.md" in printed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and [path.name for path in tmp_path.iterdir()] == [file.name]
    text = gzip.decompress(file.read_bytes())
    assert b"hush" not in text and b"eyJ" not in text, "what is encrypted stays so"

    subprocess.run([str(programs / "psql"), "--quiet", "--single-transaction", "-v", "ON_ERROR_STOP=1", "-h",
                    fresh.env["WO_DATABASE_HOST"], "-U", fresh.env["WO_DATABASE_USER"], fresh.env["WO_DATABASE_NAME"]],
                   input=text, check=True, stdout=subprocess.DEVNULL)
    ours = sorted(name for name in filled.tables() if name.startswith(("openscan_", "tapis_")))
    there = {name: filled.sql(f"SELECT * FROM {name} ORDER BY 1") for name in ours}
    assert {name: fresh.sql(f"SELECT * FROM {name} ORDER BY 1") for name in ours} == there
    assert {"openscan_token", "openscan_scan", "openscan_scanevent", "openscan_ledgerentry", "tapis_flightfile", "tapis_syncbatch"} <= {
        name for name, rows in there.items() if rows}, "the test must have something to lose"
    printed = fresh.shell(USE)
    assert printed.startswith("eyJ") and "adds up" in printed, "numbers go on where they were, and credit adds up"


def test_a_backup_that_fails_leaves_nothing(ground: Stack, tmp_path: Path) -> None:
    webodm = Target(HOST_DIR, Path(sys.executable), ground.environment(), ground.data / "media")
    file = tmp_path / "rows.sql.gz"
    file.write_bytes(b"the last good one")
    broken = tmp_path / "bin" / "pg_dump"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho half of it\nexit 1\n")
    broken.chmod(0o755)
    done = backup(webodm, file, broken.parent, check=False)
    assert done.returncode == 1 and "pg_dump failed" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"bin", file.name} and file.read_bytes() == b"the last good one"
    done = backup(webodm, tmp_path / "none" / "rows.sql.gz", broken.parent, check=False)
    assert done.returncode == 1 and f"the backup into {tmp_path / 'none'} failed" in done.stderr and ".rows" not in done.stderr


@pytest.mark.parametrize(("line", "value"), [
    ("X=a#b", "a#b"), ("X='a #b' # said", "a #b"), ("export X=a # said", "a"), ('X="a b"', "a b"), ("X=", ""), ("  X=a", "a"),
])
def test_a_services_environment_is_read_as_it_was_meant(tmp_path: Path, line: str, value: str) -> None:
    """A `#` in the middle of a password does not cut it."""
    file = tmp_path / "webodm.env"
    file.write_text(f"# it's a comment\n\n{line}\n")
    assert read_env_file(file) == {"X": value}


@pytest.mark.parametrize("line", ["X=a b", "X='a", "a b", "1X=a", "=a"])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "webodm.env"
    file.write_text(f"Y=1\n{line}\n")
    with pytest.raises(DeployError, match="line 2"):
        read_env_file(file)
