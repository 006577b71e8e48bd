"""Photos of an object through the OpenScanCloud API to a 3D model, as an OpenScan rig does it."""
import argparse
import json
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any, Optional

import requests

from dev.demo.model import ModelError, inspect_model
from dev.demo.rig import Rig, RigError, download
from dev.sandbox.stack import ROOT, Stack

PHOTOS = ROOT / "tests" / "data" / "photos" / "banana"
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png")
PARTS = 2
TIMEOUT_SECONDS = 45 * 60
CREDIT = "50GB"
LEAST_CREDIT_BYTES = 4_000_000_000


class DemoError(Exception):
    """The demonstration cannot go on; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="a directory of photos (default: 16 photos of bananas)")


def run(stack: Stack, options: argparse.Namespace) -> int:
    """Upload, wait, download, check, and say where everything is; returns the exit code."""
    try:
        demonstrate(stack, options.photos)
    except (DemoError, RigError, ModelError) as error:
        print(f"\nThe demonstration failed: {error}\nThe sandbox's logs: ./webodm.sh sandbox logs --data {stack.data}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The sandbox is still running. Stop it with ./webodm.sh sandbox stop.", file=sys.stderr)
        return 130
    return 0


def demonstrate(stack: Stack, photos: Path) -> None:
    """The way of one scan. Raises DemoError, RigError, ModelError."""
    clock = Clock()
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in PHOTO_ENDINGS) if photos.is_dir() else []
    if len(files) < 3:
        raise DemoError(f"{photos} holds {len(files)} photos; a model needs three at the very least")
    host = f"{stack.address()}/api/openscan"
    directory = stack.data / "demo"
    directory.mkdir(exist_ok=True)
    token = demo_token(stack, host, directory / "token")
    rig = Rig(host, token)
    limits = rig.call("getTokenInfo")
    clock.say(f"token accepted: credit {limits['credit'] / 1e9:.1f} GB, at most {limits['limit_photos']} photos a set")

    project = time.strftime(f"{photos.resolve().name}-%Y%m%d-%H%M%S")
    with tempfile.TemporaryFile(dir=directory) as archive:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:
            for path in files:
                target.write(path, path.name)
        upload(rig, project, archive, len(files), clock)
    info = wait(rig, project, clock)

    result = directory / project
    result.mkdir()
    size = download(info["dlink"], result / "model.zip")
    clock.say(f"downloaded the result: {size / 1e6:.1f} MB")
    with zipfile.ZipFile(result / "model.zip") as target:
        target.extractall(result)
    model = inspect_model(result)
    colours = f"{len(model.textures)} texture(s), the largest {model.texture_pixels[0]} x {model.texture_pixels[1]} pixels"
    clock.say(f"checked: {model.vertices} vertices, {model.faces} faces, {colours if model.textures else 'coloured vertices'}")
    print(f"\nPhotos to model in {clock.seconds():.0f} s.\n")
    print_files(result, model.mesh)
    print_pages(stack, project)
    print_clients(stack, directory / "token")


def demo_token(stack: Stack, host: str, kept: Path) -> str:
    """The token of an earlier demonstration while it is good and has credit, else a new private one, kept for this user's eyes only."""
    if kept.is_file():
        token = kept.read_text().strip()
        try:
            if Rig(host, token).call("getTokenInfo")["credit"] > LEAST_CREDIT_BYTES:
                return token
        except RigError:
            # Revoked, or the sandbox's data are new.
            pass
    # Finds the running one.
    stack.start_database()
    made = stack.manage(
        "openscan_token", "create", "--kind", "private", "--mail", "demo@sandbox.test", "--forename", "Demo", "--surname", "Rig",
        "--owner", str(stack.config["admin_user"]), "--credit", CREDIT, "--json", check=False, capture_output=True,
    )
    if made.returncode:
        raise DemoError(f"no token could be made: {made.stderr.decode(errors='replace').strip()[-500:]}")
    token = json.loads(made.stdout.decode().strip().splitlines()[-1])["token"]
    with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(token + "\n")
    return token


def upload(rig: Rig, project: str, archive: Any, photos: int, clock: "Clock") -> None:
    """createProject, the parts in order, startProject."""
    size = archive.seek(0, os.SEEK_END)
    part_bytes = -(-size // PARTS)
    answer = rig.call("createProject", project=project, photos=photos, parts=PARTS, filesize=size)
    clock.say(f"createProject {project}: {photos} photos, {size / 1e6:.1f} MB in {len(answer['ulink'])} parts")
    for number, link in enumerate(answer["ulink"]):
        archive.seek(number * part_bytes)
        sent = min(part_bytes, size - number * part_bytes)
        rig.upload(link, archive, sent)
        clock.say(f"part {number + 1} of {PARTS} sent: {sent / 1e6:.1f} MB")
    rig.call("startProject", project=project)
    preset = os.environ.get("WO_OPENSCAN_PRESET") or "OpenScan object"
    clock.say(f"startProject: started. Scans use the preset {preset!r}, here and in an installation; WO_OPENSCAN_PRESET names another")


def wait(rig: Rig, project: str, clock: "Clock") -> dict[str, Any]:
    """Show what getProjectInfo tells until the result is there. Raises DemoError when processing failed."""
    shown: dict[str, Any] = {}

    def show(info: dict[str, Any]) -> None:
        percent = int(100 * info.get("progress", 0))
        news = (info["status"], info.get("message", ""))
        # A terminal gets a line that counts; a log gets one line per status and ten per cent.
        if sys.stdout.isatty() and news == shown.get("news"):
            clock.count(f"{info['status']} {percent} %")
        elif news != shown.get("news") or percent // 10 != shown.get("percent", 0) // 10:
            waits = f" ({info['message']})" if info.get("message") else ""
            clock.say(f"{info['status']}{f' {percent} %' if percent else ''}{waits}")
        shown.update(news=news, percent=percent)

    info = rig.wait_until_final(project, show, TIMEOUT_SECONDS)
    for sentence in info.get("set_aside", []):
        clock.say(f"left out: {sentence}")
    if info["status"] != "processing done":
        raise DemoError(f"{info['status']}: {info.get('error_text') or 'no reason was given'}")
    return info


def print_files(result: Path, mesh: Path) -> None:
    print(f"The model:  {mesh}")
    print(f"  all of it: {result}")
    for path in sorted(result.iterdir()):
        print(f"    {path.stat().st_size / 1e6:8.2f} MB  {path.name}")
    if (result / "viewer.html").is_file():
        print("  open viewer.html in any browser to rotate it; preview.png shows it from twelve sides")


def print_pages(stack: Stack, project: str) -> None:
    page = _model_page(stack, project) or "/dashboard/"
    print(f"\nLook at it: {stack.address()}{page}")
    print(f"  log in as {stack.config['admin_user']}; the password is in {stack.config_path}")
    print(f"  the tokens' page: {stack.address()}/plugins/openscan_cloud/")


def _model_page(stack: Stack, project: str) -> Optional[str]:
    """The path of the page with the model, asked from WebODM's own API; None when it does not tell."""
    login = {"username": stack.config["admin_user"], "password": stack.config["admin_password"]}
    try:
        token = requests.post(f"{stack.address()}/api/token-auth/", data=login, timeout=20).json()["token"]
        api = {"Authorization": f"JWT {token}"}
        projects = requests.get(f"{stack.address()}/api/projects/?ordering=-created_at", headers=api, timeout=20).json()
        for found in projects if isinstance(projects, list) else projects["results"]:
            tasks = requests.get(f"{stack.address()}/api/projects/{found['id']}/tasks/", headers=api, timeout=20).json()
            for task in tasks:
                if project in (task["name"] or ""):
                    return f"/3d/project/{found['id']}/task/{task['id']}/"
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        print(f"(WebODM's API did not tell the model's page: {type(error).__name__})")
    return None


def print_clients(stack: Stack, token: Path) -> None:
    print(f"""
Point a client at a WebODM with this plugin (here {stack.address()}; this sandbox answers on this machine only):
  token         {token}  (or: ./webodm.sh manage openscan_token create …)
  OpenScan3     Settings, Cloud: host {stack.address()}/api/openscan, user openscan, password free, the token
  OpenScan2     the cloud address in its Node-RED flow: {stack.address()}/api/openscan/ ; the token on its cloud page
  uploader      openscan-upload FOLDER --server {stack.address()} --wait   (docs/makers/uploader.md)
  uploader.py   server = '{stack.address()}/api/openscan/' and token = '…' at the top of the file
  more          docs/makers/clients.md

The sandbox is still running. Stop it with ./webodm.sh sandbox stop.""")


class Clock:
    """Prints lines with the seconds since the start before them."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._counting = False

    def seconds(self) -> float:
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        if self._counting:
            print()
            self._counting = False
        print(f"[{self.seconds():5.0f} s] {text}", flush=True)

    def count(self, text: str) -> None:
        """Like say, over the line before when that one counted too."""
        print(f"\r[{self.seconds():5.0f} s] {text}\x1b[K", end="", flush=True)
        self._counting = True
