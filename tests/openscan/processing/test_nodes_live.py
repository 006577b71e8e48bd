"""Real nodes behind the live WebODM: several of them, one that dies, hangs, fills up, forgets, and a ClusterODM-shaped one."""
import json
import mailbox
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from app_extensions.host import processing
from app_extensions.openscan.accounts import books
from app_extensions.openscan.accounts.tokens import create_token
from app_extensions.openscan.models import NodeRecord, NodeWatch, Scan
from app_extensions.openscan.processing import queue
from dev.sandbox.processes import free_port
from tests.node.harness import QUICK_ENGINE, NodeProgram, shell_engine
from tests.openscan.flow import empty_queue, poke, send, task_of, without_nodes
from tests.openscan.helpers import Rig
from tests.openscan.make_sets import photos
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]
JOBS = ("release_queue", "catch_up", "watch_nodes", "deliver_mails")


class Machine(NodeProgram):
    """A node with an engine that a test can make slow, fail or hang at each run."""

    def __init__(self, directory: Path, *arguments: str, engine: str = "", **behaviour: object) -> None:
        directory.mkdir()
        self.control = directory / "control.json"
        self.behave(**behaviour)
        super().__init__(directory / "data", engine or f"{QUICK_ENGINE} --control {self.control}", arguments)

    def behave(self, **behaviour: object) -> None:
        self.control.write_text(json.dumps(behaviour))

    def die(self) -> None:
        """The whole machine, engines and all."""
        engines = self.engine_processes()
        self.kill()
        for pid in engines:
            subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)


class Site:
    """A WebODM user of the live stack with nodes of his own, and a rig with his token."""

    def __init__(self, stack, directory: Path) -> None:
        self.owner = without_nodes()
        self.mail = f"{uuid.uuid4().hex[:12]}@example.org"
        self.token, text = create_token(forename="Ada", surname="Lovelace", mail=self.mail, credit_bytes=10**12, owner=self.owner)
        self.maildir = stack.mail_dir
        self.rig = Rig(stack.address(), text)
        self.directory = directory
        self.machines: list = []
        self.rows: list = []

    def machine(self, *arguments: str, **behaviour: Any) -> Machine:
        self.machines.append(Machine(self.directory / f"machine{len(self.machines)}", *arguments, **behaviour).start())
        return self.machines[-1]

    def add(self, url: str, label: str):
        from nodeodm.models import ProcessingNode

        from app_extensions.host import nodes as host_nodes

        row = ProcessingNode.objects.create(hostname="127.0.0.1", port=int(url.rpartition(":")[2]), label=label)
        # WebODM asks a node once when it is added. Later only beat asks, which does not run here, and a busy node may miss that once.
        until(lambda: row.is_online() or row.update_node_info(), 120, says=f"node {label} is online")
        host_nodes.permit_node(self.owner, row.pk)
        self.rows.append(row)
        return row

    def send(self, count: int = 1) -> list:
        return [Scan.objects.get(name=send(self.rig, photos(3))) for _ in range(count)]

    def wait(self, condition, says: str):
        """Poll, with all the time that a busy machine may need. What is wrong is in the error."""
        try:
            return until(lambda: poke(*JOBS) or condition(), 600, 0.5, says)
        except AssertionError as error:
            told = [f"{scan}: {scan.state}, node {node_of(scan)}, {scan.error or scan.node_notes or queue.what_it_waits_for(scan)}"
                    for scan in Scan.objects.filter(token=self.token).order_by("pk")]
            for row in self.rows:
                row.refresh_from_db()
            nodes = [f"node {row.pk}: online {row.is_online()}, {row.queue_count} tasks" for row in self.rows]
            raise AssertionError("\n".join([str(error), *nodes, *told])) from None

    def mails(self, count: int) -> list:
        """Subjects of the different mails that the token's person got, once there are so many."""
        def arrived() -> dict:
            return {message["Message-ID"]: message["Subject"] for message in mailbox.Maildir(str(self.maildir), create=False)
                    if message["To"] == self.mail}

        until(lambda: poke("deliver_mails") or len(arrived()) >= count, 60, 0.5, f"{count} mails")
        return sorted(arrived().values())

    def wait_done(self, scans: list) -> None:
        def all_done():
            for scan in scans:
                Scan.objects.filter(pk=scan.pk, state=Scan.APPROVED, moves__gt=0).update(retry_at=None)  # not for minutes
                scan.refresh_from_db()
                assert scan.state != Scan.FAILED, (scan.error, scan.node_notes)
            return all(scan.state == Scan.DONE for scan in scans)

        self.wait(all_done, "every scan done")
        for scan in scans:
            assert scan.charge == Scan.POSTED and scan.posted_bytes == scan.declared_bytes
            assert [entry.kind for entry in scan.entries.order_by("pk")] == ["hold", "post"]
        assert books.find_discrepancies([self.token]) == []
        assert task_of(scans[0]).project.task_set.count() == len(scans), "no task twice"


@pytest.fixture
def site(stack, live_db, tmp_path):
    empty_queue()
    made = Site(stack, tmp_path)
    yield made
    empty_queue()
    for row in made.rows:
        row.delete()
    for machine in made.machines:
        if machine.process.poll() is None:
            machine.die()


def node_of(scan):
    task = task_of(scan)
    return task.processing_node_id if task is not None else None


def runs_on(scan, row) -> bool:
    return node_of(scan) == row.pk and task_of(scan).status == 20


def test_one_of_three_nodes_dies_and_one_hangs(site):
    dying, hanging, sound = site.machine(seconds=600), site.machine(mode="hang"), site.machine(seconds=1)
    rows = [site.add(machine.url, label) for machine, label in ((dying, "dying"), (hanging, "hanging"))]
    scans = site.send(2)
    site.wait(lambda: {node_of(scan) for scan in scans} == {row.pk for row in rows}, "one scan on each node")
    third = site.add(sound.url, "sound")  # only now: a fast node could take all three
    scans += site.send(1)
    site.wait(lambda: node_of(scans[2]) == third.pk, "the third scan on the third node")
    on_dying, on_hanging = (next(scan for scan in scans if node_of(scan) == row.pk) for row in rows[:2])
    site.wait(lambda: runs_on(on_dying, rows[0]) and runs_on(on_hanging, rows[1]) and
              NodeWatch.objects.filter(scan__in=(on_dying, on_hanging)).count() == 2, "both watched")

    hanging.behave(seconds=1)  # from its next run on
    dying.die()
    type(rows[0]).objects.filter(pk=rows[0].pk).update(last_refreshed=timezone.now() - timezone.timedelta(minutes=20))
    long_ago = timezone.now() - timezone.timedelta(hours=9)

    def hangs():
        """The last progress is long ago, as seen by a watch without gaps."""
        NodeWatch.objects.filter(scan=on_hanging).update(progress_at=long_ago)
        return Scan.objects.get(pk=on_hanging.pk).moves

    site.wait(hangs, "taken off the node that hangs")
    site.wait_done(scans)
    assert (on_dying.moves, on_hanging.moves) == (1, 1) and sum(scan.moves for scan in scans) == 2
    assert "dying" in on_dying.node_notes and "no progress" in on_hanging.node_notes
    until(lambda: not hanging.engine_processes(), 30, says="the hanging engine was ended")
    assert NodeRecord.objects.get(node_id=rows[1].pk).troubles == 1
    mails = site.mails(3)
    assert len(mails) == 3 and "could not be made" not in "".join(mails), mails


def test_a_full_node_and_one_that_forgets(site, tmp_path):
    port = str(free_port())
    shell_engine(tmp_path / "full", """echo '{"type":"result","ok":false,"error":"[Errno 28] No space left on device"}'; exit 1""")
    full, forgetful = site.machine(engine=str(tmp_path / "full")), site.machine("--port", port, seconds=600)
    rows = site.add(full.url, "full"), site.add(forgetful.url, "forgetful")
    scan, = site.send()
    site.wait(lambda: runs_on(scan, rows[1]), "on the second node")
    scan.refresh_from_db()
    assert scan.moves == 1 and "its disk was full" in scan.node_notes
    assert NodeRecord.objects.get(node_id=rows[0].pk).rests_until > timezone.now()

    forgetful.die()
    shutil.rmtree(forgetful.data)
    forgetful.behave(seconds=0.5)
    forgetful.start()
    site.wait_done([scan])
    assert scan.moves == 2 and "forgotten the task" in scan.node_notes
    assert len(site.mails(1)) == 1


def test_a_cluster_counts_as_many_and_a_dead_machine_behind_it_is_noticed(site):
    first, second = site.machine(seconds=1.5), site.machine(seconds=1.5)
    program = subprocess.Popen([sys.executable, str(ROOT / "dev" / "standins" / "cluster.py"), "--node", first.url, "--node", second.url],
                               stdout=subprocess.PIPE)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", program.stdout.readline().decode()).group()
        row = site.add(url, "cluster")
        site.wait(lambda: NodeRecord.objects.filter(node_id=row.pk, is_cluster=True).exists(), "the cluster is known as one")
        scans = site.send(3)
        most = 0

        def at_once():
            nonlocal most
            most = max(most, Scan.objects.filter(token=site.token, state=Scan.RELEASED).count())
            return most >= 2

        site.wait(at_once, "several at once")
        site.wait_done(scans)
        assert all(len(machine.get("/task/list").json()) >= 1 for machine in (first, second)), "both machines had work"
        assert sum(len(machine.get("/task/list").json()) for machine in (first, second)) == 3

        for machine in (first, second):
            machine.behave(seconds=600)
        scan, = site.send()
        site.wait(lambda: runs_on(scan, row) and NodeWatch.objects.filter(scan=scan).exists(), "the fourth runs")
        dead = next(machine for machine in (first, second) if len(machine.engine_processes()))
        dead.die()
        for machine in (first, second):
            machine.behave(seconds=0.5)

        def silent():
            NodeWatch.objects.filter(scan=scan).update(answer_at=timezone.now() - timezone.timedelta(hours=1))
            return Scan.objects.get(pk=scan.pk).moves

        site.wait(silent, "taken off the machine that is dead")
        site.wait_done([*scans, scan])
        assert "did not answer any more" in scan.node_notes and scan.tried_nodes == ""
    finally:
        program.kill()
        program.wait()
        program.stdout.close()


def test_a_lock_that_nobody_holds_is_given_back(stack, live_db, monkeypatch):
    """No worker says that it is at this task, twice in a row."""
    monkeypatch.setattr(processing, "SUSPECT_SECONDS", 1)
    monkeypatch.setattr(processing, "_ASK_WORKERS_SECONDS", 0.5)
    name = f"task_lock_{uuid.uuid4()}"
    processing.redis_client.set(name, time.time())
    processing.free_left_locks()
    assert processing.redis_client.exists(name), "once is not enough"
    until(lambda: processing.free_left_locks() and not processing.redis_client.exists(name), 60, 0.5)


@pytest.mark.long
def test_a_lock_that_a_killed_worker_left_on_a_task_is_given_back(site, stack, running_worker, monkeypatch):
    """WebODM's own polls by the other workers keep it alive for ever; one that is held stays."""
    machine = site.machine(seconds=600)
    row = site.add(machine.url, "stopped")
    scan, = site.send()
    site.wait(lambda: runs_on(scan, row), "on the node")
    name = f"task_lock_{scan.webodm_task_id}"
    monkeypatch.setattr(processing, "SUSPECT_SECONDS", 2)
    second = stack.add_worker("second", "--autoscale", "2,1")
    machine.process.send_signal(signal.SIGSTOP)  # whoever asks it waits for half a minute
    try:
        until(lambda: poke() or processing.redis_client.exists(name) and at_work(scan), 60, 0.5, "a worker asks the node")
        for _ in range(3):
            processing.free_left_locks()
            assert processing.redis_client.exists(name) or not at_work(scan), "given back while a worker is at it"
            time.sleep(1)
        until(lambda: poke() or at_work(scan), 60, 0.2)
        running_worker.kill()
        assert processing.redis_client.exists(name)
        second.start()
        second.wait_ready()
        machine.process.send_signal(signal.SIGCONT)
        freed = until(lambda: poke() or processing.free_left_locks(), 60, 0.5, "the lock is given back")
        assert freed >= 1
        machine.behave(seconds=0.2)
        until(lambda: poke() or task_of(scan).running_progress > 0, 60, 0.5, "it is asked after again")
    finally:
        machine.process.send_signal(signal.SIGCONT)
        second.stop()
        stack.services.pop("second")


def at_work(scan) -> bool:
    """Whether a worker says that it is at the scan's task in WebODM."""
    answers = processing.app.control.inspect(timeout=1).active() or {}
    return any(job["name"] == "worker.tasks.process_task" and str(scan.webodm_task_id) in str(job["args"])
               for jobs in answers.values() for job in jobs)
