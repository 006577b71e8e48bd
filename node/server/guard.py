"""Runs an engine that must not outlive the node: ``python -m node.server.guard COMMAND ARGUMENTS…``.

The guard leads the engine's process group. Its standard input is a pipe that only the node holds open. When the node dies, even by a kill,
the kernel closes the pipe and the guard ends the whole group. The guard returns the engine's exit code or, like a shell, 128 + the number
of the signal that ended the engine.
"""
import os
import signal
import subprocess
import sys
import threading


def _end_group_with_the_node() -> None:
    # The node never writes, so this blocks until the other end is closed.
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)


def main() -> int:
    """Start the command given on the command line, wait for it, return its exit code."""
    # SIGTERM goes to the whole group. The engine may tidy up; the guard stays to report how it ended.
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
    # Not sys.exit, which would wait for the reading thread.
    os._exit(main())
