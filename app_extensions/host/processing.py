"""WebODM's work on a task that is on a node, seen from outside: its lock, its signs of life, and taking the task off the node.

WebODM does one step of a task at a time under a lock in Redis (``worker.tasks.process_task``). Each step ends with a save of
the whole row, so whoever changes a task that is on a node has to hold that lock, or his change is overwritten.
"""
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import getsize
from typing import Any, Optional
from uuid import UUID

from app.models import Task
from django.db import transaction
from nodeodm import status_codes
from pyodm.exceptions import OdmError
from worker.celery import app
from worker.tasks import process_task, redis_client

logger = logging.getLogger("app.logger")

_LOCK = "task_lock_"
#: WebODM takes a lock that was not renewed for so long for one that was left behind.
LOCK_SECONDS = 30
_POLL_SECONDS = 0.1
#: How long a node is given to drop a task. Less than the lock lasts.
DROP_SECONDS = 10
#: Locks without a worker at the last look: task → since when, in seconds since 1970.
_SUSPECTS = "app_extensions:left_locks"
#: How long a lock has to be without a worker to count as left behind, over at least two looks.
SUSPECT_SECONDS = 25
#: Looks further apart than this are not put together.
FORGET_SECONDS = 300
_ASK_WORKERS_SECONDS = 3.0


@contextmanager
def task_lock(task_id: Any, patience_seconds: float = 0) -> Iterator[bool]:
    """Whether this process has WebODM's lock on the task; if so, no worker does a step of it inside the block.

    :param patience_seconds: how long to wait for the step at hand; one that asks a node which hangs takes half a minute
    """
    name = f"{_LOCK}{task_id}"
    deadline = time.monotonic() + patience_seconds
    while True:
        held = bool(redis_client.set(name, time.time(), nx=True, ex=LOCK_SECONDS))
        if held or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    try:
        yield held
    finally:
        if held:
            redis_client.delete(name)


def renew_task_lock(task_id: Any) -> None:
    """Prolongs a lock that is held, for another 30 s."""
    redis_client.set(f"{_LOCK}{task_id}", time.time(), ex=LOCK_SECONDS)


def free_left_locks() -> int:
    """Gives back the locks of workers that were killed. :return: how many

    WebODM means them to run out after 30 s, but each of its polls, every 5 s, renews them: while other workers run, the task
    of a killed one would stand still for ever. A lock is left behind if twice in a row no worker says that it is at the task.
    """
    before = _locked_tasks()
    answers = app.control.inspect(timeout=_ASK_WORKERS_SECONDS).active() if before else None
    if not answers:
        return 0
    at_work = " ".join(str(job.get("args")) for jobs in answers.values() for job in jobs if job.get("name") == process_task.name)
    now, freed = time.time(), 0
    known = {task_id.decode(): float(since) for task_id, since in redis_client.hgetall(_SUSPECTS).items()}
    redis_client.delete(_SUSPECTS)
    # Most are held for a moment: only those count that are there before the workers answer and after it.
    for task_id in before & _locked_tasks():
        if task_id in at_work:
            continue
        since = known.get(task_id, now)
        if now - since >= SUSPECT_SECONDS:
            redis_client.delete(_LOCK + task_id)
            logger.warning("WebODM's lock on task %s was left behind by a worker that died, and is given back", task_id)
            freed += 1
        else:
            redis_client.hset(_SUSPECTS, task_id, since)
            redis_client.expire(_SUSPECTS, FORGET_SECONDS)
    return freed


def _locked_tasks() -> "set[str]":
    return {name.decode()[len(_LOCK):] for name in redis_client.scan_iter(_LOCK + "*")}


def life_signs(task: Task) -> "tuple[str, str]":
    """What a task shows of its life on a node: a text that changes when it gets on, and one that changes as well whenever its
    node answers for it (a node counts a running task's time)."""
    try:
        console = getsize(task.data_path("console_output.txt"))
    except OSError:
        console = 0
    progress = f"{task.status}:{task.processing_node_id}:{task.uuid}:{task.upload_progress:.4f}:{task.running_progress:.4f}:{console}"
    return progress, f"{progress}:{task.processing_time}"


def is_running(task: Task) -> bool:
    """Whether a node has it in hand, or is being sent it, as opposed to having it in a queue."""
    return task.processing_node_id is not None and (
        task.status == status_codes.RUNNING or (task.status is None and task.pending_action is None))


def node_of(task: Task) -> "tuple[Optional[int], str, bool]":
    """Its node: id, name for people, and whether WebODM holds it to be online. (None, "", False) without one."""
    node = task.processing_node
    return (node.id, str(node), node.is_online()) if node else (None, "", False)


def drop_on_node(task: Task) -> bool:
    """Asks the task's node to stop it and to drop its files, as far as the node answers within 10 s."""
    if task.processing_node is None or not task.uuid:
        return False
    try:
        task.processing_node.api_client(timeout=DROP_SECONDS).get_task(task.uuid).remove()
    except OdmError as problem:
        logger.info("%s: its node does not drop it: %s", task, problem)
        return False
    return True


def take_off_node(task_id: UUID) -> None:
    """Makes a task wait for its start as if no node ever had it; its files stay. Hold :func:`task_lock`."""
    with transaction.atomic():
        row = Task.objects.select_for_update(of=("self",)).get(pk=task_id)
        row.uuid, row.status, row.last_error, row.pending_action, row.processing_node = "", None, None, None, None
        row.upload_progress = row.running_progress = 0.0
        row.processing_time = -1
        row.auto_processing_node = row.partial = False
        row.options = [option for option in row.options if option["name"] != "rerun-from"]
        row.save()
        row.console.reset()


def fail_task(task_id: UUID, error: str) -> None:
    """Ends a task as failed, with a sentence for its owner. Hold :func:`task_lock`."""
    with transaction.atomic():
        row = Task.objects.select_for_update(of=("self",)).get(pk=task_id)
        row.status, row.last_error, row.pending_action = status_codes.FAILED, error, None
        row.save()
