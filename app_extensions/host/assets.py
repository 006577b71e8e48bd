"""A task's results."""
from pathlib import Path

from app.models import Task


def assets_dir(task: Task) -> Path:
    """The directory of the results, in ODM's layout; it exists once the task is complete."""
    return Path(task.assets_path(""))
