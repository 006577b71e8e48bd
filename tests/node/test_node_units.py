"""The node's small rules: file names, options, wanted outputs, console lines, and an engine's start."""
import asyncio
import contextlib
import sys
import time
from pathlib import Path

import psutil
import pytest

from node.server.console import Console
from node.server.engine import EngineRun
from node.server.names import safe_name, unused_name
from node.server.options import OptionsError, filter_options
from node.server.results import parse_outputs


@pytest.mark.parametrize(("name", "kept"), [
    ("DSC_0423.JPG", "DSC_0423.JPG"), ("a/b\\c.jpg", "c.jpg"), ("C:\\photos\\c.jpg", "c.jpg"), ("a\x00\x1f\udcffb.jpg", "ab.jpg"),
    ("é" * 150 + ".jpg", "é" * 98 + ".jpg"), ("x" * 250, "x" * 200), ("a." + "y" * 250, ("a." + "y" * 250)[:200]), ("..jpg", "jpg"),
])
def test_safe_names(name: str, kept: str) -> None:
    assert safe_name(name) == kept
    assert safe_name(kept) == kept


@pytest.mark.parametrize("name", ["", "/", "..", "...", "\x00", "a/", " "])
def test_names_that_are_none(name: str) -> None:
    if name == "a/":
        assert safe_name(name) == "a"
        return
    with pytest.raises(ValueError, match="not a usable file name"):
        safe_name(name)


def test_unused_names(tmp_path) -> None:
    for name in ("a.jpg", "a_.jpg", "plain"):
        (tmp_path / name).touch()
    assert unused_name(tmp_path, "a.jpg") == "a__.jpg"
    assert unused_name(tmp_path, "plain") == "plain_"
    assert unused_name(tmp_path, "new.jpg") == "new.jpg"


def offered(kind: str, domain: object) -> list:
    return [{"name": "x", "type": kind, "value": "", "domain": domain, "help": ""}]


@pytest.mark.parametrize(("kind", "domain", "value", "kept"), [
    ("bool", "", "true", True), ("bool", "", "0", False), ("bool", "", True, True), ("bool", "bool", "False", False),
    ("int", "integer", "12", 12), ("int", "positive integer", 0, 0), ("int", "integer: 1 <= x <= 14", "14", 14),
    ("float", "float", "0.5", 0.5), ("float", "percent", 100, 100.0), ("float", "float > 0.0", 1e-9, 1e-9),
    ("float", "positive float", "2", 2.0), ("float", "negative float", -1, -1.0), ("int", "integer >= 4", 4, 4),
    ("string", "string", "text", "text"), ("string", "json", '{"a": 1}', '{"a": 1}'), ("enum", ["a", "b"], "b", "b"),
    ("int", "", "12.0", 12),
])
def test_options_that_fit(kind: str, domain: object, value: object, kept: object) -> None:
    (option,) = filter_options([{"name": "x", "value": value}], offered(kind, domain))
    assert option == {"name": "x", "value": kept}
    assert type(option["value"]) is type(kept)


@pytest.mark.parametrize(("kind", "domain", "value"), [
    ("bool", "", "yes"), ("int", "integer", "x"), ("int", "integer", True), ("int", "positive integer", -1), ("float", "float", "nan"),
    ("float", "float", "1e999"), ("float", "percent", 101), ("float", "float > 0.0", 0), ("int", "integer: 1 <= x <= 14", 15),
    ("float", "negative float", 1), ("int", "integer < 4", 4), ("string", "json", "{"), ("enum", ["a", "b"], "c"),
    ("string", "string", {"a": 1}), ("string", "string", None),
])
def test_options_that_do_not_fit(kind: str, domain: object, value: object) -> None:
    with pytest.raises(OptionsError, match='"name": "x"'):
        filter_options([{"name": "x", "value": value}], offered(kind, domain))


def test_options_keep_the_engines_order_and_the_first_of_two() -> None:
    known = [{"name": name, "type": "int", "domain": ""} for name in ("b", "a")]
    wanted = [{"name": "a", "value": 1}, {"name": "b", "value": 2}, {"name": "a", "value": 3}, {"name": "c", "value": 4}]
    assert filter_options(wanted, known) == [{"name": "b", "value": 2}, {"name": "a", "value": 1}]


@pytest.mark.parametrize(("text", "outputs"), [
    ('["odm_texturing", "cameras.json"]', ["odm_texturing", "cameras.json"]), ('["../x", "/etc", "a/../../b", ".", "a/../b", 1]', ["b"]),
    ('["a\\\\..\\\\..\\\\b"]', []), ("{", []), ('{"a": 1}', []), (None, []), ("", []),
])
def test_wanted_outputs_stay_inside(text: object, outputs: list) -> None:
    assert parse_outputs(text) == outputs


def test_console(tmp_path) -> None:
    console = Console(tmp_path / "console.txt")
    assert console.lines() == []
    console.write("one\n\x1b[31mtwo\x1b[0m  ")
    console.write("")
    console.write("x" * 10_000)
    assert console.lines() == ["one", "two", "", "x" * 4000]
    assert console.lines(3) == ["x" * 4000]
    assert console.lines(-2) == ["", "x" * 4000]
    assert console.lines(99) == []
    console.clear()
    assert console.lines() == []


def test_an_engine_that_is_canceled_while_it_starts_ends(tmp_path: Path) -> None:
    """The node was busy, so the guard had started the engine before asyncio knew of the guard. The engine used to stay."""
    async def cancel_early() -> None:
        for steps in range(1, 6):
            run = EngineRun([sys.executable, "-c", "import time; time.sleep(600)"], images=tmp_path, out=tmp_path, options=tmp_path,
                            on_line=print, on_progress=print)
            starting = asyncio.ensure_future(run.start())
            for _ in range(steps):
                await asyncio.sleep(0)
            time.sleep(0.4)
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            await run.stop()

    asyncio.run(cancel_early())
    left = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(process.info["cmdline"] or ())]
    for process in left:
        process.kill()
    assert left == []
