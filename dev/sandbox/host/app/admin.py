"""WebODM's models in Django's admin; plugins are switched on and off here."""
import os
import shutil
import tempfile
import zipfile

from django.conf import settings
from django.conf.urls import url
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import User
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from guardian.admin import GuardedModelAdmin

from app import models
from app.plugins import (
    clear_plugins_cache,
    delete_plugin,
    disable_plugin,
    enable_plugin,
    get_plugin_by_name,
    get_plugins_persistent_path,
    init_plugins,
    valid_plugin,
)


@admin.register(models.Project)
class ProjectAdmin(GuardedModelAdmin):
    """Projects with their object permissions."""

    list_display = ("id", "name", "owner", "created_at", "tasks_count", "tags")
    list_filter = ("owner",)
    search_fields = ("id", "name", "owner__username")


@admin.register(models.Task)
class TaskAdmin(admin.ModelAdmin):
    """Tasks; new ones are made by the API."""

    list_display = ("id", "name", "project", "processing_node", "created_at", "status", "last_error")
    list_filter = ("status", "project")
    search_fields = ("id", "name", "project__name")

    def has_add_permission(self, request):
        """No."""
        return False


admin.site.register(models.Preset)
admin.site.register(models.PluginDatum)
admin.site.register(models.Setting)


@admin.register(models.Plugin)
class PluginAdmin(admin.ModelAdmin):
    """The list of plugins with buttons; below it a form for a zip."""

    list_display = ("name", "description", "version", "author", "enabled", "plugin_actions")
    readonly_fields = ("name",)
    change_list_template = "admin/change_list_plugin.html"

    def has_add_permission(self, request):
        """Plugins are uploaded or put on disk."""
        return False

    def has_delete_permission(self, request, obj=None):
        """There is a button for it."""
        return False

    def _manifest(self, obj) -> dict:
        plugin = get_plugin_by_name(obj.name, only_active=False, refresh_cache_if_none=True)
        return plugin.get_manifest() if plugin else {}

    def description(self, obj):
        """From the manifest."""
        return self._manifest(obj).get("description", "")

    def version(self, obj):
        """From the manifest."""
        return self._manifest(obj).get("version", "")

    def author(self, obj):
        """From the manifest."""
        return self._manifest(obj).get("author", "")

    def plugin_actions(self, obj):
        """The buttons."""
        switch = "disable" if obj.enabled else "enable"
        return format_html(
            '<a class="button" href="{}">{}</a>&nbsp;<a class="button" href="{}">Delete</a>',
            reverse("admin:plugin-" + switch, args=[obj.pk]),
            switch.capitalize(),
            reverse("admin:plugin-delete", args=[obj.pk]),
        )

    plugin_actions.short_description = "Actions"

    def get_urls(self):
        """WebODM's addresses for the buttons."""
        names = {"enable": self.plugin_enable, "disable": self.plugin_disable, "delete": self.plugin_delete}
        own = [
            url(rf"^(?P<plugin_name>.+)/{name}/$", self.admin_site.admin_view(view), name="plugin-" + name)
            for name, view in names.items()
        ]
        own.append(url(r"^actions/upload/$", self.admin_site.admin_view(self.plugin_upload), name="plugin-upload"))
        return own + super().get_urls()

    def plugin_enable(self, request, plugin_name):
        """Switches on; says so when only a restart makes it whole."""
        return self._switch(request, plugin_name, enable_plugin, "enable")

    def plugin_disable(self, request, plugin_name):
        """Switches off."""
        return self._switch(request, plugin_name, disable_plugin, "disable")

    def plugin_delete(self, request, plugin_name):
        """Deletes row and files."""
        return self._switch(request, plugin_name, delete_plugin, "delete")

    def _switch(self, request, plugin_name, function, verb):
        try:
            plugin = function(plugin_name)
            if plugin is not None and plugin.requires_restart():
                messages.warning(request, f"Restart WebODM to {verb} {plugin_name} completely")
        except Exception as error:  # noqa: BLE001 (the administrator sees whatever a plugin raises)
            messages.warning(request, f"Cannot {verb} plugin {plugin_name}: {error}")
        return HttpResponseRedirect(reverse("admin:app_plugin_changelist"))

    def plugin_upload(self, request):
        """Installs a plugin from a zip with one directory in it."""
        file = request.FILES.get("file")
        if file is None:
            messages.error(request, "You need to upload a zip file")
        else:
            try:
                _install(file)
                messages.info(request, "Plugin added successfully")
            except (ValueError, OSError, zipfile.BadZipFile) as error:
                messages.warning(request, f"Cannot load plugin: {error}")
        return HttpResponseRedirect(reverse("admin:app_plugin_changelist"))


def _install(file) -> None:
    """Unpacks a plugin into MEDIA_ROOT/plugins and loads it. Raises ValueError, OSError, BadZipFile."""
    directory = tempfile.mkdtemp("plugin", dir=settings.MEDIA_TMP)
    try:
        # An upload that went to disk is closed by its handler and opened here anew.
        source = file.temporary_file_path() if hasattr(file, "temporary_file_path") else file
        with zipfile.ZipFile(source) as archive:
            archive.extractall(directory)
        entries = os.listdir(directory)
        if len(entries) != 1:
            raise ValueError("The zip must have one directory at its root")
        path = os.path.join(directory, entries[0])
        if not valid_plugin(path):
            raise ValueError("This is no plugin: plugin.py, manifest.json or __init__.py is missing")
        if os.path.exists(get_plugins_persistent_path(entries[0])):
            raise ValueError(f"There is a plugin named {entries[0]} already")
        shutil.move(path, get_plugins_persistent_path())
    finally:
        shutil.rmtree(directory)
    clear_plugins_cache()
    init_plugins()


class ProfileInline(admin.StackedInline):
    """The quota, on the user's page."""

    model = models.Profile
    can_delete = False

    def get_fields(self, request, obj=None):
        """The profile is made after the user, so there is no quota to ask for while adding one."""
        return [name for name in super().get_fields(request, obj) if obj is not None or name != "quota"]


class UserAdmin(BaseUserAdmin):
    """Django's, with the profile."""

    inlines = [ProfileInline]


admin.site.unregister(User)
admin.site.register(User, UserAdmin)
