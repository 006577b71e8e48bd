"""A plugin that is never enabled, and notes by whom it is imported all the same."""
import json
import os

from app.plugins import MountPoint, PluginBase
from django.conf import settings
from django.http import HttpResponse

with open("/proc/self/cmdline", "rb") as _stream:
    _line = _stream.read().decode().split("\0")
os.makedirs(os.path.join(settings.MEDIA_ROOT, "contract_log"), exist_ok=True)
with open(os.path.join(settings.MEDIA_ROOT, "contract_log", "disabled-import"), "a") as _stream:
    _stream.write(json.dumps({"cmdline": _line}) + "\n")


class Plugin(PluginBase):
    """Has mount points that nobody should reach."""

    def api_mount_points(self):
        return [MountPoint("hello$", lambda request: HttpResponse("hello"))]

    def root_mount_points(self):
        return [MountPoint("^contract-disabled/hello$", lambda request: HttpResponse("hello"))]
