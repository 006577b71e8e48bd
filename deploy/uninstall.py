"""`uninstall`: takes back all that `install` did. Tables, files and settings of ours stay, unless they are purged."""
import shutil
from functools import partial
from pathlib import Path

from deploy import packages, wheel, worker_unit
from deploy.install import apps_are_in, check, is_our_override, is_ours, override_path, remove_path, site_override_path
from deploy.report import Report
from deploy.webodm import PLUGINS, WebODM


def uninstall(webodm: WebODM, *, purge: bool = False, dry_run: bool = False) -> int:
    """Takes us out of `webodm`; `purge` deletes our tables and files too. Raises DeployError."""
    report = Report(dry_run)
    media_root = Path(webodm.record.get("media_root") or webodm.probe("facts")["media_root"])
    if purge:
        _purge(webodm, media_root, report)

    path, site = override_path(webodm), site_override_path(webodm)
    if is_our_override(path):
        report.change(f"remove {path}", path.unlink)
        if site.exists():
            report.change(f"rename {site.name} back to {path.name}", lambda: site.rename(path))
    elif path.exists():
        report.same(f"{path} is not ours and stays")
    for target in [media_root / "plugins" / name for name in PLUGINS] + [webodm.directory / "app_extensions"]:
        if target.is_symlink() or (target.exists() and is_ours(target)):
            report.change(f"remove {target}", partial(remove_path, target))
        elif target.exists():
            report.note(f"{target} is not ours and stays")
    packages.remove(webodm, [wheel.DISTRIBUTION, *webodm.record.get("packages", [])], report)
    worker_unit.remove(webodm, report)
    if webodm.record_path.exists():
        report.change(f"remove {webodm.record_path}", webodm.record_path.unlink)
    if report.changes and not dry_run:
        check(webodm, report)
    kept = "" if purge else " Our tables (openscan_*, tapis_*) and files stay; a later `install` uses them again."
    report.finish("done. Restart WebODM's web server, worker and scheduler (beat)." + kept)
    return 0


def _purge(webodm: WebODM, media_root: Path, report: Report) -> None:
    """Deletes our tables, rows in WebODM's own tables that name us, and our directories."""
    if not apps_are_in(webodm):
        report.note("the plugins are not installed, so their tables cannot be deleted: run `install`, then `uninstall --purge`")
        return
    facts: dict[str, list[str]] = webodm.probe("leavings")
    what = [f"the tables of {label}" for label in facts["tables_of"]]
    if facts["rows"]:
        what.append(f"our rows in WebODM's own tables ({', '.join(facts['rows'])})")
    if what:
        report.change("delete " + ", ".join(what), lambda: webodm.probe("forget", *facts["tables_of"], timeout=600))
    for directory in [Path(name) for name in facts["directories"]]:
        if directory.is_dir():
            report.change(f"delete {directory}", partial(shutil.rmtree, str(directory)))
