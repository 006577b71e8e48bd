"""WebODM's tasks: make tasks that wait for their files, find their directories, start them, and describe their state.

A waiting task has ``auto_processing_node=False``, no node and ``partial=False``. So WebODM's poll of pending tasks ignores it, and so does
the hourly clean-up, which deletes partial tasks after 72 hours.
"""
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Optional, Union
from uuid import UUID

from app import pending_actions
from app.models import Project, Task
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from nodeodm import status_codes
from nodeodm.models import ProcessingNode
from worker.tasks import process_task

from app_extensions.host.faults import explain
from app_extensions.host.nodes import nodes_for
from app_extensions.host.projects import clip_name

logger = logging.getLogger("app.logger")

WAITING, QUEUED, RUNNING, FAILED, COMPLETED, CANCELED = (
    "waiting", "queued", "running", "failed", "completed", "canceled")

_STATUS = {
    status_codes.QUEUED: QUEUED,
    status_codes.RUNNING: RUNNING,
    status_codes.FAILED: FAILED,
    status_codes.COMPLETED: COMPLETED,
    status_codes.CANCELED: CANCELED,
}
_ACTIONS = {number: name.lower() for number, name in Task.PENDING_ACTIONS}


#: Columns that ``task_state`` and the functions for addresses use.
_SHOWN = (
    "id", "project_id", "processing_node_id", "auto_processing_node", "status", "pending_action", "partial", "last_error",
    "processing_time", "images_count", "upload_progress", "running_progress", "available_assets",
)


class TaskBusyError(Exception):
    """The task is on a node and cannot be started again until it ends."""


@dataclass(frozen=True)
class TaskState:
    """A task's state as users see it.

    status: one of ``waiting`` (for its files or its start), ``queued``, ``running``, ``failed``, ``completed``, ``canceled``.
    progress: 0 to 1 of the processing. upload_progress: 0 to 1 of sending the images to the node.
    processing_seconds: None until the node reports it. pending_action: ``cancel``, ``remove``, ``restart`` … or None.
    error: why it failed, in our own words ("" otherwise). node_error: the error as WebODM stored it. It may hold the node's token, so use
    it for decisions, but never show it. hint: why nothing happens, if that is known ("" otherwise).
    """

    status: str
    progress: float
    error: str
    processing_seconds: Optional[float]
    node_label: str
    pending_action: Optional[str]
    images_count: int
    upload_progress: float = 0.0
    hint: str = ""
    node_error: str = ""


def create_waiting_task(project: Project, name: str, options: Iterable[dict] = (), import_url: str = "") -> Task:
    """Make a task that WebODM leaves alone until :func:`commit_task`. A name that is too long is clipped.

    Raises ValidationError, as WebODM does, for options without a name or with a false value.
    """
    return Task.objects.create(
        project=project, name=clip_name(name), options=list(options), import_url=import_url,
        auto_processing_node=False, partial=False)


def get_task(task_id: Union[str, UUID, None]) -> Optional[Task]:
    """The task, or None if it is gone or the id is None or invalid."""
    if task_id is None:
        return None
    try:
        return Task.objects.select_related("project").filter(pk=task_id).first()
    except ValidationError:
        return None


def task_rows(task_ids: Iterable[UUID]) -> "dict[UUID, Any]":
    """Rows of many tasks for :func:`task_state` and the functions for addresses, always in three queries.

    WebODM's ``Task`` looks up its project whenever an object is made from a row, so those would cost one query each.
    """
    rows = Task.objects.filter(pk__in=list(task_ids)).values("project__owner_id", "project__name", *_SHOWN)
    rows = list(rows)
    owners = User.objects.in_bulk({row["project__owner_id"] for row in rows})
    nodes = ProcessingNode.objects.in_bulk({row["processing_node_id"] for row in rows if row["processing_node_id"]})
    return {row["id"]: SimpleNamespace(
        pk=row["id"], project=SimpleNamespace(owner=owners.get(row["project__owner_id"]), name=row["project__name"]),
        processing_node=nodes.get(row["processing_node_id"]), **{name: row[name] for name in _SHOWN}) for row in rows}


def statuses_by_id(task_ids: QuerySet) -> "dict[UUID, str]":
    """The status word of each task that exists, in one query that only reads the necessary columns.

    :param task_ids: a query of ids
    """
    rows = Task.objects.filter(pk__in=task_ids).values_list(
        "pk", "status", "pending_action", "partial", "processing_node_id", "auto_processing_node")
    return {pk: _status(*fields) for pk, *fields in rows}


def task_status(task: Any) -> str:
    """The status word of a task, or of a row of ``task_rows``."""
    return _status(task.status, task.pending_action, task.partial, task.processing_node_id, task.auto_processing_node)


def nodes_of(task_ids: "Iterable[UUID]") -> "dict[UUID, Optional[int]]":
    """The id of each task's processing node, None if it has no node yet. Tasks that are gone are missing."""
    return dict(Task.objects.filter(pk__in=list(task_ids)).values_list("pk", "processing_node_id"))


def task_path(task: Task) -> Path:
    """The path of the task's directory, which may not exist. For looking at a task that may be in removal."""
    return Path(task.task_path())


def task_dir(task: Task) -> Path:
    """The task's directory. Makes it if it is missing. WebODM counts **every** file at its top level as an image."""
    path = task_path(task)
    path.mkdir(parents=True, exist_ok=True)
    return path


def incoming_dir(task: Task) -> Path:
    """A directory for incoming files: on the same file system as the task's directory, but outside of it. Makes it if it is missing."""
    path = incoming_path(task.id)
    path.mkdir(parents=True, exist_ok=True)
    return path


def incoming_path(task_id: Union[str, UUID]) -> Path:
    """The path of :func:`incoming_dir`, which may not exist. For cleaning up after tasks that are gone.

    WebODM's clean-up of orphaned projects does not touch it, because it only looks at directories with numbers as names.
    """
    return Path(settings.MEDIA_ROOT) / "project" / ".incoming" / str(UUID(str(task_id)))


def image_path(task: Task, name: str) -> Path:
    """The path for an image with this name.

    Raises ValueError if it is not a plain file name, and SuspiciousFileOperation if the path is outside the task's directory.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is not a file name")
    return Path(task.get_image_path(name))


def commit_task(task: Task, *, options: Optional[Iterable[dict]] = None, node_id: Optional[int] = None) -> None:
    """Have WebODM process the task now that all files are there, on a node of its choice or on ``node_id``.

    A task that is finished, failed or canceled is sent to a node again with the files that it has now. The job is queued once the
    surrounding transaction is committed. Raises TaskBusyError while a node has the task, and ValidationError for bad options.
    """
    with transaction.atomic():
        row = Task.objects.select_for_update(of=("self",)).get(pk=task.pk)
        if row.status in (status_codes.QUEUED, status_codes.RUNNING):
            raise TaskBusyError(f"task {row.id} is being processed")
        if options is not None:
            row.options = list(options)
        row.uuid, row.status, row.last_error, row.pending_action = "", None, None, None
        row.upload_progress = row.running_progress = 0.0
        row.processing_time = -1
        row.images_count = len(row.scan_images())
        row.update_size()
        row.partial = False
        row.auto_processing_node = node_id is None
        row.processing_node_id = node_id
        row.save()
        transaction.on_commit(lambda: process_task.delay(row.id))
    task.refresh_from_db()


def make_waiting(task: Task) -> None:
    """Make a canceled task wait for its files again, like a new one."""
    task.status = task.pending_action = task.processing_node = None
    task.last_error, task.auto_processing_node, task.partial = None, False, False
    task.save(update_fields=["status", "pending_action", "processing_node", "last_error", "auto_processing_node", "partial"])


def update_counts(task: Task) -> None:
    """Count the images and the bytes in the task's directory. Save only these two."""
    task.images_count = len(task.scan_images())
    task.update_size()
    task.save(update_fields=["images_count", "size"])


def update_size(task: Task) -> None:
    """Count the bytes in the task's directory for the owner's quota. Save only these. Does nothing if the task is gone."""
    try:
        task.update_size()
    except FileNotFoundError:
        logger.info("task %s is being removed while its size is counted", task.pk)
        return
    Task.objects.filter(pk=task.pk).update(size=task.size)


def task_state(task: Task, hints: Optional[dict[int, str]] = None) -> TaskState:
    """The state of the given row. Read the row again first if it may have changed.

    hints: pass the same dictionary for many tasks, so that the nodes are looked up once per owner, not once per task.
    """
    action = _ACTIONS.get(task.pending_action)
    node = task.processing_node
    status = task_status(task)
    return TaskState(
        status=status,
        progress=1.0 if status == COMPLETED else min(1.0, max(0.0, task.running_progress)),
        error=explain(task.last_error or "") if status == FAILED else "",
        node_error=task.last_error or "",
        processing_seconds=task.processing_time / 1000 if task.processing_time >= 0 else None,
        node_label=str(node) if node else "",
        pending_action=action,
        images_count=task.images_count,
        upload_progress=min(1.0, max(0.0, task.upload_progress)),
        hint=_hint(task.project.owner, {} if hints is None else hints) if status == QUEUED and node is None else "",
    )


def _status(status: Optional[int], pending_action: Optional[int], partial: bool, node_id: Optional[int], auto_node: bool) -> str:
    if pending_action == pending_actions.RESTART:
        return QUEUED
    if status is not None:
        return _STATUS[status]
    return WAITING if partial or (node_id is None and not auto_node) else QUEUED


def _hint(owner: User, known: dict[int, str]) -> str:
    """Why a queued task does not start. WebODM does not say so, and lets tasks wait forever if their owner may not use any node."""
    if owner.pk not in known:
        known[owner.pk] = _find_hint(owner)
    return known[owner.pk]


def _find_hint(owner: User) -> str:
    nodes = nodes_for(owner)
    if not nodes:
        return f"{owner.get_username()} may not use any processing node. An administrator can permit one in WebODM's administration."
    if not any(node.online for node in nodes):
        return "None of the processing nodes that the project's owner may use is online."
    return ""


def cancel_task(task: Task) -> None:
    """Stop the task, also on its node."""
    _act(task, pending_actions.CANCEL)


def restart_task(task: Task) -> None:
    """Start the task again: on its node, or as a new task if it never had a node."""
    if task.processing_node_id is None:
        commit_task(task)
    else:
        _act(task, pending_actions.RESTART)


def set_options(task: Task, options: Iterable[dict]) -> None:
    """Replace the options for the task's next run. Raises ValidationError for bad options."""
    task.options = list(options)
    task.full_clean(validate_unique=False)
    task.save(update_fields=["options"])


def remove_task(task: Task) -> None:
    """Delete the task and its files, also on its node."""
    _act(task, pending_actions.REMOVE)


def _act(task: Task, action: int) -> None:
    """Ask a worker for an action, as the dashboard's buttons do."""
    task.pending_action = action
    task.partial = False
    task.last_error = None
    task.save(update_fields=["pending_action", "partial", "last_error"])
    transaction.on_commit(lambda: process_task.delay(task.id))


def console_tail(task: Task, most_bytes: int) -> str:
    """The end of the processing node's output for a task, from the start of a line. Empty if there is no output yet."""
    try:
        with open(task.data_path("console_output.txt"), "rb") as file:
            start = max(0, file.seek(0, 2) - most_bytes)
            file.seek(start)
            text = file.read(most_bytes).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return text.partition("\n")[2] if start else text


def task_url(task: Task) -> str:
    """The path of the dashboard with this task unfolded.

    The dashboard shows ten projects per page and only unfolds tasks on that page. It passes its query on to ``/api/projects/``, so ``id``
    leaves only the task's project. A search for the name could miss it: PostgreSQL reads ``a@b.org`` as one word, WebODM as a user.
    """
    return f"/dashboard/?id={task.project_id}&project_task_open={task.project_id}&project_task_expanded={task.id}"


def map_url(task: Task) -> str:
    """The path of the map with this task's orthophoto or surface; "" if there is none."""
    shown = {"orthophoto.tif", "dsm.tif", "dtm.tif"} & set(task.available_assets)
    return f"/map/project/{task.project_id}/task/{task.id}/" if shown else ""


def model_url(task: Task) -> str:
    """The path of the page that shows this task's model or point cloud; "" if there is none."""
    shown = {"georeferenced_model.laz", "textured_model.zip", "textured_model.glb"} & set(task.available_assets)
    return f"/3d/project/{task.project_id}/task/{task.id}/" if shown else ""
