"""Our upload page against WebODM's uploader in one Chromium: speed, memory, weight, first paint. `bench openscan upload-page`.

WebODM's side is its uploader, not its whole dashboard: the released Dropzone of the version that WebODM 3.2.4 carries, with WebODM's
option values, on a page that has nothing else. The dashboard adds React and its own state per file, so it weighs more and does more.
Both pages are served by one sandbox, and each sends to its own side's API: ours to upload links, the other to the upload of a task.
Ours syncs each photo to disk before it answers; WebODM does not.

The time is from choosing the photos until they can be sent, and from the click until the server has them all and the task is started.
Between the two, our page may finish the thumbnails that it shows.

The memory that is judged is the peak of what the page's renderer process alone holds (USS, proc(5): private pages), sampled ten times a
second from choosing to the end. A page that has done nothing holds 15 to 20 MB of it. PSS and RSS, which include Chromium's code, are
printed as well.
"""
import base64
import hashlib
import io
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

from dev.benchmarks.devtools import Chromium, Tab, running
from dev.benchmarks.processes import cpu_seconds, family, peak_bytes
from dev.benchmarks.table import Row
from dev.sandbox.processes import Service, answers_http, free_port
from dev.sandbox.stack import HOST_DIR, ROOT, WEB_ARGUMENTS, Stack

PHOTOS, ROUNDS, LOADS = 1800, 2, 5
#: An OpenScan Classic's camera. The photos have no thumbnail of the camera, so our page must decode those that it shows.
PHOTO_SIZE, PHOTO_BYTES = (3280, 2464), 1_100_000
PREFIX = "/upload-page-benchmark/"
DROPZONE = "5.2.0"
LEAST_SPEED, MOST_MEMORY = 1.0, 0.5
PATIENCE_SECONDS, SAMPLE_SECONDS = 3600, 0.1
_DROPZONE_SHA512 = "q19hPFZ5arNoc7RoEyEo53rZF+UNLQETjxlJFUUYKoSj9gREDR3eee13Ua6E+CE3rqszy0bB44leX+Yo5RCWVw=="
_SESSION_OF_FORM = "django.contrib.auth.backends.ModelBackend"
#: What a page's weight consists of (types of the DevTools protocol). Photos, icons and API answers do not count.
_WEIGHED = {"Document", "Script", "Stylesheet"}
_FIRST_PAINT = "(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime || 0"


@dataclass(frozen=True)
class Side:
    """One of the two pages. The expressions are JavaScript: photos can be sent, thumbnails are there, the server has all photos."""

    path: str
    field: str
    ready: str
    calm: str
    click: str
    over: str


OURS = Side("/openscan/upload/", "#os-files", "!document.getElementById('os-go').disabled && !document.getElementById('os-send').hidden",
            "[...document.querySelectorAll('.os-thumb img')].every(each => each.src)", "document.getElementById('os-go').click()",
            "location.pathname.startsWith('/openscan/scans/')")
THEIRS = Side(f"{PREFIX}dropzone.html", "input.dz-hidden-input", "ready", "true", "send()", "over")


@dataclass(frozen=True)
class Run:
    """What one upload took: seconds, memory of the page's process and of the whole browser, processor time. And how the page loads."""

    seconds: float
    private_bytes: int
    private_before_bytes: int
    pss_bytes: int
    resident_bytes: int
    browser_pss_bytes: int
    browser_cpu: float
    server_cpu: float
    paint_ms: float
    weight_bytes: int


def measure(stack: Stack, directory: Path, photos: int) -> "list[Row]":
    """Upload the same photos twice in turn with each page, each time in a fresh Chromium."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or shutil.which("npm") is None:
        return [Row("upload page", skipped=f"{'npm' if chromium else 'chromium'} is not installed")]
    pages, folder = directory / "pages", directory / "upload"
    pages.mkdir()
    (pages / "dropzone.js").write_bytes(_dropzone(directory))
    shutil.copy(Path(__file__).with_name("upload_page_dropzone.html"), pages / "dropzone.html")
    files = make_photos(folder, photos)
    ours: list[Run] = []
    theirs: list[Run] = []
    with _site(stack, pages) as site:
        for number in range(ROUNDS):
            for name, runs, upload in (("our page", ours, _upload_with_ours), ("Dropzone", theirs, _upload_with_dropzone)):
                runs.append(upload(chromium, site, files))
                print(f"upload-page, round {number + 1}: {name} took {runs[-1].seconds:.1f} s", file=sys.stderr)
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
    packed = subprocess.run(["npm", "pack", "--silent", f"dropzone@{DROPZONE}"], cwd=directory, check=True, stdout=subprocess.PIPE,
                            text=True)
    archive = directory / packed.stdout.split()[-1]
    if base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() != _DROPZONE_SHA512:
        raise RuntimeError(f"{archive.name} is not the file that this benchmark was written for")
    with tarfile.open(archive) as members:
        script = members.extractfile("package/dist/min/dropzone.min.js")
        assert script is not None
        return script.read()


@contextmanager
def _site(stack: Stack, pages: Path) -> Iterator[Service]:
    """A web server like the sandbox's, with Dropzone's page beside WebODM's."""
    port = free_port()
    service = Service(
        name="upload-page", log=stack.log_path("upload-page"), cwd=HOST_DIR, ready=lambda: answers_http(f"{service.address}/login/"),
        env={**stack.environment(), "WO_OPENSCAN_PUBLIC_URL": f"http://127.0.0.1:{port}", "BENCH_FILES": str(pages)},
        argv=[sys.executable, "-m", "gunicorn", "dev.benchmarks.upload_page_site", "--bind", f"127.0.0.1:{port}", "--timeout", "300000",
              "--workers", "3", "--preload", *WEB_ARGUMENTS])
    service.address = f"http://127.0.0.1:{port}"
    service.start()
    try:
        service.wait_ready()
        yield service
    finally:
        service.stop()


def _upload_with_ours(chromium: str, site: Service, files: "list[Path]") -> Run:
    from app_extensions.openscan import part_files
    from app_extensions.openscan.accounts import tokens
    from app_extensions.openscan.models import Scan

    token, text = tokens.create_token(forename="Bench", surname="Mark", mail="bench@example.org", credit_bytes=10**12,
                                      limit_filesize_bytes=10**11, limit_photos=max(len(files), 2000))

    def sign_in(tab: Tab) -> None:
        tab.go(f"{site.address}/openscan/")
        tab.evaluate(f"document.getElementById('token').value = '{text}'; document.getElementById('token').form.requestSubmit()")
        tab.until("document.querySelector('a[href=\"/openscan/upload/\"]') && document.readyState === 'complete'")

    run = _upload(chromium, site, OURS, OURS.path, sign_in, files)
    scan = Scan.objects.get(token=token)
    _check("our page", scan.parts.exclude(size_bytes=None).count(), len(files))
    shutil.rmtree(part_files.scan_dir(scan.pk))
    return run


def _upload_with_dropzone(chromium: str, site: Service, files: "list[Path]") -> Run:
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

    def sign_in(tab: Tab) -> None:
        tab.call("Network.setCookies", cookies=[{"name": name, "value": value, "url": site.address} for name, value in cookies.items()])

    run = _upload(chromium, site, THEIRS, f"{THEIRS.path}?project={project.pk}&csrf={csrf}", sign_in, files)
    task = project.task_set.get()
    _check("Dropzone", len(task.scan_images()), len(files))
    shutil.rmtree(task.task_path())
    return run


def _check(name: str, arrived: int, sent: int) -> None:
    if arrived != sent:
        raise RuntimeError(f"{name}: {arrived} of {sent} photos arrived")


def _upload(executable: str, site: Service, side: Side, path: str, sign_in: "Callable[[Tab], None]", files: "list[Path]") -> Run:
    """One upload in a new Chromium. One tab loads the page a few times; the upload then has a tab, and a process, to itself."""
    os.sync()  # so that the disk is not still writing what came before
    with _profile() as profile, running(executable, profile) as chromium:
        first = chromium.tab()
        sign_in(first)
        loads = [_load(chromium, first, site.address + path) for _ in range(LOADS)]
        tab = chromium.tab()
        first.close()
        tab.go(site.address + path)
        tab.until(_FIRST_PAINT)
        renderer = _renderer(chromium, tab)
        memory = Memory(renderer, chromium.pid)
        cpu, server_cpu = cpu_seconds(family(chromium.pid)), cpu_seconds(family(site.pid))
        began = time.perf_counter()
        tab.choose_files(side.field, files)
        tab.until(side.ready)
        seconds = time.perf_counter() - began
        tab.until(side.calm)
        began = time.perf_counter()
        tab.evaluate(side.click)
        tab.until(side.over, PATIENCE_SECONDS)
        seconds += time.perf_counter() - began
        memory.stop()
        return Run(seconds, memory.private_bytes, memory.private_before_bytes, memory.pss_bytes, peak_bytes(renderer), memory.browser_bytes,
                   cpu_seconds(family(chromium.pid)) - cpu, cpu_seconds(family(site.pid)) - server_cpu,
                   statistics.median(painted for painted, _ in loads), max(weight for _, weight in loads))


@contextmanager
def _profile() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="webodm-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)  # Chromium's last process may still write


def _load(chromium: Chromium, tab: Tab, url: str) -> "tuple[float, int]":
    """Open a page with an empty cache. Returns milliseconds to the first contentful paint, and the bytes that the page took."""
    tab.call("Network.enable")
    tab.call("Network.clearBrowserCache")
    tab.go("about:blank")
    chromium.events.clear()
    tab.go(url)
    tab.until(_FIRST_PAINT)
    painted = tab.evaluate(_FIRST_PAINT)
    time.sleep(1)  # modules and calls that the page makes after it has loaded
    tab.call("Network.disable")
    heard = [(event["method"], event["params"]) for event in chromium.events]
    kinds = {event["requestId"]: event["type"] for name, event in heard if name == "Network.responseReceived"}
    sizes = {event["requestId"]: event["encodedDataLength"] for name, event in heard if name == "Network.loadingFinished"}
    return painted, int(sum(size for request, size in sizes.items() if kinds.get(request) in _WEIGHED))


def _renderer(chromium: Chromium, tab: Tab) -> int:
    """The process that runs a tab: the renderer that works while the tab's script does. Chromium keeps a spare one."""
    renderers = [pid for pid in family(chromium.pid) if b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    before = {pid: cpu_seconds([pid]) for pid in renderers}
    tab.evaluate("for (const end = performance.now() + 1000; performance.now() < end;);")
    return max(renderers, key=lambda pid: cpu_seconds([pid]) - before[pid])


class Memory(threading.Thread):
    """The most memory that a page's process, and its browser, have from now on."""

    def __init__(self, renderer: int, browser: int) -> None:
        super().__init__(daemon=True)
        self._renderer, self._browser = renderer, browser
        self._over = threading.Event()
        self.private_before_bytes = self.private_bytes = _memory(renderer)[1]
        self.pss_bytes = self.browser_bytes = 0
        self.start()

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            try:
                sizes = {pid: _memory(pid) for pid in family(self._browser)}
            except OSError:  # one of them has just ended
                continue
            pss, private = sizes[self._renderer]
            self.pss_bytes, self.private_bytes = max(self.pss_bytes, pss), max(self.private_bytes, private)
            self.browser_bytes = max(self.browser_bytes, sum(pss for pss, _ in sizes.values()))

    def stop(self) -> None:
        self._over.set()
        self.join()


def _memory(pid: int) -> "tuple[int, int]":
    """A process's proportional set size (PSS), and the part of it that no other process shares (USS), in bytes (proc(5))."""
    sizes = {"Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0]) * 1024
    return sizes["Pss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def _rows(ours: "list[Run]", theirs: "list[Run]", photos: int) -> "list[Row]":
    def row(name: str, value: "Callable[[Run], float]", unit: str, choose: Any, bound: Optional[float] = None) -> Row:
        a, b = (choose(value(run) for run in runs) for runs in (ours, theirs))
        return Row(name, f"{a:.0f} {unit}", f"{b:.0f} {unit}", a / b, bound)

    judged = photos >= PHOTOS  # what a page takes once, such as our thumbnails, is most of a small set
    a, b = (photos / min(run.seconds for run in runs) for runs in (ours, theirs))
    return [
        Row(f"upload page, {photos:,} photos: photos/s, against Dropzone as WebODM sets it", f"{a:.1f}", f"{b:.1f}", a / b,
            least=LEAST_SPEED if judged else None),
        row("peak memory of the page's process alone (USS)", lambda run: run.private_bytes / 1e6, "MB", max,
            MOST_MEMORY if judged else None),
        row("of that, before photos are chosen", lambda run: run.private_before_bytes / 1e6, "MB", max),
        row("of that, for the upload", lambda run: (run.private_bytes - run.private_before_bytes) / 1e6, "MB", max),
        row("peak with its share of Chromium's code (PSS)", lambda run: run.pss_bytes / 1e6, "MB", max),
        row("peak with all of Chromium's code (RSS)", lambda run: run.resident_bytes / 1e6, "MB", max),
        row("peak of all of the browser's processes (PSS)", lambda run: run.browser_pss_bytes / 1e6, "MB", max),
        row("CPU seconds of the browser", lambda run: run.browser_cpu, "s", min),
        row("CPU seconds of the web server", lambda run: run.server_cpu, "s", min),
        row("HTML, scripts and styles, against a page with Dropzone alone", lambda run: run.weight_bytes / 1e3, "kB", max),
        row("first contentful paint, against a page with Dropzone alone", lambda run: run.paint_ms, "ms", statistics.median),
    ]
