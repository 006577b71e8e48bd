"""The ledger in Django admin, read-only."""
from django.contrib import admin

from app_extensions.openscan.admin.base import ReadOnlyAdmin, exact_size
from app_extensions.openscan.models import LedgerEntry


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "token", "kind", "amount", "balance", "scan", "actor", "note")
    list_filter = ("kind", "created_at")
    list_select_related = ("token", "scan")
    search_fields = ("token__prefix", "token__mail", "token__surname", "scan__name", "note")
    ordering = ("-id",)

    amount = exact_size("amount_bytes", "Amount")
    balance = exact_size("balance_bytes", "Balance after it")
