"""Numbered system checks of the Tapis settings, seen by ``manage.py check`` and at start."""
import re
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError

from app_extensions.shared import settings_checks
from app_extensions.shared.crypto import key_texts
from app_extensions.tapis.conf import Conf, conf
from app_extensions.tapis.models.clients import validate_service_url

_DAY, _YEAR_HOURS = 86400, 366 * 24
#: Beyond these nothing works: no download would ever begin, or a time would overflow a date.
BOUNDS = {
    "connect_timeout": (0, 3600), "timeout": (0, _DAY), "refresh_below": (0, _DAY), "key_seconds": (0, 30 * _DAY), "leeway": (0, _DAY),
    "listing_connections": (1, 1000), "listing_seconds": (1, _DAY), "flight_connections": (1, 1000), "instance_connections": (1, 1000),
    "sync_workers": (1, 1000), "batch_seconds": (1, _DAY), "lease_seconds": (2, _DAY), "retry_seconds": (0, 3600),
    "disk_reserve_bytes": (0, 10**15), "discovery_hours": (0, _YEAR_HOURS), "sync_hours": (0, _YEAR_HOURS), "stagger_seconds": (0, _DAY),
    "workers": (1, 1000), "answer_seconds": (0, 3600), "settle_seconds": (0, _DAY),
}


@register("tapis")
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every setting can be read and makes sense."""
    found: list[CheckMessage] = []
    for name in sorted(settings_checks.properties(Conf)):
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
    found += [Error(f"{_names(name)} {problem}.", id="tapis.E005") for name, problem in settings_checks.out_of_bounds(conf, BOUNDS)]
    found += [Error(f"{_names(name)} cannot be used: {problem}.", id="tapis.E006") for name, problem in _wrong_texts()]
    known = [f"WO_TAPIS_{name.upper()}" for name in settings_checks.properties(Conf)]
    found += [Warning(f"{name} is no setting and changes nothing.", id="tapis.W002",
                      hint=f"Is {meant} meant?" if meant else "docs/admin/settings.md lists them all.")
              for name, meant in settings_checks.unknown_names("WO_TAPIS_", known)]
    try:
        key_texts()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="tapis.E004"))
    if conf.leeway > 300:
        found.append(Warning("TAPIS_LEEWAY: expired tokens are accepted for more than five minutes.", id="tapis.W001"))
    return found


def _names(name: str) -> str:
    return f"TAPIS_{name.upper()} (WO_TAPIS_{name.upper()})"


def _wrong_texts() -> Iterator[tuple[str, str]]:
    """Property and what is wrong with its text."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", conf.tenant_id, re.ASCII):
        yield "tenant_id", "a tenant's name has letters, digits, . _ and -"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", conf.system_prefix, re.ASCII):
        yield "system_prefix", "ids of systems have letters, digits, . _ and -"
    if conf.bearer_clients not in ("any", "own"):
        yield "bearer_clients", "it is any or own"
    problem = settings_checks.queue_problem(conf.queue)
    if problem:
        yield "queue", problem
