"""A task's results."""
from pathlib import Path
from typing import Any

from .media import media_root


def assets_dir(task: Any) -> Path:
    """The directory of the results, in ODM's layout; it exists once the task is complete.

    :param task: a ``Task``, or a row of ``task_rows``. The path is built here, not by WebODM's ``Task``, because each of those
        costs a query more
    """
    return media_root() / f"project/{task.project_id}/task/{task.pk}/assets"
