"""Admin page of the OAuth2 clients. An administrator can enter a secret but never read it."""
from typing import Any

from django import forms
from django.contrib import admin

from app_extensions.tapis.models import TapisOAuth2Client


class ClientForm(forms.ModelForm):
    """A client's form. An empty secret keeps the stored one."""

    client_secret = forms.CharField(
        widget=forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"}), required=False,
        strip=True, help_text="Tapis calls it client_key. It is stored encrypted and never shown. Leave empty to keep it.",
    )

    class Meta:
        model = TapisOAuth2Client
        fields = (
            "name", "client_id", "client_secret", "tenant_id", "base_url", "authorization_url", "token_url",
            "callback_url", "is_active",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.pop("client_secret", None)

    def clean_client_secret(self) -> str:
        """The new secret, else the stored one. :raises ValidationError: a new client has no secret"""
        self.instance.secret_entered = bool(self.cleaned_data["client_secret"])
        secret = self.cleaned_data["client_secret"] or self.instance.client_secret
        if not secret and self.instance.pk is None:
            raise forms.ValidationError("A client needs its secret.")
        return secret


@admin.register(TapisOAuth2Client)
class ClientAdmin(admin.ModelAdmin):
    """Clients, and how many people use each."""

    form = ClientForm
    list_display = ("name", "client_id", "tenant_id", "base_url", "is_active", "users")
    list_filter = ("is_active", "tenant_id")
    search_fields = ("name", "client_id", "tenant_id")
    readonly_fields = ("created_at", "updated_at")

    def users(self, client: TapisOAuth2Client) -> int:
        """How many people have valid tokens of this client."""
        return client.tokens.filter(is_valid=True).count()

    def get_changeform_initial_data(self, request: Any) -> dict[str, str]:
        """Suggest the callback on this WebODM's own address."""
        initial = super().get_changeform_initial_data(request)
        initial.setdefault("callback_url", request.build_absolute_uri("/api/oauth2/tapis/callback/"))
        return initial
