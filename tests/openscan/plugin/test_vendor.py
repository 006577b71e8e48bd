"""Libraries of others: released files, as they were released, with their licenses beside them."""
import hashlib

from dev.sandbox.stack import ROOT

PUBLIC = ROOT / "plugins" / "openscan_cloud" / "public"
TAPIS = ROOT / "plugins" / "tapis_storage" / "public"
#: File → SHA-256 of the file in the package of that version on npm.
RELEASED = {
    PUBLIC / "vendor/model-viewer/model-viewer.min.js":
        ("@google/model-viewer 4.4.0", "18b2e711035aa4705ee281530a55dc2338ff05eed3d70ae16d54105282a75ed5"),
    PUBLIC / "vendor/uplot/uPlot.iife.min.js":
        ("uplot 1.6.32", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
    PUBLIC / "vendor/uplot/uPlot.min.css":
        ("uplot 1.6.32", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    PUBLIC / "vendor/rapidoc/rapidoc-min.js":
        ("rapidoc 9.3.8", "affbd173a65e870e18f392cca963113bcdafb6e50e88cd2f6a834a65b22db94d"),
    TAPIS / "vendor/leaflet/leaflet.js":
        ("leaflet 1.9.4", "db49d009c841f5ca34a888c96511ae936fd9f5533e90d8b2c4d57596f4e5641a"),
    TAPIS / "vendor/leaflet/leaflet.css":
        ("leaflet 1.9.4", "a7837102824184820dfa198d1ebcd109ff6d0ff9a2672a074b9a1b4d147d04c6"),
    ROOT / "tests/support/vendor/axe-core/axe.min.js":
        ("axe-core 4.14.1", "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"),
}


def our_scripts():
    return [path for public in (PUBLIC, TAPIS) for path in public.rglob("*.js") if "vendor" not in path.parts]


def test_they_are_what_was_released():
    for path, (release, digest) in RELEASED.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{path.name} is not the one of {release}"
        assert (path.parent / "LICENSE").stat().st_size > 500


def test_nothing_else_lies_beside_them():
    known = {*RELEASED, *((path.parent / name) for path in RELEASED for name in ("LICENSE", "LICENSE-3RD-PARTY.txt"))}
    for directory in (PUBLIC / "vendor", TAPIS / "vendor", ROOT / "tests" / "support" / "vendor"):
        assert {path for path in directory.rglob("*") if path.is_file()} <= known


def test_our_scripts_load_them_only_where_they_are_needed():
    users = {path.name for path in our_scripts() if "vendor/" in path.read_text()}
    assert users == {"scan.js", "map.js"}
    templates = (ROOT / "plugins").glob("*/templates/*.html")
    assert {path.name for path in templates if "vendor/" in path.read_text()} == {"manage.html", "public.html"}


def test_no_script_of_ours_makes_html_out_of_text():
    for path in our_scripts():
        text = path.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert word not in text, f"{path.name} uses {word}"


def test_the_apis_document_is_the_same_on_the_page_and_in_the_docs():
    same = (PUBLIC / "openapi.yaml").read_bytes() == (ROOT / "docs" / "makers" / "openapi.yaml").read_bytes()
    assert same, "run: cp docs/makers/openapi.yaml plugins/openscan_cloud/public/openapi.yaml"
