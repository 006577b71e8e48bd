"""Command line: ``python -m node.engine --images DIR --out DIR [--options FILE]``, or ``--list-options``.

Standard output carries JSON lines only (progress, log, result); what the libraries print goes to standard error.
Exit code 0 when the model was made, 1 when not. SIGTERM ends the process at once.
"""
import argparse
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Optional

from . import __version__

_DISK_FULL = ("The disk is full. Free some space and start the task again; it continues with the stage that was interrupted. "
              "Fewer photos or a lower pc-quality need less space.")
_OPENCV_NO_MEMORY = -4  # cv2.Error.StsNoMem


def _arguments(argv: Optional[list[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="engine", description="Photos to a textured 3D model, on the CPU.")
    parser.add_argument("--images", type=Path, metavar="DIR", help="directory of the photos (and NAME_mask.png)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="directory for the results, in ODM's layout")
    parser.add_argument("--options", type=Path, metavar="FILE", help='JSON list of {"name": …, "value": …}')
    parser.add_argument("--version", action="version", version=f"webodm-sandbox-engine {__version__}")
    parser.add_argument("--list-options", action="store_true", help="print the options as NodeODM's /options has them")
    parser.add_argument("--hold-out", default="", metavar="NAMES",
                        help="comma-separated photos that are placed but not used for depth or texture")
    arguments = parser.parse_args(argv)
    if not arguments.list_options and not (arguments.images and arguments.out):
        parser.error("--images and --out are required")
    return arguments


def _private_stdout():
    """A stream to the real standard output. The process's standard output is redirected to standard error.

    Libraries print to standard output from C++, which would break the JSON lines.
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def main(argv: Optional[list[str]] = None) -> int:
    """Run the engine; returns the exit code."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    arguments = _arguments(argv)
    from .options import listed_options, load_options
    if arguments.list_options:
        print(json.dumps(listed_options(), indent=1))
        return 0
    from .errors import EngineError, is_disk_full
    from .progress import Progress
    progress = Progress(_private_stdout())
    try:
        options = load_options(arguments.options)
        # Libraries read their thread counts when they load.
        cores = len(os.sched_getaffinity(0))
        threads = min(options["max-concurrency"] or cores, cores)
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads leave the cores to other work
        for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
            os.environ[name] = str(threads)
        os.environ["OPENBLAS_NUM_THREADS"] = "1"  # matching multiplies matrices in its own threads
        from . import stages  # noqa: F401 - loads COLMAP, whose handler writes a stack trace for every SIGTERM
        from .pipeline import run
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        run(arguments.images, arguments.out, options, progress, threads,
            [name for name in arguments.hold_out.split(",") if name])
    except EngineError as error:
        # When its database cannot grow, COLMAP leaves photos out without an error, so the disk is checked here.
        progress.result(False, _DISK_FULL if is_disk_full(error, arguments.out) else str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the last line must be a result, whatever happened
        if isinstance(error, MemoryError) or getattr(error, "code", None) == _OPENCV_NO_MEMORY:
            progress.result(False, "The machine ran out of memory. Use fewer photos, a lower pc-quality or a lower "
                                   "max-concurrency, or give the node more memory.")
            return 1
        if is_disk_full(error, arguments.out):
            progress.result(False, _DISK_FULL)
            return 1
        traceback.print_exc()
        if isinstance(error, OSError):
            progress.result(False, f"A file could not be read or written: {error}.")
            return 1
        progress.result(False, f"The engine failed because of a bug ({type(error).__name__}: {error}). "
                               "The task's output holds the traceback.")
        return 1
    progress.result(True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
