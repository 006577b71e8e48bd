"""The documents name what there is: every setting has its row, and every link leads somewhere."""
import re
from pathlib import Path

from dev import docs
from dev.sandbox.stack import ROOT


def test_the_tables_of_settings_match_the_code() -> None:
    text = docs.DOCUMENT.read_text(encoding="utf-8")
    assert docs.rendered(text) == text, "run: ./webodm.sh docs --settings"
    assert "`WO_OPENSCAN_PUBLIC_URL`" in text and "`WO_TAPIS_BASE_URL`" in text


def test_every_link_between_our_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(documents) > 10
    for path in documents:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.relative_to(ROOT)}: {link}"


def test_every_link_to_a_heading_leads_to_one() -> None:
    checked = 0
    for path in (ROOT / "docs").rglob("*.md"):
        for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
            target = path.parent / link if link else path
            assert anchor in _anchors(target), f"{path.relative_to(ROOT)}: {link}#{anchor}"
            checked += 1
    assert checked > 10


def _anchors(document: Path) -> "set[str]":
    """What the headings of a document are called in links."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
