"""The command line behind `./webodm.sh install|uninstall|doctor|package|start|stop|update|manage|backup …`."""
import argparse
import os
import sys
from pathlib import Path
from typing import Optional

if __package__ in (None, ""):  # run as `python deploy …`: no PYTHONPATH that WebODM's own processes would inherit
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from deploy import backup, docker, doctor, install, package, uninstall
from deploy.report import DeployError
from deploy.webodm import WebODM, read_env_file

TARGET_OPTIONS = ("--webodm", "--python", "--env-file")
IMAGE_PARTS = ("code", "plugins", "node")


def _add_target(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--webodm", metavar="DIR", required=required, help="WebODM's directory, with its manage.py")
    parser.add_argument("--python", metavar="PY", help="the Python that runs WebODM (default: its virtual environment, or the one "
                                                       "that runs it now)")
    parser.add_argument("--env-file", metavar="FILE", help="file with the environment of WebODM's service, KEY=VALUE per line "
                                                           "(default: your environment)")


def make_parser() -> argparse.ArgumentParser:
    """The native commands; the Docker ones pass their arguments on to WebODM and are read in `deploy.docker`."""
    parser = argparse.ArgumentParser(prog="./webodm.sh", description="Adds OpenScan Cloud and Tapis storage to a WebODM.")
    commands = parser.add_subparsers(dest="command", required=True)

    one = commands.add_parser("install", help="add OpenScan Cloud and Tapis storage to a native WebODM")
    _add_target(one, required=True)
    one.add_argument("--dry-run", action="store_true", help="only show what would change")
    how = one.add_mutually_exclusive_group()
    how.add_argument("--copy", dest="mode", action="store_const", const="copy",
                     help="install the apps as a wheel and copy the plugins (default); run `install` again to update them")
    how.add_argument("--link", dest="mode", action="store_const", const="link",
                     help="link to this checkout, to work on the code")

    one = commands.add_parser("uninstall", help="remove them again; their tables and files stay")
    _add_target(one, required=True)
    one.add_argument("--dry-run", action="store_true", help="only show what would change")
    one.add_argument("--purge", action="store_true", help="also delete their tables and files")

    one = commands.add_parser("doctor", help="report what is wrong and how to fix it")
    _add_target(one, required=False)
    one.add_argument("--url", help="address of the running WebODM (default: WO_OPENSCAN_PUBLIC_URL, else WO_HOST:WO_PORT)")
    one.add_argument("--json", action="store_true", help="print JSON, for programs")

    one = commands.add_parser("backup", help="save our tables of a native WebODM in a gzipped SQL file")
    _add_target(one, required=False)
    one.add_argument("file", nargs="?", help="the file (default: a name with the time)")

    for part in IMAGE_PARTS:  # steps of the Dockerfile and of the container's start; not for people
        one = commands.add_parser(f"image-{part}")
        one.add_argument("--webodm", metavar="DIR", required=True)

    one = commands.add_parser("package", help="make the two plugin zips for WebODM's plugin page")
    one.add_argument("--out", metavar="DIR", default="dist", help="directory for the zips (default: dist)")
    return parser


def _target(options: argparse.Namespace) -> WebODM:
    extra = read_env_file(Path(options.env_file)) if options.env_file else {}
    return WebODM(Path(options.webodm), python=options.python, extra_env=extra)


def _is_in_docker(options: argparse.Namespace) -> bool:
    """Whether no native WebODM is named. Raises DeployError where something is named that only a native one has."""
    if not options.webodm and (options.python or options.env_file):
        raise DeployError(f"{options.command}: --python and --env-file are for a native WebODM. Add --webodm DIR")
    return not options.webodm


def _manage(arguments: "list[str]") -> int:
    """`[--webodm DIR [--python PY] [--env-file FILE]] COMMAND …`: what follows the options is manage.py's alone.

    Without options: in the running container.
    """
    split = 0
    while split < len(arguments) and arguments[split].split("=", 1)[0] in TARGET_OPTIONS:
        split += 1 if "=" in arguments[split] else 2
    if not arguments[split:]:
        raise DeployError("manage needs a command, e.g. ./webodm.sh manage --webodm DIR openscan_token list")
    if not split:
        return docker.main("manage", arguments)
    parser = argparse.ArgumentParser(prog="./webodm.sh manage", allow_abbrev=False)
    _add_target(parser, required=True)
    options = parser.parse_args(arguments[:split])
    options.python = options.python or os.environ.get("WEBODM_DIR_PYTHON")
    webodm = _target(options)
    print(f"manage: in the WebODM of {webodm.directory}", file=sys.stderr, flush=True)
    return webodm.manage_here(arguments[split:])


def main(arguments: Optional[list[str]] = None) -> int:
    """Runs one command; returns the exit code: 0 done, 1 something is wrong, 2 wrong arguments."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] == "manage":
            return _manage(arguments[1:])
        native = any(argument.split("=", 1)[0] in TARGET_OPTIONS for argument in arguments[1:])
        if arguments and arguments[0] in docker.COMMANDS and not (arguments[0] == "uninstall" and native):
            return docker.main(arguments[0], arguments[1:])
        if arguments and arguments[0] == "backup" and not native:
            return docker.run_backup(arguments[1:])
        options = make_parser().parse_args(arguments)
        if options.command == "install":
            return install.install(_target(options), mode=options.mode, dry_run=options.dry_run,
                                   env_file=options.env_file or "")
        if options.command == "uninstall":
            return uninstall.uninstall(_target(options), purge=options.purge, dry_run=options.dry_run)
        if options.command == "doctor":
            if _is_in_docker(options):
                return docker.doctor(options.url, options.json)
            return doctor.main(_target(options), url=options.url, as_json=options.json)
        if options.command == "backup":
            _is_in_docker(options)
            return backup.backup(_target(options), Path(options.file) if options.file else None)
        if options.command.startswith("image-"):
            webodm = WebODM(Path(options.webodm), python=sys.executable)
            return install.install_image_part(webodm, options.command.split("-", 1)[1])
        return package.main(Path(options.out))
    except DeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
