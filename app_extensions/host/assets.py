"""Where a task's results are stored."""
from pathlib import Path
from typing import Any

from .media import media_root


def assets_dir(task: Any) -> Path:
    """The directory of the results, in ODM's layout. It exists once the task is complete.

    :param task: a ``Task``, or a row of ``task_rows``. This function builds the path without WebODM's ``Task``, because each of
        those costs one more query
    """
    return media_root() / f"project/{task.project_id}/task/{task.pk}/assets"
