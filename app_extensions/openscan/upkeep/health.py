"""Reports whether this process can serve rigs and what is wrong, for load balancers and people."""
import os
from typing import Any

from django.db import Error, connection

from app_extensions.host import counters, media
from app_extensions.host.plugins import plugin_enabled
from app_extensions.openscan import part_files
from app_extensions.openscan.conf import conf

OK, DEGRADED, UNAVAILABLE = "ok", "degraded", "unavailable"


def health(plugin: str) -> "dict[str, Any]":
    """``status`` and, unless all is well, the names of the ``problems``.

    Unavailable means that a load balancer should send nobody here: the plugin is off, the database does not answer, or the storage
    is missing. Degraded means that the problem is the same on every host, so taking hosts out would not help: the broker does not
    answer (uploads continue, and jobs are found later), or the disk has no room for uploads (downloads continue).
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
