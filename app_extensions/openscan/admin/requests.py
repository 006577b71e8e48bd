"""Requests for private tokens in Django admin: approve or refuse."""
from typing import Optional

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from app_extensions.openscan import links
from app_extensions.openscan.accounts import token_requests
from app_extensions.openscan.admin.base import ReadOnlyAdmin
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import OutgoingMail, Token, TokenRequest
from app_extensions.shared import mail


@admin.register(TokenRequest)
class TokenRequestAdmin(ReadOnlyAdmin):
    """Actions need the permission to add tokens. A token is emailed to its person; if mail does not work, it is shown here once."""

    list_display = ("mail", "forename", "surname", "state", "token_email", "times_asked", "created_at", "decided_at", "decided_by")
    list_filter = ("state", "token_mail__state", "created_at")
    list_select_related = ("token_mail", "token")
    search_fields = ("mail", "forename", "surname")
    ordering = ("-id",)
    actions = ("approve", "refuse")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("openscan.add_token")

    def token_email(self, row: TokenRequest) -> str:
        """The state of the email with the token."""
        sent = row.token_mail
        if sent is None or sent.state == OutgoingMail.SENT:
            return "sent" if sent else "-"
        if token_requests.is_lost(row):
            return f"given up: {sent.last_error}. Approve again to create a new token."
        return f"{sent.state}: {sent.last_error}" if sent.last_error else sent.state

    token_email.short_description = "Email with the token"

    def approve(self, request: HttpRequest, chosen: QuerySet) -> Optional[HttpResponse]:
        approved, mail_works = [], mail.is_working()
        for row in chosen:
            try:
                approved.append(token_requests.approve(row, actor=request.user.get_username(), base_url=links.base_url(request)))
            except OpenScanError as error:
                self.message_user(request, f"{row.mail}: {error.sentence}", messages.ERROR)
            else:
                if mail_works:
                    self.message_user(request, f"Token {row.token_id} is mailed to {row.mail}.", messages.SUCCESS)
        return None if mail_works or not approved else self._show(request, approved)

    def _show(self, request: HttpRequest, approved: "list[tuple[Token, str]]") -> HttpResponse:
        """Shows the tokens in the response itself, as for a token that is created by hand."""
        context = {**self.admin_site.each_context(request), "title": "The new tokens", "opts": self.model._meta, "approved": approved}
        response = TemplateResponse(request, "admin/openscan/tokens_approved.html", context)
        response["Cache-Control"] = "no-store"
        return response

    approve.short_description = "Approve: create a token and email it"
    approve.allowed_permissions = ("decide",)

    def refuse(self, request: HttpRequest, chosen: QuerySet) -> None:
        for row in chosen:
            if token_requests.refuse(row, actor=request.user.get_username()):
                self.message_user(request, f"The request of {row.mail} is refused.", messages.SUCCESS)
            else:
                self.message_user(request, f"{row.mail}: this request was {row.state} before.", messages.ERROR)

    refuse.short_description = "Refuse: no email is sent"
    refuse.allowed_permissions = ("decide",)
