"""Starts a processing node: ``python -m node.server --data DIR [--port 3000] …``."""
import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from .disk import Disk
from .engine import EngineError, describe_engine
from .jobs import Settings
from .manager import TaskManager
from .server import build_app
from .tasks import TaskStore
from .uploads import Uploads


class StartError(Exception):
    """The node cannot start; the text says why."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(prog="python -m node.server", description="A processing node that speaks NodeODM's API.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=3000, help="port to listen on, 0 for any free one (default: %(default)s)")
    parser.add_argument("--data", type=Path, required=True, help="directory for uploads, tasks and results")
    parser.add_argument("--token", default=os.environ.get("NODE_TOKEN", ""),
                        help="token that clients must send; safer in the environment variable NODE_TOKEN")
    parser.add_argument("--max-images", type=_count, default=0, help="most images a task may have (default: no limit)")
    parser.add_argument("--parallel", type=_count, default=1, help="tasks processed at the same time (default: %(default)s)")
    parser.add_argument("--engine", default="", help="command that starts the engine (default: this Python's 'python -m node.engine')")
    parser.add_argument("--webhook", default="", help="address to call for every task that ends")
    parser.add_argument("--max-runtime", type=float, default=0, help="minutes that a task may take (default: no limit)")
    parser.add_argument("--cleanup-tasks-after", type=float, default=2880,
                        help="minutes after which finished tasks are removed (default: %(default)s)")
    parser.add_argument("--cleanup-uploads-after", type=float, default=2880,
                        help="minutes after which unfinished uploads are removed (default: %(default)s)")
    parser.add_argument("--reserve-mb", type=_count, default=200,
                        help="megabytes of the disk that uploads must leave free (default: %(default)s)")
    options = parser.parse_args(arguments)
    # The engine inherits the environment but does not need the token.
    os.environ.pop("NODE_TOKEN", None)
    if options.parallel < 1:
        parser.error("--parallel must be at least 1")
    return options


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


@contextlib.contextmanager
def sole_owner(data: Path) -> Iterator[None]:
    """Lock the data directory for this process. Two nodes that shared it would run every task twice. Raises StartError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("w")
    except OSError as error:
        raise StartError(f"cannot use {data}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"another node is using {data}. Stop it, or choose another directory with --data") from error
        yield


async def serve(options: argparse.Namespace) -> None:
    """Run the node until SIGTERM or SIGINT. Raises StartError, EngineError."""
    command = shlex.split(options.engine) or [sys.executable, "-m", "node.engine"]
    engine = await describe_engine(command)
    data = options.data.resolve()
    disk = Disk(data, options.reserve_mb * 1_000_000)
    uploads = Uploads(data / "uploads", disk)
    settings = Settings(
        parallel=options.parallel, max_images=options.max_images, max_runtime=options.max_runtime * 60, webhook=options.webhook,
        keep_tasks=options.cleanup_tasks_after * 60, keep_uploads=options.cleanup_uploads_after * 60,
    )
    manager = TaskManager(data, TaskStore(data / "node.sqlite3"), uploads, disk, command, engine, settings)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    # No access log: it would hold the token, which clients send in the query.
    runner = web.AppRunner(build_app(manager, uploads, options.token), access_log=None, handler_cancellation=True, shutdown_timeout=2)
    await runner.setup()
    await manager.start()
    try:
        site = web.TCPSite(runner, options.host, options.port)
        try:
            await site.start()
        except OSError as error:
            raise StartError(f"cannot listen on {options.host}:{options.port}: {os.strerror(error.errno or 0)}") from error
        host, port = runner.addresses[0][:2]
        print(f"Processing node with engine {engine.name} {engine.version} at http://{host}:{port}", flush=True)
        await ended.wait()
    finally:
        await manager.stop()
        await runner.cleanup()


def main() -> int:
    """The exit code: 0 after SIGTERM or SIGINT, 1 when the node cannot start."""
    options = parse_arguments(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        with sole_owner(options.data):
            asyncio.run(serve(options))
    except (StartError, EngineError) as error:
        print(f"The processing node cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
