"""Mount the OpenScan Cloud in WebODM. This module loads without `app_extensions`, so that it can report that it is missing."""
import importlib.util
import logging

from app.plugins import MountPoint, PluginBase
from django.apps import apps

logger = logging.getLogger("app.logger")

APP = "app_extensions.openscan"
MISSING = (
    "The OpenScan Cloud plugin needs the Django app app_extensions.openscan, which is not loaded. Run `./webodm.sh install --webodm DIR` "
    "(in Docker `./webodm.sh start`) in a checkout of the project, then restart WebODM and enable the plugin. "
    "If it was installed before, `./webodm.sh doctor --webodm DIR` shows why it does not load."
)


class Plugin(PluginBase):
    """Mount points are matched in order: uploads, pages, then the commands, which answer everything else in JSON."""

    def register(self) -> None:
        super().register()
        if not self._is_ready() and not _is_there():
            raise RuntimeError(MISSING)  # WebODM then disables the plugin and shows this text to the administrator

    def root_mount_points(self) -> list:
        if not self._is_ready():
            return []
        from .pages import root_mounts
        from .views.commands import command_view
        from .views.uploads import upload_view

        return [
            MountPoint(r"^api/openscan/u/(?P<link>[\s\S]*)$", upload_view),
            *(MountPoint(pattern, view) for pattern, view in root_mounts()),
            MountPoint(r"^api/openscan(?:/(?P<command>[\s\S]*))?$", command_view),
            MountPoint(r"^api/plugins/openscan_cloud$", command_view),  # WebODM would redirect it, with the token in the address
        ]

    def api_mount_points(self) -> list:
        if not self._is_ready():
            return []
        from .pages import api_mounts
        from .views.commands import command_view

        return [
            *(MountPoint(pattern, view) for pattern, view in api_mounts()),
            MountPoint(r"(?P<command>[\s\S]*)$", command_view),
        ]

    def app_mount_points(self) -> list:
        if not self._is_ready():
            return []
        from .pages import app_mounts

        return [MountPoint(pattern, view) for pattern, view in app_mounts()]

    def main_menu(self) -> list:
        if not self._is_ready():
            return []
        from .pages import menu

        return menu()

    def include_js_files(self) -> list:
        return ["dashboard.js"] if apps.is_installed(APP) else []

    def _is_ready(self) -> bool:
        if apps.is_installed(APP):
            return True
        logger.error(MISSING)
        return False


def _is_there() -> bool:
    """Whether the app is installed, though not loaded. One broken start must not disable the plugin permanently."""
    try:
        return importlib.util.find_spec(APP) is not None
    except ModuleNotFoundError:
        return False
