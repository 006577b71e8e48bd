"""Fixtures of the OpenScan tests."""
import pytest
from django.utils import timezone

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import ArchivedSet, Scan, StoredObject
from app_extensions.openscan.processing import projects
from dev.standins.s3 import S3_QUEUE, Store, faulty_line, s3_server
from tests.openscan.finished import MODEL, fill
from tests.openscan.flow import empty_queue, without_nodes
from tests.openscan.helpers import Rig, own_gunicorn, private_token, public_token


@pytest.fixture(autouse=True)
def nothing_else_waits(request, django_db_blocker) -> None:
    """End the scans that other tests left. With hundreds of them, the live worker takes seconds each time it looks at its queue."""
    if "stack" in request.fixturenames:
        with django_db_blocker.unblock():
            empty_queue()


@pytest.fixture
def rig(stack, live_db) -> Rig:
    """A rig with its own private token, at the live server."""
    return Rig(stack.address(), private_token(10**12)[1])


@pytest.fixture
def public_rigs(stack, live_db) -> tuple:
    """Two rigs behind different addresses that share one public token."""
    text = public_token(10**12)[1]
    return Rig(stack.address(), text, address="198.51.100.7"), Rig(stack.address(), text, address="198.51.100.8")


@pytest.fixture(scope="session")
def s3(ground):
    """A real S3 server with an empty bucket, and a line to it that a test may break."""
    with s3_server(ground.log_path("s3")) as address, faulty_line(address) as line:
        yield Store(address, line)


@pytest.fixture(scope="session")
def s3_web(stack, s3):
    """A live web server whose settings name the storage; its jobs go to a queue that only the test of the whole way serves."""
    with own_gunicorn(stack, "web-s3", WO_OPENSCAN_CELERY_QUEUE=S3_QUEUE, **s3.environment) as service:
        yield service


@pytest.fixture
def store(s3, settings, live_db, monkeypatch):
    """The S3 server behind a sound line, named by this process's settings; what earlier tests broke is forgotten.

    boto3 tries as often as ever, without its pauses of up to seconds.
    """
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    s3.line.heal()
    for model in (StoredObject, ArchivedSet):
        model.objects.update(failed_at=None)
    s3.switch_on(settings)
    yield s3
    s3.line.heal()


@pytest.fixture
def completed():
    """Makes scans whose task is complete, as WebODM leaves it, without a node: completed(files) -> Scan."""
    def make(files=None, name=None, **fields):
        token, _ = private_token(owner=without_nodes())
        scan = scans.create_scan(token, name or "a scan", photos=3, parts=1, filesize_bytes=1000)
        task = projects.make_waiting_task(scan)
        host_tasks.task_dir(task)
        fill(task, MODEL if files is None else files)
        task.status, task.processing_time, task.auto_processing_node = 40, 12000, False
        task.save()
        values = {"state": Scan.RELEASED, "released_at": timezone.now(), "started_at": timezone.now(), "images_count": 3, **fields}
        Scan.objects.filter(pk=scan.pk).update(**values)
        return Scan.objects.get(pk=scan.pk)

    return make
