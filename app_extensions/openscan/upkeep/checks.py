"""System checks of the app's settings (`manage.py check`), numbered openscan.E… and openscan.W…."""
import os
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from app_extensions.openscan.accounts.addresses import is_blind
from app_extensions.openscan.conf import conf, public_url_problem
from app_extensions.openscan.results.object_storage.checks import check_object_storage
from app_extensions.shared.settings import queue_problem

TASKS_MODULE = "app_extensions.openscan.tasks"


def check_settings(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find what is wrong with the settings, each with a hint that says what to write instead."""
    found: list[CheckMessage] = []
    for problem in conf.unreadable():
        found.append(Error(problem, hint="See docs/admin/settings.md for what the setting takes.", id="openscan.E001"))
    if found:
        return found
    if not conf.basic_user or not conf.basic_password or ":" in conf.basic_user:
        found.append(Error(
            "WO_OPENSCAN_BASIC_USER and WO_OPENSCAN_BASIC_PASSWORD must not be empty, and the user must not contain a colon.",
            hint="Leave both unset for openscan:free, which the rigs use.", id="openscan.E002"))
    url_problem = public_url_problem(conf.public_url)
    if url_problem:
        found.append(Error(f"WO_OPENSCAN_PUBLIC_URL cannot be used: {url_problem}.",
                           hint="Write it like https://scan.example.org", id="openscan.E003"))
    found += [Error(f"{variable} {problem}.", hint="Leave it unset for the default of docs/admin/settings.md.", id="openscan.E004")
              for variable, problem in conf.out_of_bounds()]
    found += [Error(f"{name} cannot be used: {problem}.", hint=hint, id="openscan.E009") for name, problem, hint in _wrong_texts()]
    found += [Warning(f"{name} is not a setting and has no effect.", id="openscan.W006",
                      hint=f"Did you mean {meant}?" if meant else "docs/admin/settings.md lists them all.")
              for name, meant in conf.unknown_variables()]
    if any(network.prefixlen == 0 for network in conf.trusted_proxies):
        found.append(Warning("WO_OPENSCAN_TRUSTED_PROXIES trusts every address: any client can pose as another, which lifts the limit on "
                             "token requests and opens other clients' public scans.",
                             hint="Give only the network of the TLS proxy.", id="openscan.W007"))
    if conf.bind_public_names and is_blind():
        # Only a warning: an updated site must still start, and until this is fixed the secret keeps its public scans apart.
        found.append(Warning(
            "WO_BEHIND_TLS_PROXY says that a TLS proxy is in front, but WO_OPENSCAN_TRUSTED_PROXIES names none: all clients seem to "
            "have the proxy's address. Until then, scans under public tokens need the secret that createProject returns; rigs send none.",
            hint="Set WO_OPENSCAN_TRUSTED_PROXIES to the address or network that the proxy's requests come from: 127.0.0.1 for a proxy on "
                 "this machine, 172.16.0.0/12 for one in front of Docker.", id="openscan.W010"))
    if TASKS_MODULE not in getattr(settings, "CELERY_INCLUDE", []):
        # Only a warning: WebODM itself must still start.
        found.append(Warning(f"{TASKS_MODULE} is not in CELERY_INCLUDE: started scans would never be read in.",
                             hint="Use app_extensions/settings_override.py as WebODM's settings override.",
                             id="openscan.W003"))
    found += check_object_storage()
    if conf.limit_part_bytes < 200_000_000:
        found.append(Warning("With parts below 200,000,000 bytes, OpenScan2, OpenScan3 and uploader.py as shipped are refused.",
                             id="openscan.W002"))
    return found


def _wrong_texts() -> "list[tuple[str, str, str]]":
    """(variable, what is wrong, what to write instead) of each wrong text. Object storage settings are checked elsewhere."""
    wrong = []
    directory = conf.storage_dir
    if directory and not os.path.isabs(directory):
        wrong.append(("WO_OPENSCAN_STORAGE_DIR", "it is not an absolute path, and web server and worker run in different directories",
                      "Write it like /srv/openscan."))
    elif os.path.exists(directory) and not os.path.isdir(directory):
        wrong.append(("WO_OPENSCAN_STORAGE_DIR", "it exists but is not a directory", "Choose a separate directory."))
    problem = queue_problem(conf.celery_queue)
    if problem:
        wrong.append(("WO_OPENSCAN_CELERY_QUEUE", problem, "Leave it unset for WebODM's own queue."))
    for name, addresses in (("WO_OPENSCAN_SUPPORT_MAIL", filter(None, [conf.support_mail])),
                            ("WO_OPENSCAN_ADMIN_MAILS", conf.admin_mails)):
        if not all(map(_is_mail, addresses)):
            wrong.append((name, "it contains something that is not an email address",
                          "Write addresses like me@example.org, with commas between."))
    return wrong


def _is_mail(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True
