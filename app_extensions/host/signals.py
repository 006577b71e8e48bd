"""WebODM's signals on tasks, each with ``task_id``.

Sent in the worker, whether a plugin is enabled or not. ``task_failed`` comes only where a node reports a failure: errors on
the way to a node set the state without a signal, so whoever wants to know of every failure looks at the state as well.
"""
from app.plugins.signals import task_completed, task_failed, task_removed, task_removing

__all__ = ["task_completed", "task_failed", "task_removed", "task_removing"]
