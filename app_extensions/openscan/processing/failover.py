"""If a processing node fails a scan, puts the scan back into the queue for another node: free of charge, a few times.

WebODM moves a task to another node only while the task waits in a node's own queue. A running task fails in WebODM if its node
dies or forgets it, and stands still forever if its node hangs. This module tells a node's faults from those of the photos, takes
the task off the node, and puts the scan back in its place in the queue. The scan is charged only once. A failure that is not
clearly the node's ends the scan as usual (``finish``).
"""
import logging
from datetime import datetime, timedelta
from typing import Any, Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.host import media, processing
from app_extensions.host import tasks as host_tasks
from app_extensions.host.faults import OFFLINE, REMOVED, SILENT, STALLED, Trouble, fault_in, for_admins, given_up
from app_extensions.host.log_fields import log_fields
from app_extensions.openscan import lifecycle
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.dispatch import dispatch, dispatch_on_commit
from app_extensions.openscan.locks import scan_lock
from app_extensions.openscan.models import NodeWatch, Scan
from app_extensions.openscan.processing import nodes

logger = logging.getLogger("app.logger")

#: Minutes until the next attempt if no other node can take the scan.
WAITS_MINUTES = (1, 5, 15)
#: How long a job waits for WebODM to finish its current step with the task. A step that queries a hanging node takes 30 s.
PATIENCE_SECONDS = 45
#: If two looks are further apart than this, they say nothing about the time between: the worker that polls the nodes was away, too.
GAP = timedelta(minutes=5)
WATCH_SECONDS = 60
_LONGEST_NOTES = 4000


def watch() -> int:
    """Look at every scan that is on a node, and queue a move for those on nodes that are dead or hang. :return: how many"""
    now, moved = timezone.now(), 0
    NodeWatch.objects.exclude(scan__state=Scan.RELEASED).delete()
    for scan in Scan.objects.filter(state=Scan.RELEASED).select_related("token"):
        task = host_tasks.get_task(scan.webodm_task_id)
        if task is None:
            continue  # catch_up handles this
        note_signs(scan, task, now)
        if _trouble(scan, task) is not None:
            with log_fields(scan=scan.pk):
                dispatch("move_scan", scan.pk, expires_seconds=WATCH_SECONDS)
            moved += 1
    return moved


def note_signs(scan: Scan, task: Any, now: datetime) -> NodeWatch:
    """Record the current signs of life of a released scan."""
    progress, answer = processing.life_signs(task)
    seen = NodeWatch.objects.filter(scan_id=scan.pk).first()
    # A task that waits in its node's own queue need not show any progress.
    anew = seen is None or now - seen.looked_at > GAP or not processing.is_running(task)
    seen, _ = NodeWatch.objects.update_or_create(scan_id=scan.pk, defaults={
        "looked_at": now, "progress": progress[:200], "answer": answer[:220],
        "progress_at": now if anew or seen.progress != progress[:200] else seen.progress_at,
        "answer_at": now if anew or seen.answer != answer[:220] else seen.answer_at})
    return seen


def _trouble(scan: Scan, task: Any) -> Optional[Trouble]:
    """What is wrong with a released scan's node; None if nothing is."""
    state = host_tasks.task_state(task)
    if state.pending_action is not None:
        return None
    if state.status == host_tasks.FAILED:
        return fault_in(state.node_error)
    node_id, _, is_online = processing.node_of(task)
    if state.status not in (host_tasks.WAITING, host_tasks.QUEUED, host_tasks.RUNNING):
        return None
    if node_id is None:
        return None if task.auto_processing_node else REMOVED  # WebODM does nothing with a task that lost its node
    if not is_online:
        return OFFLINE
    seen = NodeWatch.objects.filter(scan_id=scan.pk).first()
    if seen is None or not processing.is_running(task) or _disk_is_full(task):
        return None
    # Compare with `looked_at` and not with now: time in which the worker was away does not count against the node.
    if seen.looked_at - seen.answer_at >= timedelta(minutes=conf.silent_minutes):
        return SILENT
    if 0 < conf.stalled_minutes <= (seen.looked_at - seen.progress_at).total_seconds() / 60:
        return STALLED
    return None


def _disk_is_full(task: Any) -> bool:
    """Whether the disk is full. WebODM cannot fetch results then and the task stands still, which is not the node's fault."""
    return media.free_bytes(host_tasks.task_path(task)) < conf.free_reserve_bytes


def move(scan_id: int) -> None:
    """Take a scan off its node if something is still wrong with the node. Safe to call at any time."""
    with scan_lock(scan_id) as mine:
        scan = Scan.objects.select_related("token").filter(pk=scan_id, state=Scan.RELEASED).first() if mine else None
        if scan is None:
            return
        task = host_tasks.get_task(scan.webodm_task_id)
        if task is not None and _trouble(scan, task) is not None:
            _move(scan)


def take_elsewhere(scan: Scan, task: Any) -> bool:
    """Send a scan with a failed task to another node, if the node was at fault and attempts are left. Hold the scan's lock.

    :return: True if the scan has not failed (yet): it moves to another node, or WebODM is still busy with the task and the next
        look tries again
    """
    if scan.state != Scan.RELEASED or not _has_attempts(scan) or _trouble(scan, task) is None:
        return False
    _move(scan)
    return True


def is_on_its_way(scan: Scan, error: str) -> bool:
    """Whether a scan continues although its task failed with this error, because another node will get it.

    If so, clients must not see a failure: they stop polling at the first one.
    """
    return scan.state == Scan.RELEASED and _has_attempts(scan) and fault_in(error) is not None


def _has_attempts(scan: Scan) -> bool:
    return scan.moves + 1 < conf.node_attempts


def _move(scan: Scan) -> bool:
    with processing.task_lock(scan.webodm_task_id, PATIENCE_SECONDS) as lock:
        task = host_tasks.get_task(scan.webodm_task_id) if lock else None
        trouble = _trouble(scan, task) if task is not None else None  # the step that we waited for may have fixed it
        if trouble is None:
            return False
        node_id, label, is_online = processing.node_of(task)
        if is_online:
            # Do this first: after a crash behind this line the node does not know the task, and such a task is moved as well.
            processing.drop_on_node(task)
            if not lock.renew():
                return False  # a worker is busy with the task again; the next look sees the outcome
        with transaction.atomic():
            row = Scan.objects.select_for_update().filter(pk=scan.pk, state=Scan.RELEASED).first()
            if row is None:
                return False
            if not _has_attempts(row):
                _give_up(row, task, trouble)
            else:
                _back_to_queue(row, task, trouble, node_id, label)
    return True


def _back_to_queue(row: Scan, task: Any, trouble: Trouble, node_id: Optional[int], label: str) -> None:
    places = nodes.Places()
    now = timezone.now()
    processing.take_off_node(task.id)
    changes: dict[str, Any] = {"moves": row.moves + 1, "node_notes": _noted(row, now, label, trouble)}
    if node_id is not None:
        nodes.note_trouble(node_id, f"{trouble.words} ({now:%Y-%m-%d %H:%M} UTC)", trouble.rests)
        if not places.is_cluster(node_id):
            tried = dict.fromkeys([*filter(None, row.tried_nodes.split(",")), str(node_id)])
            changes["tried_nodes"] = ",".join(tried)[-200:]
    owner = tokens.token_owner(row.token)
    others = [node for node in places.usable(owner) if node.id != node_id] if owner is not None else []
    minutes = WAITS_MINUTES[min(row.moves + 1, len(WAITS_MINUTES)) - 1]
    changes["retry_at"] = None if others else now + timedelta(minutes=minutes)
    lifecycle.apply(row.pk, lifecycle.MOVE, why=f"Node {label or '(none)'} failed: {trouble.words}.", **changes)
    NodeWatch.objects.filter(scan_id=row.pk).delete()
    logger.warning("OpenScan: scan %s is taken off node %s, %s: %s", row.pk, label or "(none)", trouble.words,
                   "back into the queue" if others else f"no other node is there, next attempt in {minutes} min")


def _give_up(row: Scan, task: Any, trouble: Trouble) -> None:
    """No attempts are left: end the task as failed, so that the scan fails and its credit is refunded."""
    Scan.objects.filter(pk=row.pk).update(node_notes=_noted(row, timezone.now(), processing.node_of(task)[1], trouble))
    processing.fail_task(task.id, given_up(trouble, row.moves + 1))
    dispatch_on_commit("finish_scan", row.pk)
    logger.error("OpenScan: scan %s is given up after %d attempts on processing nodes", row.pk, row.moves + 1)


def noted_error(row: Scan, state: Any) -> str:
    """A scan's notes on nodes, for administrators, plus what the node said about a failed task, with secrets masked."""
    if not state.node_error:
        return row.node_notes
    return _with_line(row, timezone.now(), f"failed on {state.node_label or 'its node'}: {for_admins(state.node_error)}")


def _noted(row: Scan, now: datetime, label: str, trouble: Trouble) -> str:
    """A scan's notes on nodes, plus this trouble."""
    return _with_line(row, now, f"taken off {label or 'its node'}, {trouble.words} ({trouble.kind})")


def _with_line(row: Scan, now: datetime, text: str) -> str:
    line = f"{now:%Y-%m-%d %H:%M} UTC: {text}"
    return "\n".join(filter(None, [row.node_notes, line]))[-_LONGEST_NOTES:]
