"""Runs an engine on a leash: ``python -m node.server.guard COMMAND ARGUMENTS…``.

The guard leads the engine's process group. Its standard input is a pipe that only the node holds open: when the node dies, however
suddenly, the kernel closes the pipe and the guard ends the whole group, so that no engine works on for nobody. It ends with the
engine's exit code, or as the shell has it with 128 + the signal that ended the engine.
"""
import os
import signal
import subprocess
import sys
import threading


def _end_group_with_the_node() -> None:
    # Blocks until the other end is closed: the node never writes.
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Start the command given on the command line, wait for it, return its exit code."""
    # The group is told to stop by SIGTERM: the engine may tidy up, and the guard stays to tell how it ended.
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=_end_group_with_the_node, daemon=True).start()
    try:
        engine = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"cannot start {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 127
    code = engine.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # Not sys.exit: the reading thread must not hold the end up.
    os._exit(main())
