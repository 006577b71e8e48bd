"""WebODM's signals about tasks. Each has a ``task_id``.

WebODM sends them in the worker, whether a plugin is enabled or not. ``task_failed`` is only sent if a node reports a failure. Errors on the
way to a node set the state without a signal, so check the state as well to notice every failure.
"""
from typing import Any

from app import pending_actions
from app.models import Task
from app.plugins.signals import task_completed, task_failed, task_removed, task_removing
from django.db.models.signals import post_save
from django.dispatch import Signal

__all__ = ["task_completed", "task_failed", "task_removed", "task_removing", "task_restarting"]

#: Somebody asked to process the task again. This is our own signal, as WebODM has none. Sent in the web server, possibly more than once
#: until a worker takes the request up.
task_restarting = Signal(providing_args=["task_id"])


def _saved(sender: Any, instance: Task, **_: Any) -> None:
    if instance.pending_action == pending_actions.RESTART:
        task_restarting.send_robust(sender=sender, task_id=instance.pk)


post_save.connect(_saved, sender=Task, dispatch_uid="app_extensions.task_restarting")
