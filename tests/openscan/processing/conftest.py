"""Fixtures of the queue: one node, and no other scans."""
import pytest
from django.utils import timezone

from app_extensions.host import nodes as host_nodes
from app_extensions.openscan.models import Scan
from tests.openscan.flow import empty_queue, without_nodes


@pytest.fixture
def empty(db):
    """No other scans in the queue (rolled back afterwards)."""
    empty_queue()
    Scan.objects.update(processing_seconds=None)


@pytest.fixture
def node(empty, monkeypatch):
    """One online processing node that `node.owner` may use, and nobody else."""
    from nodeodm.models import ProcessingNode

    row = ProcessingNode.objects.create(hostname="127.0.0.1", port=9, label="test node", last_refreshed=timezone.now(),
                                        queue_count=0, max_images=None, available_options=[])
    row.owner = without_nodes()
    host_nodes.permit_node(row.owner, row.pk)
    return row


@pytest.fixture
def quiet(monkeypatch):
    """Handing a task over writes its row; the worker is not told, as these rows are rolled back."""
    from worker.tasks import process_task

    monkeypatch.setattr(process_task, "delay", lambda *_: None)
