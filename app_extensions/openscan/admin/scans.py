"""Scans in Django admin: where each stands and why, its parts, its task; retry and reset."""
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join

from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.admin.base import ReadOnlyAdmin, exact_size, moment, size
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import queue, status
from app_extensions.shared.formatting import format_exact_bytes


@admin.register(Scan)
class ScanAdmin(ReadOnlyAdmin):
    """Actions need the permission to change scans, although nobody edits the rows by hand."""

    list_display = ("name", "token", "state", "short_received", "charge", "created_at", "started_at", "finished_at")
    list_filter = ("state", "charge", "token__kind", "created_at")
    list_select_related = ("token",)
    search_fields = ("name", "token__prefix", "token__mail", "token__surname", "state", "error")  # WebODM's style hides list filters
    ordering = ("-id",)
    actions = ("retry", "reset")
    fields = (
        "name", "token", "state", "client_status", "error", "set_aside", "photos", "declared", "received", "parts_table",
        "task_link", "moves", "node_notes", "charge", "held", "posted", "client_address", "research_consent", "links_expire_at",
        "history_table", "created_at", "started_at", "approved_at", "released_at", "finished_at", "expired_at", "reset_at",
        "result_size", "result_file", "result_object", "result_expires_at",
    )
    readonly_fields = fields

    declared = exact_size("declared_bytes", "Declared size")
    received = exact_size("received_bytes", "Received")
    short_received = size("received_bytes", "Received")
    held = exact_size("held_bytes", "Credit held")
    posted = exact_size("posted_bytes", "Credit used up")
    result_size = exact_size("result_bytes", "Size of the result")

    def has_steer_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("openscan.change_scan")

    def client_status(self, scan: Scan) -> str:
        return "-" if scan.state == Scan.RESET else status.scan_status(scan)

    client_status.short_description = "What the client sees"

    def parts_table(self, scan: Scan) -> str:
        rows = [(part.number, format_exact_bytes(part.size_bytes), moment(part.received_at))
                for part in scan.parts.order_by("number")[:200]]
        if not rows:
            return "-"
        return format_html("<table>{}</table>", format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td></tr>", rows))

    parts_table.short_description = "Parts"

    def history_table(self, scan: Scan) -> str:
        rows = [(moment(event.at), f"{event.from_state or 'new'} → {event.to_state}", event.why, event.actor)
                for event in scan.events.order_by("-pk")[:200]]
        if not rows:
            return "-"
        return format_html("<table><tr><th>When</th><th>From → to</th><th>Why</th><th>Who</th></tr>{}</table>",
                           format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows))

    history_table.short_description = "History"

    def task_link(self, scan: Scan) -> str:
        task = host_tasks.get_task(scan.webodm_task_id) if scan.webodm_task_id else None
        if task is None:
            return "-" if scan.webodm_task_id is None else "was deleted in WebODM"
        return format_html('<a href="{}">{}</a>', host_tasks.task_url(task), task)

    task_link.short_description = "WebODM task"

    def retry(self, request: HttpRequest, chosen: QuerySet) -> None:
        self._each(request, chosen, partial(queue.retry, actor=request.user.get_username()), "is tried again")

    retry.short_description = "Retry: process again, free of charge"
    retry.allowed_permissions = ("steer",)

    def reset(self, request: HttpRequest, chosen: QuerySet) -> None:
        self._each(request, chosen, partial(scans.reset_scan_row, actor=request.user.get_username()), "is reset")

    reset.short_description = "Reset: free the name, give credit back"
    reset.allowed_permissions = ("steer",)

    def _each(self, request: HttpRequest, chosen: QuerySet, do: Any, done: str) -> None:
        for scan in chosen:
            try:
                do(scan)
            except OpenScanError as error:
                self.message_user(request, f"{scan.name}: {error.sentence}", messages.ERROR)
            else:
                self.message_user(request, f"{scan.name} {done}.", messages.SUCCESS)
