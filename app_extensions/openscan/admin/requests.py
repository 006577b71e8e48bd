"""Requests for private tokens in Django admin: approve or refuse."""
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from app_extensions.openscan import links
from app_extensions.openscan.accounts import token_requests
from app_extensions.openscan.admin.base import ReadOnlyAdmin
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import TokenRequest


@admin.register(TokenRequest)
class TokenRequestAdmin(ReadOnlyAdmin):
    """Actions need the permission to add tokens; the token itself goes to the requester's mail and is not shown here."""

    list_display = ("mail", "forename", "surname", "state", "times_asked", "created_at", "decided_at", "decided_by")
    list_filter = ("state", "created_at")
    search_fields = ("mail", "forename", "surname")
    ordering = ("-id",)
    actions = ("approve", "refuse")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("openscan.add_token")

    def approve(self, request: HttpRequest, chosen: QuerySet) -> None:
        for row in chosen:
            try:
                token, _ = token_requests.approve(row, actor=request.user.get_username(), base_url=links.base_url(request))
            except OpenScanError as error:
                self.message_user(request, f"{row.mail}: {error.sentence}", messages.ERROR)
            else:
                self.message_user(request, f"Token {token.pk} is mailed to {row.mail}.", messages.SUCCESS)

    approve.short_description = "Approve: make a token and mail it"
    approve.allowed_permissions = ("decide",)

    def refuse(self, request: HttpRequest, chosen: QuerySet) -> None:
        for row in chosen:
            if token_requests.refuse(row, actor=request.user.get_username()):
                self.message_user(request, f"The request of {row.mail} is refused.", messages.SUCCESS)
            else:
                self.message_user(request, f"{row.mail}: this request was {row.state} before.", messages.ERROR)

    refuse.short_description = "Refuse: nobody is mailed"
    refuse.allowed_permissions = ("decide",)
