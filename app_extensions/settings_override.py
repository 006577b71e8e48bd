"""What WebODM's settings gain: our applications, jobs, mail and values from the environment.

WebODM imports this as ``webodm/settings_override.py`` at the end of its settings and **swallows an ImportError** from it. So
whatever can fail to import here is caught, printed on stderr and kept in ``APP_EXTENSIONS_PROBLEMS``, where the system checks
and ``webodm.sh doctor`` find it. A site's own override is chained: put it beside this one as ``settings_override_site.py``;
it has the last word on single settings, and may add to lists or replace them.

Every ``WO_OPENSCAN_X`` and ``WO_TAPIS_X`` becomes the setting ``OPENSCAN_X`` or ``TAPIS_X``, as text; types and defaults are
in each application's ``conf.py``.
"""
import importlib as _importlib
import importlib.util as _util
import os as _os
import sys as _sys
import traceback as _traceback

import webodm.settings as _webodm

APP_EXTENSIONS_PROBLEMS = []

_APPS = {
    "app_extensions.host": "app_extensions.host.apps.HostConfig",
    "app_extensions.openscan": "app_extensions.openscan.apps.OpenScanConfig",
    "app_extensions.tapis": "app_extensions.tapis.apps.TapisConfig",
}
# What an application's models cannot do without: Django would not start at all where one of these is missing.
_NEEDS = {"app_extensions.openscan": ("cryptography",), "app_extensions.tapis": ("cryptography", "tapipy")}
_TASK_MODULES = ("app_extensions.host.heartbeat", "app_extensions.openscan.tasks", "app_extensions.tapis.tasks")
_ENVIRONMENT_PREFIXES = ("WO_OPENSCAN_", "WO_TAPIS_")


def _problem(text, error=None):
    """Keeps a problem and says it aloud."""
    if error is not None:
        text = f"{text}: {''.join(_traceback.format_exception_only(type(error), error)).strip()}"
    APP_EXTENSIONS_PROBLEMS.append(text)
    print("webodm/settings_override.py: " + text, file=_sys.stderr)


def _exists(module):
    """Whether there is such a module, without running it. Its parent packages are run."""
    try:
        return _util.find_spec(module) is not None
    except ModuleNotFoundError as error:
        if module.startswith(str(error.name)):
            return False
        raise


def _site_settings():
    """The names that the site's own override sets, if there is one."""
    try:
        site = _importlib.import_module("webodm.settings_override_site")
    except ImportError as error:
        if getattr(error, "name", None) != "webodm.settings_override_site":
            _problem("the site's own settings_override_site.py could not be imported", error)
        return {}
    return {name: getattr(site, name) for name in dir(site) if name.isupper()}


def _list_setting(name):
    """A list setting as the site's override leaves it, else WebODM's own; always a new list."""
    return list(_site.get(name, getattr(_webodm, name)))


def _mail(environment):
    """Django's EMAIL_* from WO_SMTP_*. Without a host nothing is set; without a user nobody logs in."""
    if not environment.get("WO_SMTP_HOST"):
        return {}
    tls = environment.get("WO_SMTP_TLS", "NO").strip().upper()
    values = {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": environment["WO_SMTP_HOST"],
        "EMAIL_HOST_USER": environment.get("WO_SMTP_USER", ""),
        "EMAIL_HOST_PASSWORD": environment.get("WO_SMTP_PASSWORD", ""),
        "EMAIL_USE_TLS": tls in ("YES", "TRUE", "1", "STARTTLS"),
        "EMAIL_USE_SSL": tls in ("SSL", "SMTPS"),
        "EMAIL_TIMEOUT": 30,
    }
    port = environment.get("WO_SMTP_PORT") or {"SSL": "465", "SMTPS": "465"}.get(tls, "587" if values["EMAIL_USE_TLS"] else "25")
    try:
        values["EMAIL_PORT"] = int(port)
    except ValueError as error:
        _problem("WO_SMTP_PORT is not a number", error)
    if environment.get("WO_SMTP_FROM"):
        values["DEFAULT_FROM_EMAIL"] = values["SERVER_EMAIL"] = environment["WO_SMTP_FROM"]
    return values


globals().update(
    (_name[len("WO_"):], _value) for _name, _value in _os.environ.items() if _name.startswith(_ENVIRONMENT_PREFIXES))
globals().update(_mail(_os.environ))
if "YES" in (_os.environ.get("WO_SSL", "NO"), _os.environ.get("WO_BEHIND_TLS_PROXY", "NO").strip().upper()):
    # WebODM's own TLS nginx always sets the header; elsewhere only the site knows that a proxy sets it and drops a client's.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
_site = _site_settings()
globals().update(_site)

INSTALLED_APPS = _list_setting("INSTALLED_APPS")
CELERY_INCLUDE = _list_setting("CELERY_INCLUDE")

for _package, _config in _APPS.items():
    try:
        if not _exists(_package + ".apps"):
            _problem(f"{_package} is not installed")
            continue
        _missing = [_name for _name in _NEEDS.get(_package, ()) if not _exists(_name)]
        if _missing:
            _problem(f"{_package} is left out: Python's package {', '.join(_missing)} is missing")
            continue
        _importlib.import_module(_package + ".apps")
    except Exception as _error:  # noqa: BLE001 (any failure of ours must leave WebODM running, and be told)
        _problem(f"{_package} cannot be loaded", _error)
        continue
    if _config not in INSTALLED_APPS:
        INSTALLED_APPS.append(_config)

for _module in _TASK_MODULES:
    # A module that is not there kills the Celery worker, and one of an application that is not installed cannot be imported.
    if _module not in CELERY_INCLUDE and any(_APPS[_p] in INSTALLED_APPS and _module.startswith(_p + ".") for _p in _APPS):
        if _exists(_module):
            CELERY_INCLUDE.append(_module)
        else:
            _problem(f"{_module} is not installed")

try:
    from app_extensions import overlay as _overlay

    _overlay.extend_app()
except ImportError as _error:
    _problem("the modules app.services, app.tasks and app.models.oauth2 are not there", _error)
