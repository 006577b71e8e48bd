"""Numbered system checks of the Tapis settings, seen by ``manage.py check`` and at start."""
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError

from app_extensions.shared.crypto import key_texts

from .conf import Conf, conf
from .models.clients import validate_service_url


@register("tapis")
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every setting can be read and makes sense."""
    found: list[CheckMessage] = []
    for name in sorted(vars(Conf)):
        if isinstance(vars(Conf)[name], property):
            try:
                getattr(conf, name)
            except ImproperlyConfigured as error:
                found.append(Error(str(error), id="tapis.E001"))
    if found:
        return found
    try:
        validate_service_url(conf.base_url)
    except ValidationError as error:
        found.append(Error(f"TAPIS_BASE_URL (WO_TAPIS_BASE_URL): {error.messages[0]}", id="tapis.E002"))
    if min(conf.timeout, conf.connect_timeout, conf.key_seconds) <= 0:
        message = "TAPIS_TIMEOUT, TAPIS_CONNECT_TIMEOUT and TAPIS_KEY_SECONDS must be positive."
        found.append(Error(message, id="tapis.E003"))
    found += _sync_settings()
    try:
        key_texts()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="tapis.E004"))
    if not 0 <= conf.leeway <= 300:
        found.append(Warning("TAPIS_LEEWAY: expired tokens are accepted for more than five minutes.", id="tapis.W001"))
    return found


def _sync_settings() -> list[CheckMessage]:
    """The numbers of discoveries and syncs: each above its least sensible value."""
    least = {
        "listing_connections": 1, "listing_seconds": 1, "flight_connections": 1, "instance_connections": 1, "sync_workers": 1,
        "batch_seconds": 1, "lease_seconds": 2, "retry_seconds": 0, "disk_reserve_bytes": 0, "discovery_hours": 0, "sync_hours": 0,
        "stagger_seconds": 0,
    }
    return [Error(f"TAPIS_{name.upper()} (WO_TAPIS_{name.upper()}) must be at least {value}.", id="tapis.E005")
            for name, value in least.items() if getattr(conf, name) < value]
