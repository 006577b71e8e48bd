"""A screen without a monitor, and hands: Xvfb and xdotool."""
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

from PIL import ImageGrab

from tests.plugin import need


class Screen:
    """A running Xvfb."""

    def __init__(self, display: str, xdotool: str) -> None:
        self.display = display
        self._xdotool = xdotool

    def hands(self, *arguments: Any) -> None:
        """xdotool with these arguments."""
        subprocess.run([self._xdotool, *map(str, arguments)], env={**os.environ, "DISPLAY": self.display}, check=True, timeout=60)

    def shot(self, path: Path) -> None:
        """A picture of all of it."""
        ImageGrab.grab(xdisplay=self.display).save(path)


@contextmanager
def screen(width: int = 1000, height: int = 760) -> Iterator[Screen]:
    """A screen on a display number that is free. Skips the test by name where Xvfb or xdotool is missing."""
    xvfb, xdotool = need("Xvfb"), need("xdotool")
    read, write = os.pipe()
    process = subprocess.Popen([xvfb, "-displayfd", str(write), "-screen", "0", f"{width}x{height}x24", "-nolisten", "tcp"],
                               pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as told:
            yield Screen(f":{told.readline().strip()}", xdotool)
    finally:
        process.terminate()
        process.wait(60)


class Driver:
    """A Tk window in this process, driven from outside by mouse and keyboard."""

    def __init__(self, window: Any, on: Screen) -> None:
        self.window, self._screen = window, on

    def until(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        """Let the window work until `condition` is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.window.root.update()
            found = condition()
            if found:
                return found
            time.sleep(0.01)
        raise AssertionError(f"not so after {seconds} s: {condition}; the window says {self.window.says.cget('text')!r}")

    def click(self, widget: Any) -> None:
        """Click in the middle of a widget."""
        self.until(widget.winfo_viewable)
        self.window.root.update_idletasks()
        self._screen.hands("mousemove", widget.winfo_rootx() + widget.winfo_width() // 2,
                           widget.winfo_rooty() + widget.winfo_height() // 2, "click", 1)
        for _ in range(5):
            self.window.root.update()
            time.sleep(0.02)

    def type(self, widget: Any, text: str) -> None:
        """Click into an entry and type."""
        self.click(widget)
        self.window.root.focus_force()
        widget.focus_force()
        for _ in range(10):  # a key is lost now and then while the screen's keyboard map changes
            widget.delete(0, "end")
            self.window.root.update()
            self._screen.hands("type", "--delay", "8", text)
            try:
                self.until(lambda: widget.get() == text, 5)
                return
            except AssertionError:
                continue
        raise AssertionError(f"{widget} has {widget.get()!r}, not {text!r}")
