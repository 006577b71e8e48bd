"""Does the window's work in threads and reports to it by events. Independent of Tk."""
import os
import queue
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional, Sequence, Union

from openscan_uploader import settings, thumbnails
from openscan_uploader.client import Client, Plan
from openscan_uploader.control import Control, Progress
from openscan_uploader.errors import Canceled, NotPossible, Refused, UploaderError
from openscan_uploader.server import DONE, EXPIRED, FAILED
from openscan_uploader.sets import STARTED, Set

_POLL_SECONDS = 10.0
_MOST_THUMBNAILS = 60
Source = Union[str, Sequence[str]]


@dataclass(frozen=True)
class Event:
    """Something that happened. `kind` says what `value` is: `account` (TokenInfo), `account_failed`, `plan` (Plan), `plan_failed`,
    `thumbnail` ((plan's number, place, data)), `progress` (Progress), `sent` (project), `stopped` (why the upload ended, empty if
    canceled), `sets` (list of Set), `said` (a sentence), `download` (Progress), `model` (path)."""

    kind: str
    value: Any


class Desk:
    """The client, and the work that the window asks for."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.client: Optional[Client] = None
        self.control: Optional[Control] = None
        self._plan_number = 0
        self._closing = threading.Event()
        self._awake = threading.Event()
        self._downloading = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether an upload runs or is paused."""
        return self.control is not None

    def close(self) -> None:
        """End all work. An upload continues when the same photos are sent again."""
        self._closing.set()
        self._awake.set()
        if self.control is not None:
            self.control.cancel()

    # Account --------------------------------------------------------------------------------------------------------

    def open_saved_account(self) -> None:
        """Use the saved server and token, if there are any."""
        def work() -> None:
            found = settings.load()
            if found.server and found.token:
                self._open(found.server, found.token, save=False)
            else:
                self._tell("account_failed", "")

        self._run(work, "account_failed")

    def open_account(self, server: str, token: str) -> None:
        """Check server and token, and save both if they are right."""
        self._run(lambda: self._open(server, token, save=True), "account_failed")

    def _open(self, server: str, token: str, save: bool) -> None:
        found = settings.load(server, token)
        client = Client(found.server, found.token, user=found.user, password=found.password)
        info = client.token_info()
        first = self.client is None
        self.client = client
        if save and not settings.save(found.server, found.token):
            self._tell("said", f"This computer has no keyring, so the token is saved in {settings.config_file()}.")
        self._tell("account", info)
        if first:
            threading.Thread(target=self._poll, name="poll", daemon=True).start()
        self.refresh()

    # Sets -----------------------------------------------------------------------------------------------------------

    def look(self, source: Source) -> int:
        """Find out what would be sent. Returns a number that its events carry, so that the window can ignore those of earlier choices."""
        self._plan_number += 1
        number = self._plan_number

        def work() -> None:
            if self.client is None:
                raise NotPossible("Enter the server and the token first.")
            plan = self.client.plan(source)
            if number == self._plan_number:
                self._tell("plan", plan)
                self._show_photos(plan, number)

        self._run(work, "plan_failed")
        return number

    def _show_photos(self, plan: Plan, number: int) -> None:
        for place, photo in enumerate(plan.found.photos[:_MOST_THUMBNAILS]):
            if number != self._plan_number or self._closing.is_set():
                return
            data = thumbnails.make(photo.path, 96)
            if data is not None:
                self._tell("thumbnail", (number, place, data))

    def upload(self, source: Source, project: str, fetch: bool) -> None:
        """Send photos. With `fetch`, the finished model is put beside them."""
        client, self.control = self.client, Control()
        control = self.control
        if client is None:
            return

        def work() -> None:
            try:
                sent = client.upload(source, project=project or None, control=control,
                                     progress=lambda report: self._tell("progress", report))
                known = client.sets.of_project(client.token, sent)
                if known is not None and fetch and not known.model:
                    known.fetch_to = str(_place_for(known))
                    client.sets.save(known)
                self._tell("sent", sent)
            except Canceled:
                self._tell("stopped", "")
            except UploaderError as error:
                self._tell("stopped", str(error))
            finally:
                self.control = None
                self.refresh()

        self._run(work, "stopped")

    def refresh(self) -> None:
        """Ask about the sets under way at once, without waiting for the next poll."""
        self._awake.set()

    def forget(self, one: Set) -> None:
        """Remove a set from the list, and from the server."""
        client = self.client

        def work() -> None:
            if client is not None:
                client.reset(one.project)
                client.sets.forget(one)
                self.refresh()

        self._run(work, "said")

    def download(self, one: Set, to: str) -> None:
        """Download a model into a new folder."""
        self._run(lambda: self._download(one, Path(to)), "said")

    def _download(self, one: Set, folder: Path) -> None:
        client = self.client
        if client is None or not self._downloading.acquire(blocking=False):
            return
        try:
            control = Control()

            def note(report: Progress) -> None:
                if self._closing.is_set():
                    control.cancel()
                self._tell("download", report)

            path = client.download(one.project, folder.with_name(f"{folder.name}.zip"), unpack=True, progress=note, control=control)
            self._tell("model", str(path))
        finally:
            self._downloading.release()
            self.refresh()

    # Polling --------------------------------------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._closing.is_set():
            self._awake.clear()
            try:
                self._look_at_sets()
            except UploaderError as error:
                self._tell("said", str(error))
            self._awake.wait(_POLL_SECONDS)

    def _look_at_sets(self) -> None:
        client = self.client
        if client is None:
            return
        past = client.past()
        self._tell("sets", past)
        for one in past:
            if self._closing.is_set():
                return
            if one.state != STARTED or one.status in (FAILED, EXPIRED) or (one.status == DONE and (one.model or not one.fetch_to)):
                continue
            try:
                client.status(one.project)
            except Refused:
                continue  # the server has forgotten it
        past = client.past()
        self._tell("sets", past)
        for one in past:
            if one.status == DONE and one.fetch_to and not one.model:
                try:
                    self._download(one, Path(one.fetch_to))
                except UploaderError as error:
                    one.fetch_to = ""  # do not try again by itself: the user can press Download
                    client.sets.save(one)
                    self._tell("said", str(error))

    # Helpers --------------------------------------------------------------------------------------------------------

    def _tell(self, kind: str, value: Any) -> None:
        self.events.put(Event(kind, value))

    def _run(self, work: "Callable[[], None]", failed: str) -> None:
        """Run work in a thread. An error becomes an event."""
        def guarded() -> None:
            try:
                work()
            except UploaderError as error:
                self._tell(failed, str(error))
            except Exception as error:  # noqa: BLE001 - the window must show every error
                self._tell(failed, f"Something unexpected happened ({type(error).__name__}: {error}). Please report it.")

        threading.Thread(target=guarded, daemon=True).start()


def _place_for(one: Set) -> Path:
    """The folder `model` beside the photos, or a folder in the user's home if the photos' folder is read-only."""
    source = Path(one.source)
    parent = source if source.is_dir() else source.parent
    if os.access(str(parent), os.W_OK):
        return parent / "model" if source.is_dir() else parent / f"{source.stem} model"
    return Path.home() / "OpenScan models" / (parent.name or time.strftime("%Y-%m-%d %H.%M.%S"))
