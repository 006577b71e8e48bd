"""Texts that can be stored and shown."""
import pytest

from app_extensions.openscan.accounts import limits, tokens
from app_extensions.openscan.errors import OpenScanError

UNFIT = ["a\u202eb", "a\u2066b", "a\x00b", "a\x1bb", "a\x7fb", "a\x85b", "a\x9bb", "a\u2028b", "a\u2029b", "\ud800"]


@pytest.mark.parametrize("text", UNFIT)
def test_text_that_a_page_cannot_show_is_refused(text):
    assert not limits.is_storable(text)
    with pytest.raises(OpenScanError, match="label"):
        tokens.check_label(text)


@pytest.mark.parametrize("text", ["Käse 3D", "عربي", "日本", "a" * 100, ""])
def test_other_text_is_a_label(text):
    tokens.check_label(text)


@pytest.mark.parametrize("name, good", [("x", True), ("x" * 255, True), ("x" * 256, False), ("", False), (" ", False), ("a\nb", False)])
def test_what_can_be_a_projects_name(name, good):
    assert limits.is_name(name) is good
