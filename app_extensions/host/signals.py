"""WebODM's signals on tasks, each with ``task_id``.

Sent in the worker, whether a plugin is enabled or not. ``task_failed`` comes only where a node reports a failure: errors on
the way to a node set the state without a signal, so whoever wants to know of every failure looks at the state as well.
"""
from typing import Any

from app import pending_actions
from app.models import Task
from app.plugins.signals import task_completed, task_failed, task_removed, task_removing
from django.db.models.signals import post_save
from django.dispatch import Signal

__all__ = ["task_completed", "task_failed", "task_removed", "task_removing", "task_restarting"]

#: Ours, as WebODM tells nobody: somebody asked for the task to be processed again. Sent in the web server, and perhaps more than
#: once, until a worker takes the wish up.
task_restarting = Signal(providing_args=["task_id"])


def _saved(sender: Any, instance: Task, **_: Any) -> None:
    if instance.pending_action == pending_actions.RESTART:
        task_restarting.send_robust(sender=sender, task_id=instance.pk)


post_save.connect(_saved, sender=Task, dispatch_uid="app_extensions.task_restarting")
