"""The status of a scan as its client sees it, derived live from the scan's row and its WebODM task.

The wire contract fixes the words and their order: created → initialized → file approved → processing started →
processing done | processing failed; expired once the result is gone.
"""
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple, Optional

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan import links, page_links
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan, Token
from app_extensions.openscan.processing import failover, queue
from app_extensions.openscan.results import packing

CREATED, INITIALIZED, APPROVED = "created", "initialized", "file approved"
STARTED, DONE, FAILED, EXPIRED = "processing started", "processing done", "processing failed", "expired"

#: States in which the status comes from the WebODM task, not from the row.
_LIVE = (Scan.APPROVED, Scan.RELEASED, Scan.DONE, Scan.FAILED, Scan.EXPIRED)


class Look(NamedTuple):
    """A scan at one moment: the contract's status, progress from 0 to 1, and the task's state if there is a task."""

    status: str
    progress: float
    task: Optional[Any]


class Known:
    """Data that a page with many scans reads once for all of them: tasks, queue, and what the scans of an owner wait for."""

    def __init__(self, scans: "Iterable[Scan]", places: "Optional[dict[int, int]]" = None):
        """:param places: the scans' places in the queue, if the caller has read them already"""
        self.tasks = host_tasks.task_rows(scan.webodm_task_id for scan in scans if scan.webodm_task_id)
        self._given_places = places
        self._waits: dict[tuple, str] = {}

    def task(self, scan: Scan) -> Optional[Any]:
        """The scan's task, None if it is gone."""
        return self.tasks.get(scan.webodm_task_id)

    def position(self, scan: Scan) -> int:
        """As ``queue.position``."""
        return self._places.get(scan.pk, 0)

    @cached_property
    def _places(self) -> "dict[int, int]":
        # Read lazily: most scans have ended and do not need the queue.
        if self._given_places is not None:
            return self._given_places
        return {entry.pk: place for place, entry in enumerate(queue.waiting_scans(), 1)}

    def what_it_waits_for(self, scan: Scan) -> str:
        """As ``queue.what_it_waits_for``, computed once for all scans that must get the same answer."""
        alike = (scan.token.owner_id, scan.images_count, scan.moves > 0, scan.on_hold)
        if alike not in self._waits:
            self._waits[alike] = queue.what_it_waits_for(scan)
        return self._waits[alike]


def look(scan: Scan, known: Optional[Known] = None) -> Look:
    """Find out how a scan is doing. Reads at most one task."""
    if scan.state == Scan.CREATED:
        return Look(CREATED, 0.0, None)
    if scan.state == Scan.INITIALIZED:
        return Look(INITIALIZED, 0.0, None)
    if scan.state == Scan.RESET or not scan.webodm_task_id:
        return Look(FAILED if scan.state == Scan.FAILED else EXPIRED, 0.0, None)
    if scan.state == Scan.FAILED and scan.released_at is None:
        return Look(FAILED, 0.0, None)  # refused by ingest; the rest of its task is being removed
    task = known.task(scan) if known else host_tasks.get_task(scan.webodm_task_id)
    if task is None:
        return Look(EXPIRED, 0.0, None)
    state = host_tasks.task_state(task)
    return Look(*_live(scan, task, state), state)


def _live(scan: Scan, task: Any, state: Any) -> "tuple[str, float]":
    if state.status in ("waiting", "queued") or (state.status == "failed" and failover.is_on_its_way(scan, state.node_error)):
        return APPROVED, 0.0
    if state.status == "running":
        return STARTED, state.progress
    if state.status in ("failed", "canceled"):
        return FAILED, state.progress
    # Completed. Clients stop polling at "done", so report it only when there is something to download.
    if packing.is_current(scan, task):
        if scan.state == Scan.DONE and not packing.is_expired(scan):
            return DONE, 1.0
        return (FAILED, 1.0) if scan.state == Scan.FAILED else (EXPIRED, 1.0)
    return STARTED, 1.0


def scan_status(scan: Scan) -> str:
    """The contract's status for a scan, e.g. ``processing started``."""
    return look(scan).status


def project_info(token: Token, name: str, address: str = "", base_url: str = "") -> dict:
    """The answer of getProjectInfo: `dlink`, `status`, `ulink`, and more for newer clients. Cheap, because rigs poll it.

    Raises OpenScanError (401) for an unknown project.
    """
    scan = scans.find_scan(token, name, address)
    info = {
        "dlink": "",
        "ulink": links.upload_links(scan, base_url) if scan.state == Scan.CREATED else [],
        "photos": scan.photos,
        "filesize": scan.declared_bytes,
        "received": scan.received_bytes,
        "missing_parts": scans.missing_parts(scan) if scan.state == Scan.CREATED else [],
        "error_text": scan.error,
        "page": page_links.page_url(scan, links.base_url() or base_url or scan.base_url),
    }
    info.update(scan_details(scan, base_url))
    return info


def scan_details(scan: Scan, base_url: str = "", known: Optional[Known] = None) -> "dict[str, Any]":
    """The derived part of getProjectInfo's answer.

    It has ``status``, ``dlink``, ``progress`` (0 to 1), ``queue_position`` (0: not waiting), ``message`` (what it waits for),
    ``set_aside`` (members left out, a sentence each) and, for a failed scan, ``error_text``.

    :param base_url: the start of ``dlink``
    :param known: data that was read once for many scans
    """
    seen = look(scan, known)
    details = {
        "status": seen.status,
        "dlink": packing.result_url(scan, base_url) if seen.status == DONE else "",
        "progress": round(seen.progress, 3),
        "queue_position": 0,
        "message": "",
        "set_aside": scan.set_aside.splitlines(),
    }
    if seen.status == APPROVED and scan.state == Scan.APPROVED:
        source: Any = known or queue
        details["queue_position"] = source.position(scan)
        details["message"] = source.what_it_waits_for(scan)
    if seen.status == FAILED:
        details["error_text"] = error_text(scan, seen)
    return details


def error_text(scan: Scan, seen: Look) -> str:
    """One sentence on why a scan failed."""
    if scan.error:
        return scan.error
    if seen.task is not None and seen.task.status == "canceled":
        return "Processing was canceled in WebODM; restart the task there, or reset the project and send it again."
    if seen.task is not None and seen.task.error:
        return f"Processing failed: {seen.task.error}"
    return "Processing failed. Please contact this site's support. Your credit is refunded unless the photos were the cause."
