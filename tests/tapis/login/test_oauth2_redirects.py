"""``redirect_after`` for any text at all: what comes out stays on this host, as browsers read addresses."""
import re
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app_extensions.tapis.login.oauth2 import local_path
from app_extensions.tapis.problems import BadInput

HOST = "webodm.example:8000"
PIECES = ["/", "\\", "//", ":", "@", "#", "?", "http:", "https://", "javascript:", "evil.example", HOST]
PIECES += ["\t", "\n", "\x00", "%2f", "..", " ", "a"]


def as_a_browser_reads(target: str) -> str:
    """The host that a browser goes to: it drops tabs and newlines, trims controls and spaces, and reads ``\\`` as ``/``."""
    target = re.sub(r"[\t\r\n]", "", target).strip("".join(map(chr, range(33)))).replace("\\", "/")
    return urlsplit(urljoin(f"https://{HOST}/api/oauth2/tapis/callback/", target)).netloc


@given(st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(max_size=60)))
@example("https://webodm.example:8000//evil.example")
@example("https://webodm.example:8000\\@evil.example/")
@example("//webodm.example:8000//evil.example/")
def test_nothing_leads_away(target):
    try:
        path = local_path(target, HOST)
    except BadInput:
        return
    assert path.startswith("/") and as_a_browser_reads(path) == HOST, (target, path)


@pytest.mark.parametrize("target, path", [
    ("", "/dashboard/"), ("/", "/"), ("/a/b?c=d#e", "/a/b?c=d#e"), (f"http://{HOST}", "/"), (f"https://{HOST.upper()}/x", "/x"),
    ("/map/?next=https://evil.example/", "/map/?next=https://evil.example/"), ("/ü", "/ü"),
])
def test_paths_here_are_kept(target, path):
    assert local_path(target, HOST) == path
