"""Tokens in Django admin: create (the text is shown once), credit and revoke them."""
from typing import Any, Optional

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from app_extensions.openscan.accounts import ledger, limits, tokens
from app_extensions.openscan.admin.base import exact_size, size
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Token
from app_extensions.shared.settings import parse_bytes


class SizeField(forms.CharField):
    """A number of bytes, written like `10GB`."""

    def clean(self, value: Any) -> Optional[int]:
        text = super().clean(value)
        if not text:
            return None
        try:
            return parse_bytes(text)
        except ValueError as error:
            raise ValidationError(str(error)) from error


class TokenForm(forms.ModelForm):
    """A token's own fields, and credit to grant it with this save."""

    grant = SizeField(required=False, help_text="Credit to add, like 10GB. A new private token without it gets the default.")
    daily_bytes = forms.IntegerField(
        required=False, min_value=0, help_text="Public tokens: topped up to this at 00:00 UTC. Empty: the default.")

    class Meta:
        model = Token
        fields = ("kind", "label", "forename", "surname", "mail", "owner", "limit_filesize_bytes", "limit_photos",
                  "limit_part_bytes", "daily_bytes")

    def clean(self) -> dict:
        cleaned = super().clean()
        kind = cleaned.get("kind") or self.instance.kind
        if kind == Token.PRIVATE:
            for field in ("forename", "surname", "mail"):
                if not cleaned.get(field) and field not in self.errors:
                    self.add_error(field, "A private token is bound to a person; fill this in.")
            if cleaned.get("daily_bytes"):
                self.add_error("daily_bytes", "Only public tokens are topped up daily; grant a private one credit.")
        if cleaned.get("grant") is not None and not 0 < cleaned["grant"] <= ledger.LARGEST_GRANT_BYTES:
            self.add_error("grant", "Grant at least 1 byte and at most 1000 TB.")
        for field in limits.MOST_OF_TOKEN:
            if cleaned.get(field) is not None:
                self._add_refusal(field, limits.check_token_number, field, cleaned[field])
        self._add_refusal("label", tokens.check_label, cleaned.get("label", ""))
        if kind == Token.PRIVATE and not self.errors:
            self._add_refusal(None, tokens.check_person, *(cleaned[field] for field in ("forename", "surname", "mail")))
        if cleaned.get("daily_bytes") is None:
            cleaned["daily_bytes"] = conf.public_daily_bytes if kind == Token.PUBLIC else 0
        return cleaned

    def _add_refusal(self, field: Optional[str], check: Any, *arguments: Any) -> None:
        try:
            check(*arguments)
        except OpenScanError as error:
            self.add_error(field, error.sentence)


@admin.register(Token)
class TokenAdmin(admin.ModelAdmin):
    form = TokenForm
    list_display = ("prefix", "kind", "person", "mail", "owner", "short_credit", "created_at", "last_used_at", "revoked_at")
    list_filter = ("kind", "created_at", "revoked_at")
    list_select_related = ("owner",)
    search_fields = ("prefix", "label", "forename", "surname", "mail")
    ordering = ("-id",)
    actions = ("revoke",)
    readonly_fields = ("prefix", "credit", "created_at", "last_used_at", "revoked_at", "refilled_on")

    credit = exact_size("credit_bytes", "Credit")
    short_credit = size("credit_bytes", "Credit")

    def get_fields(self, request: HttpRequest, obj: Optional[Token] = None) -> tuple:
        return (*TokenForm.Meta.fields, "grant", *(self.readonly_fields if obj else ()))

    def get_readonly_fields(self, request: HttpRequest, obj: Optional[Token] = None) -> tuple:
        return ("kind", *self.readonly_fields) if obj else self.readonly_fields

    def get_changeform_initial_data(self, request: HttpRequest) -> dict:
        initial = super().get_changeform_initial_data(request)
        initial.setdefault("owner", request.user.pk)
        initial.setdefault("daily_bytes", None)
        return initial

    def has_delete_permission(self, request: HttpRequest, obj: Optional[Token] = None) -> bool:
        return False  # its ledger stays; a token is revoked

    def save_model(self, request: HttpRequest, obj: Token, form: TokenForm, change: bool) -> None:
        granted, actor = form.cleaned_data.get("grant"), request.user.get_username()
        if change:
            # Not the whole row: its credit may have changed since the page was opened.
            obj.save(update_fields=[name for name in form.changed_data if name in TokenForm.Meta.fields])
            if granted:
                ledger.grant(obj, granted, actor=actor, note="granted in admin")
            return
        request.openscan_new_token = tokens.generate()
        tokens.save_new_token(obj, request.openscan_new_token, credit_bytes=granted, actor=actor)

    def response_add(self, request: HttpRequest, obj: Token, post_url_continue: Optional[str] = None) -> HttpResponse:
        """Shows the new token in the response itself, because a message or a URL would store it somewhere."""
        context = {**self.admin_site.each_context(request), "title": "The new token", "opts": self.model._meta,
                   "token": obj, "secret": request.openscan_new_token}
        response = TemplateResponse(request, "admin/openscan/token_created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def revoke(self, request: HttpRequest, chosen: QuerySet) -> None:
        ended = sum(tokens.revoke(token) for token in chosen)
        self.message_user(request, "1 token is revoked." if ended == 1 else f"{ended} tokens are revoked.", messages.SUCCESS)

    revoke.short_description = "Revoke: no more uploads"
    revoke.allowed_permissions = ("change",)
