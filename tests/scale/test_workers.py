"""Several workers, one killed at random again and again: every scan and every flight is done once, and nothing twice."""
import mailbox
import random
import re
import time

import pytest
from django.utils import timezone

from app_extensions.host import processing
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import books
from app_extensions.openscan.dispatch import dispatch
from app_extensions.openscan.models import OutgoingMail, Scan
from app_extensions.openscan.results import packing
from app_extensions.tapis import jobs
from app_extensions.tapis.models import FlightFile, SyncBatch, TapisJob
from app_extensions.tapis.sync import leases, tidy
from tests.openscan.flow import files_of_parts, photos_of, poke, send, started_scan, without_nodes
from tests.openscan.helpers import Rig, private_token
from tests.openscan.make_sets import make_zip, photos
from tests.support.flights import Flyer
from tests.support.tapis import StandIn
from tests.support.waiting import until


class Chaos:
    """The live stack with several workers instead of one, and what a beat does."""

    def __init__(self, stack, seed: int, workers: int) -> None:
        self.stack = stack
        self.random = random.Random(seed)
        self.workers = [stack.add_worker(f"chaos{number}", "--autoscale", "2,1") for number in range(workers)]
        self.offsets = {worker.log: worker.log.stat().st_size if worker.log.exists() else 0 for worker in self.workers}
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait_ready()
        self.kills, self._next_look = 0, 0.0

    def kill_one(self) -> None:
        """SIGKILL to a worker and all its processes, as a machine that loses its power; and a new one in its place."""
        worker = self.random.choice(self.workers)
        worker.kill()
        self.kills += 1
        worker.start()

    def beat(self) -> None:
        """What comes by the clock, sooner than every minute."""
        poke("release_queue", "catch_up", "deliver_mails")
        jobs.take_up_again()
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + 3
            processing.free_left_locks()
        # A job that was lost is looked for after twenty seconds.
        Scan.objects.filter(state=Scan.INITIALIZED).update(started_at=timezone.now() - timezone.timedelta(minutes=1))

    def logs(self) -> str:
        text = ""
        for path, offset in self.offsets.items():
            with path.open("rb") as lines:
                lines.seek(offset)
                text += lines.read().decode(errors="replace")
        return text

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()
            self.stack.services.pop(worker.name)


def everything_is_done_once(stack, monkeypatch, unique, *, workers: int, scan_count: int, flight_count: int, kills: int,
                            pause_seconds: float, seconds: float) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"\nseed {seed}")
    monkeypatch.setattr(processing, "SUSPECT_SECONDS", 6)
    stand_in = StandIn(stack.address("tapis"))
    stand_in.reset()
    flyer = Flyer(stack.address(), stand_in, "c" + unique, email=f"{unique}@example.org")
    token, text = private_token(10**12)
    rig = Rig(stack.address(), text)
    sets = [photos(12 + number) for number in range(scan_count)]
    mails = set(OutgoingMail.objects.values_list("pk", flat=True))
    for number in range(flight_count):
        flyer.flight(f"Chaos{number}", 25, size_bytes=400_000)
    chaos = Chaos(stack, seed, workers)
    try:
        flyer.create()  # a job for the workers, so they come first
        stand_in.fault("slow", operation="content", seconds=0.3)
        scans = [Scan.objects.get(name=send(rig, members, parts=3)) for members in sets]
        synced = [flyer.sync(f"Chaos{number}") for number in range(flight_count)]
        deadline, next_kill = time.monotonic() + seconds, time.monotonic() + pause_seconds / 2
        while True:
            chaos.beat()
            if chaos.kills < kills and time.monotonic() >= next_kill:
                chaos.kill_one()
                next_kill = time.monotonic() + pause_seconds * (0.5 + chaos.random.random())
            states = [scan.state for scan in Scan.objects.filter(token=token)]
            flights = list(TapisJob.objects.filter(pk__in=synced).values_list("state", flat=True))
            errors = list(TapisJob.objects.filter(pk__in=synced).values_list("error", flat=True))
            if chaos.kills == kills and set(states) == {Scan.DONE} and set(flights) == {TapisJob.COMPLETED}:
                break
            assert not {Scan.FAILED, Scan.EXPIRED} & set(states) and not {"failed", "canceled"} & set(flights), (states, flights, errors)
            assert time.monotonic() < deadline, (states, flights, _where(scans), chaos.kills)
            time.sleep(0.3)
        _deliver(chaos, OutgoingMail.objects.exclude(pk__in=mails), deadline)
        log = chaos.logs()
    finally:
        stand_in.reset()
        chaos.stop()
    print(f"{chaos.kills} workers killed, {len(scans)} scans and {flight_count} flights done")
    check_scans(scans, sets, log)
    check_mails(stack, OutgoingMail.objects.exclude(pk__in=mails), len(scans))
    check_flights(flyer, flight_count)
    assert books.find_discrepancies([token]) == []


def _where(scans: list) -> list:
    found = []
    for scan in scans:
        scan.refresh_from_db()
        task = host_tasks.get_task(scan.webodm_task_id)
        found.append((scan.pk, scan.state, host_tasks.task_state(task) if task else None))
    return found


def _deliver(chaos: Chaos, rows, deadline: float) -> None:
    while rows.exclude(state=OutgoingMail.SENT).exists():
        rows.filter(state=OutgoingMail.WAITING).update(next_attempt_at=timezone.now())
        chaos.beat()
        assert time.monotonic() < deadline, list(rows.values_list("kind", "state", "attempts"))
        time.sleep(0.3)


def check_scans(scans: list, sets: list, log: str) -> None:
    part_files.sweep(0)
    for path in packing.stray_files(0):
        path.unlink()  # of a worker killed between packing and its commit; the clock does it after an hour
    for scan, members in zip(scans, sets):
        assert photos_of(scan) == members and scan.images_count == len(members)
        assert [entry.kind for entry in scan.entries.order_by("pk")] == ["hold", "post"]
        assert scan.posted_bytes == scan.declared_bytes and not scan.parts.exists() and not files_of_parts(scan)
        mine = [path.name for path in part_files.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]
        assert mine == [scan.result_file]
        assert not host_tasks.incoming_path(scan.webodm_task_id).exists()
        # Each line is there twice, by the two handlers that WebODM and Celery have in a worker.
        assert len(re.findall(rf"^INFO OpenScan: scan {scan.pk} taken in", log, re.M)) <= 1, "taken in twice"
        assert len(re.findall(rf"^INFO OpenScan: scan {scan.pk} done", log, re.M)) <= 1, "packed and told twice"
    task = host_tasks.get_task(scans[0].webodm_task_id)
    assert {str(row.pk) for row in task.project.task_set.all()} == {str(scan.webodm_task_id) for scan in scans}


def check_mails(stack, rows, scan_count: int) -> None:
    assert rows.filter(kind="done").count() == scan_count and not rows.filter(kind="failed").exists()
    arrived = {message["Message-ID"] for message in mailbox.Maildir(str(stack.mail_dir), create=False)}
    assert {row.message_id for row in rows.filter(kind="done")} <= arrived


def check_flights(flyer: Flyer, count: int) -> None:
    for number in range(count):
        name = f"Chaos{number}"
        row = flyer.row(name)
        assert flyer.files(name) == {f"IMG_{image:05d}.JPG": 400_000 for image in range(25)}
        assert set(FlightFile.objects.filter(flight=row).values_list("state", "batch_id")) == {("done", None)}
        assert flyer.task(name).images_count == 25 and flyer.task(name).project.task_set.count() == 1
        assert TapisJob.objects.filter(flight=row).count() == 1
        # Leases of killed workers end by themselves; the next sync sees to what they had.
        until(lambda row=row: leases.reap() or not SyncBatch.objects.filter(job__flight=row).exists())
        tidy.remove_incoming(TapisJob.objects.get(flight=row))
        assert not host_tasks.incoming_path(row.task_id).exists()


def test_workers_killed_a_few_times(stack, live_db, monkeypatch, unique, running_worker):
    running_worker.stop()
    everything_is_done_once(stack, monkeypatch, unique, workers=2, scan_count=3, flight_count=2, kills=2, pause_seconds=2.5, seconds=180)


def test_our_jobs_have_a_queue_of_their_own_if_a_setting_names_one(stack, live_db, settings, unique):
    """WebODM's own worker leaves them alone, and a worker for that queue takes them."""
    settings.OPENSCAN_CELERY_QUEUE = settings.TAPIS_QUEUE = unique
    scan = started_scan(private_token(owner=without_nodes())[0], [make_zip(photos(2))])
    assert dispatch("ingest_scan", scan.pk)
    jobs.send("cleanup_expired_oauth_states")
    assert processing.redis_client.llen(unique) == 2
    worker = stack.add_worker(f"own-{unique}", "-Q", unique, "--autoscale", "2,1")
    worker.env = {**worker.env, "WO_OPENSCAN_CELERY_QUEUE": unique, "WO_TAPIS_QUEUE": unique}
    worker.start()
    try:
        worker.wait_ready()
        until(lambda: Scan.objects.get(pk=scan.pk).state == Scan.APPROVED, 60)
        until(lambda: re.search(r"cleanup_expired_oauth_states\S+ succeeded", worker.log.read_text()), 60)
        until(lambda: re.search(r"release_queue\S+ succeeded", worker.log.read_text()), 60, says="what follows stays there")
    finally:
        worker.stop()
        stack.services.pop(worker.name)


@pytest.mark.long
def test_workers_killed_for_minutes(stack, live_db, monkeypatch, unique, running_worker):
    running_worker.stop()
    everything_is_done_once(stack, monkeypatch, unique, workers=4, scan_count=12, flight_count=6, kills=25, pause_seconds=4, seconds=900)
