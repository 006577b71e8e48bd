"""`install`: puts the two plugins, the Django apps, their packages and the settings override into a native WebODM.

Each step looks first and changes only what is not yet so: run it again after an update of either side.
"""
import filecmp
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, Optional

from deploy import packages, wheel, worker_unit
from deploy.report import DeployError, Report
from deploy.webodm import LABELS, OLDEST_VERSION, PLUGINS, ROOT, TESTED_VERSIONS, WebODM, version_tuple

MARKER = "# Written by `webodm.sh install`"
OVERRIDE = Path(__file__).with_name("webodm_settings_override.py").read_text()
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".DS_Store")


def override_path(webodm: WebODM) -> Path:
    """What WebODM's settings import last."""
    return webodm.directory / "webodm" / "settings_override.py"


def site_override_path(webodm: WebODM) -> Path:
    """Where a site's own override is kept."""
    return webodm.directory / "webodm" / "settings_override_site.py"


def is_our_override(path: Path) -> bool:
    """Whether `path` is the file that an install wrote (or a link to ours)."""
    if path.is_symlink():
        return "app_extensions" in os.readlink(str(path))
    return path.is_file() and path.read_text(errors="replace").startswith(MARKER)


def _same_tree(one: Path, other: Path) -> bool:
    """Whether two directories hold the same files, bytecode left out."""
    compared = filecmp.dircmp(str(one), str(other), ignore=["__pycache__", ".DS_Store"])

    def same(found: "filecmp.dircmp[str]") -> bool:
        if found.left_only or found.right_only or found.funny_files:
            return False
        _, differing, errors = filecmp.cmpfiles(found.left, found.right, found.common_files, shallow=False)
        return not differing and not errors and all(same(sub) for sub in found.subdirs.values())

    return same(compared)


def remove_path(path: Path) -> None:
    """Removes a link, file or whole directory."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(str(path))


def is_ours(path: Path) -> bool:
    """Whether what lies at `path` is one of our parts: a link into a checkout, or a copy of ours."""
    if path.name in PLUGINS:
        return plugin_name(path) == plugin_name(ROOT / "plugins" / path.name)
    return (path / "openscan" / "apps.py").is_file() or (path.is_symlink() and not path.exists())


def plugin_name(directory: Path) -> str:
    """The name in a plugin's manifest; empty where there is none that can be read."""
    try:
        return str(json.loads((directory / "manifest.json").read_text()).get("name", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _refuse_foreign(target: Path) -> None:
    """Raises DeployError if `target` exists and is not ours. A link may go: what it points at stays."""
    if target.exists() and not target.is_symlink() and not is_ours(target):
        raise DeployError(f"{target} exists already and is not ours. Move it away first")


def put(source: Path, target: Path, mode: str, report: Report) -> None:
    """Makes `target` a link to, or a copy of, `source`. Raises DeployError if what is there is not ours."""
    if mode == "link" and target.is_symlink() and Path(os.path.realpath(str(target))) == source.resolve():
        report.same(f"{target} -> {source}")
        return
    if mode == "copy" and target.is_dir() and not target.is_symlink() and _same_tree(source, target):
        report.same(f"{target} is a copy of {source}")
        return
    _refuse_foreign(target)
    there = target.is_symlink() or target.exists()

    def make() -> None:
        if there:
            remove_path(target)
        if mode == "link":
            target.symlink_to(source)
        else:
            shutil.copytree(str(source), str(target), ignore=_LEFT_OUT)

    verb = "link" if mode == "link" else "copy"
    report.change(f"{'replace' if there else verb} {target}{' by a ' + verb if there else ''} -> {source}", make)


def apps_are_in(webodm: WebODM) -> bool:
    """Whether WebODM's Python finds our apps."""
    return (webodm.directory / "app_extensions").exists() or wheel.is_installed(webodm)


def _put_apps(webodm: WebODM, mode: str, report: Report) -> None:
    """The Django apps: a wheel, or a link in WebODM's directory (which Python would find before a wheel). Raises DeployError."""
    target = webodm.directory / "app_extensions"
    if mode == "link":
        wheel.remove(webodm, report)
        put(ROOT / "app_extensions", target, mode, report)
        return
    if target.is_symlink() or target.exists():
        if not is_ours(target):
            raise DeployError(f"{target} exists already and is not ours. Move it away first")
        report.change(f"remove {target}, which the wheel replaces", lambda: remove_path(target))
    wheel.put(webodm, report)


def _refuse_two_overrides(webodm: WebODM) -> None:
    """Raises DeployError if a site has its settings in both override files."""
    path, site = override_path(webodm), site_override_path(webodm)
    if (path.exists() or path.is_symlink()) and not is_our_override(path) and site.exists():
        raise DeployError(f"{path.parent} has both {path.name} and {site.name}. Move your settings into {site.name} and delete {path.name}")


def _put_override(webodm: WebODM, report: Report) -> None:
    path, site = override_path(webodm), site_override_path(webodm)
    if path.is_symlink() and is_our_override(path):
        report.same(f"{path} is ours")
        return
    if is_our_override(path):
        if path.read_text() == OVERRIDE:
            report.same(f"{path} is ours")
        else:
            report.change(f"update {path}", lambda: path.write_text(OVERRIDE))
        return
    _refuse_two_overrides(webodm)
    if path.exists() or path.is_symlink():
        report.change(f"rename {path} to {site.name}, which ours loads", lambda: path.rename(site))
    report.change(f"write {path}", lambda: path.write_text(OVERRIDE))


def check_versions(facts: dict[str, Any], report: Report) -> None:
    """Refuses what cannot work, and says what was not tried. Raises DeployError."""
    version = facts["webodm"]
    if version_tuple(version) < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise DeployError(f"this is WebODM {version}, and the plugins need {oldest} or later. Update WebODM first.")
    if not facts["python"].startswith("3.9."):
        raise DeployError(f"WebODM's Python is {facts['python']}, and the plugins need 3.9, like WebODM {TESTED_VERSIONS[-1]}")
    if version not in TESTED_VERSIONS:
        report.note(f"WebODM {version} has not been tested (tested: {', '.join(TESTED_VERSIONS)}); see COMPATIBILITY.md")


def install(webodm: WebODM, *, mode: Optional[str] = None, dry_run: bool = False, env_file: str = "") -> int:
    """Puts us into `webodm` (`mode`; default: as the last time, else "copy"). Raises DeployError.

    mode "copy": the apps as a wheel in WebODM's Python, the plugins copied: this checkout may go away. "link": links to this checkout, for
    working on it.
    """
    report = Report(dry_run)
    first = "packages" not in webodm.record
    facts = webodm.probe("facts")
    report.note(f"WebODM {facts['webodm']} in {webodm.directory}, Python {facts['python']} ({webodm.python})")
    check_versions(facts, report)
    mode = mode or webodm.record.get("mode") or "copy"
    record = dict(webodm.record, mode=mode, python=os.path.abspath(webodm.python) if os.sep in webodm.python else webodm.python,
                  source=str(ROOT), media_root=facts["media_root"])

    plugins = Path(facts["media_root"]) / "plugins"
    for target in (webodm.directory / "app_extensions", *(plugins / name for name in PLUGINS)):  # before anything is changed
        _refuse_foreign(target)
    _refuse_two_overrides(webodm)

    added = packages.add(webodm, report)
    record["packages"] = sorted(set(webodm.record.get("packages", [])) | set(added))
    if not dry_run:
        webodm.write_record(record)  # before the next step: what is in can be taken out, whatever happens

    _put_apps(webodm, mode, report)
    if not dry_run:
        webodm.write_record(dict(webodm.record, wheel=wheel.fingerprint() if mode == "copy" else ""))
    if not plugins.is_dir():
        report.change(f"make {plugins}", lambda: plugins.mkdir(parents=True))
    for name in PLUGINS:
        put(ROOT / "plugins" / name, plugins / name, mode, report)
    _put_override(webodm, report)
    worker_unit.put(webodm, env_file, report)
    _migrate(webodm, report, first)
    if not dry_run:
        check(webodm, report)
    report.finish("done. Restart WebODM's web server, worker and scheduler (beat), then run `doctor`.")
    return 0


def check(webodm: WebODM, report: Report) -> None:
    """Runs `manage.py check` and tells its warnings. Raises DeployError for its errors."""
    printed = webodm.manage("check", with_errors=True)
    lines = re.findall(r"^\S+: (\([a-z_]+\.[A-Z]\d+\) .*)$", printed, re.MULTILINE)
    for line in lines:
        report.note("manage.py check: " + line)
    report.same(f"manage.py check: no errors, {len(lines)} warning{'' if len(lines) == 1 else 's'}")


def _migrate(webodm: WebODM, report: Report, first: bool) -> None:
    """Runs our migrations. Raises DeployError unless both apps run: WebODM swallows what goes wrong in a settings override.

    A first install switches plugins on that an earlier start without us had switched off; later it is the admin's word.
    """
    if report.dry_run and report.changes:  # only the new code knows which are missing
        report.change("run missing migrations: manage.py migrate openscan, migrate tapis", lambda: None)
        return
    state = webodm.probe("state")
    if len(state["apps"]) < len(LABELS):
        raise DeployError(f"installed, but Django runs only {state['apps'] or 'none'} of our apps. `doctor` shows why")
    missing, disabled = state["unmigrated"], state["disabled"]
    if missing:
        report.change(" and ".join(f"manage.py migrate {label}" for label in missing),
                      lambda: webodm.probe("migrate", *missing, timeout=600))
    else:
        report.same("our tables are up to date")
    if disabled and first:
        report.change(f"enable the plugins: {', '.join(disabled)}", lambda: webodm.probe("enable"))
    elif disabled:
        report.note(f"disabled in WebODM: {', '.join(disabled)} (enable them under Administration > Plugins)")


def install_image_part(webodm: WebODM, part: str) -> int:
    """A step of `install` while the Docker image is built (`code`) or when its container starts (`plugins`, `node`). Raises DeployError.

    No database is there while an image is built, and no media volume: plugins are linked and migrations run at its start.
    """
    report = Report()
    if part == "code":
        _put_apps(webodm, "copy", report)
        _put_override(webodm, report)
    elif part == "plugins":
        plugins = Path(webodm.probe("facts")["media_root"]) / "plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        for name in PLUGINS:
            put(ROOT / "plugins" / name, plugins / name, "link", report)
    else:
        host, _, port = os.environ["WEBODM_EXTENSIONS_NODE"].partition(":")
        webodm.probe("register_node", host, port or "3000")
        report.note(f"the processing node {host}:{port} is registered")
    return 0
