#!/usr/bin/env python
"""Django's command line for the sandbox host, in the place and under the name that WebODM has it."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webodm.settings")
    # The host's packages stand before the repository's, as they do in the live processes.
    for path in (REPOSITORY, HERE):
        if path not in sys.path:
            sys.path.insert(0, path)
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
