"""Objects in object storage in Django admin: where they are, their state, and the last failure."""
from django.contrib import admin

from app_extensions.openscan.admin.base import ReadOnlyAdmin, exact_size
from app_extensions.openscan.models import ArchivedSet, StoredObject

_COMMON = ("state", "place", "bytes", "sent", "attempts", "failures", "problem", "failed_at", "retry_at", "created_at", "stored_at",
           "gone_at")


class StoredAdmin(ReadOnlyAdmin):
    """What the pages of results and archived sets have in common."""

    list_filter = ("state", "place", "created_at")
    list_select_related = ("scan",)
    ordering = ("-id",)

    bytes = exact_size("size_bytes", "Size")
    sent = exact_size("sent_bytes", "Sent, repeats included")


@admin.register(StoredObject)
class StoredObjectAdmin(StoredAdmin):
    """Results, including those that were removed."""

    list_display = ("key", "scan", "state", "bytes", "failures", "problem", "stored_at")
    search_fields = ("key", "scan__name", "problem")
    fields = ("scan", "key", *_COMMON, "sha256", "etag")
    readonly_fields = fields


@admin.register(ArchivedSet)
class ArchivedSetAdmin(StoredAdmin):
    """Public sets kept for research."""

    list_display = ("prefix", "scan", "state", "files", "bytes", "failures", "problem", "stored_at")
    search_fields = ("prefix", "scan__name", "problem")
    fields = ("scan", "prefix", "files", *_COMMON)
    readonly_fields = fields
