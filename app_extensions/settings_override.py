"""What WebODM's settings gain: our applications, jobs, mail and values from the environment.

WebODM imports this as ``webodm/settings_override.py`` at the end of its settings and **swallows an ImportError** from it. So
whatever can fail to import here is caught, printed on stderr and kept in ``APP_EXTENSIONS_PROBLEMS``, where the system checks
and ``webodm.sh doctor`` find it. A site's own override is chained: put it beside this one as ``settings_override_site.py``;
it has the last word on single settings, and may add to lists or replace them.

Every ``WO_OPENSCAN_X``, ``WO_TAPIS_X`` and ``WO_EXTENSIONS_X`` becomes the setting without ``WO_``, as text; types and defaults are
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
_NEEDS = {"app_extensions.openscan": ("cryptography", "prometheus_client"),
          "app_extensions.tapis": ("cryptography", "prometheus_client", "tapipy")}
_TASK_MODULES = ("app_extensions.host.heartbeat", "app_extensions.openscan.tasks", "app_extensions.tapis.tasks")
_ENVIRONMENT_PREFIXES = ("WO_OPENSCAN_", "WO_TAPIS_", "WO_EXTENSIONS_")


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


def _choice(environment, name, default, choices):
    """A variable's value among `choices` (what may be written, in capitals: what it means); the default, told, where it is none."""
    text = environment.get(name, "").strip().upper()
    if text and text not in choices:
        _problem(f"{name} is none of {', '.join(choices)}; it is taken for {default}")
    return choices.get(text, choices[default])


_SWITCH = {"YES": True, "TRUE": True, "1": True, "ON": True, "NO": False, "FALSE": False, "0": False, "OFF": False}


def _mail(environment):
    """Django's EMAIL_* from WO_SMTP_*. Without a host nothing is set; without a user nobody logs in. A login goes over TLS unless
    WO_SMTP_TLS says NO."""
    if not environment.get("WO_SMTP_HOST"):
        useless = [name for name in ("PORT", "USER", "PASSWORD", "TLS", "FROM") if environment.get(f"WO_SMTP_{name}")]
        if useless:
            _problem(f"WO_SMTP_{useless[0]} is set, but WO_SMTP_HOST is not: WebODM's own mail settings stay as they are")
        return {}
    login = environment.get("WO_SMTP_USER") or environment.get("WO_SMTP_PASSWORD")
    if login and not (environment.get("WO_SMTP_USER") and environment.get("WO_SMTP_PASSWORD")):
        _problem("of WO_SMTP_USER and WO_SMTP_PASSWORD only one is set: nobody logs in")
    starttls = {"YES": "YES", "TRUE": "YES", "1": "YES", "ON": "YES", "STARTTLS": "YES", "TLS": "YES"}
    tls = _choice(environment, "WO_SMTP_TLS", "YES" if login or environment.get("WO_SMTP_TLS") else "NO", {
        **starttls, "NO": "NO", "FALSE": "NO", "0": "NO", "OFF": "NO", "SSL": "SSL", "SMTPS": "SSL"})
    values = {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": environment["WO_SMTP_HOST"],
        "EMAIL_HOST_USER": environment.get("WO_SMTP_USER", ""),
        "EMAIL_HOST_PASSWORD": environment.get("WO_SMTP_PASSWORD", ""),
        "EMAIL_USE_TLS": tls == "YES",
        "EMAIL_USE_SSL": tls == "SSL",
        "EMAIL_TIMEOUT": 30,
    }
    port = environment.get("WO_SMTP_PORT") or {"YES": "587", "SSL": "465", "NO": "25"}[tls]
    if port.isdigit() and 0 < int(port) < 65536:
        values["EMAIL_PORT"] = int(port)
    else:
        _problem(f"WO_SMTP_PORT is not a number from 1 to 65535: {port!r}")
    if environment.get("WO_SMTP_FROM"):
        values["DEFAULT_FROM_EMAIL"] = values["SERVER_EMAIL"] = environment["WO_SMTP_FROM"]
    return values


globals().update(
    (_name[len("WO_"):], _value) for _name, _value in _os.environ.items() if _name.startswith(_ENVIRONMENT_PREFIXES))
globals().update(_mail(_os.environ))
_choice(_os.environ, "WO_LOG_JSON", "NO", _SWITCH)
if _choice(_os.environ, "WO_BEHIND_TLS_PROXY", "NO", _SWITCH) or _os.environ.get("WO_SSL", "NO") == "YES":
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
