"""Whether this process can serve rigs, and what is amiss: for load balancers and people."""
import os
from typing import Any

from django.db import Error, connection

from app_extensions.host import counters, media
from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan import part_files
from app_extensions.openscan.conf import conf

OK, DEGRADED, UNAVAILABLE = "ok", "degraded", "unavailable"


def health(plugin: str) -> "dict[str, Any]":
    """``status`` and, unless all is well, ``problems`` by name.

    Unavailable, so that a balancer sends nobody here: the plugin is off, the database is away, the storage is not there.
    Degraded, since it is the same on every host and taking them all out would help nobody: the broker is away (uploads go
    on, jobs are found again later), the disk has no room for uploads (downloads go on).
    """
    problems = []
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if not plugin_enabled(plugin):
            problems.append("plugin")
    except Error:
        problems.append("database")
    try:
        incoming = part_files.incoming_dir()
        if not os.access(incoming, os.W_OK):
            problems.append("storage")
        elif media.free_bytes(incoming) < conf.free_reserve_bytes:
            problems.append("disk")
    except OSError:
        problems.append("storage")
    if not counters.answers():
        problems.append("broker")
    if not problems:
        return {"status": OK}
    return {"status": UNAVAILABLE if {"plugin", "database", "storage"} & set(problems) else DEGRADED, "problems": problems}
