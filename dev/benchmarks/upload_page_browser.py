"""One upload in a fresh Chromium, measured from outside. Reads a JSON order on stdin, prints a JSON answer. See `upload_page.py`.

Runs in the virtual environment of the test clients, because WebODM cannot have playwright's requirements.
"""
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from dev.benchmarks.processes import cpu_seconds, family, peak_bytes

LOADS = 5
SAMPLE_SECONDS = 0.1
PATIENCE_MS = 3_600_000
#: What a page's weight consists of (types of the DevTools protocol). Photos, icons and API answers do not count.
WEIGHED = {"Document", "Script", "Stylesheet"}
_FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_SPIN = "() => { const end = performance.now() + 1000; while (performance.now() < end); }"


class Memory(threading.Thread):
    """The largest proportional set size (PSS, proc(5)) of one process, and of a whole family, from now on."""

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self._process = process
        self._over = threading.Event()
        self.process_bytes = self.family_bytes = 0
        self.before_bytes = _pss_bytes(process)

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            sizes = {pid: _pss_bytes(pid) for pid in _chromium()}
            self.process_bytes = max(self.process_bytes, sizes.get(self._process, 0))
            self.family_bytes = max(self.family_bytes, sum(sizes.values()))

    def stop(self) -> None:
        self._over.set()
        self.join()


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has just ended
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _chromium() -> "list[int]":
    """Chromium's processes: those below this one, without playwright's own."""
    try:
        # Chromium's children write their arguments as one.
        return [pid for pid in family(os.getpid())[1:] if "playwright" not in _command(pid).replace(" ", "\0").split("\0")[0]]
    except OSError:  # one of them has just ended
        return []


def _renderer(page: Page) -> int:
    """The process that runs a page: the renderer that works while the page's script does. Chromium keeps a spare one."""
    renderers = [pid for pid in _chromium() if "--type=renderer" in _command(pid)]
    before = {pid: cpu_seconds([pid]) for pid in renderers}
    page.evaluate(_SPIN)
    return max(renderers, key=lambda pid: cpu_seconds([pid]) - before[pid])


def _load(page: Page, url: str) -> "tuple[float, int]":
    """Open a page with an empty cache. Returns milliseconds to the first contentful paint, and bytes transferred for the page."""
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.clearBrowserCache")
    kinds: dict[str, str] = {}
    sizes: dict[str, int] = {}
    session.on("Network.responseReceived", lambda event: kinds.update({event["requestId"]: event["type"]}))
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(url, wait_until="networkidle")
    page.wait_for_function(_FIRST_PAINT)
    painted = page.evaluate(_FIRST_PAINT)
    session.detach()
    return painted, sum(size for request, size in sizes.items() if kinds.get(request) in WEIGHED)


def measure(page: Page, order: "dict[str, Any]") -> "dict[str, float]":
    """Load the page several times, then hand it the photos and wait until the server has them all."""
    page.context.add_cookies(order["cookies"])
    if order["token"]:
        page.goto(order["site"] + "/openscan/")
        page.fill("#token", order["token"])
        page.click("main form button")
        page.wait_for_load_state()
    loads = [_load(page, order["site"] + order["path"]) for _ in range(LOADS)]
    renderer = _renderer(page)
    memory = Memory(renderer)
    memory.start()
    began = time.perf_counter()
    page.set_input_files(order["input"], order["photos"])
    if order["button"]:
        page.click(order["button"])
    page.wait_for_url(order["ends_at"], wait_until="commit")
    seconds = time.perf_counter() - began
    memory.stop()
    return {"seconds": seconds, "renderer_bytes": memory.process_bytes, "before_bytes": memory.before_bytes,
            "browser_bytes": memory.family_bytes, "resident_bytes": peak_bytes(renderer),
            "paint_ms": statistics.median(painted for painted, _ in loads), "weight_bytes": loads[-1][1]}


def main() -> None:
    order = json.load(sys.stdin)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=order["chromium"], args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US").new_page()
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        answer = {**measure(page, order), "errors": errors}
        browser.close()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
