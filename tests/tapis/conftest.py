"""Fixtures for all tests of the Tapis app."""
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.sandbox.processes import Service, answers_http, free_port
from dev.sandbox.stack import ROOT, Stack
from tests.support.consuming import Consuming
from tests.support.flights import Flyer
from tests.support.tapis import Browser, StandIn
from tests.support.waiting import until


@pytest.fixture(scope="session")
def lone_tapis(tmp_path_factory) -> Iterator[StandIn]:
    """A stand-in Tapis alone, for tests that need no WebODM."""
    folder: Path = tmp_path_factory.mktemp("tapis")
    port = free_port()
    service = Service(
        name="tapis", log=folder / "tapis.log", cwd=ROOT, env=dict(os.environ),
        argv=[sys.executable, "-m", "dev.standins.tapis", "--port", str(port), "--data", str(folder / "data"),
              "--flights", str(ROOT / "tests" / "data" / "photos")],
        ready=lambda: answers_http(f"http://127.0.0.1:{port}/v3/tenants/portals"),
    )
    service.start()
    service.wait_ready()
    yield StandIn(f"http://127.0.0.1:{port}")
    service.stop()


@pytest.fixture
def tapis(stack: Stack, django_db_blocker: Any) -> Iterator[StandIn]:
    """The live stack's stand-in Tapis, without faults before and after. Jobs that other tests left no longer call it."""
    stand_in = StandIn(stack.address("tapis"))
    stand_in.end_faults()
    with django_db_blocker.unblock():
        from django.db import IntegrityError

        from app_extensions.tapis.models import SyncBatch, TapisJob

        TapisJob.objects.filter(state__in=TapisJob.ACTIVE).update(state=TapisJob.CANCELED, lease_owner="", lease_until=None)

        def connections_are_free() -> bool:
            try:
                SyncBatch.objects.all().delete()
            except IntegrityError:  # a worker that does not know yet has claimed files meanwhile
                return False
            return True

        until(connections_are_free, 60)
    until(lambda: not stand_in.is_sending(), 60)
    stand_in.reset()
    yield stand_in
    stand_in.reset()


@pytest.fixture
def browser(stack: Stack) -> Iterator[Browser]:
    """A fresh browser at the live WebODM."""
    with Browser(stack.address()) as fresh:
        yield fresh


@pytest.fixture
def flyer(stack: Stack, tapis: StandIn, live_db: None, unique: str) -> Flyer:
    """A WebODM user with Tapis tokens and a system of his own."""
    return Flyer(stack.address(), tapis, "f" + unique)


@pytest.fixture
def alone(stack: Stack, consuming: Consuming) -> None:
    """The live worker takes no jobs, for tests that do the work in this process."""
    consuming.pause()
