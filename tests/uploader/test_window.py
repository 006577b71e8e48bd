"""The window on a virtual screen, with mouse and keyboard."""
import gc
import os
import subprocess
import sys
import time

import pytest
from openscan_uploader import Client

from tests.support.original_cloud import TOKEN
from tests.support.screen import Driver, screen
from tests.support.waiting import until
from tests.uploader.conftest import SOURCE
from tests.uploader.test_original import contents


@pytest.fixture(scope="module")
def display():
    """A screen; the test is skipped by name where a tool for it is missing."""
    try:
        import tkinter  # noqa: F401
    except ImportError:
        if os.environ.get("REQUIRE_TOOLS") == "1":
            pytest.fail("tkinter is not installed on this machine")
        pytest.skip("tkinter is not installed on this machine")
    with screen() as running:
        yield running


@pytest.fixture
def open_window(display, monkeypatch):
    """open_window(*paths) -> a driver of a new window."""
    from openscan_uploader.window import Window

    monkeypatch.setenv("DISPLAY", display.display)
    opened = []

    def call(*paths) -> Driver:
        opened.append(Window([str(path) for path in paths]))
        opened[-1].root.update()
        return Driver(opened[-1], display)

    yield call
    while opened:
        window = opened.pop()
        window.desk.close()
        window.root.destroy()
        del window
    gc.collect()  # here, since Tk complains if another thread deletes its variables later


class Quiet:
    """Whether a number has not changed for two seconds."""

    def __init__(self, number) -> None:
        self._number, self._last, self._since = number, None, 0.0

    def __call__(self) -> bool:
        now = self._number()
        if now != self._last:
            self._last, self._since = now, time.monotonic()
        return time.monotonic() - self._since > 2


def says(driver) -> str:
    return driver.window.says.cget("text")


def test_from_the_first_start_to_a_model_beside_the_photos(open_window, display, cloud, line, make_folder, tmp_path):
    folder = make_folder("Vase ü 🏺", count=8, size=300)
    (folder / "notes.txt").write_text("x")
    for path in folder.glob("*.JPG"):  # larger than what the system keeps on its way
        path.write_bytes(path.read_bytes() + bytes(3_000_000))
    driver = open_window()
    window = driver.window
    driver.until(lambda: "Enter the server's address" in window.account_says.cget("text"))
    driver.type(window.server, line.address)
    driver.type(window.token, "B" * 32)
    driver.click(window.enter)
    driver.until(lambda: "does not know this token" in window.account_says.cget("text"))
    window.token.delete(0, "end")
    driver.type(window.token, TOKEN)
    driver.click(window.enter)
    driver.until(lambda: "50 GB of credit left" in window.account.cget("text"))
    assert not window.account_frame.winfo_ismapped() and window.token.get() == ""

    window.choose([str(folder)])
    driver.until(lambda: len(window._pictures) == 8)
    assert "8 photos" in window.summary.cget("text") and "of credit" in window.summary.cget("text")
    assert "notes.txt is not a photo" in window.summary.cget("text")

    line.delay_seconds = 0.05
    driver.click(window.send)
    driver.until(lambda: line.sent_bytes > 60_000)
    driver.click(window.pause)
    driver.until(lambda: "Paused" in says(driver))
    display.shot(tmp_path / "paused.png")
    assert window.pause.cget("text") == "Resume"
    line.delay_seconds = 0.0  # what was on its way arrives; the rest does not come
    quiet = Quiet(lambda: line.sent_bytes)
    driver.until(quiet)
    assert cloud.only().status == "created" and cloud.sent_parts == []
    line.delay_seconds = 0.0
    driver.click(window.pause)
    driver.until(lambda: "has been sent and is being processed" in says(driver))
    assert cloud.only().members == {name: data for name, data in contents(folder).items() if name != "notes.txt"}
    driver.until(lambda: [window.past.item(key)["values"][1] for key in window.past.get_children()] == ["waiting"])

    cloud.finish(next(iter(cloud.projects)))
    window.desk.refresh()
    driver.until(lambda: "The model is in" in says(driver))
    assert (folder / "model" / "model.obj").exists()
    driver.until(lambda: [window.past.item(key)["values"][1] for key in window.past.get_children()] == ["done"])
    window.past.selection_set(window.past.get_children()[0])
    driver.until(lambda: window.open.instate(["!disabled"]))
    assert (tmp_path / "paused.png").stat().st_size > 5_000


def test_two_clicks_with_a_remembered_account(open_window, cloud, make_folder, monkeypatch):
    """The first click chooses the folder, the second sends it; the model comes by itself."""
    from tkinter import filedialog

    monkeypatch.setenv("OPENSCAN_SERVER", cloud.address)
    monkeypatch.setenv("OPENSCAN_TOKEN", TOKEN)
    folder = make_folder()
    # The system's own dialog cannot be driven; what it returns is what it would return.
    monkeypatch.setattr(filedialog, "askdirectory", lambda **_: str(folder))
    cloud.fault = lambda what: [cloud.finish(name) for name in cloud.projects] and None if what == "getProjectInfo" else None
    driver = open_window()
    driver.until(lambda: "credit left" in driver.window.account.cget("text"))
    driver.click(driver.window.folder)
    driver.until(lambda: driver.window.send.instate(["!disabled"]))
    driver.click(driver.window.send)
    driver.until(lambda: (folder / "model" / "model.obj").exists())


def test_messages_say_what_to_do(open_window, cloud, make_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENSCAN_SERVER", cloud.address)
    monkeypatch.setenv("OPENSCAN_TOKEN", TOKEN)
    cloud.limit_photos = 3
    driver = open_window(make_folder())
    driver.until(lambda: "this token allows 3. Leave some out." in says(driver))
    assert driver.window.send.instate(["disabled"])
    driver.window.choose([str(tmp_path / "nowhere")])
    driver.until(lambda: "does not exist. Check the path." in says(driver))
    driver.window.choose([str(make_folder("empty", count=0))])
    driver.until(lambda: "There are no photos" in says(driver))
    assert cloud.projects == {}


def test_cancel_and_continue(open_window, cloud, line, make_folder, monkeypatch):
    monkeypatch.setenv("OPENSCAN_SERVER", line.address)
    monkeypatch.setenv("OPENSCAN_TOKEN", TOKEN)
    folder = make_folder(count=8, size=300)
    driver = open_window(folder)
    driver.until(lambda: driver.window.send.instate(["!disabled"]))
    line.delay_seconds = 0.1
    driver.click(driver.window.send)
    driver.until(lambda: line.sent_bytes > 40_000)
    driver.click(driver.window.stop)
    driver.until(lambda: "Press Upload to continue" in says(driver))
    line.delay_seconds = 0.0
    driver.click(driver.window.send)
    driver.until(lambda: "has been sent and is being processed" in says(driver))
    assert len(cloud.projects) == 1 and cloud.only().members == contents(folder)


def test_it_starts_as_a_program_and_sends_what_was_dropped_on_it(display, cloud, make_folder):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "DISPLAY": display.display, "OPENSCAN_SERVER": cloud.address,
                   "OPENSCAN_TOKEN": TOKEN}
    process = subprocess.Popen([sys.executable, "-m", "openscan_uploader.window", str(make_folder())], env=environment)
    try:
        until(lambda: "getTokenInfo" in cloud.commands)
        display.hands("search", "--sync", "--onlyvisible", "--name", "OpenScan Uploader")
        until(lambda: cloud.commands.count("getTokenInfo") >= 2)  # once for the account, once for the folder
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(60)


def test_past_sets_are_listed_after_a_restart(open_window, cloud, make_folder, monkeypatch):
    monkeypatch.setenv("OPENSCAN_SERVER", cloud.address)
    monkeypatch.setenv("OPENSCAN_TOKEN", TOKEN)
    client = Client(cloud.address, TOKEN)
    client.upload(make_folder("first"))
    client.upload(make_folder("second"))
    driver = open_window()
    driver.until(lambda: len(driver.window.past.get_children()) == 2)
    names = [driver.window.past.item(key)["values"][0] for key in driver.window.past.get_children()]
    assert names[0].startswith("second-") and names[1].startswith("first-")
