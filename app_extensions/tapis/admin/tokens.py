"""Admin page of stored tokens: their users and lifetimes, but never the tokens themselves."""
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils import timezone

from app_extensions.tapis.models import TapisOAuth2Token

SWITCHED_OFF = "switched off by an administrator."


@admin.register(TapisOAuth2Token)
class TokenAdmin(admin.ModelAdmin):
    """Tokens can be viewed, switched off and on, and deleted. They only come from logins."""

    list_display = ("identity", "user", "client", "is_valid", "expires_at", "refresh_expires_at", "refreshed_at")
    list_filter = ("is_valid", "client")
    search_fields = ("identity__subject", "user__username")
    fields = (
        "user", "client", "identity", "is_valid", "invalid_reason", "expires_at", "refresh_expires_at", "refreshed_at",
        "refresh_failed_at", "created_at", "updated_at",
    )
    readonly_fields = tuple(name for name in fields if name != "is_valid")
    actions = ("switch_off", "switch_on")

    def has_add_permission(self, request: Any) -> bool:
        """Tokens come from logins."""
        return False

    def get_queryset(self, request: Any) -> QuerySet:
        """Leave the secrets in the database."""
        return super().get_queryset(request).defer("access_token", "refresh_token").select_related("identity", "client", "user")

    def save_model(self, request: Any, obj: TapisOAuth2Token, form: Any, change: bool) -> None:
        """Save only what the form may change. The token may have been refreshed since the page was opened."""
        obj.invalid_reason = "" if obj.is_valid else obj.invalid_reason or SWITCHED_OFF
        obj.save(update_fields=["is_valid", "invalid_reason", "updated_at"])

    def switch_off(self, request: Any, queryset: QuerySet) -> None:
        """Make tokens unusable here, without revoking them at Tapis."""
        queryset.update(is_valid=False, invalid_reason=SWITCHED_OFF)

    switch_off.short_description = "Switch off until the next login"
    switch_off.allowed_permissions = ("change",)  # without this line, the permission to view would be enough

    def switch_on(self, request: Any, queryset: QuerySet) -> None:
        """Let tokens be used again, for example after the client's secret was corrected."""
        queryset.update(is_valid=True, invalid_reason="", updated_at=timezone.now())

    switch_on.short_description = "Switch on again"
    switch_on.allowed_permissions = ("change",)
