"""Sends the parts of a set, several at once, until the server has them all. Handles waits, expired links and lost answers."""
import collections
import threading
import time
import zlib
from typing import Callable, Deque, Iterator, List, Optional, Sequence, Set

from openscan_uploader.control import Control, Interrupted, OnProgress, Progress
from openscan_uploader.errors import CANCELED, Canceled, Refused, UploaderError
from openscan_uploader.server import CREATED, Created, Passing, Server, missing_of, unreachable
from openscan_uploader.sources import Part, Source
from openscan_uploader.waits import wait_seconds

#: Links are valid for four hours; new ones are fetched a little earlier.
LINK_SECONDS = 3.75 * 3600
#: How often in a row a server may refuse our links or report damaged parts while no part gets through.
_TRIES = 5
_LOST_BEFORE_NEW_LINKS = 4
_SPEED_SECONDS = 15.0
_REPORT_SECONDS = 0.25


class _AlreadyStarted(Exception):
    """The project was started already: the answer to an earlier call was lost."""


class Sender:
    """One set on its way to a server. Make one, call `run` once."""

    def __init__(self, server: Server, source: Source, parts: "Sequence[Part]", done: "Sequence[int]", *,
                 create: "Callable[[], Created]", project: str, secret: "Callable[[], str]", is_ours: "Callable[[], bool]",
                 on_done: "Callable[[Set[int]], None]", features: "Sequence[str]", at_once: int, patience_seconds: float, control: Control,
                 progress: OnProgress) -> None:
        self._server, self.source, self.features = server, source, features
        self._parts = {part.number: part for part in parts}
        self._create, self._project, self._secret, self._is_ours, self._on_done = create, project, secret, is_ours, on_done
        self._patience, self._control, self._progress = patience_seconds, control, progress
        self._at_once = max(1, min(at_once, len(parts)))
        self._changed = threading.Condition()
        self._done: Set[int] = set(done)
        self._waiting: Deque[Part] = collections.deque(part for part in parts if part.number not in self._done)
        self._under_way: dict = {}
        self._links: List[str] = []
        self._links_at = 0.0
        self._links_made = 0
        self._renewing = threading.Lock()
        self._problem: Optional[BaseException] = None
        self._ended = False
        self._message = ""
        self._failures = 0
        self._turned_away = 0
        self._quiet_since = time.monotonic()
        self._history: Deque[tuple] = collections.deque()
        self._working = 0
        self._reported_at = 0.0
        self.started_before = False

    @property
    def done(self) -> "Set[int]":
        """The numbers of the parts that the server has."""
        return set(self._done)

    def run(self) -> None:
        """Send the missing parts. Returns when the server has everything, or when it turns out that the project was started already.

        Raises:
            Canceled, ChangedPhotos, Refused, Unreachable, WrongToken.
        """
        self._working = self._at_once
        threads = [threading.Thread(target=self._work, name=f"part-{number}", daemon=True) for number in range(self._at_once)]
        try:
            for thread in threads:
                thread.start()
            while True:
                with self._changed:
                    if self._working:
                        self._changed.wait(_REPORT_SECONDS)
                    if not self._working:
                        break
                if time.monotonic() - self._reported_at >= _REPORT_SECONDS:
                    self._report()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            for thread in threads:
                thread.join()
        self._report()
        if isinstance(self._problem, _AlreadyStarted):
            self.started_before = True
        elif self._problem is not None:
            raise self._problem

    # One thread per part under way -----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while True:
                part = self._next()
                if part is None:
                    return
                self._send(part)
        except BaseException as problem:  # noqa: BLE001 - handed to the thread that called run
            with self._changed:
                self._problem = self._problem or problem
                self._ended = True
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def _next(self) -> "Optional[Part]":
        with self._changed:
            while not self._ended:
                if self._control.canceled:
                    raise Canceled(CANCELED)
                if self._control.paused:
                    self._quiet_since = time.monotonic()
                    self._changed.wait(0.1)
                elif self._waiting:
                    part = self._waiting.popleft()
                    self._under_way[part.number] = 0
                    return part
                elif self._under_way:
                    self._changed.wait(1)  # one of them may come back
                else:
                    return None
            return None

    def _send(self, part: Part) -> None:
        link, generation = self._link(part)
        body = _Body(self, part)
        try:
            answer = self._server.send(link, body)
        except Interrupted:
            self._put_back(part)
            return
        except Passing as problem:
            if body.problem is not None:
                raise body.problem from None
            if body.interrupted:
                self._put_back(part)
                return
            self._put_back(part)
            self._wait_after(problem)
            if not problem.answered:
                self._look(part)
                if self._failures >= _LOST_BEFORE_NEW_LINKS * self._at_once:
                    self._links_at = 0.0  # some servers hang up if a link has expired
            return
        except Refused as problem:
            self._put_back(part)
            self._turned_away_once(problem, generation)
            return
        if "crc32" in answer and str(answer["crc32"]).lower() != f"{body.crc:08x}":
            self._put_back(part)
            self._turned_away_once(Refused("The server did not receive the bytes that were sent. Something on the way changes uploads; "
                                           "try another network, or https.", 200), generation)
            return
        self._finished({part.number})

    def _put_back(self, part: Part) -> None:
        with self._changed:
            self._under_way.pop(part.number, None)
            if part.number not in self._done:
                self._waiting.appendleft(part)
            self._changed.notify_all()

    def _finished(self, numbers: "Set[int]") -> None:
        with self._changed:
            for number in numbers:
                self._under_way.pop(number, None)
            self._done |= numbers
            self._waiting = collections.deque(part for part in self._waiting if part.number not in self._done)
            self._failures = self._turned_away = 0
            self._message = ""
            self._quiet_since = time.monotonic()
            done = set(self._done)
            self._on_done(done)
            self._changed.notify_all()

    # What goes wrong -------------------------------------------------------------------------------------------------

    def _wait_after(self, problem: Passing) -> None:
        with self._changed:
            self._failures += 1
            seconds = wait_seconds(-(-self._failures // self._at_once), problem.wait_seconds)
            self._message = f"{problem} Trying again."
            if time.monotonic() - self._quiet_since > self._patience:
                raise unreachable(problem)
            until = time.monotonic() + seconds
            while not self._ended and time.monotonic() < until and not self._control.canceled:
                self._changed.wait(min(0.25, max(0.0, until - time.monotonic())))

    def _turned_away_once(self, problem: Refused, generation: int) -> None:
        """A link was refused: it has expired, or the project's state has changed. Get new links, or find out that it was started."""
        with self._changed:
            self._turned_away += 1
            too_often = self._turned_away > _TRIES * self._at_once
        if problem.status == 413 or too_often:
            raise problem
        if problem.status in (200, 400):
            self._wait_after(Passing(str(problem), answered=True))
        else:
            self._renew(generation)

    def _look(self, part: Part) -> None:
        """After a lost connection, find out whether the part has arrived and only the answer was lost."""
        if "missing_parts" not in self.features:
            return
        try:
            status = self._server.status(self._project, self._secret())
        except (Passing, UploaderError):
            return  # the next attempt to send will find out
        missing = missing_of(status, len(self._parts))
        if status.text == CREATED and missing is not None and part.number not in missing and part.number not in self._under_way:
            self._finished({part.number})

    # Links -----------------------------------------------------------------------------------------------------------

    def _link(self, part: Part) -> "tuple":
        with self._renewing:
            fresh = self._links and time.time() - self._links_at < LINK_SECONDS
            if not fresh:
                self._fetch_links()
            return self._links[part.number - 1], self._links_made

    def _renew(self, generation: int) -> None:
        """New links, unless another thread has just fetched some."""
        with self._renewing:
            if self._links_made == generation:
                if self._turned_away > 1:
                    self._wait_after(Passing("The server refused the upload.", answered=True))
                self._fetch_links()

    def _fetch_links(self) -> None:
        while True:
            if self._control.canceled or self._ended:
                raise Canceled(CANCELED)
            try:
                self._links = list(self._create().links)
                self._links_at = time.time()
                self._links_made += 1
                return
            except Passing as problem:
                self._wait_after(problem)
            except Refused as problem:
                if self._was_started():
                    raise _AlreadyStarted from problem
                raise

    def _was_started(self) -> bool:
        if not self._is_ours():
            return False
        try:
            return self._server.status(self._project, self._secret()).text not in ("", CREATED, "expired")
        except (Passing, UploaderError):
            return False

    # Progress --------------------------------------------------------------------------------------------------------

    def note(self, number: int, count: int) -> None:
        """Count bytes of a part that were sent."""
        self._under_way[number] = self._under_way.get(number, 0) + count

    def check(self) -> None:
        """Raises Interrupted if this part should stop."""
        self._control.check()
        if self._ended:
            raise Interrupted

    def _report(self) -> None:
        with self._changed:
            sent = sum(self._parts[number].size_bytes for number in self._done if number in self._parts) + sum(self._under_way.values())
            message = "Paused." if self._control.paused else self._message
        now = self._reported_at = time.monotonic()
        self._history.append((now, sent))
        while len(self._history) > 2 and now - self._history[0][0] > _SPEED_SECONDS:
            self._history.popleft()
        (first_at, first), (last_at, last) = self._history[0], self._history[-1]
        speed = max(0.0, (last - first) / (last_at - first_at)) if last_at > first_at else 0.0
        self._progress(Progress("sending", min(sent, self.source.size_bytes), self.source.size_bytes, speed, message=message,
                                project=self._project))


class _Body:
    """The body of one request. It has a length, is read from disk while it is sent, and keeps the checksum of what was sent."""

    def __init__(self, sender: Sender, part: Part) -> None:
        self._sender, self._part = sender, part
        self.crc = 0
        self.problem: Optional[BaseException] = None
        self.interrupted = False

    def __len__(self) -> int:
        return self._part.size_bytes

    def __iter__(self) -> "Iterator[memoryview]":
        self.crc = 0
        sender, number = self._sender, self._part.number
        checks = "crc32" in sender.features
        try:
            for block in sender.source.blocks(self._part):
                sender.check()
                if checks:
                    self.crc = zlib.crc32(block, self.crc)
                yield block
                sender.note(number, len(block))
        except Interrupted:
            self.interrupted = True
            raise
        except UploaderError as problem:
            self.problem = problem
            raise
