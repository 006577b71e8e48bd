"""The documents name what there is: every setting has its row."""
import re

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
