"""Settings, system checks, client addresses, sizes as text, and the migration."""
import io

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection
from django.db.migrations.graph import MigrationGraph

from app_extensions.openscan.accounts.addresses import client_address
from app_extensions.openscan.conf import conf, parse_networks
from app_extensions.openscan.upkeep.checks import check_settings
from app_extensions.shared.formatting import format_bytes, format_duration, format_exact_bytes
from app_extensions.shared.settings import parse_bytes
from tests.openscan.helpers import found_by_checks


@pytest.mark.parametrize("text, size_bytes", [
    ("0", 0), ("2000000000", 2 * 10**9), ("10GB", 10**10), ("1.5 GB", 1_500_000_000), (" 7 mb ", 7 * 10**6), ("3kB", 3000),
    ("0.000001 MB", 1), (5, 5), ("1TB", 10**12)])
def test_sizes_are_read(text, size_bytes):
    assert parse_bytes(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 GiB", "1e9", "many", "٣", "1" * 19, True])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError):
        parse_bytes(text)


@pytest.mark.parametrize("size_bytes, text", [
    (1, "1 byte"), (999, "999 bytes"), (1000, "1 kB"), (1_500_000, "1.5 MB"), (2 * 10**9, "2 GB"), (999_999, "1 MB"),
    (10**15, "1000 TB")])
def test_sizes_are_shown(size_bytes, text):
    assert format_bytes(size_bytes) == text


def test_exact_sizes_and_durations_are_shown():
    assert format_exact_bytes(2 * 10**9) == "2,000,000,000 bytes (2 GB)" and format_exact_bytes(5) == "5 bytes"
    assert [format_duration(value) for value in (0, 40, 125, 7500, 90000)] == ["0 s", "40 s", "2 min 5 s", "2 h 5 min", "1 d 1 h"]


@pytest.mark.parametrize("remote, forwarded, proxies, expected", [
    ("203.0.113.9", "", "", "203.0.113.9"),
    ("203.0.113.9", "198.51.100.1", "", "203.0.113.9"),             # nobody vouches for this header
    ("", "198.51.100.1", "", "198.51.100.1"),                       # WebODM's nginx on its local socket
    ("127.0.0.1", "6.6.6.6, 198.51.100.1", "", "198.51.100.1"),     # the client's own claim stands further left
    ("", "198.51.100.1, 172.18.0.3", "", "172.18.0.3"),             # a TLS proxy that nobody named
    ("", "6.6.6.6, 198.51.100.1, 172.18.0.3", "172.16.0.0/12", "198.51.100.1"),
    ("172.18.0.2", "198.51.100.1", "172.16.0.0/12 10.0.0.0/8", "198.51.100.1"),
    ("::1", "2001:db8:1:2:3:4:5:6", "", "2001:db8:1:2::/64"),
    ("", "[2001:db8:1:2::9]:4711", "", "2001:db8:1:2::/64"),
    ("", "198.51.100.1:4711", "", "198.51.100.1"),
    ("::ffff:198.51.100.1", "", "", "198.51.100.1"),
    ("", "", "", "local"), ("127.0.0.1", "", "", "127.0.0.1"),
    ("127.0.0.1", "junk, 198.51.100.1", "", "198.51.100.1"), ("127.0.0.1", "198.51.100.1, junk", "", "127.0.0.1"),
    ("junk", "198.51.100.1", "", "unknown"), ("", "127.0.0.1", "", "127.0.0.1")])
def test_the_clients_address_behind_proxies(remote, forwarded, proxies, expected):
    assert client_address(remote, forwarded, parse_networks(proxies)) == expected


@pytest.mark.parametrize("values, expected", [
    ({}, set()),
    ({"OPENSCAN_LIMIT_FILESIZE": "lots"}, {"openscan.E001"}),
    ({"OPENSCAN_TRUSTED_PROXIES": "nginx"}, {"openscan.E001"}),
    ({"OPENSCAN_BIND_PUBLIC_NAMES": "perhaps"}, {"openscan.E001"}),
    ({"OPENSCAN_BASIC_USER": "a:b"}, {"openscan.E002"}),
    ({"OPENSCAN_PUBLIC_URL": "scan.example.org"}, {"openscan.E003"}),
    ({"OPENSCAN_PUBLIC_URL": "https://scan.example.org/a&b"}, {"openscan.E003"}),
    ({"OPENSCAN_PUBLIC_URL": "https://" + "x" * 70}, {"openscan.E003"}),
    ({"OPENSCAN_PUBLIC_URL": "https://scan.example.org/webodm/"}, set()),
    ({"OPENSCAN_UPLOAD_LINK_SECONDS": "0"}, {"openscan.E004"}),
    ({"OPENSCAN_STALLED_MINUTES": "-1"}, {"openscan.E004"}), ({"OPENSCAN_STALLED_MINUTES": "0"}, set()),
    ({"OPENSCAN_NODE_REST_MINUTES": "-5"}, {"openscan.E004"}), ({"OPENSCAN_LEAST_PHOTOS": "0"}, {"openscan.E004"}),
    ({"OPENSCAN_INGEST_ATTEMPTS": "0"}, {"openscan.E004"}), ({"OPENSCAN_RESULT_DAYS": "9999999999"}, {"openscan.E004"}),
    ({"OPENSCAN_UNPACKED": "0"}, {"openscan.E004"}), ({"OPENSCAN_PUBLIC_DAILY": "99999TB"}, {"openscan.E004"}),
    ({"OPENSCAN_PRIVATE_CREDIT": "0"}, set()),
    ({"OPENSCAN_STORAGE_DIR": "uploads"}, {"openscan.E009"}), ({"OPENSCAN_STORAGE_DIR": "/etc/passwd"}, {"openscan.E009"}),
    ({"OPENSCAN_STORAGE_DIR": "/srv/not-made-yet"}, set()), ({"OPENSCAN_CELERY_QUEUE": "a b"}, {"openscan.E009"}),
    ({"OPENSCAN_SUPPORT_MAIL": "the office"}, {"openscan.E009"}), ({"OPENSCAN_ADMIN_MAILS": "a@example.org, b"}, {"openscan.E009"}),
    ({"OPENSCAN_ADMIN_MAILS": "a@example.org, b@example.org"}, set()),
    ({"OPENSCAN_TRUSTED_PROXIES": "0.0.0.0/0"}, {"openscan.W007"}), ({"OPENSCAN_TRUSTED_PROXIES": "172.16.0.0/12"}, set()),
    ({"OPENSCAN_LIMIT_PART": "100MB"}, {"openscan.W002"}),
    ({"CELERY_INCLUDE": []}, {"openscan.W003"})])
def test_bad_settings_are_found_by_number(values, expected):
    assert found_by_checks(**values) == expected


def test_every_number_has_bounds():
    """One without would meet its worst value in the field. Numbers of object storage have their own checks."""
    for name, setting in conf.declared().items():
        if type(getattr(conf, name)) is int and not name.startswith("s3_"):
            least, most = setting.bounds
            assert least < most and least <= getattr(conf, name) <= most, name


@pytest.mark.parametrize("name, meant", [("WO_OPENSCAN_LIMIT_PHOTO", "WO_OPENSCAN_LIMIT_PHOTOS"), ("WO_OPENSCAN_XYZZY", "settings.md")])
def test_a_variable_that_is_no_setting_is_told(monkeypatch, name, meant):
    monkeypatch.setenv(name, "5")
    told = check_settings(None)
    assert [message.id for message in told] == ["openscan.W006"] and name in told[0].msg and meant in told[0].hint


def test_a_setting_that_cannot_be_read_names_itself(settings):
    settings.OPENSCAN_LIMIT_PHOTOS = "many"
    with pytest.raises(ImproperlyConfigured, match="WO_OPENSCAN_LIMIT_PHOTOS"):
        _ = conf.limit_photos


def test_an_empty_variable_means_the_default(settings):
    settings.OPENSCAN_LIMIT_PHOTOS = settings.OPENSCAN_BASIC_USER = ""
    assert (conf.limit_photos, conf.basic_user) == (2000, "openscan")


@pytest.mark.django_db
def test_the_migration_says_all_that_the_models_do():
    call_command("makemigrations", "openscan", check=True, dry_run=True, stdout=io.StringIO())


@pytest.mark.django_db
def test_the_migration_goes_back_and_forward(monkeypatch):
    """Django's state needs only what our migrations depend on: WebODM's newest models would cost seconds."""
    leaf_nodes = MigrationGraph.leaf_nodes
    monkeypatch.setattr(MigrationGraph, "leaf_nodes", lambda graph, app=None: leaf_nodes(graph, "openscan"))

    def tables() -> set:
        return {name for name in connection.introspection.table_names() if name.startswith("openscan_")}

    before = tables()
    assert "openscan_scan" in before
    call_command("migrate", "openscan", "zero", verbosity=0)
    assert tables() == set()
    call_command("migrate", "openscan", verbosity=0)
    assert tables() == before


@pytest.mark.django_db
def test_no_row_of_ours_is_bound_to_webodms_by_the_database():
    """While this app is away or not loaded, WebODM has to be able to delete its own users, projects and tasks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'")
        foreign = {(ours, theirs) for ours, theirs in cursor.fetchall()
                   if ours.startswith("openscan_") and not theirs.startswith("openscan_")}
    assert foreign == set()
