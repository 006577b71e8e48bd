"""Settings, their checks, and how the plugin is mounted."""
import re

import pytest
from django.core.exceptions import ImproperlyConfigured

from app_extensions.tapis.checks import check_settings
from app_extensions.tapis.conf import conf


def test_every_setting_says_what_it_does_and_has_a_default():
    for name, setting in conf.declared().items():
        assert setting.doc and getattr(conf, name) is not None, name


def test_defaults_without_any_environment(monkeypatch, settings):
    for name in ("BASE_URL", "TENANT_ID", "CREATE_USERS"):
        monkeypatch.delenv(f"WO_TAPIS_{name}", raising=False)
        setattr(settings, f"TAPIS_{name}", "")
    assert (conf.base_url, conf.tenant_id, conf.create_users) == ("https://portals.tapis.io", "portals", True)


@pytest.mark.parametrize("text, expected", [("NO", False), ("false", False), ("0", False), ("YES", True), ("on", True)])
def test_switches_are_read_as_webodm_writes_them(settings, text, expected):
    settings.TAPIS_CREATE_USERS = text
    assert conf.create_users is expected


def test_the_environment_is_read_where_no_setting_is(monkeypatch, settings):
    settings.TAPIS_REFRESH_BELOW = None
    monkeypatch.setenv("WO_TAPIS_REFRESH_BELOW", "120")
    assert conf.refresh_below == 120


@pytest.mark.parametrize("name, value, check", [
    ("CREATE_USERS", "perhaps", "tapis.E001"), ("TIMEOUT", "soon", "tapis.E001"), ("BASE_URL", "portals.tapis.io", "tapis.E002"),
    ("BASE_URL", "http://portals.tapis.io", "tapis.E002"), ("TIMEOUT", "0", "tapis.E003"), ("LEEWAY", "4000", "tapis.W001"),
    ("LEEWAY", "-1", "tapis.E005"), ("TIMEOUT", "nan", "tapis.E005"), ("LISTING_SECONDS", "inf", "tapis.E005"),
    ("REFRESH_BELOW", "-1", "tapis.E005"), ("SYNC_WORKERS", "0", "tapis.E005"), ("DISCOVERY_HOURS", "-1", "tapis.E005"),
    ("DISCOVERY_HOURS", "1e300", "tapis.E005"), ("TENANT_ID", "a/b", "tapis.E006"), ("SYSTEM_PREFIX", "../", "tapis.E006"),
    ("QUEUE", "a b", "tapis.E006"), ("TIMEOUT", [30], "tapis.E001"), ("TENANT_ID", 5, "tapis.E001"), ("SYNC_WORKERS", True, "tapis.E001"),
])
def test_bad_settings_are_named_by_a_check(settings, name, value, check):
    assert check_settings(None) == []
    setattr(settings, f"TAPIS_{name}", value)
    found = check_settings(None)
    assert [each.id for each in found] == [check] and f"TAPIS_{name}" in found[0].msg
    if check == "tapis.E001":
        with pytest.raises(ImproperlyConfigured, match=f"WO_TAPIS_{name}"):
            getattr(conf, name.lower())


def test_every_number_has_bounds():
    assert all(setting.bounds for name, setting in conf.declared().items() if type(getattr(conf, name)) in (int, float))


def test_a_variable_that_is_no_setting_is_told(monkeypatch):
    monkeypatch.setenv("WO_TAPIS_BASEURL", "https://tapis.example.org")
    told = check_settings(None)
    assert [each.id for each in told] == ["tapis.W002"] and "WO_TAPIS_BASE_URL" in told[0].hint


def test_every_root_mount_is_anchored_and_free(ground):
    """They match by prefix without `$`, and cannot shadow WebODM's own routes."""
    from plugins.tapis_storage.routes import root_routes

    patterns = [pattern for pattern, _ in root_routes()]
    assert len(patterns) > 7 and len(set(patterns)) == len(patterns)
    for pattern in patterns:
        assert pattern.startswith("^") and pattern.endswith("$") and re.compile(pattern)
        assert pattern.startswith(("^api/oauth2/tapis/", "^api/tapis-")), pattern


def test_the_plugin_loads_without_its_app_and_says_so(ground, caplog):
    import importlib.util
    import sys

    from django.apps import apps
    from django.test.utils import modify_settings

    from dev.sandbox.stack import ROOT

    name = "plugins_under_test.tapis_storage"
    for part, path in (("plugins_under_test", None), (name, ROOT / "plugins" / "tapis_storage" / "__init__.py")):
        if path is None:
            sys.modules[part] = importlib.util.module_from_spec(importlib.util.spec_from_loader(part, None))
            sys.modules[part].__path__ = []
            continue
        spec = importlib.util.spec_from_file_location(part, path, submodule_search_locations=[str(path.parent)])
        module = sys.modules[part] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    plugin = module.Plugin()
    assert len(plugin.root_mount_points()) > 7 and plugin.main_menu()
    with modify_settings(INSTALLED_APPS={"remove": ["app_extensions.tapis.apps.TapisConfig"]}):
        assert not apps.is_installed("app_extensions.tapis")
        assert plugin.root_mount_points() == plugin.app_mount_points() == plugin.main_menu() == []
        assert "needs the Django app app_extensions.tapis" in caplog.text
    assert apps.is_installed("app_extensions.tapis")


def test_the_migration_is_whole(db, capsys):
    from django.core.management import call_command

    call_command("makemigrations", "tapis", check=True, dry_run=True)
    assert "No changes detected" in capsys.readouterr().out
