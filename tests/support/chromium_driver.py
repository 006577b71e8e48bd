"""Drives Debian's chromium for tests: one JSON order a line in, one JSON answer a line out. See ``chromium.py``.

Runs in the venv of the test clients, since playwright's requirements are none of WebODM's. Pages of a width below 768 are a phone's:
Chromium's own window is never narrower than 500 px, so the width is emulated, the page's viewport meta obeyed, and touch is on.
"""
import base64
import json
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Error, Page, Route, sync_playwright

PATIENCE_MS = 60_000
PHONE = 768

#: What sticks out to the right of the page, as "tag#id.class to pixel"; children of boxes that scroll or clip do not.
STICKING_OUT = """() => {
    const width = document.documentElement.clientWidth, found = [];
    const clipped = element => {
        for (let box = element.parentElement; box && box !== document.documentElement; box = box.parentElement) {
            if (box !== document.body && getComputedStyle(box).overflowX !== 'visible') return true;
        }
        return false;
    };
    for (const element of document.body.querySelectorAll('*')) {
        const edge = element.getBoundingClientRect().right;
        if (edge > width + 0.5 && !clipped(element)) {
            found.push(`${element.tagName.toLowerCase()}#${element.id}.${element.className} to ${Math.round(edge)}`);
        }
    }
    return {width: width, scrolls: document.documentElement.scrollWidth, inner: window.innerWidth, found};
}"""


class Driver:
    """One chromium, a fresh profile (context) a page."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser
        self.pages: dict[int, Page] = {}
        self.complaints: dict[int, list[str]] = {}

    def obey(self, order: "dict[str, Any]") -> Any:
        """Do what an order asks. :return: what it gives, as JSON bears it"""
        action = getattr(self, "do_" + order.pop("do"))
        if "page" in order:
            order["page"] = self.pages[order.pop("page")]
        return action(**order)

    def do_open(self, width: int, height: int) -> int:
        phone = width < PHONE
        context: BrowserContext = self.browser.new_context(
            viewport={"width": width, "height": height}, is_mobile=phone, has_touch=phone, locale="en-US", timezone_id="UTC")
        context.set_default_timeout(PATIENCE_MS)
        return self._watch(context.new_page())

    def _watch(self, page: Page) -> int:
        number = len(self.complaints)
        said = self.complaints[number] = []
        page.on("pageerror", lambda error: said.append(f"{page.url}: script error: {error}"))
        page.on("console", lambda line: said.append(f"{line.location['url']}: {line.text}") if line.type == "error" else None)
        page.on("dialog", lambda dialog: dialog.accept())
        self.pages[number] = page
        return number

    def do_complaints(self, number: int) -> "list[str]":
        return self.complaints[number]

    def do_close(self, page: Page) -> None:
        page.context.close()

    def do_resize(self, page: Page, width: int, height: int) -> None:
        """As on another device: playwright itself changes the size of an open page, but not whether it is a phone's."""
        phone, chromium = width < PHONE, page.context.new_cdp_session(page)
        chromium.send("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone})
        chromium.send("Emulation.setTouchEmulationEnabled", {"enabled": phone, "maxTouchPoints": 1})
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def do_goto(self, page: Page, url: str) -> None:
        page.goto(url, wait_until="load")

    def do_url(self, page: Page) -> str:
        return page.url

    def do_content(self, page: Page) -> str:
        return page.content()

    def do_click(self, page: Page, selector: str) -> None:
        page.click(selector)

    def do_fill(self, page: Page, selector: str, text: str) -> None:
        page.fill(selector, text)

    def do_choose(self, page: Page, selector: str, value: str) -> None:
        page.select_option(selector, value)

    def do_check(self, page: Page, selector: str, on: bool) -> None:
        page.set_checked(selector, on)

    def do_texts(self, page: Page, selector: str) -> "list[str]":
        return page.locator(selector).all_inner_texts()

    def do_attribute(self, page: Page, selector: str, name: str) -> Any:
        return page.get_attribute(selector, name)

    def do_wait(self, page: Page, selector: str, seconds: float) -> None:
        page.locator(selector).first.wait_for(timeout=seconds * 1000)

    def do_wait_gone(self, page: Page, selector: str, seconds: float) -> None:
        page.locator(selector).first.wait_for(state="hidden", timeout=seconds * 1000)

    def do_wait_url(self, page: Page, pattern: str, seconds: float) -> None:
        page.wait_for_url(pattern, timeout=seconds * 1000)

    def do_until(self, page: Page, script: str, seconds: float) -> None:
        page.wait_for_function(script, timeout=seconds * 1000)

    def do_evaluate(self, page: Page, script: str) -> Any:
        return page.evaluate(script)

    def do_sticking_out(self, page: Page) -> Any:
        return page.evaluate(STICKING_OUT)

    def do_screenshot(self, page: Page, path: str) -> None:
        """The whole page. Playwright's own picture of it is laid out as before `do_resize`."""
        chromium = page.context.new_cdp_session(page)
        size = chromium.send("Page.getLayoutMetrics")["cssContentSize"]
        picture = chromium.send("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": {**size, "scale": 1}})
        Path(path).write_bytes(base64.b64decode(picture["data"]))

    def do_cookies(self, page: Page, cookies: "list[dict]") -> None:
        page.context.add_cookies(cookies)

    def do_instead(self, page: Page, url: str, status: int, body: str, content_type: str, times: int) -> None:
        """Something between browser and server answers in its place."""
        def answer(route: Route) -> None:
            route.fulfill(status=status, body=body, content_type=content_type)
        if times < 0:
            page.unroute(url)
        else:
            page.route(url, answer, times=times or None)

    def do_offline(self, page: Page, on: bool) -> None:
        page.context.set_offline(on)

    def do_choose_files(self, page: Page, selector: str, paths: "list[str]") -> None:
        page.set_input_files(selector, paths[0] if len(paths) == 1 else paths)

    def do_reload(self, page: Page) -> None:
        page.reload(wait_until="load")

    def do_front(self, page: Page) -> None:
        page.bring_to_front()

    def do_dark(self, page: Page) -> None:
        page.emulate_media(color_scheme="dark")

    def do_press(self, page: Page, key: str) -> None:
        page.keyboard.press(key)

    def do_script(self, page: Page, path: str) -> None:
        """As from the console: a page's Content-Security-Policy does not keep it out."""
        with open(path, encoding="utf-8") as text:
            page.evaluate(text.read())

    def do_twin(self, page: Page) -> int:
        """A second tab of the same profile."""
        return self._watch(page.context.new_page())


def main(executable: str) -> None:
    """Obey until the input ends."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"])
        driver = Driver(browser)
        print(json.dumps({"gives": browser.version}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            try:
                answer = {"gives": driver.obey(order)}
            except Error as error:
                answer = {"error": str(error)}
            print(json.dumps(answer), flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
