"""A scan's whole way as tests walk it, over HTTP or straight through the rules."""
import datetime
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable, Optional

from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import part_files
from app_extensions.openscan.intake import scans, uploads
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.processing import projects
from tests.openscan.helpers import Rig, put_part
from tests.openscan.make_sets import cut, make_zip
from tests.support.waiting import until


def send(rig: Rig, members: dict, parts: int = 2, project: Optional[str] = None, method: int = zipfile.ZIP_STORED) -> str:
    """Uploads a zip of `members` as a rig does and starts it. :return: the project's name"""
    return send_parts(rig, cut(make_zip(members, method), parts), len(members), project)


def send_parts(rig: Rig, pieces: list, photos: int = 1, project: Optional[str] = None) -> str:
    """Uploads pieces as they are and starts the project."""
    project = project or f"set {uuid.uuid4().hex[:8]}"
    for link, piece in zip(rig.create(project, sum(map(len, pieces)), len(pieces), photos), pieces):
        assert put_part(link, piece).status_code == 200
    answer = rig.get("startProject", project=project)
    assert answer.status_code == 200, answer.text
    return project


def webodm_polls() -> bool:
    """Does what WebODM's own beat does, at once; on a busy machine no faster than it is done. Returns whether it did."""
    from worker.tasks import process_pending_tasks, redis_client, update_nodes_info

    from app_extensions.host import celery_queue

    if redis_client.llen("celery") + redis_client.llen(celery_queue.queue_name()) > 8:
        return False
    update_nodes_info()
    process_pending_tasks()
    return True


def poke(*jobs: str) -> None:
    """Does what beat does: WebODM's polls, then our periodic jobs."""
    from app_extensions.openscan import tasks

    if webodm_polls():
        for job in jobs or ("release_queue", "catch_up", "deliver_mails"):
            getattr(tasks, job).delay()


def wait_for(rig: Rig, project: str, *statuses: str, seconds: float = 240, beat: Callable[[], Any] = poke) -> dict:
    """Polls getProjectInfo, as a rig does, until the status is one of these. Between polls, it calls `beat`."""
    def there() -> Optional[dict]:
        beat()
        info = rig.info(project)
        return info if info["status"] in statuses else None

    try:
        return until(there, seconds, 0.4, f"{project}: one of {statuses}")
    except AssertionError as problem:
        raise AssertionError(f"{problem}; {rig.info(project)}; before it: {in_motion()}") from None


def in_motion() -> list:
    """What stands in the queue or on a node: (scan, state, its task's status), for the message of a test that waited in vain."""
    from app_extensions.host import tasks as host_tasks

    found = []
    for scan in Scan.objects.filter(state__in=(Scan.APPROVED, Scan.RELEASED)):
        task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
        found.append((scan.pk, scan.state, host_tasks.task_state(task) if task is not None else None))
    return found


def started_scan(token: Token, pieces: Iterable[bytes], photos: int = 1) -> Scan:
    """A started scan with these parts, without HTTP and without its job being queued."""
    pieces = list(pieces)
    scan = scans.create_scan(token, uuid.uuid4().hex, photos=photos, parts=len(pieces), filesize_bytes=sum(map(len, pieces)))
    for number, piece in enumerate(pieces, 1):
        uploads.receive(uploads.Upload(scan, number), [piece], len(piece))
    Scan.objects.filter(pk=scan.pk).update(state=Scan.INITIALIZED, started_at=timezone.now())
    scan.refresh_from_db()
    return scan


def empty_queue() -> None:
    """End what other tests left waiting or on a node. An administrator's scans may use every node, so they would take a test's own."""
    Scan.objects.filter(state__in=(Scan.INITIALIZED, Scan.APPROVED, Scan.RELEASED)).update(state=Scan.EXPIRED)


def without_nodes() -> Any:
    """A WebODM user who may use no node: what belongs to them waits, whatever the live worker does.

    Outside WebODM's default group, which may use the sandbox's node.
    """
    from django.contrib.auth.models import User

    user = User.objects.create_user(f"no-nodes-{uuid.uuid4().hex[:12]}")
    user.groups.clear()
    return user


def task_of(scan: Scan) -> Any:
    """The scan's WebODM task, or None."""
    from app_extensions.host import tasks as host_tasks

    scan.refresh_from_db()
    return host_tasks.get_task(scan.webodm_task_id)


def photos_of(scan: Scan) -> dict:
    """What lies in the scan's task directory: name → bytes."""
    directory = Path(task_of(scan).task_path())
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def files_of_parts(scan: Scan) -> list:
    """The files in the scan's directory of parts."""
    directory = part_files.scan_dir(scan.pk)
    return sorted(directory.iterdir()) if directory.exists() else []


T0 = datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc)


def approved(token, minute=0, photos=10, **fields):
    """An approved scan in the database, with a waiting task."""
    scan = scans.create_scan(token, uuid.uuid4().hex, photos=photos, parts=1, filesize_bytes=1000)
    task = projects.make_waiting_task(scan)
    (host_tasks.task_dir(task) / "1.jpg").write_bytes(b"x")
    values = {"state": Scan.APPROVED, "started_at": T0 + datetime.timedelta(minutes=minute), "approved_at": timezone.now(),
              "images_count": photos, **fields}
    Scan.objects.filter(pk=scan.pk).update(**values)
    scan.refresh_from_db()
    return scan


def before_approval(monkeypatch: Any, happens: Callable[[], Any]) -> None:
    """Lets something happen when all photos of a scan are written, right before it is approved and paid."""
    from app_extensions.openscan.ingest import run

    approve = run._approve

    def late(scan: Scan, written: Any) -> None:
        happens()
        approve(scan, written)

    monkeypatch.setattr(run, "_approve", late)
