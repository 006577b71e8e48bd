"""The command `openscan-upload`."""
import argparse
import getpass
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import openscan_uploader
from openscan_uploader import settings
from openscan_uploader.client import Client
from openscan_uploader.control import Control, Progress
from openscan_uploader.errors import Canceled, NotPossible, Refused, UploaderError, WrongToken
from openscan_uploader.server import Status
from openscan_uploader.watch import QUIET_SECONDS, Watch
from openscan_uploader.words import count, duration, size

_COMMANDS = ("upload", "status", "download", "list", "token", "reset", "watch")
_TIMEOUT_CODE = 9
_EPILOG = """\
where server and token come from (the first one that is set counts):
  1. --server and --token
  2. OPENSCAN_SERVER and OPENSCAN_TOKEN (other users can see a token on the command line, but not in the environment)
  3. the configuration file and the system's keyring, which `openscan-upload token` writes

exit codes:
  0  done                              5  the server refused
  1  something unexpected              6  the server could not be reached; run it again to continue
  2  wrong options                     7  the server could not make a model
  3  the set cannot be sent as it is   8  a photo changed while it was being sent
  4  the token is wrong                9  --timeout has passed    130  canceled; run it again to continue
"""


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--server", metavar="URL", help="the server's address, e.g. https://example.org")
    common.add_argument("--token", metavar="TOKEN", help="32 letters and digits")
    common.add_argument("--quiet", "-q", action="store_true", help="print only errors and the result")
    common.add_argument("--json", action="store_true", help="print one JSON object as the result")
    common.add_argument("--patience", metavar="HOURS", type=float, default=24.0,
                        help="how long to wait for a server that does not answer (default: 24)")

    parser = argparse.ArgumentParser(prog="openscan-upload", description="Send photos to an OpenScanCloud server and get a 3D model back.",
                                     epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"openscan-upload {openscan_uploader.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    one = commands.add_parser("upload", parents=[common], help="send a folder, photos or a zip (you can leave out the word `upload`)")
    one.add_argument("photos", nargs="+", metavar="FOLDER", help="a folder with photos, several photos, or one zip")
    one.add_argument("--project", metavar="NAME", help="the project's name (default: the folder's name and the time)")
    one.add_argument("--wait", action="store_true", help="wait for the model and download it")
    one.add_argument("--out", metavar="DIR", help="where to put the model; implies --wait (default: the current directory)")
    one.add_argument("--unpack", action="store_true", help="unpack the model")
    one.add_argument("--again", action="store_true", help="send photos that were sent before as a new project")
    one.add_argument("--check", action="store_true", help="show what would be sent and what it costs, but send nothing")
    one.add_argument("--at-once", type=int, default=3, metavar="N", help="how many parts to send at the same time (default: 3)")
    one.add_argument("--part-size", type=_part_size, metavar="MB", help="send a zip in parts of this size, at most 200")
    one.add_argument("--timeout", type=float, metavar="MINUTES", help="how long to wait for the model (default: no limit)")

    one = commands.add_parser("status", parents=[common], help="show a project's status")
    one.add_argument("project", metavar="PROJECT")
    one.add_argument("--wait", action="store_true", help="wait until it is done")
    one.add_argument("--timeout", type=float, metavar="MINUTES")

    one = commands.add_parser("download", parents=[common], help="download a model; an interrupted download continues")
    one.add_argument("project", metavar="PROJECT")
    one.add_argument("--out", metavar="DIR", default=".", help="a directory, or the path of the zip (default: the current directory)")
    one.add_argument("--unpack", action="store_true", help="unpack it into a folder with the project's name")

    one = commands.add_parser("list", parents=[common], help="list the sets that were sent from this computer")
    one.add_argument("--offline", action="store_true", help="do not ask the server; show the last known status")

    one = commands.add_parser("token", parents=[common], help="show the token's credit; asks for server and token if none is set")
    one.add_argument("--save", action="store_true", help="save server and token")

    one = commands.add_parser("reset", parents=[common], help="delete a project on the server")
    one.add_argument("project", metavar="PROJECT")

    one = commands.add_parser("watch", parents=[common], help="send each new subfolder and put its model beside its photos")
    one.add_argument("directory", metavar="DIR")
    one.add_argument("--quiet-time", type=float, default=QUIET_SECONDS, metavar="SECONDS",
                     help="send a subfolder after this long without changes (default: 60)")
    one.add_argument("--out", metavar="DIR", help="put the models into this directory instead of beside the photos")
    one.add_argument("--once", action="store_true", help="stop when all present subfolders are done")
    one.add_argument("--at-once", type=int, default=3, metavar="N", help="how many parts to send at the same time (default: 3)")
    return parser


def _part_size(text: str) -> int:
    value = int(float(text) * 1_000_000)
    if not 0 < value <= 200_000_000:
        raise argparse.ArgumentTypeError("a part may have at most 200 MB")
    return value


class _Shown:
    """Prints progress: a bar on a terminal, a line now and then elsewhere, nothing with --quiet or --json."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last_line, self._last_at, self._width = "", 0.0, 0

    def progress(self, progress: Progress) -> None:
        """Show a report."""
        if self._quiet:
            return
        line = _line(progress)
        now = time.monotonic()
        if self._terminal:
            padding = " " * max(0, self._width - len(line))
            sys.stderr.write(f"\r{line}{padding}")
            self._width = len(line)
        elif progress.stage != self._last_line.partition(":")[0] or now - self._last_at > 30:
            sys.stderr.write(f"{line}\n")
            self._last_line, self._last_at = f"{progress.stage}:", now
        sys.stderr.flush()

    def say(self, text: str) -> None:
        """Print a line for people."""
        if not self._quiet:
            self.end()
            print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """End the line with the bar."""
        if self._width:
            sys.stderr.write("\n")
            self._width = 0


def _line(progress: Progress) -> str:
    words = {"looking": "Looking at the photos", "connecting": "Connecting", "reading": "Reading the photos", "sending": "Sending",
             "waiting": "Waiting for the model", "downloading": "Downloading"}
    line = words.get(progress.stage, progress.stage)
    if progress.total_bytes:
        part = progress.done_bytes / progress.total_bytes
        filled = int(part * 24)
        line += f" [{'#' * filled}{'.' * (24 - filled)}] {part:4.0%} {size(progress.done_bytes)} of {size(progress.total_bytes)}"
        if progress.speed > 0:
            line += f", {size(progress.speed)}/s, {duration((progress.total_bytes - progress.done_bytes) / progress.speed)} left"
    elif progress.stage == "waiting" and progress.fraction:
        line += f" {progress.fraction:.0%}"
    if progress.message:
        line += f" - {progress.message}"
    return line[:_columns() - 1]


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 200


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command. Returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in _COMMANDS and given[0] not in ("-h", "--help", "--version"):
        given.insert(0, "upload")
    options = _parser().parse_args(given)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a name must not stop the upload
    shown = _Shown(options.quiet or options.json)
    try:
        result = _COMMAND[options.command](options, shown)
    except UploaderError as error:
        return _failed(options, shown, str(error), error.exit_code)
    except TimeoutError as error:
        return _failed(options, shown, str(error), _TIMEOUT_CODE)
    except KeyboardInterrupt:
        return _failed(options, shown, "Canceled. Run the same command again to continue.", Canceled.exit_code)
    shown.end()
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


def _failed(options: argparse.Namespace, shown: _Shown, sentence: str, code: int) -> int:
    shown.end()
    if options.json:
        print(json.dumps({"error": sentence, "exit_code": code}, ensure_ascii=False))
    print(f"openscan-upload: {sentence}", file=sys.stderr)
    return code


def _client(options: argparse.Namespace) -> Client:
    found = settings.load(options.server, options.token)
    if not found.server:
        raise NotPossible("No server is set. Give --server URL, set OPENSCAN_SERVER, or run `openscan-upload token` once to enter it.")
    if not found.token:
        raise WrongToken("No token is set. Give --token TOKEN, set OPENSCAN_TOKEN, or run `openscan-upload token` once to enter it.")
    return Client(found.server, found.token, user=found.user, password=found.password, patience_seconds=options.patience * 3600)


def _control() -> Control:
    """A control that Ctrl+C and SIGTERM cancel: parts under way are interrupted, and the state is saved."""
    control = Control()

    def cancel(*_: Any) -> None:
        control.cancel()

    signal.signal(signal.SIGINT, cancel)
    signal.signal(signal.SIGTERM, cancel)
    return control


def _upload(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    client, control = _client(options), _control()
    source: Any = options.photos[0] if len(options.photos) == 1 else options.photos
    if options.check:
        plan = client.plan(source)
        for left in plan.found.left_out:
            shown.say(f"{left.name} {left.why}: left out.")
        shown.say(f"{count(plan.photos, 'photo')}, {size(plan.size_bytes)}. Sending them costs {size(plan.size_bytes)} of credit.")
        if plan.problem:
            raise NotPossible(plan.problem)
        return {"photos": plan.photos, "size_bytes": plan.size_bytes,
                "left_out": [{"name": left.name, "why": left.why} for left in plan.found.left_out]}
    if not options.quiet and not options.json:
        for left in client.plan(source).found.left_out:
            shown.say(f"{left.name} {left.why}: left out.")
    project = client.upload(source, project=options.project, again=options.again, at_once=options.at_once, part_bytes=options.part_size,
                            progress=shown.progress, control=control)
    shown.say(f"Sent as “{project}”. Processing has started.")
    if not options.wait and not options.out:
        if not options.json:
            print(project)
        return {"project": project, "status": "started"}
    status = client.wait(project, timeout_seconds=_seconds(options.timeout), progress=shown.progress, control=control)
    model = client.download(project, options.out or ".", unpack=options.unpack, progress=shown.progress, control=control)
    for sentence in status.set_aside:
        shown.say(sentence)
    if not options.json:
        shown.end()
        print(model)
    return {"project": project, "status": status.text, "model": str(model), "set_aside": list(status.set_aside)}


def _seconds(minutes: Optional[float]) -> Optional[float]:
    return None if minutes is None else minutes * 60


def _status(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    client = _client(options)
    status = client.wait(options.project, timeout_seconds=_seconds(options.timeout), progress=shown.progress, control=_control()) \
        if options.wait else client.status(options.project)
    if not options.json:
        shown.end()
        print(status.text)
        for sentence in (status.message, status.error, *status.set_aside, status.page):
            if sentence:
                shown.say(sentence)
    return _as_json(status)


def _as_json(status: Status) -> "Dict[str, Any]":
    return {"project": status.project, "status": status.text, "progress": status.progress, "message": status.message, "error": status.error,
            "is_done": status.is_done, "page": status.page, "missing_parts": list(status.missing_parts or ()),
            "set_aside": list(status.set_aside)}


def _download(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    model = _client(options).download(options.project, options.out, unpack=options.unpack, progress=shown.progress, control=_control())
    if not options.json:
        shown.end()
        print(model)
    return {"project": options.project, "model": str(model)}


def _list(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    client = _client(options)
    rows: List[Dict[str, Any]] = []
    for past in client.past():
        status = past.status or past.state
        if not options.offline and past.state != "given up" and status not in ("processing failed", "expired"):
            try:
                status = client.status(past.project).text
            except Refused as error:
                status = "unknown to the server" if error.status == 401 else status
        rows.append({"project": past.project, "status": status, "photos": past.photos, "size_bytes": past.size_bytes, "source": past.source,
                     "sent_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(past.created_at)), "model": past.model})
    if not options.json:
        for row in rows:
            print(f"{row['project']}\t{row['status']}\t{count(row['photos'], 'photo')}\t{size(row['size_bytes'])}")
        if not rows:
            shown.say("Nothing was sent from this computer with this token.")
    return {"sets": rows}


def _token(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    found = settings.load(options.server, options.token)
    server, token, asked = found.server, found.token, False
    if not server and sys.stdin.isatty():
        server, asked = input("Server (like https://example.org): ").strip(), True
    if not token and server and sys.stdin.isatty():
        token, asked = getpass.getpass("Token (not shown while you type): ").strip(), True
    options.server, options.token = server, token
    info = _client(options).token_info()
    where = ""
    if options.save or asked:
        where = "the system's keyring" if settings.save(server, token) else f"{settings.config_file()} (no keyring was found)"
        shown.say(f"The token was saved in {where}.")
    if not options.json:
        print(info.message or f"{size(info.credit)} of credit left. A set may have up to {size(info.limit_filesize)} and "
                              f"{count(info.limit_photos, 'photo')}.")
    return {"credit": info.credit, "limit_filesize": info.limit_filesize, "limit_photos": info.limit_photos,
            "limit_part": info.limit_part, "features": list(info.features), "saved_in": where}


def _reset(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    _client(options).reset(options.project)
    shown.say(f"“{options.project}” was deleted on the server.")
    return {"project": options.project}


def _watch(options: argparse.Namespace, shown: _Shown) -> "Dict[str, Any]":
    said: List[Dict[str, str]] = []

    def say(name: str, sentence: str) -> None:
        said.append({"folder": name, "message": sentence})
        if options.json:
            print(json.dumps(said[-1], ensure_ascii=False), flush=True)
        else:
            shown.end()
            print(f"{name} {sentence}", flush=True)

    client = _client(options)
    client.token_info()
    shown.say(f"Watching {options.directory}. Each new subfolder is sent when nothing in it has changed for {options.quiet_time:.0f} s. "
              "Press Ctrl+C to stop.")
    Watch(client, Path(options.directory), quiet_seconds=options.quiet_time, every_seconds=min(5.0, max(0.2, options.quiet_time / 4)),
          out=Path(options.out) if options.out else None, at_once=options.at_once, say=say, progress=shown.progress,
          control=_control()).run(once=options.once)
    return {"folders": said}


_COMMAND = {"upload": _upload, "status": _status, "download": _download, "list": _list, "token": _token, "reset": _reset, "watch": _watch}
