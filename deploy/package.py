"""`package`: the two zips that an admin can upload in WebODM's plugin page.

A zip holds one directory, as WebODM asks for it. It carries the plugin alone: without `app_extensions` the plugin loads,
disables itself and says what to do.
"""
import json
import os
import re
import zipfile
from pathlib import Path

from deploy.report import DeployError
from deploy.webodm import PLUGINS, ROOT

_LEFT_OUT = {"__pycache__", ".DS_Store", "node_modules"}
_EPOCH = (2020, 1, 1, 0, 0, 0)  # the same sources give the same bytes


def _files(directory: Path) -> list[Path]:
    found = []
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if path.is_file() and not _LEFT_OUT.intersection(parts) and path.suffix != ".pyc":
            found.append(path)
    return found


def make_zip(plugin: str, out: Path) -> Path:
    """Writes `out/<plugin>-<version>.zip`; returns its path. Raises DeployError where the plugin is not complete."""
    source = ROOT / "plugins" / plugin
    for needed in ("__init__.py", "plugin.py", "manifest.json"):
        if not (source / needed).is_file():
            raise DeployError(f"{source} has no {needed}")
    version = str(json.loads((source / "manifest.json").read_text()).get("version", ""))
    if not re.fullmatch(r"\d+(\.\d+)+", version):
        raise DeployError(f"{source}/manifest.json has no version like 1.0.0")
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{plugin}-{version}.zip"
    temporary = target.with_suffix(".tmp")
    with zipfile.ZipFile(str(temporary), "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(source):
            entry = zipfile.ZipInfo(f"{plugin}/{path.relative_to(source).as_posix()}", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    os.replace(str(temporary), str(target))
    return target


def main(out: Path) -> int:
    """Makes both zips and says where they are."""
    for plugin in PLUGINS:
        path = make_zip(plugin, out)
        print(f"+ {path} ({path.stat().st_size} bytes)")
    print("* Upload them in WebODM under Administration > Plugins > Load Plugin (.zip). They need `app_extensions` in "
          "WebODM's Python: see docs/admin/install.md")
    return 0
