"""Drives an engine program: lists its options, runs it for a task, reads its JSON lines, and stops it with all its children."""
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Optional

logger = logging.getLogger(__name__)

# The node and its engine run from this directory, so that an engine given as a Python module is found.
ROOT = Path(__file__).resolve().parents[2]
LIST_OPTIONS_SECONDS = 120
# How long an engine may tidy up after SIGTERM. It is short because users expect a canceled task to stop at once.
STOP_SECONDS = 2.0
LAST_WORDS_SECONDS = 1.0
# A line longer than this cannot belong to the engine's protocol.
MAX_LINE_BYTES = 1 << 20


class EngineError(Exception):
    """The engine cannot be used: it does not start, or does not follow the protocol."""


@dataclass(frozen=True)
class EngineInfo:
    """What the node says about its engine in ``/info`` and ``/options``."""

    name: str
    version: str
    options: list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """How a run ended; ``error`` is a sentence for the task's owner, empty after a success."""

    ok: bool
    error: str = ""


async def describe_engine(command: Sequence[str]) -> EngineInfo:
    """Ask an engine for its options (``--list-options``) and its name and version (``--version``, "name 1.2.3").

    Raises EngineError when it does not start or lists no options. If the engine does not know ``--version``, its program's name is used.
    """
    listed = await _ask(command, "--list-options")
    try:
        options = json.loads(listed)
    except ValueError as error:
        raise EngineError(f"'{_shown(command)} --list-options' printed no JSON: {error}") from error
    if not isinstance(options, list) or not all(isinstance(option, dict) and "name" in option for option in options):
        raise EngineError(f"'{_shown(command)} --list-options' printed no list of options")
    try:
        words = (await _ask(command, "--version")).split()
    except EngineError:
        words = []
    name = words[0] if len(words) > 1 else Path(command[-1]).stem
    return EngineInfo(name=name, version=words[-1] if words else "?", options=options)


async def _ask(command: Sequence[str], question: str) -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            *command, question, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise EngineError(f"cannot start the engine '{_shown(command)}': {error.strerror}") from error
    try:
        stdout, stderr = await asyncio.wait_for(process.communicate(), LIST_OPTIONS_SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise EngineError(f"'{_shown(command)} {question}' did not end within {LIST_OPTIONS_SECONDS} s") from None
    if process.returncode:
        last = stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise EngineError(f"'{_shown(command)} {question}' ended with code {process.returncode}: {last}")
    return stdout.decode(errors="replace")


def _shown(command: Sequence[str]) -> str:
    return " ".join(command)


class EngineRun:
    """One run of the engine on a task's directory, in a separate process group."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        images: Path,
        out: Path,
        options: Path,
        on_line: Callable[[str], None],
        on_progress: Callable[[float], None],
    ) -> None:
        self._arguments = [
            sys.executable, "-m", "node.server.guard", *command,
            "--images", str(images), "--out", str(out), "--options", str(options),
        ]
        self._on_line = on_line
        self._on_progress = on_progress
        self._process: Optional[asyncio.subprocess.Process] = None
        self._stage = ""
        self._result: Optional[dict[str, Any]] = None
        self._last_line = ""

    async def start(self) -> int:
        """Start the engine; returns the id of its process group. Raises EngineError."""
        starting = asyncio.ensure_future(asyncio.create_subprocess_exec(
            *self._arguments, cwd=ROOT, start_new_session=True, limit=MAX_LINE_BYTES,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        ))
        try:
            # On a cancel, asyncio would kill only the guard. An engine that the guard has started would keep running.
            self._process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._process = await starting
            await self.stop()
            raise
        except OSError as error:
            raise EngineError(f"cannot start the engine: {error.strerror}") from error
        return self._process.pid

    async def wait(self) -> Outcome:
        """Read the engine's output until it ends. If reading fails or the caller is cancelled, the engine is stopped."""
        assert self._process is not None and self._process.stdout is not None
        reading = asyncio.ensure_future(self._read(self._process.stdout))
        ended = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # A process that the engine started and left behind may still hold its output open.
                await asyncio.wait({reading}, timeout=LAST_WORDS_SECONDS)
            elif reading.exception() is None:
                await ended
        finally:
            await self.stop()
            # All writers are dead now, so the output ends.
            await reading
        return self._outcome(await ended)

    async def stop(self) -> None:
        """Stop the engine and all its children; returns when none of them runs any more. Does no harm if the engine has ended."""
        if self._process is None:
            return
        await end_group(self._process.pid, self._process.wait())
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                # readline has discarded the line.
                self._on_line("(a line of more than 1 MB was left out)")
                continue
            if not line:
                return
            self._take(line.decode(errors="replace").rstrip())

    def _take(self, line: str) -> None:
        event: dict[str, Any] = {}
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                event = json.loads(line)  # JSON that begins with a brace is an object
        kind = event.get("type")
        if kind == "progress":
            self._take_progress(event)
        elif kind == "log":
            self._show(str(event.get("message", "")))
        elif kind == "result":
            self._result = event
        else:
            self._show(line)

    def _take_progress(self, event: dict[str, Any]) -> None:
        stage = str(event.get("stage") or "")
        if stage and stage != self._stage:
            self._stage = stage
            self._show(f"Running {stage} stage")
        progress = event.get("progress")
        if isinstance(progress, (int, float)):
            self._on_progress(min(100.0, max(0.0, float(progress))))

    def _show(self, line: str) -> None:
        self._on_line(line)
        self._last_line = line.strip() or self._last_line

    def _outcome(self, code: int) -> Outcome:
        result = self._result
        if code == 0 and result is not None and result.get("ok") is True:
            return Outcome(ok=True)
        if result is not None and result.get("error"):
            return Outcome(ok=False, error=str(result["error"]))
        return Outcome(ok=False, error=_explain(code, self._last_line, has_result=result is not None))


def _explain(code: int, last_line: str, *, has_result: bool) -> str:
    """A sentence about an engine that ended without giving a reason."""
    said = f" Its last output was: {last_line}" if last_line else ""
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return ("The engine was killed, most likely because there was not enough memory. Use fewer or smaller photos, or give the node "
                f"more memory.{said}")
    if code == 0 and not has_result:
        return f"The engine ended without a result.{said}"
    if code > 128 or code < 0:
        number = -code if code < 0 else code - 128
        return f"The engine crashed (signal {number}).{said}"
    return f"The engine failed (exit code {code}) and gave no reason.{said}"


async def end_group(group: int, ended: Awaitable[Any]) -> None:
    """Stop a process group: SIGTERM first, then SIGKILL for whatever still runs. ``ended`` waits for its leader."""
    _signal_group(group, signal.SIGTERM)
    waiting = asyncio.ensure_future(ended)
    await asyncio.wait({waiting}, timeout=STOP_SECONDS)
    _signal_group(group, signal.SIGKILL)
    await waiting


def end_left_over_group(leader: int, started: int) -> bool:
    """Kill the engine that an earlier node left behind, if the process with this id is still that one.

    ``started`` is what process_start_time returned for it. Returns whether there was an engine to kill.
    """
    if not leader or process_start_time(leader) != started:
        return False
    _signal_group(leader, signal.SIGKILL)
    return True


def process_start_time(pid: int) -> int:
    """When the kernel started a process, in clock ticks since boot; 0 if it does not run. Together with the id it identifies a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # The second field is the program's name in parentheses and may hold spaces; the state is field 3, the start time field 22 (proc(5)).
    fields = stat.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        logger.warning("no permission to end process group %d", group)
