"""``python -m dev.docs``: write the tables of settings in ``docs/admin/settings.md`` from the apps' ``conf.py``.

``--check`` changes nothing and ends with 1 if the document does not match the code.
"""
import re
import sys
from pathlib import Path
from typing import Any

from app_extensions.openscan.conf import Conf as OpenScanConf
from app_extensions.shared.settings import Setting
from app_extensions.tapis.conf import Conf as TapisConf

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "admin" / "settings.md"
_TABLE = r"(<!-- {name}: made by ./webodm.sh docs --settings -->\n).*?(<!-- end -->)"


def table(settings: Any) -> str:
    """The settings as rows of a Markdown table: variable, default, meaning."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{setting.variable}` | {_shown(setting)} | {setting.doc} |" for setting in settings.declared().values()]
    return "\n".join(rows) + "\n"


def _shown(setting: "Setting[Any]") -> str:
    default = setting.default
    if isinstance(default, bool):
        return "`YES`" if default else "`NO`"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    return "" if default == "" else f"`{default}`"


def rendered(text: str) -> str:
    """The document with its tables as the code has them."""
    for name, settings in (("openscan", OpenScanConf), ("tapis", TapisConf)):
        place = re.search(_TABLE.format(name=name), text, re.DOTALL)
        if place is None:
            raise ValueError(f"{DOCUMENT} has no place for the settings of {name}")
        text = text[:place.end(1)] + table(settings) + text[place.start(2):]
    return text


def main() -> int:
    """The exit code."""
    before = DOCUMENT.read_text(encoding="utf-8")
    after = rendered(before)
    if "--check" in sys.argv[1:]:
        if after != before:
            print("docs/admin/settings.md does not match the code. Run: ./webodm.sh docs --settings", file=sys.stderr)
        return int(after != before)
    DOCUMENT.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
