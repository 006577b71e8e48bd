"""A private sandbox for measurements, with Django ready in this process over the same database."""
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.sandbox.stack import HOST_DIR, ROOT, Stack, remove_data

QUICK_ENGINE = f"{sys.executable} {ROOT / 'tests' / 'support' / 'quick_engine.py'}"


@contextmanager
def sandbox() -> Iterator[Stack]:
    """A running web server with its own database, which is deleted afterwards. The data are in TMPDIR."""
    data = Path(tempfile.mkdtemp(prefix="webodm-bench-"))
    # PostgreSQL runs as another user if we are root.
    data.chmod(0o755)
    stack = Stack(data, node_engine=QUICK_ENGINE)
    try:
        stack.prepare_files()
        stack.start_database()
        stack.start(["redis"])
        stack.provision()
        stack.start(["redis", "web"])
        os.environ.update(stack.django_env())
        sys.path[:0] = [str(ROOT), str(HOST_DIR)]
        import django

        django.setup()
        yield stack
    finally:
        stack.stop()
        remove_data(data)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="webodm-bench-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
