"""WebODM's periodic and queued jobs: the poll of pending tasks, the node poll and the clean-ups.

Behaviour follows WebODM 3.2.4: what is deleted after which time is what an extension has to reckon with.
"""
import os
import shutil
import threading
import time
import traceback
from datetime import timedelta

import redis
import requests
from app.models import Profile, Project, Task
from celery.utils.log import get_task_logger
from django.db.models import Count, Q, QuerySet
from django.utils import timezone
from nodeodm import status_codes
from nodeodm.models import ProcessingNode
from webodm import settings

from .celery import app

logger = get_task_logger("app.logger")
redis_client = redis.Redis.from_url(settings.CELERY_BROKER_URL)

LOCK_SECONDS = 30
LOCK_REFRESH_SECONDS = 5
TMP_SECONDS = 24 * 60 * 60
CACHE_SECONDS = 30 * 24 * 60 * 60


@app.task(ignore_result=True)
def update_nodes_info():
    """Asks every processing node for its state; a node not heard of for five minutes counts as offline."""
    if settings.NODE_OPTIMISTIC_MODE:
        return
    for node in ProcessingNode.objects.all():
        node.update_node_info()


@app.task(ignore_result=True)
def cleanup_projects():
    """Deletes projects that are marked for it once their tasks are gone, and, if set, old empty ones of users without quota."""
    empty = Project.objects.annotate(tasks_count=Count("task")).filter(tasks_count=0)
    for project in empty.filter(deleting=True):
        project.delete()
    if settings.CLEANUP_EMPTY_PROJECTS is not None:
        before = timezone.now() - timedelta(hours=settings.CLEANUP_EMPTY_PROJECTS)
        for project in empty.filter(owner__profile__quota=0, created_at__lte=before):
            project.delete()


@app.task(ignore_result=True)
def cleanup_tasks():
    """Deletes partial tasks older than ``CLEANUP_PARTIAL_TASKS`` hours, files and all."""
    if settings.CLEANUP_PARTIAL_TASKS is None:
        return
    before = timezone.now() - timedelta(hours=settings.CLEANUP_PARTIAL_TASKS)
    for task in Task.objects.filter(partial=True, created_at__lte=before):
        logger.info("Removing partial task %s", task)
        task.delete()


def _delete_older(directory: str, seconds: int) -> None:
    """Deletes the entries of a directory that were last modified more than ``seconds`` ago."""
    if not os.path.isdir(directory):
        return
    before = time.time() - seconds
    for entry in os.scandir(directory):
        if entry.stat().st_mtime >= before:
            continue
        if entry.is_file():
            os.remove(entry.path)
        else:
            shutil.rmtree(entry.path, ignore_errors=True)
        logger.info("Removed %s", entry.path)


@app.task(ignore_result=True)
def cleanup_tmp_directory():
    """Deletes entries of MEDIA_TMP after 24 hours."""
    _delete_older(settings.MEDIA_TMP, TMP_SECONDS)


@app.task(ignore_result=True)
def cleanup_cache_directory():
    """Deletes cached task assets after 30 days."""
    _delete_older(os.path.join(settings.MEDIA_CACHE, "task_assets"), CACHE_SECONDS)


def _keep_lock(lock_id: str) -> threading.Event:
    """Refreshes a lock from a daemon thread until the returned event is set."""
    stopped = threading.Event()

    def refresh():
        while not stopped.wait(LOCK_REFRESH_SECONDS):
            redis_client.set(lock_id, time.time())

    threading.Thread(target=refresh, daemon=True).start()
    return stopped


@app.task(ignore_result=True, time_limit=settings.WORKERS_MAX_TIME_LIMIT)
def process_task(taskId):
    """Does the next step of one task, unless another worker is at it (a lock in Redis, given up after 30 s of silence)."""
    lock_id = f"task_lock_{taskId}"
    previous = redis_client.getset(lock_id, time.time())
    if previous is not None and time.time() - float(previous) <= LOCK_SECONDS:
        return
    if previous is not None:
        logger.warning("The lock of task %s was left behind by a worker that died", taskId)
    stopped = _keep_lock(lock_id)
    try:
        try:
            task = Task.objects.get(pk=taskId)
        except Task.DoesNotExist:
            logger.info("Task %s is gone already", taskId)
            return
        try:
            task.process()
        except Exception as error:
            logger.error("Uncaught error in task %s: %s %s", taskId, error, traceback.format_exc())
            if settings.TESTING:
                raise
    finally:
        stopped.set()
        try:
            redis_client.delete(lock_id)
        except redis.exceptions.RedisError as error:
            logger.warning("Cannot give back the lock of task %s, it runs out by itself: %s", taskId, error)


def get_pending_tasks() -> QuerySet:
    """The tasks that a poll hands to workers: those that want a node, those on a node and unfinished, those with an action."""
    wants_node = Q(processing_node__isnull=True, auto_processing_node=True)
    unfinished = Q(status=None) | Q(status__in=[status_codes.QUEUED, status_codes.RUNNING])
    return Task.objects.filter(
        wants_node | (unfinished & Q(processing_node__isnull=False)) | Q(pending_action__isnull=False), partial=False
    )


@app.task(ignore_result=True)
def process_pending_tasks():
    """Queues one ``process_task`` for each pending task; runs every five seconds."""
    for task_id in get_pending_tasks().values_list("id", flat=True):
        process_task.delay(task_id)


@app.task(ignore_result=True)
def check_quotas():
    """Gives users above their quota a deadline; once it is over, deletes their newest tasks until they fit."""
    for profile in Profile.objects.filter(quota__gt=-1):
        if not profile.has_exceeded_quota():
            profile.clear_quota_deadline()
            continue
        deadline = profile.get_quota_deadline()
        if deadline is None:
            deadline = profile.set_quota_deadline(settings.QUOTA_EXCEEDED_GRACE_PERIOD)
            _notify_quota(profile, deadline)
        if time.time() > deadline:
            _delete_until_quota_fits(profile)


def _notify_quota(profile: Profile, deadline: float) -> None:
    """Tells QUOTA_EXCEEDED_NOTIFY_URL, where there is one, that tasks of an account will be deleted at ``deadline``."""
    if settings.QUOTA_EXCEEDED_NOTIFY_URL is None:
        return
    body = {
        "username": profile.user.username,
        "quota_used": profile.used_quota(),
        "quota_total": profile.quota,
        "deadline": deadline,
    }
    try:
        requests.post(settings.QUOTA_EXCEEDED_NOTIFY_URL, json=body, timeout=10).raise_for_status()
    except requests.RequestException as error:
        logger.warning("Nobody took the notice on the quota of %s: %s", profile.user.username, error)


def _delete_until_quota_fits(profile: Profile) -> None:
    tasks = Task.objects.filter(project__owner=profile.user).order_by("-created_at")
    for task in list(tasks):
        if not profile.has_exceeded_quota():
            return
        logger.info("Deleting %s: its owner is above the quota", task)
        task.delete()
