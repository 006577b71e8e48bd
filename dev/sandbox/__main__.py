"""`python -m dev.sandbox`: start, stop and look into a sandbox. Users call it as `./webodm.sh sandbox …`."""
import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Optional

from dev.sandbox.processes import ServiceError, answers_http, free_port, port_is_free, process_alive
from dev.sandbox.stack import HOST_DIR, ROOT, SERVICES, Stack

DEFAULT_DATA = ROOT / ".sandbox"
DEFAULT_PORT = 8000
START_TIMEOUT_SECONDS = 180
#: Of the caller's settings only the preset reaches a sandbox: `WO_OPENSCAN_PRESET=… ./webodm.sh sandbox start`.
PRESET = {name: os.environ[name] for name in ("WO_OPENSCAN_PRESET",) if name in os.environ}


def pid_file(data: Path) -> Path:
    return data / "run" / "supervisor.pid"


def supervisor_pid(data: Path) -> Optional[int]:
    """The supervisor's pid if it runs, else None; a file left by a crash counts as none."""
    try:
        pid = int(pid_file(data).read_text())
    except (OSError, ValueError):
        return None
    if not process_alive(pid):
        return None
    cmdline = Path(f"/proc/{pid}/cmdline")
    if cmdline.exists() and b"sandbox" not in cmdline.read_bytes():
        return None  # the number was given to another program since
    return pid


def say(text: str) -> None:
    print(text, flush=True)


def print_address(stack: Stack, with_login: bool = True) -> None:
    say(f"WebODM sandbox: {stack.address()}/")
    if with_login:
        say(f"  admin login:  {stack.config['admin_user']} / {stack.config['admin_password']}")
    say(f"  OpenScan API: {stack.address()}/api/openscan/  (GET and POST), "
        f"{stack.address()}/api/plugins/openscan_cloud/  (GET)")
    if stack.tapis:
        say(f"  Tapis:        {stack.address('tapis')}  (a stand-in)")
    say(f"  node:         {stack.address('node')}")
    say(f"  data, logs:   {stack.data}")


def command_start(options: argparse.Namespace) -> int:
    if supervisor_pid(options.data):
        stack = Stack(options.data, tapis=has_tapis(options.data))
        if options.tapis and not stack.tapis:
            say("A sandbox without Tapis runs here; restarting it with the stand-in Tapis.")
            command_stop(options)
        else:
            say("The sandbox runs already.")
            print_address(stack)
            return 0
    if options.detach:
        return start_detached(options)
    return run(options)


def has_tapis(data: Path) -> bool:
    return (data / "run" / "with-tapis").exists()


def start_detached(options: argparse.Namespace) -> int:
    (options.data / "log").mkdir(parents=True, exist_ok=True)
    log = options.data / "log" / "supervisor.log"
    argv = [sys.executable, "-m", "dev.sandbox", "start", "--data", str(options.data), "--port", str(options.port)]
    argv += ["--tapis"] if options.tapis else []
    argv += ["--engine", options.engine] if options.engine else []
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        child = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                 start_new_session=True)
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    ready_file = options.data / "run" / "ready"
    while time.monotonic() < deadline:
        if ready_file.exists() and ready_file.read_text() == str(child.pid):
            print_address(Stack(options.data, tapis=options.tapis))
            return 0
        if child.poll() is not None:
            break
        time.sleep(0.2)
    else:
        child.terminate()
    with log.open("rb") as text:
        text.seek(offset)
        say(text.read().decode(errors="replace"))
    say("The sandbox did not start; the lines above say why.")
    return 1


def run(options: argparse.Namespace) -> int:
    """Starts everything and stays, restarting what ends unasked, until SIGTERM or Ctrl-C."""
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: stopping.append(received))
    stack = Stack(options.data, port=options.port, tapis=options.tapis, node_engine=options.engine, extra_env=PRESET)
    stack.check_web_port()
    stack.prepare_files()
    pid_file(stack.data).write_text(str(os.getpid()))
    ready_file = stack.data / "run" / "ready"
    ready_file.unlink(missing_ok=True)
    marker = stack.data / "run" / "with-tapis"
    marker.touch() if options.tapis else marker.unlink(missing_ok=True)
    try:
        stack.start_database()
        stack.start(["redis"])
        stack.provision()
        if not stopping:
            stack.start()
            ready_file.write_text(str(os.getpid()))
            print_address(stack, with_login=sys.stdout.isatty())  # else it is the supervisor's log
            say("Ctrl-C stops it.")
        while not stopping:
            time.sleep(0.5)
            restart_ended(stack)
        return 0
    except ServiceError as error:
        say(f"error: {error}")
        return 1
    finally:
        ready_file.unlink(missing_ok=True)
        stack.stop()
        pid_file(stack.data).unlink(missing_ok=True)


def restart_ended(stack: Stack) -> None:
    for name, service in stack.services.items():
        if not service.running():
            code = service.process.returncode if service.process else None
            say(f"{time.strftime('%H:%M:%S')} {name} ended with {code}; starting it again")
            time.sleep(1)  # a service that cannot start must not spin
            service.start()


def command_stop(options: argparse.Namespace) -> int:
    pid = supervisor_pid(options.data)
    if pid is None:
        say("No sandbox runs here.")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 60
    while process_alive(pid):
        if time.monotonic() > deadline:
            say(f"The supervisor (pid {pid}) did not stop within 60 s.")
            return 1
        time.sleep(0.1)
    say("The sandbox is stopped; its data stay.")
    return 0


def command_status(options: argparse.Namespace) -> int:
    if supervisor_pid(options.data) is None:
        say("stopped")
        return 3  # as `systemctl status` and init scripts answer for a program that is not running
    stack = Stack(options.data, tapis=has_tapis(options.data))
    print_address(stack)
    checks = {"web": "/login/", "node": "/info"}
    if stack.tapis:
        checks["tapis"] = "/v3/tenants/portals"
    failed = False
    for name, path in checks.items():
        answering = answers_http(stack.address(name) + path)
        failed = failed or not answering
        say(f"  {name}: {'answers' if answering else 'DOES NOT ANSWER, see ' + str(stack.log_path(name))}")
    return 1 if failed else 0


def command_logs(options: argparse.Namespace) -> int:
    stack = Stack(options.data)
    paths = [stack.log_path(name) for name in (options.service or ("supervisor",) + SERVICES)]
    paths = [path for path in paths if path.exists()]
    if not paths:
        say(f"No logs in {stack.data / 'log'}.")
        return 1
    argv = ["tail", "-n", str(options.lines)] + (["-F"] if options.follow else []) + [str(path) for path in paths]
    code = subprocess.call(argv)
    return code if code >= 0 else 128 - code  # ended by a signal, as shells say it


def command_manage(options: argparse.Namespace) -> int:
    """Runs a management command in the sandbox: beside the running one, or with its database started for the moment."""
    if not (options.data / "config.json").exists():
        say("error: there is no sandbox yet; make one by `./webodm.sh sandbox start --detach`")
        return 1
    running = supervisor_pid(options.data) is not None
    stack = Stack(options.data, tapis=has_tapis(options.data), extra_env=PRESET)
    try:
        stack.start_database()  # finds the running one
        if not running:
            stack.start(["redis"])
            stack.provision()
        return subprocess.call([sys.executable, str(HOST_DIR / "manage.py"), *options.arguments],
                               env=stack.environment())
    finally:
        if not running:
            stack.stop()


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="webodm.sh sandbox", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    def add(name: str, function, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--data", type=Path, default=DEFAULT_DATA, help="its directory (default: .sandbox)")
        sub.set_defaults(function=function)
        return sub

    start = add("start", command_start, "start PostgreSQL, Redis, mail, a node, web, worker and beat")
    start.add_argument("--port", type=int, default=0, help="web port on 127.0.0.1 (default: the last one; at first 8000, or a free one)")
    start.add_argument("--tapis", action="store_true", help="with the stand-in Tapis server, a client and flights")
    start.add_argument("--engine", metavar="COMMAND", help="what the node runs instead of the project's own engine")
    start.add_argument("--detach", action="store_true", help="return when everything answers")
    add("stop", command_stop, "stop all of it, and keep the data")
    add("status", command_status, "what runs and answers")
    logs = add("logs", command_logs, "the services' logs")
    logs.add_argument("service", nargs="*", choices=[*SERVICES, "supervisor", []], help="which (default: all)")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=50)
    manage = add("manage", command_manage, "run one of WebODM's or our management commands")
    manage.add_argument("arguments", nargs=argparse.REMAINDER)
    return top


def main() -> int:
    options = parser().parse_args()
    options.data = options.data.resolve()
    if options.command == "start" and not options.port and not (options.data / "config.json").exists():
        options.port = DEFAULT_PORT if port_is_free(DEFAULT_PORT) else free_port()  # a WebODM may have 8000 already
    try:
        return options.function(options)
    except ServiceError as error:
        say(f"error: {error}")
        return 1
    except BrokenPipeError:
        # Whoever read has enough, like `| head -1`. What is left to write goes nowhere, else the interpreter complains as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


if __name__ == "__main__":
    sys.exit(main())
