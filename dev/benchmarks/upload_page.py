"""Our upload page against WebODM's uploader in one Chromium: speed, memory, weight, first paint. `bench openscan upload-page`.

WebODM's side is its uploader, not its whole dashboard: the released Dropzone of the version that WebODM 3.2.4 carries, with WebODM's
option values, on a page that has nothing else. The dashboard adds React and its own state per file, so it weighs and takes more.
Both pages are served by one sandbox, and each sends to its own side's API: ours to upload links, the other to the upload of a task.
Ours syncs each photo to disk before it answers; WebODM does not.

Memory is the peak proportional set size (PSS) of the page's renderer process, sampled ten times a second from before the photos are
chosen until the server has them all. PSS counts memory that processes share, such as Chromium's code, in equal parts.
"""
import base64
import hashlib
import io
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from dev.benchmarks.table import Row
from dev.sandbox.processes import Service, answers_http, free_port
from dev.sandbox.stack import HOST_DIR, ROOT, WEB_ARGUMENTS, Stack

PHOTOS, ROUNDS = 1800, 3
#: An OpenScan Classic's camera. The photos have no thumbnail of the camera, so our page must decode those that it shows.
PHOTO_SIZE, PHOTO_BYTES = (3280, 2464), 1_100_000
PREFIX = "/upload-page-benchmark/"
DROPZONE = "5.2.0"
_DROPZONE_SHA512 = "q19hPFZ5arNoc7RoEyEo53rZF+UNLQETjxlJFUUYKoSj9gREDR3eee13Ua6E+CE3rqszy0bB44leX+Yo5RCWVw=="
LEAST_SPEED, MOST_MEMORY = 1.0, 0.5
_CLIENTS_PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
_SESSION_OF_FORM = "django.contrib.auth.backends.ModelBackend"


def measure(stack: Stack, directory: Path, photos: int) -> "list[Row]":
    """Upload the same photos three times in turn with each page, each time in a fresh Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    missing = [name for name, found in (("chromium", chromium), ("npm", shutil.which("npm")), ("playwright", _CLIENTS_PYTHON.exists()))
               if not found]
    if missing:
        return [Row("upload page", skipped=f"{', '.join(missing)} is not installed")]
    pages, folder = directory / "pages", directory / "upload"
    pages.mkdir()
    (pages / "dropzone.js").write_bytes(_dropzone(directory))
    shutil.copy(Path(__file__).with_name("upload_page_dropzone.html"), pages / "dropzone.html")
    files = make_photos(folder, photos)
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    with _site(stack, pages) as site:
        for number in range(ROUNDS):
            for name, runs, upload in (("our page", ours, _upload_with_ours), ("Dropzone", theirs, _upload_with_dropzone)):
                runs.append(upload({"chromium": chromium, "site": site, "photos": [str(path) for path in files]}))
                print(f"upload-page, round {number + 1}: {name} took {runs[-1]['seconds']:.1f} s", file=sys.stderr)
    shutil.rmtree(folder)
    return _rows(ours, theirs, photos)


def make_photos(folder: Path, number: int) -> "list[Path]":
    """Photos of the size and weight of an OpenScan Classic's, from our test photos. Random bytes after the end make each one different."""
    from PIL import Image

    folder.mkdir()
    pictures = []
    for path in sorted((ROOT / "tests" / "data" / "photos" / "banana").glob("*.JPG"))[:8]:
        out = io.BytesIO()
        Image.open(path).resize(PHOTO_SIZE, Image.LANCZOS).save(out, "JPEG", quality=85)
        pictures.append(out.getvalue())
    paths = [folder / f"IMG_{each:04}.jpg" for each in range(number)]
    for each, path in enumerate(paths):
        picture = pictures[each % len(pictures)]
        path.write_bytes(picture + os.urandom(max(16, PHOTO_BYTES - len(picture))))
    return paths


def _dropzone(directory: Path) -> bytes:
    """The released Dropzone, minified."""
    packed = subprocess.run(["npm", "pack", "--silent", f"dropzone@{DROPZONE}"], cwd=directory, check=True, stdout=subprocess.PIPE, text=True)
    archive = directory / packed.stdout.split()[-1]
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != _DROPZONE_SHA512:
        raise RuntimeError(f"{archive.name} is not the file that this benchmark was written for")
    with tarfile.open(archive) as members:
        script = members.extractfile("package/dist/min/dropzone.min.js")
        assert script is not None
        return script.read()


@contextmanager
def _site(stack: Stack, pages: Path) -> Iterator[str]:
    """The address of a web server like the sandbox's, with Dropzone's page beside WebODM's."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    service = Service(
        name="upload-page", log=stack.log_path("upload-page"), cwd=HOST_DIR, ready=lambda: answers_http(f"{address}/login/"),
        env={**stack.environment(), "WO_OPENSCAN_PUBLIC_URL": address, "BENCH_FILES": str(pages)},
        argv=[sys.executable, "-m", "gunicorn", "dev.benchmarks.upload_page_site", "--bind", f"127.0.0.1:{port}", "--timeout", "300000",
              "--workers", "3", "--preload", *WEB_ARGUMENTS])
    service.start()
    try:
        service.wait_ready()
        yield address
    finally:
        service.stop()


def _upload_with_ours(order: "dict[str, Any]") -> "dict[str, Any]":
    from app_extensions.openscan import part_files
    from app_extensions.openscan.accounts import tokens
    from app_extensions.openscan.models import Scan

    number = len(order["photos"])
    token, text = tokens.create_token(forename="Bench", surname="Mark", mail="bench@example.org", credit_bytes=10**12,
                                      limit_filesize_bytes=10**11, limit_photos=max(number, 2000))
    answer = _in_browser(**order, path="/openscan/upload/", token=text, cookies=[], input="#os-files", button="#os-go",
                         ends_at="**/openscan/scans/*/")
    scan = Scan.objects.get(token=token)
    _check("our page", scan.parts.exclude(size_bytes=None).count(), number)
    shutil.rmtree(part_files.scan_dir(scan.pk))
    return answer


def _upload_with_dropzone(order: "dict[str, Any]") -> "dict[str, Any]":
    from app.models import Project
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore

    user = User.objects.filter(is_superuser=True).first()
    project = Project.objects.create(owner=user, name="benchmark")
    session = SessionStore()
    session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
    session[BACKEND_SESSION_KEY] = _SESSION_OF_FORM
    session.save()
    csrf = secrets.token_hex(32)
    cookies = {settings.SESSION_COOKIE_NAME: session.session_key, settings.CSRF_COOKIE_NAME: csrf}
    answer = _in_browser(**order, path=f"{PREFIX}dropzone.html?project={project.pk}&csrf={csrf}", token="", button="",
                         cookies=[{"name": name, "value": value, "url": order["site"]} for name, value in cookies.items()],
                         input="input.dz-hidden-input", ends_at="**/dropzone.html*#done")
    task = project.task_set.get()
    _check("Dropzone", len(task.scan_images()), len(order["photos"]))
    shutil.rmtree(task.task_path())
    return answer


def _in_browser(**order: Any) -> "dict[str, Any]":
    os.sync()  # so that the disk is not still writing what came before
    run = subprocess.run([str(_CLIENTS_PYTHON), "-m", "dev.benchmarks.upload_page_browser"], input=json.dumps(order), cwd=ROOT,
                         env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(run.stdout)
    if answer["errors"]:
        raise RuntimeError(f"the page complained: {answer['errors'][:3]}")
    return answer


def _check(name: str, arrived: int, sent: int) -> None:
    if arrived != sent:
        raise RuntimeError(f"{name}: {arrived} of {sent} photos arrived")


def _rows(ours: "list[dict[str, Any]]", theirs: "list[dict[str, Any]]", photos: int) -> "list[Row]":
    def fastest(runs: "list[dict[str, Any]]") -> float:
        return photos / min(run["seconds"] for run in runs)

    def row(name: str, key: str, unit: str, scale: float, choose: Any, bound: Optional[float] = None) -> Row:
        a, b = (choose(run[key] for run in runs) / scale for runs in (ours, theirs))
        return Row(f"upload page: {name}", f"{a:.0f} {unit}", f"{b:.0f} {unit}", a / b, bound)

    a, b = fastest(ours), fastest(theirs)
    return [
        Row(f"upload page, {photos:,} photos, against WebODM's Dropzone: photos/s", f"{a:.1f}", f"{b:.1f}", a / b, least=LEAST_SPEED),
        row("peak memory (PSS of the page's renderer)", "renderer_bytes", "MB", 1e6, max, MOST_MEMORY),
        row("the same before photos are chosen", "before_bytes", "MB", 1e6, max),
        row("peak resident memory of the renderer, shared code included", "resident_bytes", "MB", 1e6, max),
        row("peak memory (PSS) of the whole browser", "browser_bytes", "MB", 1e6, max),
        row("weight of HTML, scripts and styles, against a page with Dropzone alone", "weight_bytes", "kB", 1e3, max),
        row("first contentful paint, against a page with Dropzone alone", "paint_ms", "ms", 1, statistics.median),
    ]
