"""`manage.py` for the command line: no system checks, so that WebODM's pages and plugins are not booted, and no log on stdout.

WebODM's own manage.py imports every URL and loads every plugin before a command runs: 11 to 19 seconds, and a dozen lines of log.
"""
import importlib
import logging
import os
import sys


def main() -> None:
    """Run one management command in the current directory's WebODM."""
    sys.path[0] = os.getcwd()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webodm.settings")
    from django.core.management import BaseCommand, execute_from_command_line

    arguments = sys.argv[1:]
    if arguments[:1] not in (["check"], ["migrate"], ["runserver"], ["test"]):
        BaseCommand.requires_system_checks = False
        logging.disable(logging.INFO)
        import django

        django.setup()
        importlib.import_module("app.signals")  # a new user joins the default group; WebODM connects this when its pages boot
    execute_from_command_line(["manage.py", *arguments])


if __name__ == "__main__":
    main()
