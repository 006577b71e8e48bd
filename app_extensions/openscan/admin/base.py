"""What the admin pages share."""
from typing import Any, Callable, Optional

from django.contrib import admin
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.timezone import localtime

from app_extensions.shared.formatting import format_bytes, format_exact_bytes


class ReadOnlyAdmin(admin.ModelAdmin):
    """A read-only table: nothing is added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Optional[Any] = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Optional[Any] = None) -> bool:
        return False


def size(field: str, title: str) -> Any:
    """A list column that shows a number of bytes in a readable unit and sorts by the number."""
    return _size_column(field, title, format_bytes)


def exact_size(field: str, title: str) -> Any:
    """Like `size`, but exact to the byte. For the page of one row, because a list lacks the room."""
    return _size_column(field, title, format_exact_bytes)


def _size_column(field: str, title: str, words: Callable[[int], str]) -> Any:
    def column(self: Any, row: Any) -> str:
        return words(getattr(row, field))

    column.short_description = title
    column.admin_order_field = field
    return column


def moment(value: Any) -> str:
    """A time in Django admin's usual format, or a dash."""
    return date_format(localtime(value), "DATETIME_FORMAT") if value else "-"
