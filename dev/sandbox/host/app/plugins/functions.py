"""Finding, loading, registering, enabling and disabling plugins, with WebODM's function names."""
import importlib
import logging
import os
import shutil
import sys
import traceback
from string import Template
from typing import Callable, Optional

from django.conf import settings
from django.db.utils import DatabaseError
from django.http import HttpResponse

from app.models import Plugin, Setting
from app.security import path_traversal_check

logger = logging.getLogger("app.logger")

# Plugins import as plugins.<name>: MEDIA_ROOT is where that package is found.
if settings.MEDIA_ROOT not in sys.path:
    sys.path.append(settings.MEDIA_ROOT)

plugins = None


def init_plugins() -> None:
    """Makes the plugins directory a package, brings the table in line with the disk and registers what is enabled."""
    directory = get_plugins_persistent_path()
    os.makedirs(directory, exist_ok=True)
    marker = os.path.join(directory, "__init__.py")
    if not os.path.isfile(marker):
        with open(marker, "w", encoding="utf-8") as stream:
            stream.write("\n")
    sync_plugin_db()
    register_plugins()


def sync_plugin_db() -> None:
    """Deletes rows of plugins that cannot be found or imported, and adds rows for new ones (enabled, unless marked)."""
    if settings.MIGRATING:
        return
    clear_plugins_cache()
    found = {plugin.get_name(): plugin for plugin in get_plugins()}
    for row in Plugin.objects.exclude(name__in=found):
        row.delete()
        logger.info("Removed plugin %s from the database: not found on disk", row.name)
    for name, plugin in found.items():
        enabled = not os.path.isfile(plugin.get_path("disabled"))
        _, created = Plugin.objects.get_or_create(name=name, defaults={"enabled": enabled})
        if created:
            logger.info("Added plugin %s to the database", plugin)


def register_plugins() -> None:
    """Calls ``register()`` of each enabled plugin; one that raises is disabled."""
    for plugin in get_active_plugins():
        try:
            plugin.register()
            logger.info("Registered %s", plugin)
        except Exception as error:  # noqa: BLE001 (a plugin's fault must not keep the others from loading)
            disable_plugin(plugin.get_name())
            logger.warning("Cannot register %s: %s", plugin, error)


def clear_plugins_cache() -> None:
    """Forgets the plugins that were found."""
    global plugins
    plugins = None


def valid_plugin(plugin_path: str) -> bool:
    """Whether a directory has the files that make a plugin."""
    return all(
        os.path.isfile(os.path.join(plugin_path, name)) for name in ("__init__.py", "manifest.json", "plugin.py")
    )


def get_plugins() -> list:
    """An instance of each plugin on disk, enabled or not. Imports them all; those that cannot be loaded are left out."""
    global plugins
    if plugins is not None:
        return plugins
    plugins = []
    for directory in get_plugins_paths():
        if not os.path.isdir(directory):
            continue
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if (name.endswith("test") and not settings.TESTING) or not valid_plugin(path):
                continue
            try:
                plugin = _instantiate(name)
            except Exception as error:  # noqa: BLE001 (a plugin's fault must not keep the others from loading)
                logger.warning("Cannot load plugin %s: %s: %s", name, error, error.__cause__)
                continue
            if _wanted(plugin, path):
                plugins.append(plugin)
    return plugins


def _instantiate(name: str):
    """Imports a plugin's package and makes its ``Plugin``: first as an installed plugin, then as one of the core's."""
    package = "app.media_test.plugins" if settings.TESTING else "plugins"
    try:
        return importlib.import_module(f"{package}.{name}").Plugin()
    except (ImportError, AttributeError) as error:
        try:
            return importlib.import_module(f"coreplugins.{name}").Plugin()
        except (ImportError, AttributeError) as core_error:
            raise core_error from error


def _wanted(plugin, path: str) -> bool:
    minimum = plugin.get_manifest().get("webodmMinVersion")
    if minimum is not None and versionToInt(minimum) > versionToInt(settings.VERSION):
        logger.warning("%s wants WebODM %s, this is %s: not loaded", plugin, minimum, settings.VERSION)
        return False
    if plugin.get_name() in settings.PLUGINS_BLACKLIST:
        return False
    if plugin.get_name() in [other.get_name() for other in plugins]:
        logger.warning("There is a plugin named %s already, %s is left out", plugin.get_name(), path)
        return False
    return True


def get_active_plugins() -> list:
    """The enabled ones; none while migrating or before the table exists."""
    if settings.MIGRATING:
        return []
    try:
        enabled = set(Plugin.objects.filter(enabled=True).values_list("name", flat=True))
    except DatabaseError as error:
        logger.warning("Cannot read which plugins are enabled (expected before the first migration): %s", error)
        return []
    return [plugin for plugin in get_plugins() if plugin.get_name() in enabled]


def get_plugin_by_name(name: str, only_active: bool = True, refresh_cache_if_none: bool = False):
    """The plugin of that name, or None."""
    for plugin in get_active_plugins() if only_active else get_plugins():
        if plugin.get_name() == name:
            return plugin
    if not refresh_cache_if_none:
        return None
    clear_plugins_cache()
    return get_plugin_by_name(name, only_active=only_active)


def get_current_plugin(only_active: bool = False):
    """The plugin whose file calls this function, or None."""
    caller = traceback.extract_stack()[-2][0]
    for directory in get_plugins_paths():
        relative = os.path.relpath(caller, directory)
        if ".." not in relative:
            return get_plugin_by_name(relative.split(os.sep)[0], only_active=only_active)
    return None


def get_plugins_paths() -> list[str]:
    """Where plugins are looked for: installed ones, then the core's."""
    here = os.path.dirname(os.path.realpath(__file__))
    return [
        os.path.abspath(get_plugins_persistent_path()),
        os.path.abspath(os.path.join(here, "..", "..", "coreplugins")),
    ]


def get_plugins_persistent_path(*paths: str) -> str:
    """A path below ``MEDIA_ROOT/plugins``. Raises SuspiciousFileOperation when it leaves it."""
    top = os.path.join(settings.MEDIA_ROOT, "plugins")
    return path_traversal_check(os.path.join(top, *paths), top)


def get_dynamic_script_handler(script_path: str, callback: Optional[Callable] = None, **kwargs) -> Callable:
    """A view that answers a script with ``${names}`` filled in from ``callback(request)`` or from ``kwargs``."""

    def handle(request):
        values = callback(request, **kwargs) if callback is not None else kwargs
        if callback is not None and not values:
            return HttpResponse("")
        with open(script_path, encoding="utf-8") as stream:
            script = Template(stream.read())
        try:
            return HttpResponse(script.substitute(values))
        except TypeError as error:
            return HttpResponse(f"Template substitution failed with params: {values}. {error}")

    return handle


def enable_plugin(plugin_name: str):
    """Registers and enables a plugin; its errors go to the caller and leave it disabled."""
    plugin = get_plugin_by_name(plugin_name, only_active=False)
    plugin.register()
    plugin.enable()
    Plugin.objects.get(pk=plugin_name).enable()
    return plugin


def disable_plugin(plugin_name: str):
    """Disables a plugin, whatever its ``disable()`` says; its error goes to the caller afterwards."""
    plugin = get_plugin_by_name(plugin_name, only_active=False)
    try:
        plugin.disable()
    finally:
        Plugin.objects.get(pk=plugin_name).disable()
    return plugin


def delete_plugin(plugin_name: str) -> None:
    """Deletes a plugin's row and files; a link to a plugin elsewhere is only unlinked."""
    Plugin.objects.get(pk=plugin_name).delete()
    path = get_plugins_persistent_path(plugin_name)
    if os.path.islink(path):
        os.unlink(path)
    elif os.path.exists(path):
        shutil.rmtree(path)
    clear_plugins_cache()


def get_site_settings():
    """The row of site settings."""
    return Setting.objects.first()


def versionToInt(version: str) -> int:
    """``major.minor.build`` as one number to compare, -1 for nonsense."""
    try:
        return sum(factor * int(part) for factor, part in zip((100000, 100, 1), version.split(".")))
    except (ValueError, AttributeError):
        return -1
