"""What a sync survives: a worker killed in the middle, a lost message, several workers on one flight."""
import os
import signal
import time

from django.utils import timezone

from tests.support.flights import leftovers, ready
from tests.support.waiting import until


def _kill_everything(service):
    """SIGKILL to a worker and its children, as the kernel's memory killer does it."""
    import psutil

    parent = psutil.Process(service.pid)
    for process in [*parent.children(recursive=True), parent]:
        os.kill(process.pid, signal.SIGKILL)


def test_a_killed_worker_costs_the_files_it_had_in_hand_and_no_more(flyer, tapis, stack):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import FlightFile

    running_worker = stack.service("worker")
    ready(flyer, "Killed", 40, size_bytes=400_000)
    tapis.fault("slow", operation="content", seconds=0.3)
    job_id = flyer.sync("Killed")
    until(lambda: flyer.job(job_id)["images_done"] >= 8)
    _kill_everything(running_worker)
    until(lambda: not running_worker.running())
    before = flyer.files("Killed")
    states = dict(FlightFile.objects.filter(flight=flyer.row("Killed")).values_list("local_name", "state"))
    tapis.end_faults()
    stack.services.pop("worker")
    stack.start(["worker"])
    assert 8 <= len(before) < 40 and set(before.values()) == {400_000}
    assert {name for name, state in states.items() if state == "done"} <= set(before) and "fetching" in states.values()
    assert flyer.job(job_id)["state"] == "running"
    tapis._call("POST", "counters/reset")
    until(jobs.due().filter(pk=job_id).exists)  # the lease of the killed worker ends
    assert jobs.take_up_again() >= 1  # beat's part, once a minute
    job = flyer.wait(job_id)
    assert job["state"] == "completed" and job["images_done"] == 40 and job["bytes_done"] == 40 * 400_000
    assert set(flyer.files("Killed").values()) == {400_000} and len(flyer.files("Killed")) == 40
    assert tapis.counters()["content"] <= 40 - len(before) + 4
    until(lambda: leftovers(flyer, "Killed") == [])
    assert flyer.task("Killed").images_count == 40


def test_a_worker_killed_while_it_imports_leaves_one_project_and_one_sync_per_flight(flyer, tapis, stack):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import Flight, TapisJob

    names = [f"Import{number}" for number in range(6)]
    for name in names:
        flyer.flight(name, 2)
    tapis.fault("slow", operation="list", path="/Import", seconds=0.8)
    running_worker, mine = stack.service("worker"), Flight.objects.filter(user=flyer.user, project_id__isnull=False)
    asked = [{"flight_name": name, "system_id": flyer.system} for name in names]
    job, _ = jobs.start_discovery(TapisAccess(flyer.user, flyer.client), jobs.CREATE, {"flights": asked, "sync": True})
    until(lambda: mine.count() >= 2)
    _kill_everything(running_worker)
    until(lambda: not running_worker.running())
    assert 2 <= mine.count() < 6
    tapis.end_faults()
    held = TapisJob.objects.filter(user=flyer.user, lease_until__gt=timezone.now())
    assert held.filter(pk=job.pk).exists(), "others wait for as long as a call to Tapis may take"
    held.update(lease_until=timezone.now())  # that time is over
    stack.services.pop("worker")
    stack.start(["worker"])

    def over() -> bool:
        jobs.take_up_again()  # beat's part, once a minute
        return not TapisJob.objects.filter(user=flyer.user).exclude(state="completed").exists()

    until(over, says=lambda: list(TapisJob.objects.filter(user=flyer.user).values("kind", "state", "error")))
    assert mine.count() == 6 == len(set(mine.values_list("project_id", flat=True)))
    assert TapisJob.objects.filter(user=flyer.user, kind="sync").count() == 6
    assert all(len(flyer.files(name)) == 2 for name in names)
    assert flyer.details(str(job.pk))["results"]["projects_created"] == 6


def test_a_job_whose_message_was_lost_is_taken_up_again(flyer, tapis):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import TapisJob

    ready(flyer, "Lost", 3)
    job, joined = jobs.start_sync(TapisAccess(flyer.user, flyer.client), flyer.row("Lost"), queue=False)
    assert not joined and TapisJob.objects.filter(pk=job.pk).update(due_at="2020-01-01T00:00:00Z")
    assert jobs.take_up_again() >= 1
    assert flyer.wait(str(job.pk))["state"] == "completed"


def test_a_job_that_is_worked_on_is_left_alone(flyer, tapis):
    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import TapisJob

    ready(flyer, "Alive", 30)
    tapis.fault("slow", operation="content", seconds=0.5)
    job_id = flyer.sync("Alive")
    until(lambda: flyer.job(job_id)["images_done"] >= 2)
    TapisJob.objects.filter(pk=job_id).update(created_at="2020-01-01T00:00:00Z")
    jobs.take_up_again()
    assert flyer.wait(job_id)["state"] == "completed"
    assert tapis.counters()["content"] == 30


def test_several_workers_share_one_flight_within_its_connections(flyer, tapis, stack):
    from app_extensions.tapis.models import SyncBatch

    second = stack.add_worker("worker2", "-c", "2")
    second.start()
    second.wait_ready()
    try:
        ready(flyer, "Many", 60)
        tapis.fault("slow", operation="content", seconds=0.3)
        job_id = flyer.sync("Many")
        most, sharers = 0, 0
        while flyer.job(job_id)["state"] in ("queued", "running"):
            rows = list(SyncBatch.objects.filter(job_id=job_id).values_list("connections", flat=True))
            most, sharers = max(most, sum(rows)), max(sharers, sum(1 for row in rows if row))
            time.sleep(0.2)
        assert flyer.wait(job_id)["state"] == "completed"
        assert most <= 4 and sharers >= 2, (most, sharers)
        assert tapis.counters()["content"] == 60 and tapis.peaks()["content"] <= 4
    finally:
        second.stop()
        stack.services.pop("worker2")


def imported(flyer, names):
    """Flights with one image each, and their projects."""
    for name in names:
        flyer.flight(name, 1)
    flyer.import_all()


def planned(flyer, names):
    """Planned syncs of imported flights. Pause the worker first, or it takes them up."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.login.access import TapisAccess
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import run

    access = TapisAccess(flyer.user, flyer.client)
    made = [jobs.start_sync(access, flyer.row(name), queue=False)[0] for name in names]
    for job in made:
        assert run.take_plan(job.pk)
    return list(TapisJob.objects.filter(pk__in=[job.pk for job in made]).order_by("created_at"))


def prepared(flyer, names, consuming):
    """Planned syncs of flights with one image each; nobody works on them."""
    imported(flyer, names)
    consuming.pause()
    return planned(flyer, names)


def test_the_whole_instance_keeps_within_its_connections(flyer, tapis, consuming):
    from app_extensions.tapis.sync import leases

    batches = []
    try:
        for job in prepared(flyer, ["I0", "I1", "I2", "I3"], consuming):
            batches.append(leases.open_batch(job))
        assert [batch.connections for batch in batches] == [4, 4, 0, 0]
        leases.close_batch(batches[0])
        assert leases.renew_batch(batches[2]) == 4
        assert leases.renew_batch(batches[0]) is None
    finally:
        for batch in batches:
            leases.close_batch(batch)


def test_a_flight_without_connections_is_not_claimed_and_holds_no_worker(flyer, tapis, consuming):
    """After a discovery of fifty flights most wait for connections: no worker waits with them."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.sync import claims, leases, run

    first, second, third = prepared(flyer, ["W0", "W1", "W2"], consuming)
    busy = [leases.open_batch(job) for job in (first, second)]
    try:
        assert claims.claim(only=third.pk) is None, "others have all connections of this WebODM"
        leases.close_batch(busy[0])
        claimed = claims.claim(only=third.pk)
        assert claimed is not None and claimed.batch.connections == 4
        claims.release(claimed)
    finally:
        for batch in busy:
            leases.close_batch(batch)
    assert all(run.run_here(job.pk).state == "completed" for job in (first, second, third))
    assert not jobs.due().filter(user=flyer.user).exists()


def test_a_message_wakes_one_worker_however_many_jobs_wait(flyer, tapis, consuming, monkeypatch):
    """300 waiting jobs were 300 messages a minute."""
    from app_extensions.tapis import jobs
    from app_extensions.tapis.models import TapisJob

    sent = []
    monkeypatch.setattr(jobs, "send", lambda name, *args, **more: sent.append((name, args)))
    made = prepared(flyer, [f"M{number}" for number in range(12)], consuming)
    sent.clear()
    for _ in range(3):
        assert jobs.take_up_again() >= 12
    assert sent == [("work", ())] * 3
    TapisJob.objects.filter(pk__in=[job.pk for job in made]).delete()


def test_more_messages_than_workers_do_no_harm(flyer, tapis, settings, consuming):
    from app_extensions.tapis import tasks
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import leases, run

    TapisJob.objects.filter(state__in=TapisJob.ACTIVE).delete()  # of tests that are over
    job, = prepared(flyer, ["Crowd"], consuming)
    settings.TAPIS_WORKERS = 2
    batches = [leases.open_batch(job) for _ in range(2)]
    try:
        assert tasks.work() is False and tasks.sync_batch(str(job.pk)) is False and leases.workers_of(job.pk) == 2
    finally:
        for batch in batches:
            leases.close_batch(batch)
    assert run.run_here(job.pk).state == "completed"


def test_users_take_turns_and_a_user_with_many_flights_does_not_go_first(flyer, tapis, settings, stack, unique, consuming):
    from app_extensions.tapis.models import TapisJob
    from app_extensions.tapis.sync import claims, run
    from tests.support.flights import Flyer

    TapisJob.objects.filter(state__in=TapisJob.ACTIVE).delete()  # of tests that are over
    other = Flyer(stack.address(), tapis, "turn" + unique)
    names = [f"Many{number}" for number in range(5)]
    imported(flyer, names)
    imported(other, ["Few"])
    consuming.pause()
    many, few = planned(flyer, names), planned(other, ["Few"])
    TapisJob.objects.filter(pk__in=[job.pk for job in many]).update(claimed_at=None)
    settings.TAPIS_WORKERS, settings.TAPIS_INSTANCE_CONNECTIONS = 50, 100
    held = [claims.claim() for _ in range(3)]
    try:
        assert other.user.pk in [each.job.user_id for each in held[:2]] and {each.job.user_id for each in held} == {
            flyer.user.pk, other.user.pk}
    finally:
        for each in held:
            claims.release(each)
    assert all(run.run_here(job.pk).state == "completed" for job in [*many, *few])


def test_fewer_connections_when_tapis_shows_strain_and_more_when_it_recovers(monkeypatch):
    from app_extensions.tapis.sync import fetch

    now = [100.0]
    monkeypatch.setattr(fetch.time, "monotonic", lambda: now[0])
    throttle = fetch.Throttle(0)
    assert throttle.limit == 4
    throttle.strained()
    throttle.strained()  # of the same moment
    assert throttle.limit == 3
    for _ in range(5):
        now[0] += 2
        throttle.strained()
    assert throttle.limit == 1
    for _ in range(fetch.GOOD_RUN):
        throttle.succeeded()
    assert throttle.limit == 2
