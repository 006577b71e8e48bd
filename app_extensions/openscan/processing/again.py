"""Processes a scan again because its owner asks for it, with another preset if they like. This costs nothing."""
from typing import Any

from django.db import transaction

from app_extensions.host import nodes as host_nodes
from app_extensions.host import presets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import lifecycle
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import queue

CONFLICT = 409


def run_again(scan: Scan, preset: Any = "", actor: str = "") -> None:
    """Process a scan again.

    :param preset: the name of a WebODM preset; empty keeps the scan's options
    :param actor: the user who asked for it; empty for the holder of a token
    :raises OpenScanError: the scan is being processed, nothing is left of it, or there is no such preset
    """
    if not isinstance(preset, str):
        raise OpenScanError("The preset has to be a name.")
    with transaction.atomic():
        row = Scan.objects.select_for_update().select_related("token").get(pk=scan.pk)
        task = host_tasks.get_task(row.webodm_task_id) if row.webodm_task_id else None
        if task is None or row.released_at is None:
            queue.retry(row, actor)  # refused before WebODM had it
            return
        if host_tasks.task_state(task).status not in ("completed", "failed", "canceled"):
            raise OpenScanError("This scan is already being processed; wait until it has ended.", CONFLICT)
        why = f"It is processed again with the preset “{preset[:100]}”." if preset else "It is processed again."
        options = _options(row, preset) if preset else None
        if lifecycle.apply(row.pk, lifecycle.RETRY, why=why, actor=actor) is None:
            raise OpenScanError(f"A scan that is {row.state} cannot be processed again.", CONFLICT)
        if options is not None:
            host_tasks.set_options(task, options)
        host_tasks.restart_task(task)


def _options(scan: Scan, preset: str) -> "list[dict]":
    """The options of a preset that every node which may get the task knows."""
    owner = tokens.token_owner(scan.token)
    try:
        options = presets.preset_options(preset, owner)
    except LookupError:
        raise OpenScanError("WebODM has no preset of this name; choose another one.") from None
    nodes = [node for node in host_nodes.nodes_for(owner) if node.online] if owner is not None else []
    for node in nodes:
        options = presets.filter_options(options, node)
    return queue.with_glb(options, nodes)
