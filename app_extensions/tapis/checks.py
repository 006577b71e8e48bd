"""Numbered system checks of the Tapis settings. They run at start and with ``manage.py check``."""
import re
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError

from app_extensions.shared.crypto import key_texts
from app_extensions.shared.settings import queue_problem
from app_extensions.tapis.conf import conf
from app_extensions.tapis.models.clients import validate_service_url


@register("tapis")
def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that every setting can be read and makes sense."""
    found: list[CheckMessage] = []
    found += [Error(problem, id="tapis.E001") for problem in conf.unreadable()]
    if found:
        return found
    try:
        validate_service_url(conf.base_url)
    except ValidationError as error:
        found.append(Error(f"TAPIS_BASE_URL (WO_TAPIS_BASE_URL): {error.messages[0]}", id="tapis.E002"))
    if min(conf.timeout, conf.connect_timeout, conf.key_seconds) <= 0:
        message = "TAPIS_TIMEOUT, TAPIS_CONNECT_TIMEOUT and TAPIS_KEY_SECONDS must be positive."
        found.append(Error(message, id="tapis.E003"))
    found += [Error(f"{variable} {problem}.", id="tapis.E005") for variable, problem in conf.out_of_bounds()]
    found += [Error(f"WO_TAPIS_{name.upper()} cannot be used: {problem}.", id="tapis.E006") for name, problem in _wrong_texts()]
    found += [Warning(f"{name} is not a setting and has no effect.", id="tapis.W002",
                      hint=f"Did you mean {meant}?" if meant else "docs/admin/settings.md lists them all.")
              for name, meant in conf.unknown_variables()]
    try:
        key_texts()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="tapis.E004"))
    if conf.leeway > 300:
        found.append(Warning("TAPIS_LEEWAY: expired tokens are accepted for more than five minutes.", id="tapis.W001"))
    return found


def _wrong_texts() -> Iterator[tuple[str, str]]:
    """Yield each text setting that is wrong, with the reason."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", conf.tenant_id, re.ASCII):
        yield "tenant_id", "a tenant's name has only letters, digits, . _ and -"
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", conf.system_prefix, re.ASCII):
        yield "system_prefix", "system ids have only letters, digits, . _ and -"
    if conf.bearer_clients not in ("any", "own"):
        yield "bearer_clients", "it must be any or own"
    problem = queue_problem(conf.queue)
    if problem:
        yield "queue", problem
