"""The documents name what there is: every setting has its row."""
import ast
import re

import pytest

from dev.sandbox.stack import ROOT


@pytest.mark.parametrize(("app", "reader", "prefix"), [("openscan", "_get", "WO_OPENSCAN_"), ("tapis", "read", "WO_TAPIS_")])
def test_every_setting_is_documented(app: str, reader: str, prefix: str) -> None:
    tree = ast.parse((ROOT / "app_extensions" / app / "conf.py").read_text())
    names = {prefix + call.args[0].value for call in ast.walk(tree)
             if isinstance(call, ast.Call) and reader in (getattr(call.func, "attr", ""), getattr(call.func, "id", ""))
             and call.args and isinstance(call.args[0], ast.Constant)}
    documented = set(re.findall(rf"^\| `({prefix}[A-Z0-9_]+)`", (ROOT / "docs" / "admin" / "settings.md").read_text(), re.MULTILINE))
    assert len(names) > 10
    assert documented == names, f"missing: {sorted(names - documented)}; gone: {sorted(documented - names)}"


def test_every_link_between_our_documents_leads_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert len(documents) > 10
    for path in documents:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.relative_to(ROOT)}: {link}"
