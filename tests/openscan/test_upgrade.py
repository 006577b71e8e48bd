"""A database that the previous version wrote becomes today's with its data, and its scans live on."""
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from dev.sandbox.stack import HOST_DIR

ROWS = Path(__file__).resolve().parents[1] / "data" / "upgrade" / "openscan_0003.sql"


class OldDatabase:
    """A separate database, and WebODM's manage.py on it."""

    def __init__(self, stack, storage: Path):
        self.name = f"upgrade_{uuid.uuid4().hex[:8]}"
        self.environment = {**stack.environment(), "WO_DATABASE_NAME": self.name, "WO_OPENSCAN_STORAGE_DIR": str(storage)}
        self._run_as("webodm", f"CREATE DATABASE {self.name}")

    def manage(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, str(HOST_DIR / "manage.py"), *arguments], env={**os.environ, **self.environment},
                              capture_output=True, text=True, cwd=HOST_DIR, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def query(self, statement: str) -> list:
        return self._run_as(self.name, statement)

    def remove(self) -> None:
        self._run_as("webodm", f"DROP DATABASE {self.name}")

    def _run_as(self, database: str, statement: str) -> list:
        connection = psycopg2.connect(
            host=self.environment["WO_DATABASE_HOST"], port=self.environment["WO_DATABASE_PORT"],
            user=self.environment["WO_DATABASE_USER"], dbname=database)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


#: What the new version makes of the old rows: a program on the database right after its upgrade, which prints JSON and changes nothing.
LOOK = """
import datetime, io, json
from django.core.management import call_command
from django.db import transaction
from app_extensions.openscan import lifecycle
from app_extensions.openscan.accounts import ledger
from app_extensions.openscan.models import Token
from app_extensions.openscan.upkeep import periodic

def output(*arguments):
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()

def note_credit():
    found['credits'].append(Token.objects.get(pk=2).credit_bytes)

call_command('makemigrations', 'openscan', '--check', '--dry-run', stdout=io.StringIO())
found = {'migrations': output('showmigrations', 'openscan'), 'jobs': [], 'credits': [],
         'checks': [output('openscan_check', '--json')]}
periodic.dispatch = lambda name, pk, **_: found['jobs'].append([name, pk])
with transaction.atomic():
    periodic.catch_up()
    lifecycle.apply(3, lifecycle.RESET)
    note_credit()
    scan = lifecycle.create(token=Token.objects.get(pk=2), name='new', photos=1, parts_count=1, declared_bytes=90, upload_nonce='n',
                            links_expire_at=datetime.datetime(2099, 1, 1, tzinfo=datetime.timezone.utc))
    note_credit()
    ledger.refill(Token.objects.get(pk=2), datetime.date(2099, 1, 1))
    note_credit()
    lifecycle.apply(scan.pk, lifecycle.RESET)
    note_credit()
    lifecycle.apply(5, lifecycle.FAIL, error='Processing failed.')
    note_credit()
    found['checks'].append(output('openscan_check', '--json'))
    transaction.set_rollback(True)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def upgraded(ground, tmp_path_factory) -> Iterator[OldDatabase]:
    """The old version's tables and rows, migrated to today's; the parts that its rows name are on the disk."""
    storage = tmp_path_factory.mktemp("storage")
    (storage / "scans" / "2").mkdir(parents=True)
    (storage / "scans" / "2" / "1-0123456789abcdef.part").write_bytes(b"x" * 20)
    (storage / "scans" / "2" / "2-0123456789abcdef.part").write_bytes(b"x" * 10)
    database = OldDatabase(ground, storage)
    database.manage("migrate", "openscan", "0003_nodes", "--verbosity", "0")
    database.query(ROWS.read_text())
    database.manage("migrate", "--verbosity", "0")
    yield database
    database.remove()


@pytest.fixture(scope="module")
def found(upgraded) -> "dict[str, Any]":
    # In a new namespace: functions that the shell's `exec` defines do not see the names beside them.
    return json.loads(upgraded.manage("shell", "-c", f"exec({LOOK!r}, {{}})").splitlines()[-1])


def test_every_row_is_still_there(upgraded):
    counts = {table: upgraded.query(f"SELECT COUNT(*) FROM openscan_{table}")[0][0] for table in ("token", "scan")}
    assert counts == {"token": 2, "scan": 5}
    assert upgraded.query("SELECT id, credit_bytes FROM openscan_token ORDER BY id") == [(1, 850), (2, 100)]
    assert upgraded.query("SELECT id, name, state, charge, held_bytes, posted_bytes FROM openscan_scan ORDER BY id") == [
        (1, "done", "done", "posted", 0, 100), (2, "uploading", "created", "held", 50, 0),
        (3, "not uploaded", "created", "held", 40, 0), (4, "failed and reset", "reset", "refunded", 0, 0),
        (5, "running", "released", "posted", 0, 30)]


def test_parts_that_came_stay_and_their_ids_have_room(upgraded):
    assert upgraded.query("SELECT id, scan_id, number, size_bytes FROM openscan_part ORDER BY id") == [(1, 2, 1, 20), (2, 2, 2, 10)]
    columns = dict(upgraded.query("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'openscan_part'"))
    assert columns["id"] == "bigint"
    new = "INSERT INTO openscan_part (scan_id, number, size_bytes, file_name, received_at) VALUES (1, {}, 1, 'x', now()) RETURNING id"
    upgraded.query("SELECT setval(substring(column_default from '''(.*?)''')::regclass, 2147483647) FROM information_schema.columns "
                   "WHERE table_name = 'openscan_part' AND column_name = 'id'")
    assert upgraded.query(new.format(7)) == [(2**31,)]
    upgraded.query("DELETE FROM openscan_part WHERE scan_id = 1")


def test_histories_begin_with_the_state_of_the_day(upgraded):
    assert upgraded.query("SELECT scan_id, from_state, to_state FROM openscan_scanevent WHERE event = 'upgrade' ORDER BY scan_id") == [
        (1, "", "done"), (2, "", "created"), (3, "", "created"), (4, "", "reset"), (5, "", "released")]


def test_an_upload_under_way_keeps_its_credit(upgraded):
    assert upgraded.query("SELECT id FROM openscan_scan WHERE first_byte_at IS NOT NULL") == [(2,)]


def test_the_books_add_up_and_go_on(upgraded, found):
    """Holds of before come back whole; what is held from now on follows the rule."""
    assert [json.loads(check)["ok"] for check in found["checks"]] == [True, True]
    assert upgraded.query("SELECT token_id, amount_bytes, balance_bytes FROM openscan_ledgerentry WHERE kind = 'opening'") == [(2, 0, 100)]
    # 100 + 40 held before the upgrade; 90 of it held; topped up by 50, of which 50 fall to the set that is reset; 30 refunded.
    assert found["credits"] == [140, 50, 100, 140, 170]


def test_a_failed_scan_that_was_reset_is_found_to_be_discarded(found):
    assert ["discard_scan", 4] in found["jobs"]


def test_nothing_is_left_to_migrate(found):
    assert "[X] 0003_nodes" in found["migrations"] and "[ ]" not in found["migrations"]
