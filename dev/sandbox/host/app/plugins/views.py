"""Hands requests to plugins: below /plugins/ and /api/plugins/ at each request, below / once at URLconf import.

The two handlers are ordinary Django views and so are checked for CSRF before a plugin's view is even looked for: what that
view says about CSRF comes too late. Patterns below the prefixes see the path as it was sent, percent signs and all; patterns
below / see what Django decoded.
"""
from urllib.parse import urlparse

from django.conf.urls import url
from django.http import Http404
from django.views.static import serve

from app.api.tasks import TaskNestedView as TaskView

from .functions import get_active_plugins, get_plugin_by_name

__all__ = ["TaskView", "api_view_handler", "app_view_handler", "root_url_patterns"]


def app_view_handler(request, plugin_name=None):
    """Answers from a plugin's app mounts, then from its ``public/`` directory. Raises Http404."""
    plugin = _enabled(plugin_name)
    response = _dispatch(request, f"/plugins/{plugin_name}/", plugin.app_mount_points())
    if response is not None:
        return response
    if plugin.path_exists("public") and plugin.serve_public_assets(request):
        pattern = url(f"^/plugins/{plugin_name}/(.*)", serve, {"document_root": plugin.get_path("public")})
        match = pattern.resolve(urlparse(request.get_full_path()).path)
        if match:
            return match.func(request, *match.args, **match.kwargs)
    raise Http404("No valid routes")


def api_view_handler(request, plugin_name=None):
    """Answers from a plugin's API mounts. Raises Http404."""
    plugin = _enabled(plugin_name)
    response = _dispatch(request, f"/api/plugins/{plugin_name}/", plugin.api_mount_points())
    if response is None:
        raise Http404("No valid routes")
    return response


def _enabled(plugin_name: str):
    plugin = get_plugin_by_name(plugin_name)
    if plugin is None:
        raise Http404("Plugin not found")
    return plugin


def _dispatch(request, prefix: str, mount_points):
    """The answer of the first mount whose pattern, put behind the prefix, matches the start of the path; or None."""
    path = urlparse(request.get_full_path()).path
    for mount in mount_points:
        match = url("^" + prefix + mount.url, mount.view, *mount.args, **mount.kwargs).resolve(path)
        if match:
            return match.func(request, *match.args, **match.kwargs)
    return None


def root_url_patterns() -> list:
    """URL patterns of the enabled plugins' root mounts, as of now: they stay, whatever becomes of the plugin."""
    return [
        url(mount.url, mount.view, *mount.args, **mount.kwargs)
        for plugin in get_active_plugins()
        for mount in plugin.root_mount_points()
    ]
