"""WebODM's signals on tasks, most of them heard in its worker: each only queues the job that looks for itself; but when a task is
about to be removed, what WebODM needs and what the task takes with it is seen to at once."""
from typing import Any

from app_extensions.host import signals as host_signals
from app_extensions.host.log_fields import log_fields
from app_extensions.openscan.dispatch import dispatch
from app_extensions.openscan.ingest import run
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import finish
from app_extensions.openscan.results.object_storage import archive


def connect() -> None:
    """Listen; called while the app loads, in every process."""
    for signal, name in ((host_signals.task_completed, "completed"), (host_signals.task_failed, "failed"),
                         (host_signals.task_removed, "removed")):
        signal.connect(_look_at, dispatch_uid=f"openscan.task_{name}")
    host_signals.task_restarting.connect(_restarting, dispatch_uid="openscan.task_restarting")
    host_signals.task_removing.connect(_about_to_go, dispatch_uid="openscan.task_removing")


def _about_to_go(sender: Any, task_id: Any, **_: Any) -> None:
    """A task is about to go, with its files: nothing may come in any more, and what is for research is saved."""
    run.task_removed(task_id)
    archive.hold_back(task_id)


def _restarting(sender: Any, task_id: Any, **_: Any) -> None:
    """A task's owner has it processed again."""
    finish.restarted(task_id)


def _look_at(sender: Any, task_id: Any, **_: Any) -> None:
    """A task ended: if it is one of ours, bring its scan up to date."""
    for scan_id in Scan.objects.filter(webodm_task_id=task_id).values_list("pk", flat=True):
        with log_fields(scan=scan_id):
            dispatch("finish_scan", scan_id)
            dispatch("discard_scan", scan_id)
