"""A real browser for tests of pages: chromium on a desk or on a phone, driven by ``chromium_driver.py`` in the clients' venv."""
import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

import pytest

from tests.plugin import ROOT, need

PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"
AXE = ROOT / "tests" / "support" / "vendor" / "axe-core" / "axe.min.js"
DESK, PHONE = 1280, 390
#: A directory that keeps a picture of each page that a test has measured; none are kept without it.
PICTURES = os.environ.get("SCREENSHOTS", "")
_count = itertools.count()

SERIOUS = """axe.run(document.querySelector('.openscan, #tapis-flights') || document, {resultTypes: ['violations']})
    .then(result => result.violations.filter(each => ['serious', 'critical'].includes(each.impact))
    .map(each => `${each.id}: ${each.nodes.slice(0, 5).map(node => node.html + ' ' + node.failureSummary).join(' | ')}`))"""


def _height(width: int) -> int:
    return 844 if width < 768 else 900


class BrowserError(AssertionError):
    """The browser could not do what a test asked, in playwright's words."""


class Chromium:
    """A running chromium. Each page has its own profile."""

    def __init__(self, log: Path) -> None:
        # Without windows it takes half the processor time.
        executable = shutil.which("chromium-headless-shell") or need("chromium")
        if not PYTHON.exists():
            pytest.skip("playwright is not installed; ./webodm.sh test installs it")
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [str(PYTHON), str(ROOT / "tests" / "support" / "chromium_driver.py"), executable],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1)
        self._read()

    def order(self, **order: Any) -> Any:
        """Have the driver do something. :raises BrowserError: it could not"""
        self._process.stdin.write(json.dumps(order) + "\n")
        return self._read()

    def _read(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise BrowserError("the browser's driver ended: " + Path(self._log.name).read_text()[-2000:])
        answer = json.loads(line)
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer["gives"]

    def page(self, web: str, width: int = DESK) -> "Page":
        """A fresh page for the server at ``web``, not logged in."""
        return Page(self, web, width)

    def stop(self) -> None:
        """End it."""
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()


class Page:
    """A page. Selectors are playwright's: CSS, with ``:has-text("…")``. Waits are long, as machines may be slow."""

    def __init__(self, chromium: Chromium, web: str, width: int, number: Optional[int] = None) -> None:
        self.web = web
        self.width = width
        self._chromium = chromium
        self._number = chromium.order(do="open", width=width, height=_height(width)) if number is None else number

    def _do(self, action: str, **more: Any) -> Any:
        return self._chromium.order(do=action, page=self._number, **more)

    def resize(self, width: int) -> None:
        """Show it as it is on a device of this width."""
        self._do("resize", width=width, height=_height(width))
        self.width = width

    def goto(self, path: str) -> None:
        """Open a path of the server."""
        self._do("goto", url=self.web + path)

    @property
    def url(self) -> str:
        """Where it is now."""
        return self._do("url")

    @property
    def html(self) -> str:
        """The document as it is now."""
        return self._do("content")

    def click(self, selector: str) -> None:
        """Click the one element, as soon as it can be."""
        self._do("click", selector=selector)

    def fill(self, selector: str, text: str) -> None:
        """Type into a field, in place of what is there."""
        self._do("fill", selector=selector, text=text)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option."""
        self._do("choose", selector=selector, value=value)

    def check(self, selector: str, on: bool = True) -> None:
        """Tick or untick."""
        self._do("check", selector=selector, on=on)

    def texts(self, selector: str) -> "list[str]":
        """What is to be read in each element."""
        return self._do("texts", selector=selector)

    def text(self, selector: str) -> str:
        """What is to be read in all of them."""
        return "\n".join(self.texts(selector))

    def attribute(self, selector: str, name: str) -> Optional[str]:
        """An attribute of the one element."""
        return self._do("attribute", selector=selector, name=name)

    def wait(self, selector: str, seconds: float = 60) -> None:
        """Until there is such an element to be seen."""
        try:
            self._do("wait", selector=selector, seconds=seconds)
        except BrowserError as error:
            raise BrowserError(f"{error}\n--- the page says:\n{self.text('body')[:3000]}") from None

    def wait_gone(self, selector: str, seconds: float = 60) -> None:
        """Until there is none."""
        self._do("wait_gone", selector=selector, seconds=seconds)

    def wait_url(self, pattern: str, seconds: float = 60) -> None:
        """Until the address is such (a glob)."""
        self._do("wait_url", pattern=pattern, seconds=seconds)

    def until(self, script: str, seconds: float = 60) -> None:
        """Until a JavaScript expression is true."""
        self._do("until", script=script, seconds=seconds)

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression gives."""
        return self._do("evaluate", script=script)

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        self._do("screenshot", path=str(path))

    def instead(self, url: str, status: int, body: str, content_type: str = "text/html", times: int = 0) -> None:
        """Let something between browser and server answer in its place.

        :param times: how often; 0: from now on; -1: no longer
        """
        self._do("instead", url=url, status=status, body=body, content_type=content_type, times=times)

    def offline(self, on: bool = True) -> None:
        """Take the network away, or give it back."""
        self._do("offline", on=on)

    def choose_files(self, selector: str, *paths: Path) -> None:
        """Choose files, or one folder, in an input for them."""
        self._do("choose_files", selector=selector, paths=[str(path) for path in paths])

    def reload(self) -> None:
        """Load it again, as with F5."""
        self._do("reload")

    def front(self) -> None:
        """Show its tab: one that nobody sees draws nothing."""
        self._do("front")

    def dark(self) -> None:
        """As on a device whose owner likes dark pages."""
        self._do("dark")

    def press(self, key: str) -> None:
        """Press a key (playwright's names: ``Tab``, ``Enter``)."""
        self._do("press", key=key)

    def twin(self) -> "Page":
        """A second tab of the same browser."""
        return Page(self._chromium, self.web, self.width, self._do("twin"))

    def script(self, path: Path) -> None:
        """Run a script of ours in the page."""
        self._do("script", path=str(path))

    def assert_accessible(self) -> None:
        """axe-core finds nothing serious in the page's own part (the frame around it is WebODM's)."""
        self.script(AXE)
        found = self.evaluate(SERIOUS)
        assert found == [], found

    def become(self, user: Any) -> None:
        """Have the session of a WebODM user who has signed in, without the form."""
        from django.conf import settings
        from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
        from django.contrib.sessions.backends.db import SessionStore

        session = SessionStore()
        session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session.save()
        self._do("cookies", cookies=[{"name": settings.SESSION_COOKIE_NAME, "value": session.session_key, "url": self.web}])

    def sign_in(self, username: str, password: str, leads_to: str = "**/dashboard/**") -> None:
        """WebODM's own login, through its form. :param leads_to: where (a glob)"""
        self.goto("/login/")
        self.fill("#id_username", username)
        self.fill("#id_password", password)
        self.click('form[action$="/login/"] button')
        self.wait_url(leads_to)

    def assert_fits_everywhere(self) -> None:
        """On a desk and on a phone."""
        before = self.width
        for width in (DESK, PHONE):
            if width != self.width:
                self.resize(width)
            self.assert_fits()
        if self.width != before:
            self.resize(before)

    def assert_fits(self) -> None:
        """The page is as wide as the screen that was asked for, and nothing sticks out to the right."""
        if PICTURES:
            self.screenshot(Path(PICTURES) / f"{self._number:03d}-{next(_count):03d}-{self.width}.png")
        seen = self._do("sticking_out")
        assert not seen["found"], seen
        assert (seen["width"], seen["inner"], seen["scrolls"]) == (self.width, self.width, self.width), seen

    @property
    def complaints(self) -> "list[str]":
        """Errors of scripts and of the console so far, about this server's addresses: others are not ours."""
        said = self._chromium.order(do="complaints", number=self._number)
        return [each for each in said if each.startswith(self.web)]

    def close(self) -> None:
        """Close it with its profile."""
        self._do("close")
