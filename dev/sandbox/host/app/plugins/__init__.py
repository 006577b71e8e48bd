"""What plugins import: their base class, mount points, menus, data stores and the functions around them."""
from .data_store import GlobalDataStore, UserDataStore
from .functions import (
    clear_plugins_cache,
    delete_plugin,
    disable_plugin,
    enable_plugin,
    get_active_plugins,
    get_current_plugin,
    get_dynamic_script_handler,
    get_plugin_by_name,
    get_plugins,
    get_plugins_paths,
    get_plugins_persistent_path,
    get_site_settings,
    init_plugins,
    register_plugins,
    sync_plugin_db,
    valid_plugin,
    versionToInt,
)
from .menu import Menu
from .mount_point import MountPoint
from .plugin_base import PluginBase

__all__ = [
    "GlobalDataStore",
    "Menu",
    "MountPoint",
    "PluginBase",
    "UserDataStore",
    "clear_plugins_cache",
    "delete_plugin",
    "disable_plugin",
    "enable_plugin",
    "get_active_plugins",
    "get_current_plugin",
    "get_dynamic_script_handler",
    "get_plugin_by_name",
    "get_plugins",
    "get_plugins_paths",
    "get_plugins_persistent_path",
    "get_site_settings",
    "init_plugins",
    "register_plugins",
    "sync_plugin_db",
    "valid_plugin",
    "versionToInt",
]
