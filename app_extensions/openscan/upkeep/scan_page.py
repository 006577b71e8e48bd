"""What a scan's page shows: where it stands in plain words, what comes next, its history, and what its owner may do."""
import datetime
from typing import Any, Optional

from django.utils import timezone

from app_extensions.host import presets
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import page_links
from app_extensions.openscan.accounts import tokens
from app_extensions.openscan.accounts.visitors import Access, Visitor
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import queue, status
from app_extensions.openscan.results import model_view, packing
from app_extensions.openscan.upkeep.overview import TONES

MOST_OUTPUT_BYTES = 60_000
_ENDED = (status.DONE, status.FAILED, status.EXPIRED)


def for_page(visitor: Visitor, access: Access, base_url: str = "") -> "dict[str, Any]":
    """A scan as its page shows it, its status read live.

    :param base_url: the start of the download link; empty for a path on this server
    """
    scan = access.scan
    seen = status.look(scan)
    details = status.scan_details(scan, base_url)
    word = details["status"]
    shown = {
        "key": page_links.page_key(scan) if not access.shared else "",
        "name": scan.name, "status": word, "tone": TONES.get(word, "open"), "ended": word in _ENDED,
        "progress": details["progress"], "queue_position": details["queue_position"],
        "wait_seconds": queue.wait_seconds(scan) if details["queue_position"] else None,
        "message": details["message"], "error": details.get("error_text", "") if word == status.FAILED else "",
        "photos": scan.photos, "images": scan.images_count, "parts": scan.parts_count,
        "bytes": scan.declared_bytes, "received_bytes": scan.received_bytes,
        "set_aside": details["set_aside"], "created_at": _time(scan.created_at), "finished_at": _time(scan.finished_at),
        "processing_seconds": scan.processing_seconds, "may_change": access.may_change, "shared": access.shared,
        "result": _result(scan, details["dlink"]), "model": _model(scan, word), "from_browser": hasattr(scan, "browser_upload"),
    }
    if word == status.CREATED:
        shown["received_parts"] = scan.parts.exclude(size_bytes=None).count()
    if access.may_change:
        shown.update(_for_owner(visitor, scan, seen, word))
    return shown


def _for_owner(visitor: Visitor, scan: Scan, seen: status.Look, word: str) -> "dict[str, Any]":
    task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
    return {
        "history": _history(scan),
        "token": {"id": scan.token_id, "prefix": scan.token.prefix, "kind": scan.token.kind, "name": scan.token.person},
        "charge": {"state": scan.charge, "held": scan.held_bytes, "posted": scan.posted_bytes},
        "node": seen.task.node_label if seen.task is not None else "",
        "task_url": host_tasks.task_url(task) if task is not None and visitor.user is not None else "",
        "model_url": host_tasks.model_url(task) if task is not None and visitor.user is not None and word == status.DONE else "",
        "has_output": task is not None,
        "may_run_again": word in (status.DONE, status.FAILED) and (task is not None or scan.parts.exists()),
        "presets": _presets(scan) if task is not None and word in _ENDED else [],
    }


def _presets(scan: Scan) -> "dict[str, Any]":
    owner = tokens.token_owner(scan.token)
    return {"names": presets.preset_names(owner), "usual": conf.preset}


def _history(scan: Scan) -> "list[dict[str, str]]":
    """Each transition of the scan, oldest first, with the person who caused it, if any."""
    return [{"what": event.to_state, "event": event.event, "at": _time(event.at), "why": event.why, "actor": event.actor}
            for event in scan.events.order_by("pk")]


def _result(scan: Scan, link: str) -> "Optional[dict[str, Any]]":
    if not link:
        return None
    return {"link": link, "bytes": scan.result_bytes, "expires_at": _time(scan.result_expires_at), "file": packing.download_name(scan)}


def _model(scan: Scan, word: str) -> "Optional[dict[str, Any]]":
    if word != status.DONE:
        return None
    task = host_tasks.get_task(scan.webodm_task_id)
    found = model_view.find_model(task) if task is not None else None
    return {"bytes": found.size_bytes, "triangles": found.triangles, "version": found.version} if found else None


def model_for(access: Access) -> model_view.Model:
    """The model file for the viewer. Raises OpenScanError (404) if there is none or it has expired."""
    task = host_tasks.get_task(access.scan.webodm_task_id) if status.scan_status(access.scan) == status.DONE else None
    found = model_view.find_model(task) if task is not None else None
    if found is None:
        raise OpenScanError("There is no model to show here.", 404)
    return found


def output_of(scan: Scan) -> str:
    """The last 60 kB, at most, of the processing node's output, for the scan's owner."""
    task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
    return host_tasks.console_tail(task, MOST_OUTPUT_BYTES) if task is not None else ""


def share(scan: Scan, days: Any, base_url: str) -> "dict[str, str]":
    """A link to look at the model and download it without a token, for a number of days.

    :raises OpenScanError: `days` is not a whole number from 1 to 3660, or there is no model
    """
    if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= 3660:
        raise OpenScanError("Say for how many days the link should be valid: a whole number, 1 or more.")
    if status.scan_status(scan) != status.DONE:
        raise OpenScanError("There is no model to share yet.", 409)
    until = min(timezone.now() + datetime.timedelta(days=days), scan.result_expires_at)
    return {"url": page_links.shared_url(scan, base_url, int(until.timestamp())), "until": _time(until)}


def _time(at: Optional[datetime.datetime]) -> str:
    return at.isoformat() if at is not None else ""
