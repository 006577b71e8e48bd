"""The class that a plugin's ``Plugin`` derives from."""
import json
import os
import sys
from contextlib import contextmanager
from typing import Callable, Optional

from .data_store import GlobalDataStore, UserDataStore
from .functions import get_dynamic_script_handler, get_plugins_persistent_path


class PluginBase:
    """What is not overridden offers nothing. The plugin's name is its directory's."""

    def __init__(self):
        self.name = self.get_module_name().split(".")[-2]
        self.manifest = None

    def __str__(self):
        return f"[{self.get_module_name()}]"

    # Life

    def register(self) -> None:
        """Called when the plugin is loaded while enabled, and before it is enabled. Raising here disables it."""

    def enable(self) -> None:
        """Called when somebody enables the plugin. Raising here leaves it disabled."""

    def disable(self) -> None:
        """Called when somebody disables the plugin."""

    def requires_restart(self) -> bool:
        """Root mounts are read when the URLconf is imported: a plugin that has some needs a restart."""
        return len(self.root_mount_points()) > 0

    # What it offers

    def main_menu(self) -> list:
        """Entries of the side menu."""
        return []

    def root_mount_points(self) -> list:
        """Views below /."""
        return []

    def app_mount_points(self) -> list:
        """Views below /plugins/<name>/."""
        return []

    def api_mount_points(self) -> list:
        """Views below /api/plugins/<name>/."""
        return []

    def include_js_files(self) -> list:
        """Scripts in ``public/`` that every page loads."""
        return []

    def include_css_files(self) -> list:
        """Style sheets in ``public/`` that every page loads."""
        return []

    def build_jsx_components(self) -> list:
        """Components that WebODM would build with webpack; the sandbox builds none."""
        return []

    def serve_public_assets(self, request) -> bool:
        """Whether this request may have files of ``public/``."""
        return True

    # Where it is

    def get_name(self) -> str:
        """The directory's name."""
        return self.name

    def get_module_name(self) -> str:
        """The module that the class is defined in."""
        return self.__class__.__module__

    def get_path(self, *paths: str) -> str:
        """A path in the plugin's directory."""
        return os.path.join(os.path.dirname(sys.modules[self.get_module_name()].__file__), *paths)

    def path_exists(self, path: str) -> bool:
        """Whether the plugin has such a file."""
        return os.path.exists(self.get_path(path))

    def get_persistent_path(self, *paths: str) -> str:
        """A path in ``MEDIA_ROOT/plugins/<name>``."""
        return get_plugins_persistent_path(self.name, *paths)

    def get_python_packages_path(self, *paths: str) -> str:
        """Where WebODM installs a plugin's requirements."""
        return self.get_persistent_path("site-packages", *paths)

    @contextmanager
    def python_imports(self):
        """Puts the plugin's own packages on the path."""
        sys.path.insert(0, self.get_python_packages_path())
        try:
            yield
        finally:
            sys.path.remove(self.get_python_packages_path())

    def is_persistent(self) -> bool:
        """WebODM's word for a plugin of the core, whose files are not in MEDIA_ROOT."""
        return ".." in os.path.relpath(self.get_path(), get_plugins_persistent_path())

    def template_path(self, path: str) -> str:
        """The name under which Django finds a template of the plugin."""
        top = "coreplugins" if self.is_persistent() else "plugins"
        return f"{top}/{self.get_name()}/templates/{path}"

    def public_url(self, path: str) -> str:
        """The address of a file in ``public/``."""
        return f"/plugins/{self.get_name()}/{path}"

    def get_include_js_urls(self) -> list:
        """Addresses of the scripts that every page loads."""
        return [self.public_url(name) for name in self.include_js_files()]

    def get_include_css_urls(self) -> list:
        """Addresses of the style sheets that every page loads."""
        return [self.public_url(name) for name in self.include_css_files()]

    def get_dynamic_script(self, script_path: str, callback: Optional[Callable] = None, **template_args) -> Callable:
        """A view that answers one of the plugin's scripts with values filled in."""
        return get_dynamic_script_handler(self.get_path(script_path), callback, **template_args)

    def get_manifest(self) -> dict:
        """``manifest.json``, read once."""
        if self.manifest is None:
            with open(self.get_path("manifest.json"), encoding="utf-8") as stream:
                self.manifest = json.load(stream)
        return self.manifest

    def get_user_data_store(self, user) -> UserDataStore:
        """Values kept for a user."""
        return UserDataStore(self.get_name(), user)

    def get_global_data_store(self) -> GlobalDataStore:
        """Values kept for everybody."""
        return GlobalDataStore(self.get_name())
