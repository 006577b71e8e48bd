"""WebODM's models, one noun a file. A regular package: extensions that add modules extend its ``__path__``."""
from .plugin import Plugin
from .plugin_datum import PluginDatum
from .preset import Preset
from .profile import Profile
from .project import Project
from .redirect import Redirect
from .setting import Setting
from .task import Task
from .task_options import validate_task_options

__all__ = [
    "Plugin",
    "PluginDatum",
    "Preset",
    "Profile",
    "Project",
    "Redirect",
    "Setting",
    "Task",
    "validate_task_options",
]
