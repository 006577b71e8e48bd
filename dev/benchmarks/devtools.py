"""A headless Chromium over the DevTools protocol on a pipe. Between calls it costs nothing, so that the page is what is measured."""
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

_FLAGS = [
    "--headless", "--no-sandbox", "--remote-debugging-pipe", "--window-size=1280,900", "--no-first-run", "--lang=en-US",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
_POLL_SECONDS = 0.1


class DevToolsError(Exception):
    """Chromium refused a call, or a page did not do what was expected of it in time."""


class Chromium:
    """A running Chromium with a new profile. `pid` is its first process."""

    def __init__(self, executable: str, profile: Path) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # Chromium reads calls from descriptor 3 and writes answers to 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "chromium", executable, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb")
        self._rest = b""
        self._calls = 0
        self.pid = self._process.pid
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: Optional[str] = None, **parameters: Any) -> "dict[str, Any]":
        """A method's result. Events that arrive meanwhile are appended to `events`. Raises DevToolsError if it fails."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters, **({"sessionId": session} if session else {})}
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._calls:
                if "error" in answer:
                    raise DevToolsError(f"{method}: {answer['error']['message']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _read(self) -> "dict[str, Any]":
        while b"\0" not in self._rest:
            data = os.read(self._in.fileno(), 1 << 20)
            if not data:
                raise DevToolsError("Chromium ended")
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def tab(self) -> "Tab":
        """A new tab."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        return Tab(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._out.close()
        self._in.close()


class Tab:
    """A tab of a Chromium."""

    def __init__(self, chromium: Chromium, target: str, session: str) -> None:
        self._chromium = chromium
        self._target = target
        self._session = session

    def call(self, method: str, **parameters: Any) -> "dict[str, Any]":
        """A method's result for this tab."""
        return self._chromium.call(method, self._session, **parameters)

    def go(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """What a JavaScript expression gives. Raises DevToolsError if it fails."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise DevToolsError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true, also in a page that comes after this one."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.evaluate(script):
                    return
            except DevToolsError:  # one page has gone, and the next one is not there yet
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")[:2000]
                raise DevToolsError(f"not within {seconds:.0f} s: {script}. The page says: {text}")
            time.sleep(_POLL_SECONDS)

    def choose_files(self, selector: str, paths: "list[Path]") -> None:
        """Choose files in an input for them."""
        found = self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], objectId=found)

    def close(self) -> None:
        """Close it, and its process with it."""
        self._chromium.call("Target.closeTarget", targetId=self._target)


@contextmanager
def running(executable: str, profile: Path) -> Iterator[Chromium]:
    """A Chromium that is gone afterwards."""
    chromium = Chromium(executable, profile)
    try:
        yield chromium
    finally:
        chromium.close()
