"""Tapis at an institute's size: 200 systems x 500 flights, 1,500 imported flights on a page, 1,000 users, 200 syncs, workers that die.

``./webodm.sh bench tapis scale``. The stand-in answers at once; what is measured is our own part: calls, CPU, memory, and how other
users fare meanwhile. Each figure that has a bound is judged.
"""
import argparse
import contextlib
import logging
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import psutil
import requests

from dev.benchmarks.table import Row, print_table

PREFIX = "ptdatax.project."
ENVIRONMENT = {
    "WO_TAPIS_SETTLE_SECONDS": "0", "WO_TAPIS_LEASE_SECONDS": "6", "WO_TAPIS_WORKERS": "8", "WO_TAPIS_INSTANCE_CONNECTIONS": "32",
    "WO_TAPIS_BATCH_SECONDS": "30", "WO_TAPIS_TIMEOUT": "15",
}
STEPS = ("discovery", "simulated", "page", "periodic", "syncs")


class Ground:
    """A sandbox with a stand-in Tapis, and the rows of the table."""

    def __init__(self, data: Path) -> None:
        from dev.sandbox.stack import Stack

        self.stack = Stack(data, tapis=True, extra_env=ENVIRONMENT)
        self.rows: list[Row] = []
        self.people = 0

    def start(self) -> None:
        """Bring up the services, and set Django up in this process."""
        self.stack.prepare_files()
        self.stack.start_database()
        self.stack.start(["redis"])
        self.stack.provision()
        self.stack.start(["tapis", "web", "jobs"])
        os.environ.update({key: value for key, value in self.stack.django_env().items() if key != "PYTHONPATH"})
        import django

        django.setup()
        logging.getLogger("app.logger").setLevel(logging.ERROR)
        from tests.support.tapis import StandIn

        self.tapis = StandIn(self.stack.address("tapis"))

    def person(self) -> Any:
        """A new user with a Tapis login."""
        from tests.support.flights import Flyer

        self.people += 1
        return Flyer(self.stack.address(), self.tapis, f"scale{self.people}")

    def note(self, name: str, ours: str, against: str = "", ratio: Optional[float] = None, bound: Optional[float] = None) -> None:
        """A row of the table."""
        self.rows.append(Row(name, ours, against, ratio, bound))
        print(f"  {name}: {ours} {against} {'' if ratio is None else f'{ratio:.2f}'}".rstrip(), flush=True)


class Watch:
    """CPU seconds and greatest memory of a service with its children, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.peak_bytes, self.cpu = 0, 0.0
        self._seen: dict[int, float] = {}

    def __enter__(self) -> "Watch":
        self._begun = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._end.set()
        self._thread.join()
        self.cpu = self._cpu() - self._begun

    def _all(self) -> "list[psutil.Process]":
        return [self._process, *self._process.children(recursive=True)]

    def _cpu(self) -> float:
        for process in self._all():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._seen[process.pid] = times.user + times.system
        return sum(self._seen.values())

    def _look(self) -> None:
        while not self._end.wait(0.1):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.peak_bytes = max([self.peak_bytes, *(process.memory_info().rss for process in self._all())])


def percentile(values: "list[float]", part: float) -> float:
    """The value below which the given part of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


@contextlib.contextmanager
def other_users(address: str) -> "Iterator[list[float]]":
    """Somebody else opens pages meanwhile. Gives the seconds that each took."""
    end, waits = threading.Event(), []

    def open_pages() -> None:
        with requests.Session() as session:
            while not end.is_set():
                began = time.perf_counter()
                session.get(f"{address}/login/", timeout=120)
                waits.append(time.perf_counter() - began)
                end.wait(0.05)

    thread = threading.Thread(target=open_pages, daemon=True)
    thread.start()
    try:
        yield waits
    finally:
        end.set()
        thread.join()


def idle(ground: Ground, seconds: float = 15.0) -> float:
    """The 99th percentile of a page's time while nothing else happens."""
    with other_users(ground.stack.address()) as waits:
        time.sleep(seconds)
    return percentile(waits, 0.99)


def wait_for(true: Callable[[], Any], seconds: float, pause: float = 0.5) -> None:
    """Poll. :raises TimeoutError: it did not become true"""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(pause)


def discovery(ground: Ground, systems: int, flights: int) -> None:
    """A discovery of many systems by one user, while another one opens pages."""
    person = ground.person()
    for number in range(systems):
        system = ground.tapis.system(f"{PREFIX}{person.name}-{number:03d}", owner=person.name)
        ground.tapis._call("POST", "flights", {
            "system": system, "flights": [f"Flight{flight:04d}" for flight in range(flights)], "count": 3, "smallest": True})
    person.post("tapis-preferences/", {"max_projects_per_discovery": 1})
    quiet = idle(ground)
    ground.tapis._call("POST", "counters/reset")
    total = systems * flights
    pid = ground.stack.service("jobs").pid
    assert pid is not None
    with Watch(pid) as watch, other_users(ground.stack.address()) as waits:
        began = time.monotonic()
        job_id = person.post("tapis-discovery/trigger/", None, 202)["task_id"]
        job = person.wait(job_id, 3600)
        took = time.monotonic() - began
    results = person.get(f"tapis-storage/jobs/{job_id}/")["results"]
    assert job["state"] == "completed" and results["flights_discovered"] == total, (job, results["errors"][:3])
    calls = ground.tapis.counters()["list"]
    most = total + 2 * systems
    ground.note(f"discovery of {systems} x {flights}: calls", str(calls), f"{most} at most", calls / most, 1.0)
    ground.note(f"discovery of {systems} x {flights}: seconds", f"{took:.1f}")
    ground.note(f"discovery of {systems} x {flights}: CPU s per 1,000 flights", f"{watch.cpu / total * 1000:.2f}")
    ground.note(f"discovery of {systems} x {flights}: greatest memory of a worker", f"{watch.peak_bytes / 1e6:.0f} MB")
    busy = percentile(waits, 0.99)
    ground.note("another user's page meanwhile, 99 % within", f"{busy * 1000:.0f} ms", f"{quiet * 1000:.0f} ms idle", busy / quiet, 2.0)


class CountingListing:
    """Answers of Tapis without Tapis: what is left is our own part of a discovery."""

    def __init__(self, flights: int) -> None:
        from app_extensions.tapis.catalog.listing import PAGE, Entry

        self.entries = [Entry(f"Flight{number:05d}", f"/Flight{number:05d}", "dir", 4096, "") for number in range(flights)]
        self.page, self.calls, self._lock = PAGE, 0, threading.Lock()

    def _count(self) -> None:
        with self._lock:
            self.calls += 1

    def pages(self, system_id: str, path: str, *, offset: int = 0) -> "Iterator[list[Any]]":
        """A root's page."""
        self._count()
        yield self.entries[offset:offset + self.page]

    def has_images(self, system_id: str, path: str) -> bool:
        """Each directory is a flight."""
        self._count()
        return True


def simulated(ground: Ground, systems: int, flights: int) -> None:
    """The same at full size, with the calls counted and not made."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.catalog import scan
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import DiscoverySystem, SeenFlight, TapisJob

    person = ground.person()
    access = TapisAccess(person.user, person.client)
    job, _ = jobs.start_discovery(access, jobs.IMPORT, {"background": True}, queue=False)
    TapisJob.objects.filter(pk=job.pk).update(due_at="2100-01-01T00:00:00Z", claimed_at="2020-01-01T00:00:00Z")
    DiscoverySystem.objects.bulk_create([DiscoverySystem(job=job, system_id=f"{PREFIX}{number:04d}") for number in range(systems)])
    listing, before, began = CountingListing(flights), resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    turns, done = 0, False
    while not done:
        turn = scan.JobScan(job, access, lambda: True, count=False)
        turn.listing = listing  # type: ignore[assignment]
        done = turn.run()
        turns += 1
    after, total = resource.getrusage(resource.RUSAGE_SELF), systems * flights
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert SeenFlight.objects.filter(job=job).count() == total
    # A turn that begins in the middle of a page lists this page again.
    most = total + systems * (flights // listing.page + 1) + turns - 1
    ground.note(f"{systems} x {flights}, calls counted", str(listing.calls), f"{most} at most", listing.calls / most, 1.0)
    ground.note(f"{systems} x {flights}, our CPU s per 1,000 flights", f"{cpu / total * 1000:.2f}", "3 s", cpu / total * 1000 / 3, 1.0)
    ground.note(f"{systems} x {flights}, seconds in {turns} turns", f"{time.monotonic() - began:.0f}")
    ground.note(f"{systems} x {flights}, greatest memory", f"{after.ru_maxrss / 1024:.0f} MB")
    SeenFlight.objects.filter(job=job).delete()
    job.delete()


def page(ground: Ground, flights: int) -> None:
    """The flights page of a user with many imported flights."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext
    from django.utils import timezone

    from app_extensions.tapis.catalog.flights import FoundFlight
    from app_extensions.tapis.catalog.projects import create_project_from_flight, flight_projects

    person = ground.person()
    for number in range(flights):
        found = FoundFlight(f"Flight{number:05d}", person.system, 250, timezone.now(), 10**9)
        create_project_from_flight(person.user, person.client, found)
    with CaptureQueriesContext(connection) as seen:
        flight_projects(person.user, details=True, size=50)
    ground.note(f"{flights} flights: queries for a page", str(len(seen)), "12", len(seen) / 12, 1.0)
    for name, path in (("a page of 50", "?details=1&page_size=50"), ("a search", "?details=1&page_size=50&search=Flight014"),
                       ("all at once", "?details=1")):
        waits = []
        for _ in range(5):
            began = time.perf_counter()
            person.get(f"tapis-storage/flight-projects/{path}")
            waits.append(time.perf_counter() - began)
        bound = 0.5 if "page_size" in path else None
        ground.note(f"{flights} flights: {name}, seconds", f"{min(waits):.3f}", "0.5" if bound else "",
                    min(waits) / bound if bound else None, 1.0 if bound else None)


def periodic(ground: Ground, users: int) -> None:
    """Periodic discovery for many users: spread over its period, no double runs, and no message that waits for hours."""
    from django.contrib.auth.models import User
    from django.utils import timezone

    from app_extensions.tapis import jobs
    from app_extensions.tapis.catalog import discovery as rules
    from app_extensions.tapis.conf import conf
    from app_extensions.tapis.models import TapisIdentity, TapisJob, TapisOAuth2Client, TapisOAuth2Token

    client = TapisOAuth2Client.objects.first()
    TapisOAuth2Token.objects.all().update(is_valid=False)
    people = User.objects.bulk_create([User(username=f"period{number:04d}") for number in range(users)])
    identities = TapisIdentity.objects.bulk_create([
        TapisIdentity(issuer=client.issuer, subject=f"{person.username}@{client.tenant_id}", user=person) for person in people])
    TapisOAuth2Token.objects.bulk_create([
        TapisOAuth2Token(user=person, client=client, identity=identity, access_token="x", expires_at=timezone.now())
        for person, identity in zip(people, identities)])
    os.environ["WO_TAPIS_DISCOVERY_HOURS"] = "6"
    sent: list[Any] = []
    send, jobs.host_queue.send = jobs.host_queue.send, lambda name, args, **more: sent.append(more.get("countdown"))
    try:
        began = time.monotonic()
        started = rules.start_periodic()
        took = time.monotonic() - began
        again = rules.start_periodic()
    finally:
        jobs.host_queue.send = send
        del os.environ["WO_TAPIS_DISCOVERY_HOURS"]
    rows = list(TapisJob.objects.filter(user__in=people).order_by("due_at").values_list("due_at", flat=True))
    spread = (rows[-1] - rows[0]).total_seconds()
    ground.note(f"{users} users: planned, and planned twice", f"{len(started)}, {len(again)}", f"{users}, 0",
                (abs(len(started) - users) + len(again) + abs(len(rows) - users)) / users, 0.0)
    ground.note(f"{users} users: spread, hours", f"{spread / 3600:.2f}", "6", spread / 3600 / 6, 1.0)
    ground.note(f"{users} users: seconds to plan", f"{took:.1f}")
    longest = max((countdown or 0 for countdown in sent), default=0)
    ground.note(f"{users} users: longest wait of a message, s (of {len(sent)})", f"{longest:.0f}", "3600", longest / 3600, 1.0)
    assert conf.stagger_seconds
    TapisJob.objects.filter(user__in=people).delete()
    TapisOAuth2Token.objects.filter(user__in=people).delete()


def syncs(ground: Ground, flights: int, images: int, workers: int, kill_every: float) -> None:
    """Many syncs of one user with several workers of which one is killed again and again, while another user syncs one flight."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import TapisJob

    person, other = ground.person(), ground.person()
    person.post("tapis-preferences/", {"max_projects_per_discovery": 10_000})
    ground.tapis._call("POST", "flights", {"system": person.system, "flights": [f"Flight{number:03d}" for number in range(flights)],
                                           "count": images, "smallest": True})
    other.flight("Alone", images, size_bytes=400_000)
    other.create()
    created = person.post("tapis-discovery/trigger/", None, 202)["task_id"]
    assert person.wait(created, 1800)["state"] == "completed"
    ground.stack.service("jobs").stop()
    running = [ground.stack.add_worker(f"scale{number}", "-Q", "extensions", "-c", "1") for number in range(workers)]
    for worker in running:
        worker.start()
    for worker in running:
        worker.wait_ready()
    ground.tapis._call("POST", "counters/reset")
    ground.tapis.settings(latency_ms=30)
    mine = TapisJob.objects.filter(user=person.user, kind="sync")
    began, kills, last_kill = time.monotonic(), 0, time.monotonic()
    with other_users(ground.stack.address()) as waits:
        for flight in person.user.tapis_flights.all():
            person.post("tapis-storage/sync-project-images/", {"project_id": flight.project_id}, 202)
        asked = time.monotonic()
        alone = other.sync("Alone")
        alone_took = 0.0
        while mine.filter(state__in=TapisJob.ACTIVE).exists():
            if not alone_took and other.job(alone)["state"] == "completed":
                alone_took = time.monotonic() - asked
            if time.monotonic() - last_kill >= kill_every:
                last_kill = time.monotonic()
                victim = running[kills % workers]
                victim.signal(signal.SIGKILL)
                victim.kill()
                victim.start()
                kills += 1
            jobs.take_up_again()  # beat's part
            time.sleep(1.0)
            if time.monotonic() - began > 3600:
                raise TimeoutError(list(mine.values_list("state", "error")[:5]))
        took = time.monotonic() - began
    states = dict.fromkeys(mine.values_list("state", flat=True))
    assert list(states) == ["completed"], list(mine.exclude(state="completed").values_list("state", "error")[:3])
    wait_for(lambda: other.job(alone)["state"] == "completed", 600)
    fetched = ground.tapis.counters()["content"]
    wanted = flights * images + images
    # A killed worker had four downloads under way, and at most a wave of eight that it had not written down.
    spare = kills * 12
    ground.note(f"{flights} syncs x {images} images, {workers} workers, {kills} killed: images fetched", str(fetched),
                f"{wanted} + {spare} at most", fetched / (wanted + spare), 1.0)
    ground.note(f"{flights} syncs: seconds", f"{took:.0f}")
    ground.note("another user's one flight meanwhile, seconds", f"{alone_took:.0f}", f"{took:.0f} for all", alone_took / took, 0.5)
    ground.note("another user's page meanwhile, 99 % within", f"{percentile(waits, 0.99) * 1000:.0f} ms")
    for worker in running:
        worker.stop()


def main(arguments: "list[str]") -> int:
    """Run all or some of it. :returns: 0 when every figure is within its bound"""
    parser = argparse.ArgumentParser(prog="webodm.sh bench tapis scale", description=__doc__)
    parser.add_argument("--only", choices=STEPS, action="append")
    parser.add_argument("--small", action="store_true", help="a tenth of everything, to see whether it runs")
    options = parser.parse_args(arguments)
    from dev.sandbox.stack import remove_data

    part = 10 if options.small else 1
    data = Path(tempfile.mkdtemp(prefix="webodm-bench-"))
    data.chmod(0o755)  # PostgreSQL runs as another user if this runs as root
    ground = Ground(data)
    steps: dict[str, Callable[[], None]] = {
        "discovery": lambda: discovery(ground, 20, 500 // part), "simulated": lambda: simulated(ground, 200, 500 // part),
        "page": lambda: page(ground, 1500 // part), "periodic": lambda: periodic(ground, 1000 // part),
        "syncs": lambda: syncs(ground, 200 // part, 10, 8, 10.0),
    }
    try:
        ground.start()
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start.", flush=True)
        for name in STEPS:
            if not options.only or name in options.only:
                steps[name]()
        return 0 if print_table(ground.rows) else 1
    finally:
        from django.db import connections

        connections.close_all()
        ground.stack.stop()
        for service in list(ground.stack.services.values()):
            service.stop()
        remove_data(data)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
