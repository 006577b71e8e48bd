"""Read-only admin pages of jobs and flights. To control them, use the API or the flights page."""
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.html import format_html_join
from django.utils.safestring import mark_safe
from django.utils.text import Truncator

from app_extensions.shared.formatting import format_bytes
from app_extensions.tapis.models import Flight, TapisJob


class ReadOnlyAdmin(admin.ModelAdmin):
    """A read-only table. Its rows are only deleted together with the user they belong to."""

    def has_add_permission(self, request: Any) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        """Nobody on this table's own pages. Elsewhere, Django asks whether rows may be deleted along with, say, their user: they may."""
        match = request.resolver_match
        own = f"{self.opts.app_label}_{self.opts.model_name}_"
        if match is None or (match.url_name or "").startswith(own):
            return False
        return super().has_delete_permission(request, obj)


@admin.register(TapisJob)
class JobAdmin(ReadOnlyAdmin):
    """Discoveries and syncs, newest first. Tokens that came with a request are not shown."""

    list_display = ("kind", "state", "user", "flight", "images", "fetched", "created_at", "reason")
    list_filter = ("kind", "state", "automatic")
    search_fields = ("=id", "user__username", "flight__name", "flight__system_id", "error")
    date_hierarchy = "created_at"
    fields = ("id", "kind", "state", "phase", "automatic", "user", "client", "flight", "images", "fetched", "connections", "error", "note",
              "steps", "request", "results", "created_at", "due_at", "claimed_at", "started_at", "moved_at", "finished_at")

    def get_queryset(self, request: Any) -> QuerySet:
        """Load what the list shows, but no secrets."""
        return super().get_queryset(request).defer("access_token").select_related("user", "flight")

    def reason(self, job: TapisJob) -> str:
        """Why it failed, or remarks. Shortened here; the job's own page shows the whole text."""
        return Truncator(job.error).chars(160)

    def images(self, job: TapisJob) -> str:
        """How many of the images are here."""
        return f"{job.images_done} of {job.images_total}"

    def steps(self, job: TapisJob) -> str:
        """The job's transitions, one per line: when, from which state to which, and why."""
        lines = [(step["at"][:19].replace("T", " "), step["from"], step["to"], step["event"], step["why"]) for step in job.history]
        return format_html_join(mark_safe("<br>"), "{} UTC: {} → {} ({}) {}", lines) or "-"  # noqa: S308  (a constant)

    steps.short_description = "History"

    def fetched(self, job: TapisJob) -> str:
        """How much data this job fetched."""
        return format_bytes(job.bytes_moved)


@admin.register(Flight)
class FlightAdmin(ReadOnlyAdmin):
    """Flights that have or had a project here."""

    list_display = ("name", "system_id", "user", "project_id", "image_count", "discovered_at", "synced_at")
    list_filter = ("tenant_id",)
    search_fields = ("name", "system_id", "user__username", "=project_id")
    list_select_related = ("user",)
