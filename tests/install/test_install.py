"""`install` and `uninstall` on a WebODM-shaped directory: what changes, what must not, and that all of it is taken back."""
import shutil
from pathlib import Path

import pytest

from deploy.webodm import VERSION
from dev.sandbox.stack import ROOT
from tests.install.conftest import OUR_PACKAGES, Target

SITE_OVERRIDE = "APP_NAME = 'Our own site'\nPLUGINS_BLACKLIST = ['measure']\n"


@pytest.fixture(scope="module")
def site(target: Target) -> Target:
    """The WebODM with a settings override of its site's own, and nothing of ours."""
    target.forget_our_tables()
    (target.directory / "webodm" / "settings_override.py").write_text(SITE_OVERRIDE)
    return target


def test_the_way_in_and_out(site: Target, tmp_path: Path) -> None:
    """One story, since every step stands on the one before: dry run, install, again, copy, uninstall, purge."""
    files, packages, tables = site.files(), site.packages(), site.tables()
    assert not set(OUR_PACKAGES) & set(packages), "the test's Python must start without our packages"

    dry = site.deploy("install", "--python", str(site.python), "--dry-run").stdout
    assert "would install the wheel" in dry and "would copy" in dry and "would pip install cryptography" in dry
    assert (site.files(), site.packages(), site.tables()) == (files, packages, tables)

    printed = site.deploy("install", "--python", str(site.python)).stdout
    assert "+ pip install" in printed and "+ manage.py migrate openscan" in printed and "settings_override_site.py" in printed
    assert {name: version for name, version in site.packages().items() if name in packages} == packages, "a pin was touched"
    assert site.shell("from django.conf import settings as s; from django.apps import apps as a\n"
                      "print(s.APP_NAME, s.PLUGINS_BLACKLIST, a.is_installed('app_extensions.openscan'),"
                      " a.is_installed('app_extensions.tapis'), 'app_extensions.openscan.tasks' in s.CELERY_INCLUDE)"
                      ) == "Our own site ['measure'] True True True"
    assert site.packages()["webodm-openscan-tapis"] == VERSION and not (site.directory / "app_extensions").exists()
    assert not (site.media / "plugins" / "openscan_cloud").is_symlink()
    unit = (site.directory / "webodm-extensions-worker.service").read_text()
    assert "--queues extensions" in unit and f"WorkingDirectory={site.directory}" in unit

    once = site.files()
    (site.media / "plugins" / "openscan_cloud" / "plugin.py").write_text("changed = True\n")
    again = site.deploy("install").stdout
    assert again.count("\n+") == 1 and "replace" in again, "only a copy that differs is made anew"
    assert site.files() == once

    linked = site.deploy("install", "--link").stdout
    assert "pip uninstall webodm-openscan-tapis" in linked and "by a link" in linked
    assert (site.directory / "app_extensions").resolve() == ROOT / "app_extensions"
    assert (site.media / "plugins" / "openscan_cloud").resolve() == ROOT / "plugins" / "openscan_cloud"
    assert "nothing to change" in site.deploy("install").stdout, "the way of the last install is kept"

    assert "nothing to change" in site.deploy("install", "--dry-run").stdout
    site.sql("DELETE FROM django_migrations WHERE app = 'tapis' AND name = '0006_plainer_help_texts'")
    dry = site.deploy("install", "--dry-run").stdout
    assert "would manage.py migrate tapis" in dry and "dry run: 1 change not made" in dry
    assert site.sql("SELECT count(*) FROM django_migrations WHERE app = 'tapis'") == [(5,)]

    copied = site.deploy("install", "--copy").stdout
    assert "+ manage.py migrate tapis" in copied
    assert "by a copy" in copied and "which the wheel replaces" in copied
    assert not (site.directory / "app_extensions").exists()

    # a task and its project, which rows of ours will outlive
    project = site.shell(
        "from django.contrib.auth.models import User; from app.models import Project, Task\n"
        "u = User.objects.create_user('owner'); p = Project.objects.create(owner=u, name='kept'); t = Task.objects.create(project=p)\n"
        "from app_extensions.openscan.models import Token, Scan\n"
        "from app_extensions.openscan.accounts.tokens import create_token\n"
        "token, secret = create_token(kind='public', owner=u)\n"
        "print(p.pk)")
    printed = site.deploy("uninstall").stdout
    assert site.files() == files, "uninstall leaves the directory as it was"
    assert site.packages() == packages
    assert {"openscan_token", "openscan_scan"} <= site.tables(), "our tables stay"
    assert "stay" in printed
    assert site.shell("from app.models import Project; from django.contrib.auth.models import User\n"
                      f"p = Project.objects.get(pk={project}); p.task_set.get().delete(); p.delete()\n"
                      "User.objects.get(username='owner').delete(); print('deleted')"
                      ) == "deleted", "WebODM can delete its own rows though ours stay"
    assert "nothing to change" in site.deploy("uninstall").stdout

    assert "would" not in site.deploy("install", "--python", str(site.python)).stdout
    assert site.sql("SELECT count(*) FROM openscan_token") == [(1,)], "found again"
    shared = tmp_path / "shared"
    (shared / "results").mkdir(parents=True)
    (shared / "theirs.txt").touch()
    purged = site.deploy("uninstall", "--purge", env={"WO_OPENSCAN_STORAGE_DIR": str(shared)}).stdout
    assert "delete the tables of openscan" in purged
    assert [path.name for path in shared.iterdir()] == ["theirs.txt"], "a directory that an administrator named is not ours alone"
    assert site.tables() == tables and site.files() == files and site.packages() == packages
    assert site.sql("SELECT relname FROM pg_class WHERE relname ~ '^(openscan|tapis)_'") == [], "no index or sequence is left either"
    assert site.sql("SELECT count(*) FROM django_migrations WHERE app IN ('openscan', 'tapis')") == [(0,)]
    assert site.sql("SELECT count(*) FROM django_content_type WHERE app_label IN ('openscan', 'tapis')") == [(0,)]


def test_what_is_not_ours_is_left_alone(target: Target) -> None:
    """A foreign directory under our name, or two overrides at once, stops the install before it changes anything."""
    _refused(target, target.directory / "app_extensions" / "theirs.py", "is not ours")
    override = target.directory / "webodm" / "settings_override.py"
    before = override.read_text() if override.exists() else None
    override.write_text(SITE_OVERRIDE)
    try:
        _refused(target, override.with_name("settings_override_site.py"), "has both settings_override.py and settings_override_site.py")
    finally:
        override.unlink() if before is None else override.write_text(before)


def _refused(target: Target, file: Path, words: str) -> None:
    """An install stops at `file`, and leaves all files and packages as they were."""
    made = not file.parent.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text('{"name": "Another cloud"}')
    try:
        before = target.files(), target.packages()
        done = target.deploy("install", "--python", str(target.python), check=False)
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert (target.files(), target.packages()) == before
    finally:
        shutil.rmtree(file.parent) if made else file.unlink()


def test_a_plugin_with_another_name_is_not_ours(target: Target) -> None:
    """Any manifest has a name; it must be ours."""
    _refused(target, target.media / "plugins" / "openscan_cloud" / "manifest.json", "is not ours")


def test_the_wheel_has_every_file_of_the_apps_and_one_version(tmp_path: Path) -> None:
    """`pip wheel .`, with what PyPI asks for; the plugins and the node carry the same version."""
    import json
    import subprocess
    import sys
    import zipfile

    source = tmp_path / "source"
    for name in ("app_extensions", "pyproject.toml", "README.md", "LICENSE"):
        path = ROOT / name
        shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__")) if path.is_dir() \
            else (source.mkdir(exist_ok=True), shutil.copy(path, source / name))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(source)],
                   check=True, stderr=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    wanted = {path.relative_to(source).as_posix() for path in (source / "app_extensions").rglob("*") if path.is_file()}
    assert wanted <= names
    for line in ("Name: webodm-openscan-tapis", f"Version: {VERSION}", "License-Expression: AGPL-3.0-only", "Requires-Python: >=3.9",
                 "Classifier: Framework :: Django :: 2.2", "Project-URL: WebODM,"):
        assert line in metadata, line
    for plugin in (ROOT / "plugins").glob("*/manifest.json"):
        assert json.loads(plugin.read_text())["version"] == VERSION, plugin
    from node.engine import __version__ as of_the_engine

    assert of_the_engine == VERSION


def test_wrong_directories_and_pythons_are_named(target: Target, tmp_path) -> None:
    done = target.deploy("install", "--webodm", str(tmp_path), check=False)
    assert done.returncode == 1 and "is not a WebODM" in done.stderr
    done = target.deploy("install", "--python", "/bin/false", check=False)
    assert done.returncode == 1 and "--python" in done.stderr
    assert not (target.directory / "app_extensions").exists()


def test_management_commands_with_the_services_environment(target: Target, tmp_path) -> None:
    """`manage` takes the options of the other commands before the command, and leaves what follows to manage.py."""
    file = tmp_path / "webodm.env"
    file.write_text("# of the service\nexport WO_HOST='scans.example.org'\n")
    code = "import os, sys; print(os.environ['WO_HOST'], sys.executable)"
    done = target.deploy("manage", "--python", str(target.python), f"--env-file={file}", "shell", "-c", code)
    assert done.stdout.split() == ["scans.example.org", str(target.python)]
    done = target.deploy("manage", "--python", str(target.python), "check", "--env-file", str(file), check=False)
    assert done.returncode != 0 and "unrecognized arguments: --env-file" in done.stderr, "manage.py's own"
    done = target.deploy("manage", "--python", str(target.python), check=False)
    assert done.returncode == 1 and "needs a command" in done.stderr
    file.write_text("WO_HOST='open\n")
    done = target.deploy("manage", "--env-file", str(file), "check", check=False)
    assert done.returncode == 1 and "line 1: No closing quotation" in done.stderr


def test_a_package_that_webodm_has_stays_as_it_is(target: Target) -> None:
    """Where WebODM brings one of ours in another version, it is WebODM's that stays."""
    from deploy import packages
    from deploy.report import Report
    from deploy.webodm import WebODM

    webodm = WebODM(target.directory, python=str(target.python), extra_env=target.env)
    name, version = "PyYAML", "5.4.1"
    info = target.site_packages / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    try:
        report = Report(dry_run=True)
        packages.add(webodm, report)
        assert not any("PyYAML" in change for change in report.changes), report.changes
        assert any("cryptography" in change for change in report.changes)
    finally:
        shutil.rmtree(info)


def test_changed_pins_are_seen() -> None:
    from deploy.packages import changed

    assert changed({"django": "2.2.27", "pyjwt": "1.5.3"}, {"django": "2.2.27", "pyjwt": "2.8.0", "new": "1"}) == [
        "pyjwt 1.5.3 -> 2.8.0"]
    assert changed({"a": "1"}, {}) == ["a 1 -> gone"]


def test_the_record_is_readable(target: Target) -> None:
    """A damaged record stops, and names the file, rather than guessing what was installed."""
    record = target.directory / ".webodm-extensions.json"
    record.write_text("{")
    try:
        done = target.deploy("install", check=False)
        assert done.returncode == 1 and str(record) in done.stderr
    finally:
        record.unlink()
