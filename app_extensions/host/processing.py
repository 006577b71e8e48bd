"""Watch and change a task while it is on a node: WebODM's lock, signs of life, and taking the task off the node.

WebODM does one step of a task at a time under a lock in Redis (``worker.tasks.process_task``). Each step ends by saving the whole row. So
hold that lock to change a task that is on a node, or the change is overwritten.
"""
import logging
import secrets
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
_OWNER = "app_extensions:task_lock_owner:"
#: Redis runs each script as one step. Keys: WebODM's lock, and our proof. Arguments: our id, the time now, and the lock's seconds.
_TAKE = """
if not redis.call('set', KEYS[1], ARGV[2], 'NX', 'EX', ARGV[3]) then return 0 end
redis.call('set', KEYS[2], ARGV[1], 'EX', ARGV[3] - 1)
return 1"""
_RENEW = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
redis.call('expire', KEYS[2], ARGV[3] - 1)
return 1"""
_GIVE_BACK = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('del', KEYS[1], KEYS[2])"""
#: Removes a lock if its value has not changed since it was read, and none of our processes holds it.
_FREE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] or redis.call('exists', KEYS[2]) == 1 then return 0 end
return redis.call('del', KEYS[1])"""
#: If a lock is not renewed for this long, WebODM considers it left behind.
LOCK_SECONDS = 30
_POLL_SECONDS = 0.1
#: How long a node may take to drop a task. Must be less than the lock lasts.
DROP_SECONDS = 10
#: Redis hash of the locks that had no worker at the last check: task → since when, in seconds since 1970.
_SUSPECTS = "app_extensions:left_locks"
#: A lock counts as left behind if it has no worker for this long, in at least two checks.
SUSPECT_SECONDS = 25
#: Checks that are further apart than this do not count together.
FORGET_SECONDS = 300
_ASK_WORKERS_SECONDS = 3.0


class TaskLock:
    """WebODM's lock on one task, as this process tries to hold it. True while it is certainly ours.

    WebODM overwrites the lock's value at each of its attempts, so the value does not show who holds it. But nobody takes a lock that was
    renewed within the last 30 s. So a second key, which has our id and ends a second earlier, proves that the lock is still ours.
    """

    def __init__(self, task_id: Any) -> None:
        self._keys = [f"{_LOCK}{task_id}", f"{_OWNER}{task_id}"]
        self._me = secrets.token_hex(16)

    def __bool__(self) -> bool:
        return redis_client.get(self._keys[1]) == self._me.encode()

    def take(self) -> bool:
        """Take the lock if it is free. :return: whether it is ours now"""
        return self._run(_TAKE)

    def renew(self) -> bool:
        """Keep the lock for another 30 s. :return: False if it was lost meanwhile; then it is not touched"""
        return self._run(_RENEW)

    def give_back(self) -> None:
        """Release the lock, unless it was lost meanwhile: another process may have it by now."""
        self._run(_GIVE_BACK)

    def _run(self, script: str) -> bool:
        return bool(redis_client.eval(script, 2, *self._keys, self._me, time.time(), LOCK_SECONDS))


@contextmanager
def task_lock(task_id: Any, patience_seconds: float = 0) -> Iterator[TaskLock]:
    """WebODM's lock on the task. While it is true, no worker does a step of the task.

    :param patience_seconds: how long to wait for a step that is running; if its node hangs, a step takes half a minute
    """
    lock = TaskLock(task_id)
    deadline = time.monotonic() + patience_seconds
    while not lock.take() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    try:
        yield lock
    finally:
        lock.give_back()


def free_left_locks() -> int:
    """Release the locks of workers that were killed. :return: how many

    WebODM intends these locks to end after 30 s, but its polls renew them every 5 s. So while other workers run, the task of a killed
    worker would never continue. A lock counts as left behind if no worker reports that it works on the task, twice in a row.
    """
    before = _locked_tasks()
    answers = app.control.inspect(timeout=_ASK_WORKERS_SECONDS).active() if before else None
    if not answers:
        return 0
    at_work = " ".join(str(job.get("args")) for jobs in answers.values() for job in jobs if job.get("name") == process_task.name)
    now, freed = time.time(), 0
    known = {task_id.decode(): float(since) for task_id, since in redis_client.hgetall(_SUSPECTS).items()}
    redis_client.delete(_SUSPECTS)
    # Most locks are held for a moment only. So look only at those that exist both before and after the workers answered.
    for task_id in before & _locked_tasks():
        if task_id in at_work:
            continue
        since = known.get(task_id, now)
        value = redis_client.get(_LOCK + task_id)
        if value is not None and now - since >= SUSPECT_SECONDS:
            if not redis_client.eval(_FREE, 2, _LOCK + task_id, _OWNER + task_id, value):
                continue  # somebody holds it after all
            logger.warning("WebODM's lock on task %s was left behind by a worker that died, and is released", task_id)
            freed += 1
        else:
            redis_client.hset(_SUSPECTS, task_id, since)
            redis_client.expire(_SUSPECTS, FORGET_SECONDS)
    return freed


def _locked_tasks() -> "set[str]":
    return {name.decode()[len(_LOCK):] for name in redis_client.scan_iter(_LOCK + "*")}


def life_signs(task: Task) -> "tuple[str, str]":
    """Two texts for detecting whether a task on a node is alive.

    The first changes when the task makes progress. The second also changes whenever its node answers, because a node reports a running
    task's time.
    """
    try:
        console = getsize(task.data_path("console_output.txt"))
    except OSError:
        console = 0
    progress = f"{task.status}:{task.processing_node_id}:{task.uuid}:{task.upload_progress:.4f}:{task.running_progress:.4f}:{console}"
    return progress, f"{progress}:{task.processing_time}"


def is_running(task: Task) -> bool:
    """Whether a node is processing the task or is receiving its images, as opposed to having it in its queue."""
    return task.processing_node_id is not None and (
        task.status == status_codes.RUNNING or (task.status is None and task.pending_action is None))


def node_of(task: Task) -> "tuple[Optional[int], str, bool]":
    """The task's node: id, name for users, and whether WebODM considers it online. (None, "", False) without a node."""
    node = task.processing_node
    return (node.id, str(node), node.is_online()) if node else (None, "", False)


def drop_on_node(task: Task) -> bool:
    """Ask the task's node to stop the task and delete its files. :return: whether the node did so within 10 s"""
    if task.processing_node is None or not task.uuid:
        return False
    try:
        task.processing_node.api_client(timeout=DROP_SECONDS).get_task(task.uuid).remove()
    except OdmError as problem:
        logger.info("%s: the node did not delete it: %s", task, problem)
        return False
    return True


def take_off_node(task_id: UUID) -> None:
    """Make a task wait for its start as if it had never been on a node. Its files stay. Hold :func:`task_lock`."""
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
    """End a task as failed, with a sentence for its owner. Hold :func:`task_lock`."""
    with transaction.atomic():
        row = Task.objects.select_for_update(of=("self",)).get(pk=task_id)
        row.status, row.last_error, row.pending_action = status_codes.FAILED, error, None
        row.save()
