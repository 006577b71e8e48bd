"""Admin page of identities: administrators link, move and unlink Tapis users and WebODM users."""
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied

from app_extensions.tapis.models import TapisIdentity, TapisOAuth2Client, TapisOAuth2Token


class IdentityForm(forms.ModelForm):
    """``subject`` is ``user@tenant``, and ``issuer`` is that of a client registered here."""

    class Meta:
        model = TapisIdentity
        fields = ("issuer", "subject", "user")

    def clean_subject(self) -> str:
        """The trimmed subject. :raises ValidationError: not ``user@tenant``"""
        subject = self.cleaned_data["subject"].strip()
        name, _, tenant = subject.rpartition("@")
        if not name or not tenant:
            raise forms.ValidationError("Write user@tenant, such as jdoe@portals.")
        return subject

    def clean_issuer(self) -> str:
        """The trimmed issuer. :raises ValidationError: no client here has this issuer"""
        issuer = self.cleaned_data["issuer"].strip()
        known = {client.issuer for client in TapisOAuth2Client.objects.all()}
        if issuer not in known:
            raise forms.ValidationError(f"No client here has this issuer. Known: {', '.join(sorted(known)) or 'none'}.")
        return issuer


@admin.register(TapisIdentity)
class IdentityAdmin(admin.ModelAdmin):
    """Links between users. Moving a link to another user deletes the tokens that the former user got through it."""

    form = IdentityForm
    list_display = ("subject", "user", "issuer", "linked_by", "created_at", "last_login_at")
    list_filter = ("linked_by", "issuer")
    search_fields = ("subject", "user__username")
    raw_id_fields = ("user",)
    readonly_fields = ("linked_by", "created_at", "last_login_at")

    def get_changeform_initial_data(self, request: Any) -> dict[str, str]:
        """Suggest the first client's issuer."""
        initial = super().get_changeform_initial_data(request)
        client = TapisOAuth2Client.objects.first()
        if client is not None:
            initial.setdefault("issuer", client.issuer)
        return initial

    def save_model(self, request: Any, obj: TapisIdentity, form: Any, change: bool) -> None:
        """Save the link as made by an administrator. If the link changes, delete its tokens: they belong to the user who logged in.

        :raises PermissionDenied: someone who is not a superuser links a superuser's account; logging in would make them a superuser
        """
        if obj.user.is_superuser and not request.user.is_superuser:
            raise PermissionDenied
        if form.changed_data:
            obj.linked_by = TapisIdentity.ADMIN
        super().save_model(request, obj, form, change)
        if change and form.changed_data:
            TapisOAuth2Token.objects.filter(identity=obj).delete()
