"""Runs Python programs in the engine's environment, one order a line of standard input (``running.script`` writes them).

The engine's libraries are loaded once. Each program runs in a fork, which begins with all of them and changes nothing for the next one.
"""
import json
import os
import runpy
import signal
import sys
import traceback
from typing import Any

from node.engine import stages  # noqa: F401 - loads what a run loads


def _run(arguments: list[str], timeout: int, stdout: str, stderr: str) -> int:
    """Run ``-m MODULE …`` or ``-c CODE …`` and return its exit code. What it prints goes to the two files."""
    signal.alarm(timeout)
    for name, number in ((stdout, 1), (stderr, 2)):
        os.dup2(os.open(name, os.O_WRONLY), number)
    kind, program, *rest = arguments
    sys.argv = [kind, *rest]
    try:
        if kind == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<script>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - told to the test
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
    return 0


def main() -> None:
    """Answer each order with the exit code of its program."""
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        pid = os.fork()
        if not pid:
            os._exit(_run(**order))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
