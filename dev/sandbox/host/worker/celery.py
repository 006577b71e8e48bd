"""The Celery application and the schedule that WebODM's own beat runs.

The schedule is assigned to ``app.conf.beat_schedule``: a ``CELERY_BEAT_SCHEDULE`` in the settings would not add to it but
take its place, so extensions add their entries to this dictionary.
"""
import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webodm.settings")

app = Celery("tasks")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.result_backend_transport_options = {"retry_policy": {"timeout": 5.0}}


def _every(seconds: float, task: str, expires: int) -> dict:
    """A beat entry for a task of ``worker.tasks`` that is dropped when no worker takes it within ``expires`` seconds."""
    return {"task": "worker.tasks." + task, "schedule": seconds, "options": {"expires": expires, "retry": False}}


app.conf.beat_schedule = {
    "update-nodes-info": _every(30, "update_nodes_info", 14),
    "cleanup-projects": _every(60, "cleanup_projects", 29),
    "cleanup-tasks": _every(3600, "cleanup_tasks", 1799),
    "cleanup-tmp-directory": _every(3600, "cleanup_tmp_directory", 1799),
    "cleanup-cache-directory": _every(21600, "cleanup_cache_directory", 10799),
    "process-pending-tasks": _every(5, "process_pending_tasks", 2),
    "check-quotas": _every(3600, "check_quotas", 1799),
}

if __name__ == "__main__":
    app.start()
