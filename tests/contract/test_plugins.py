"""Contract, "Extension apps": how plugins are found, loaded, enabled and disabled."""
import shutil
from pathlib import Path

import pytest
import requests

from tests.support.waiting import until

DJANGO = """
import os, sys
sys.path.insert(0, os.getcwd())
os.environ["DJANGO_SETTINGS_MODULE"] = "webodm.settings"
import django
django.setup()
"""


def rows(host) -> dict:
    return host.shell("from app.models import Plugin\nresult = dict(Plugin.objects.values_list('name', 'enabled'))")


def test_plugins_in_the_media_directory_are_found_and_enabled(probe):
    found = rows(probe)
    assert found["contract_probe"] is True
    assert found["contract_disabled"] is False  # a file named "disabled" lies in it


def test_plugins_import_as_plugins_dot_name(probe):
    assert probe.shell("from app.plugins import get_plugin_by_name\n"
                       "result = get_plugin_by_name('contract_probe').get_module_name()") == "plugins.contract_probe.plugin"


def test_plugin_modules_are_imported_everywhere_even_when_disabled(probe):
    def importers():
        return {word for note in probe.notes("disabled-import") for word in note["cmdline"] if word in ("worker", "beat")}

    until(lambda: importers() == {"worker", "beat"})
    assert any("gunicorn" in word for note in probe.notes("disabled-import") for word in note["cmdline"])


def test_register_runs_in_one_gunicorn_worker(probe):
    """WebODM sets its flag without a lock, so workers and threads whose first requests come at the same moment all register. Later ones
    do not."""
    answering = probe.web_workers()
    registered = [note for note in probe.notes("register") if note["pid"] in answering]
    for enabled in probe.notes("enable"):  # a test enabled it, which registers it once more, just before
        earlier = [note for note in registered if note["pid"] == enabled["pid"] and note["at"] <= enabled["at"]]
        registered = [note for note in registered if note is not max(earlier, key=lambda note: note["at"], default=None)]
    assert 1 <= len({note["pid"] for note in registered}) < len(answering)


def test_a_plugin_that_cannot_be_imported_loses_its_row(probe):
    assert rows(probe)["contract_flaky"] is True
    done = probe.fresh_python(DJANGO + """
from django.conf import settings
broken = os.path.join(settings.MEDIA_ROOT, "plugins", "contract_flaky", "broken")
open(broken, "w").close()
try:
    from app.models import Plugin
    from app.plugins import sync_plugin_db
    sync_plugin_db()
    print("row:", Plugin.objects.filter(name="contract_flaky").exists())
finally:
    os.remove(broken)
""")
    assert done.stdout.splitlines()[-1] == "row: False", done.stderr
    probe.fresh_python(DJANGO + "from app.plugins import sync_plugin_db\nsync_plugin_db()")
    assert rows(probe)["contract_flaky"] is True


def test_a_raising_register_disables_the_plugin(probe):
    assert rows(probe)["contract_register"] is False


def test_a_disabled_plugin_is_not_reached(probe):
    assert requests.get(f"{probe.url}/api/plugins/contract_disabled/hello").status_code == 404
    assert requests.get(f"{probe.url}/contract-disabled/hello").status_code == 404


@pytest.fixture
def admin(probe) -> requests.Session:
    session = probe.session()
    yield session
    session.get(f"{probe.url}/admin/app/plugin/contract_probe/enable/")


def test_root_mounts_stay_live_after_the_plugin_is_disabled(probe, admin):
    answer = admin.get(f"{probe.url}/admin/app/plugin/contract_probe/disable/")
    assert answer.status_code == 200
    assert rows(probe)["contract_probe"] is False
    for _ in range(6):
        assert requests.get(f"{probe.url}/api/plugins/contract_probe/echo/x").status_code == 404
        assert requests.get(f"{probe.url}/plugins/contract_probe/probe.js").status_code == 404
        assert requests.post(f"{probe.url}/contract-probe/open").status_code == 200


def test_enabling_takes_root_mounts_a_restart_and_api_mounts_none(probe, admin):
    """`contract_disabled` has both."""
    admin.get(f"{probe.url}/admin/app/plugin/contract_disabled/enable/")
    try:
        assert rows(probe)["contract_disabled"] is True
        assert requests.get(f"{probe.url}/api/plugins/contract_disabled/hello").status_code == 200
        assert {requests.get(f"{probe.url}/contract-disabled/hello").status_code for _ in range(12)} == {404}
    finally:
        admin.get(f"{probe.url}/admin/app/plugin/contract_disabled/disable/")
    assert rows(probe)["contract_disabled"] is False


def test_the_admin_page_lists_plugins_with_buttons(probe):
    page = probe.session().get(f"{probe.url}/admin/app/plugin/").text
    assert "Tries what a plugin may do" in page
    assert "/admin/app/plugin/contract_probe/disable/" in page
    assert "actions/upload/" in page


def test_data_stores_keep_values_for_a_user_and_for_all(probe, user):
    values = probe.shell(
        "from app.plugins import get_plugin_by_name\nfrom django.contrib.auth.models import User\n"
        "plugin = get_plugin_by_name('contract_probe', only_active=False)\n"
        "store, own = plugin.get_global_data_store(), plugin.get_user_data_store(User.objects.get(username=name))\n"
        "store.set_json('x', {'a': 1})\nown.set_string('x', 'mine')\n"
        "result = [store.get_json('x'), own.get_string('x'), own.get_int('nothing', 7), own.has_key('y'), store.del_key('x')]",
        name=user[0])
    assert values == [{"a": 1}, "mine", 7, False, True]


def test_there_is_no_plugins_package_before_the_media_directorys(host):
    """A top-level `plugins/__init__.py` on the path would be imported instead."""
    found = host.shell("import plugins\nfrom django.conf import settings\nresult = [plugins.__file__, settings.MEDIA_ROOT]")
    assert found[0].startswith(found[1])


def test_functions_given_to_run_function_async_travel_as_source(host):
    source = host.shell(
        "import json\nfrom unittest import mock\nfrom app.plugins import worker\n"
        "with mock.patch.object(worker.eval_async, 'delay') as delay:\n"
        "    worker.run_function_async(json.dumps, 1)\n"
        "result = [type(delay.call_args[0][0]).__name__, 'def dumps' in delay.call_args[0][0], delay.call_args[0][1]]")
    assert source == ["str", True, "dumps"]


def test_a_plugin_zip_can_be_uploaded_and_deleted(probe, tmp_path):
    source = Path(__file__).parent / "probes" / "contract_flaky"
    shutil.copytree(source, tmp_path / "in" / "contract_uploaded")
    archive = shutil.make_archive(str(tmp_path / "plugin"), "zip", tmp_path / "in")
    session = probe.session()
    token = session.headers["X-CSRFToken"]
    with open(archive, "rb") as stream:
        answer = session.post(f"{probe.url}/admin/app/plugin/actions/upload/", files={"file": stream},
                              data={"csrfmiddlewaretoken": token}, allow_redirects=False)
    assert answer.status_code == 302
    assert rows(probe)["contract_uploaded"] is True
    session.get(f"{probe.url}/admin/app/plugin/contract_uploaded/delete/", allow_redirects=False)
    assert "contract_uploaded" not in rows(probe)
