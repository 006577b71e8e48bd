"""Fixtures that every area of the tests shares."""
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Callable

import psycopg2
import pytest

from dev.sandbox.processes import Service
from dev.sandbox.stack import HOST_DIR, Stack
from tests.plugin import session_stack
from tests.support.chromium import DESK, PHONE, Chromium, Page
from tests.support.consuming import Consuming


@pytest.fixture(scope="session")
def ground() -> Stack:
    """The run's stack with PostgreSQL and Redis running, files laid out and the database migrated."""
    stack = session_stack()
    stack.prepare_files()
    stack.start_database()
    _do_not_wait_for_the_disk(stack)
    stack.start(["redis"])
    stack.provision()
    return stack


def _do_not_wait_for_the_disk(stack: Stack) -> None:
    """The run's database is thrown away. Tests kill processes, never the machine, so nothing is lost without fsync."""
    env = stack.django_env()
    where = {"host": env["WO_DATABASE_HOST"], "dbname": env["WO_DATABASE_NAME"], "user": env["WO_DATABASE_USER"]}
    with closing(psycopg2.connect(**where)) as connection:
        connection.autocommit = True  # ALTER SYSTEM does not run in a transaction
        with connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET fsync = off")
            cursor.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def django_db_setup(ground: Stack) -> None:
    """Instead of a `test_` database of pytest-django: the one that the live processes use."""


@pytest.fixture(scope="session")
def stack(ground: Stack, consuming: Consuming) -> Iterator[Stack]:
    """The live stack: redis, mail, node (with the quick engine), Tapis, gunicorn and a worker; beat is left out, since tests
    call periodic jobs themselves. A test that kills a service starts it again."""
    consuming.drop_queued()  # nobody waits for what tests queued before there was a worker
    ground.start(["redis", "mail", "node", "tapis", "web", "worker"])
    yield ground


@pytest.fixture(scope="session")
def consuming(ground: Stack) -> Consuming:
    """Switches the live worker's consumption of jobs."""
    return Consuming(ground)


@pytest.fixture(autouse=True)
def worker_where_asked_for(request: pytest.FixtureRequest) -> None:
    """The live worker takes jobs during tests that ask for the live stack; the others do the work themselves, undisturbed."""
    if "stack" in request.fixturenames:
        request.getfixturevalue("consuming").resume()
    elif "live_db" in request.fixturenames:
        request.getfixturevalue("consuming").pause()


@pytest.fixture
def live_db(ground: Stack, django_db_blocker) -> Iterator[None]:
    """Database access with committed writes, seen by the live processes. Use unique names; nothing is cleaned up."""
    from django.db import connections

    with django_db_blocker.unblock():
        yield
        connections.close_all()


@pytest.fixture
def unique() -> str:
    """Twelve characters that no other test uses."""
    return uuid.uuid4().hex[:12]


@pytest.fixture
def running_worker(stack: Stack) -> Iterator[Service]:
    """The live worker, started again after the test if the test killed it."""
    worker = stack.service("worker")
    yield worker
    now = stack.services.get("worker")  # the test may have started another one itself
    if now is None or not now.running():
        stack.services.pop("worker", None)
        stack.start(["worker"])


@pytest.fixture
def manage(ground: Stack):
    """Calls `manage.py` of the run's WebODM as a program: manage("openscan_check", check=True) -> CompletedProcess (text)."""

    def call(*arguments: str, check: bool = True, **options) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([sys.executable, str(HOST_DIR / "manage.py"), *arguments], env=ground.environment(),
                              capture_output=True, text=True, cwd=HOST_DIR,
                              timeout=options.pop("timeout", 120), **options)
        if check and done.returncode:
            raise AssertionError(f"manage {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    return call


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[Chromium]:
    """A running chromium."""
    browser = Chromium(tmp_path_factory.mktemp("chromium") / "driver.log")
    yield browser
    browser.stop()


@pytest.fixture
def open_page(chromium: Chromium, stack: Stack) -> Iterator[Callable[..., Page]]:
    """open_page(width=1280) -> a fresh page of the live WebODM, closed after the test.

    With ``models=False``, pages of finished scans have no model viewer: without a GPU, it costs more than the rest of the page.
    """
    pages = []

    def opened(width: int = 1280, models: bool = True) -> Page:
        page = chromium.page(stack.address(), width)
        pages.append(page)
        if not models:
            page.instead("**/model-viewer.min.js*", 200, "", "text/javascript")
        return page

    yield opened
    for page in pages:
        page.close()


@pytest.fixture
def camera(tmp_path: Path, open_page: Callable[..., Page]) -> tuple[Page, Callable[[str], None]]:
    """A page, and camera(name), which checks it and takes its picture at both widths (see ``dev/pictures.py``).

    Models are drawn only where the pictures are kept.
    """
    directory = Path(os.environ.get("PICTURES") or tmp_path)
    page = open_page(models=bool(os.environ.get("PICTURES")))

    def take(name: str) -> None:
        for width in (DESK, PHONE):
            page.resize(width)
            page.assert_fits()
            page.assert_accessible()
            path = directory / f"{name}-{width}.png"
            page.screenshot(path)
            assert path.stat().st_size > 5_000
        page.resize(DESK)

    return page, take
