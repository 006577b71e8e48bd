"""WebODM's dashboard for tests of our scripts in it: a page with a stand-in for WebODM's React and plugin API."""
from typing import Any, Callable

from tests.plugin import ROOT
from tests.support.chromium import Page

STAND_IN = ROOT / "tests" / "support" / "webodm_dashboard.js"
#: The scripts look again every quarter of a minute.
LOOK_OFTEN = "(() => { const real = setInterval; window.setInterval = (work, pause) => real(work, pause / 20); })()"


def dashboard(open_page: Callable[..., Page], user: Any, plugin: str) -> Page:
    """The page of a user, with the script of a plugin."""
    page = open_page()
    page.become(user)
    page.goto("/login/")  # sets the CSRF cookie, as WebODM's dashboard does
    page.goto("/about/")
    page.evaluate(LOOK_OFTEN)
    page.script(STAND_IN)
    page.script(ROOT / "plugins" / plugin / "public" / "dashboard.js")
    return page
