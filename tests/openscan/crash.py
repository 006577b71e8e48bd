"""Kills a process at a chosen line of our code, as the kernel or an operator would: SIGKILL, no clean-up."""
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, Callable, Optional

from django.db import connection, connections

from app_extensions.openscan import part_files
from app_extensions.openscan.accounts import ledger
from app_extensions.openscan.intake import scans, uploads
from tests.support.waiting import until

OURS = str(Path(__file__).resolve().parent.parent.parent / "app_extensions")


def _name(child: int) -> str:
    """What PostgreSQL calls the sessions of a child."""
    return f"child {child} of the tests"


def _end_of(child: int) -> int:
    """Wait for a child and for its database sessions: PostgreSQL keeps a killed client's locks until it notices. :return: its status"""
    _, status = os.waitpid(child, 0)

    def sessions() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = %s", [_name(child)])
            return cursor.fetchone()[0]

    until(lambda: not sessions(), every=0.02, says="the end of the child's database sessions")
    return status


def run_in_child(work: Callable[[], Any], kill_at: Optional[int] = None) -> int:
    """Runs `work` in a forked process, which kills itself before the `kill_at`-th line of ours (from 1).

    :return: how many lines ran; 0 if it was killed
    """
    connections.close_all()  # the child must not talk over this process's connections
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            os.environ["PGAPPNAME"] = _name(os.getpid())
            lines = [0]

            def trace(frame: Any, event: str, _: Any) -> Any:
                if not frame.f_code.co_filename.startswith(OURS):
                    return None
                if event == "line":
                    lines[0] += 1
                    if lines[0] == kill_at:
                        os.kill(os.getpid(), signal.SIGKILL)
                return trace

            sys.settrace(trace)
            work()
            sys.settrace(None)
            os.write(writing, str(lines[0]).encode())
            code = 0
        except BaseException:  # noqa: BLE001 - the parent sees the exit code
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    status = _end_of(child)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return 0
    assert os.WEXITSTATUS(status) == 0, "the work itself failed; its traceback is above"
    return int(told)


def spread(total: int, count: int) -> list:
    """`count` lines from the first to the last of `total`, evenly."""
    return sorted({1 + (total - 1) * step // max(1, count - 1) for step in range(count)})


TRACED = {module.__file__ for module in (ledger, scans, part_files, uploads)}


def run_traced(work: Callable[[], object], on_line: Callable[[str, int, int], None]) -> bool:
    """Runs `work` in a child that calls `on_line(file, line, count)` before each line of ours. Returns whether it was killed."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        os.environ["PGAPPNAME"] = _name(os.getpid())
        count = 0

        def trace(frame, event, argument):
            nonlocal count
            if frame.f_code.co_filename not in TRACED:
                return None
            if event == "line":
                count += 1
                on_line(frame.f_code.co_filename, frame.f_lineno, count)
            return trace

        sys.settrace(trace)
        status = 1
        try:
            work()
            status = 0
        finally:
            sys.settrace(None)
            os._exit(status)
    ended = _end_of(child)
    assert os.WIFSIGNALED(ended) or os.WEXITSTATUS(ended) == 0, "the child failed by itself"
    return os.WIFSIGNALED(ended)
