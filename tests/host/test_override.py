"""`app_extensions/settings_override.py`: what WebODM's settings gain, and how loudly it fails."""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugin import ROOT

READ = """
import json
import webodm.settings as settings
names = ("OPENSCAN_PUBLIC_URL", "TAPIS_BASE_URL", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_USE_TLS", "EMAIL_USE_SSL",
         "DEFAULT_FROM_EMAIL", "INSTALLED_APPS", "CELERY_INCLUDE", "APP_EXTENSIONS_PROBLEMS", "SITE_SAYS", "NODE_OFFLINE_MINUTES")
print(json.dumps({name: getattr(settings, name, None) for name in names}))
"""
OURS = ["app_extensions.host.apps.HostConfig", "app_extensions.openscan.apps.OpenScanConfig",
        "app_extensions.tapis.apps.TapisConfig"]


class Settings:
    """WebODM's settings as a new process reads them, with our override in place."""

    def __init__(self, data: Path) -> None:
        self.site = data / "site"
        self.site.mkdir()
        (self.site / "settings_override.py").symlink_to(ROOT / "app_extensions" / "settings_override.py")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("WO_")}
        self.environment.update(SANDBOX_DATA=str(data), WO_SECRET_KEY="x", PYTHONPATH=f"{ROOT}:{ROOT / 'dev' / 'sandbox' / 'host'}")

    def read(self, **environment: str) -> dict:
        """The settings; `self.stderr` is what was said meanwhile."""
        done = subprocess.run([sys.executable, "-c", READ], env={**self.environment, **environment}, cwd=self.site,
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.stderr = done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def test_our_applications_and_jobs_are_added_to_webodms(settings):
    found = settings.read()
    assert found["INSTALLED_APPS"][-3:] == OURS
    assert "app" in found["INSTALLED_APPS"]
    assert found["CELERY_INCLUDE"][:2] == ["worker.tasks", "app.plugins.worker"]
    assert {"app_extensions.host.heartbeat", "app_extensions.openscan.tasks", "app_extensions.tapis.tasks"} <= set(found["CELERY_INCLUDE"])
    assert found["APP_EXTENSIONS_PROBLEMS"] == []
    assert settings.stderr == ""


def test_the_environment_becomes_settings_as_text(settings):
    found = settings.read(WO_OPENSCAN_PUBLIC_URL="https://scan.example.org", WO_TAPIS_BASE_URL="https://tapis.example.org")
    assert (found["OPENSCAN_PUBLIC_URL"], found["TAPIS_BASE_URL"]) == ("https://scan.example.org", "https://tapis.example.org")


@pytest.mark.parametrize(("environment", "expected"), [
    ({}, (None, None, None, None, None)),
    ({"WO_SMTP_HOST": "mail"}, ("mail", 25, "", False, False)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_TLS": "YES", "WO_SMTP_USER": "me"}, ("mail", 587, "me", True, False)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_TLS": "ssl", "WO_SMTP_PORT": "2465"}, ("mail", 2465, "", False, True)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_TLS": "ssl"}, ("mail", 465, "", False, True)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_USER": "me", "WO_SMTP_PASSWORD": "p"}, ("mail", 587, "me", True, False)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_USER": "me", "WO_SMTP_PASSWORD": "p", "WO_SMTP_TLS": "no"}, ("mail", 25, "me", False, False)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_TLS": "tls"}, ("mail", 587, "", True, False)),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_TLS": "perhaps"}, ("mail", 587, "", True, False)),  # told, and not in the clear
])
def test_mail(settings, environment, expected):
    found = settings.read(**environment)
    names = ("EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_USE_TLS", "EMAIL_USE_SSL")
    assert tuple(found[name] for name in names) == expected


def test_a_port_that_is_none_is_told(settings):
    settings.read(WO_SMTP_HOST="mail", WO_SMTP_PORT="smtp")
    assert "WO_SMTP_PORT is not a number" in settings.stderr


@pytest.mark.parametrize(("environment", "words"), [
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_PORT": "70000"}, "WO_SMTP_PORT is not a number from 1 to 65535"),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_TLS": "perhaps"}, "WO_SMTP_TLS is none of YES, "),
    ({"WO_SMTP_HOST": "mail", "WO_SMTP_PASSWORD": "hush"}, "of WO_SMTP_USER and WO_SMTP_PASSWORD only one is set"),
    ({"WO_SMTP_USER": "me"}, "WO_SMTP_USER is set, but WO_SMTP_HOST is not"),
    ({"WO_BEHIND_TLS_PROXY": "perhaps"}, "WO_BEHIND_TLS_PROXY is none of YES, "),
    ({"WO_LOG_JSON": "perhaps"}, "WO_LOG_JSON is none of YES, "),
])
def test_wrong_values_are_told_and_kept_for_the_checks(settings, environment, words):
    found = settings.read(**environment)
    assert len(found["APP_EXTENSIONS_PROBLEMS"]) == 1 and words in found["APP_EXTENSIONS_PROBLEMS"][0]
    assert words in settings.stderr and "hush" not in settings.stderr


@pytest.mark.parametrize("name", ["WO_BEHIND_TLS_PROXY", "WO_LOG_JSON"])
@pytest.mark.parametrize("value", ["YES", "no", "True", "1", ""])
def test_switches_may_be_written_in_several_ways(settings, name, value):
    assert settings.read(**{name: value})["APP_EXTENSIONS_PROBLEMS"] == []


def test_a_sites_own_override_is_chained_and_has_the_last_word(settings):
    (settings.site / "settings_override_site.py").write_text(
        "from webodm.settings import INSTALLED_APPS\nSITE_SAYS = 'hello'\nOPENSCAN_PUBLIC_URL = 'https://site'\n"
        "NODE_OFFLINE_MINUTES = 9\nINSTALLED_APPS = ['django.contrib.humanize'] + INSTALLED_APPS\nCELERY_INCLUDE = ['worker.tasks']\n")
    found = settings.read(WO_OPENSCAN_PUBLIC_URL="https://environment")
    assert (found["SITE_SAYS"], found["OPENSCAN_PUBLIC_URL"], found["NODE_OFFLINE_MINUTES"]) == ("hello", "https://site", 9)
    assert found["INSTALLED_APPS"][0] == "django.contrib.humanize"
    assert found["INSTALLED_APPS"][-3:] == OURS
    assert found["CELERY_INCLUDE"][0] == "worker.tasks"
    assert "app_extensions.openscan.tasks" in found["CELERY_INCLUDE"]


@pytest.mark.parametrize("broken", ["import no_such_module", "from os import no_such_name"])
def test_a_sites_broken_override_is_told_and_does_not_take_us_down(settings, broken):
    (settings.site / "settings_override_site.py").write_text(broken)
    found = settings.read()
    assert found["INSTALLED_APPS"][-3:] == OURS
    assert len(found["APP_EXTENSIONS_PROBLEMS"]) == 1
    assert "settings_override_site.py could not be imported" in settings.stderr


def broken_copy(settings: Settings, tmp_path: Path, package: str, text: str) -> dict:
    """Reads the settings with a copy of `app_extensions` in which one application's `apps.py` is replaced (or gone)."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for entry in (ROOT / "app_extensions").iterdir():
        if entry.name == package:
            (copy / "app_extensions" / package).mkdir(parents=True)
            (copy / "app_extensions" / package / "__init__.py").touch()
            if text:
                (copy / "app_extensions" / package / "apps.py").write_text(text)
        else:
            (copy / "app_extensions").mkdir(exist_ok=True)
            (copy / "app_extensions" / entry.name).symlink_to(entry)
    return settings.read(PYTHONPATH=f"{copy}:{ROOT / 'dev' / 'sandbox' / 'host'}")


def test_an_application_that_fails_is_left_out_and_told(settings, tmp_path):
    found = broken_copy(settings, tmp_path, "tapis", "import no_such_module")
    assert found["INSTALLED_APPS"][-2:] == OURS[:2]
    assert not [name for name in found["CELERY_INCLUDE"] if "tapis" in name]
    assert "app_extensions.tapis cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'" in settings.stderr
    assert len(found["APP_EXTENSIONS_PROBLEMS"]) == 1


def test_an_application_that_is_missing_is_told(settings, tmp_path):
    found = broken_copy(settings, tmp_path, "openscan", "")
    assert OURS[1] not in found["INSTALLED_APPS"]
    assert found["APP_EXTENSIONS_PROBLEMS"] == ["app_extensions.openscan is not installed"]


def test_problems_are_warnings_of_every_command(settings):
    (settings.site / "settings_override_site.py").write_text("import no_such_module")
    code = ("import django\ndjango.setup()\nfrom app_extensions.host.apps import check_override\n"
            "print([(one.id, one.msg) for one in check_override(None)])")
    done = subprocess.run([sys.executable, "-c", code], env={**settings.environment, "DJANGO_SETTINGS_MODULE": "webodm.settings"},
                          capture_output=True, text=True)
    assert "webodm_extensions.W001" in done.stdout, done.stderr
    assert "settings_override_site.py could not be imported" in done.stdout


def test_documented_names_inside_webodms_package():
    """`app.services.…`, `app.tasks.…` and `app.models.oauth2` are there as soon as the applications are loaded."""
    import app.models.oauth2
    import app.services.tapis_storage
    import app.tasks.tapis_storage

    for module in (app.models.oauth2, app.services.tapis_storage, app.tasks.tapis_storage):
        assert Path(module.__file__).is_relative_to(ROOT / "app_extensions" / "overlay")


def test_no_constraint_of_ours_binds_webodms_rows():
    """Once we are away, WebODM must still be able to delete its tasks, projects and users."""
    from django.apps import apps

    binding = [
        f"{model._meta.label}.{field.name}"
        for label in ("openscan", "tapis") for model in apps.get_app_config(label).get_models(include_auto_created=True)
        for field in model._meta.concrete_fields
        if field.is_relation and field.related_model._meta.app_label not in ("openscan", "tapis") and field.db_constraint]
    assert binding == []


def test_nothing_but_the_door_imports_webodm():
    """`app`, `nodeodm` and `worker` are imported in app_extensions/host alone, `app.plugins` in plugins as well."""
    found = []
    for path in [*(ROOT / "app_extensions").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]:
        if ROOT / "app_extensions" / "host" in path.parents or path == ROOT / "app_extensions" / "overlay" / "__init__.py":
            continue
        modules = re.findall(r"^\s*(?:from|import)\s+((?:app|nodeodm|worker)(?:\.\S+)?)\s", path.read_text(), re.MULTILINE)
        in_a_plugin = ROOT / "plugins" in path.parents
        found += [f"{path.relative_to(ROOT)}: {module}" for module in modules
                  if not (in_a_plugin and module.startswith("app.plugins"))]
    assert found == []
