"""A task's results."""
from pathlib import Path
from typing import Any

from .media import media_root


def assets_dir(task: Any) -> Path:
    """The directory of the results, in ODM's layout; it exists once the task is complete.

    :param task: a ``Task``, or a row of ``task_rows``. Where WebODM keeps them is said here, since each ``Task`` made of a row costs a
        query more
    """
    return media_root() / "project" / str(task.project_id) / "task" / str(task.pk) / "assets"
