"""`python -m dev.demo scan|flight`: runs one demonstration against a sandbox that is up."""
import argparse
import importlib
import sys
from pathlib import Path

from dev.sandbox.__main__ import DEFAULT_DATA, supervisor_pid
from dev.sandbox.stack import Stack

DEMOS = ("scan", "flight")


def main() -> int:
    """The exit code: 0 when the demonstration reached its result."""
    parser = argparse.ArgumentParser(prog="webodm.sh demo", description=__doc__)
    demos = parser.add_subparsers(dest="demo", required=True)
    for name in DEMOS:
        module = importlib.import_module(f"dev.demo.{name}")
        demo = demos.add_parser(name, description=module.__doc__, help=(module.__doc__ or "").partition("\n")[0])
        demo.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the sandbox's directory (default: .sandbox)")
        module.add_arguments(demo)
        demo.set_defaults(run=module.run)
    options = parser.parse_args()
    if supervisor_pid(options.data) is None:
        print(f"No sandbox runs in {options.data}. Start one with: ./webodm.sh sandbox start --detach", file=sys.stderr)
        return 1
    return options.run(Stack(options.data), options)


if __name__ == "__main__":
    sys.exit(main())
