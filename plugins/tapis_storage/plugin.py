"""Mount the Tapis storage in WebODM. This module loads without `app_extensions`, so that it can report that it is missing."""
import importlib.util
import logging

from app.plugins import Menu, MountPoint, PluginBase
from django.apps import apps

logger = logging.getLogger("app.logger")

APP = "app_extensions.tapis"
MISSING = (
    "The Tapis Storage plugin needs the Django app app_extensions.tapis, which is not loaded. Run `./webodm.sh install --webodm DIR` "
    "(in Docker `./webodm.sh start`) in a checkout of the project, then restart WebODM and enable the plugin. "
    "If it was installed before, `./webodm.sh doctor --webodm DIR` shows why it does not load."
)


class Plugin(PluginBase):
    """Mounts the API at the root, because programs must POST without WebODM's CSRF cookie, and the pages below /plugins/."""

    def register(self) -> None:
        super().register()
        if not self._is_ready() and not _is_there():
            raise RuntimeError(MISSING)  # WebODM then disables the plugin and shows this text to the administrator

    def root_mount_points(self) -> list:
        if not self._is_ready():
            return []
        from .routes import root_routes

        return [MountPoint(pattern, view) for pattern, view in root_routes()]

    def app_mount_points(self) -> list:
        if not self._is_ready():
            return []
        from .routes import app_routes

        return [MountPoint(pattern, view) for pattern, view in app_routes()]

    def include_js_files(self) -> list:
        return ["login_button.js", "dashboard.js"] if self._is_ready() else []

    def main_menu(self) -> list:
        if not self._is_ready():
            return []
        return [Menu("Tapis", self.public_url(""), "fa fa-satellite-dish fa-fw")]

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
