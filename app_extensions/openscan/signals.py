"""Handles WebODM's task signals, most of which arrive in its worker.

Usually a handler only queues a job, which looks at the task itself. Two handlers act at once: when a task is restarted, its scan
is marked as running again; when a task is about to be removed, its ingest ends and its files for research are saved.
"""
from typing import Any

from app_extensions.host import signals as host_signals
from app_extensions.host.log_fields import log_fields
from app_extensions.openscan.dispatch import dispatch
from app_extensions.openscan.ingest import run
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results.object_storage import archive


def connect() -> None:
    """Connect the handlers. Called while the app loads, in every process."""
    for signal, name in ((host_signals.task_completed, "completed"), (host_signals.task_failed, "failed"),
                         (host_signals.task_removed, "removed")):
        signal.connect(_look_at, dispatch_uid=f"openscan.task_{name}")
    host_signals.task_restarting.connect(_restarting, dispatch_uid="openscan.task_restarting")
    host_signals.task_removing.connect(_about_to_go, dispatch_uid="openscan.task_removing")


def _about_to_go(sender: Any, task_id: Any, **_: Any) -> None:
    """A task and its files are about to be removed: end its ingest, and save what is kept for research."""
    run.task_removed(task_id)
    archive.hold_back(task_id)


def _restarting(sender: Any, task_id: Any, **_: Any) -> None:
    """A task's owner restarted its processing."""
    finish.restarted(task_id)


def _look_at(sender: Any, task_id: Any, **_: Any) -> None:
    """A task ended: if it is one of ours, bring its scan up to date."""
    for scan_id in Scan.objects.filter(webodm_task_id=task_id).values_list("pk", flat=True):
        with log_fields(scan=scan_id):
            dispatch("finish_scan", scan_id)
            dispatch("discard_scan", scan_id)
