"""Locks that the database keeps and drops by itself when their holder dies.

They are PostgreSQL's advisory locks of a session, so that a job may hold one over many transactions, and a worker killed
in the middle leaves nothing that has to time out. They guard work, not truth: every change of a scan's state is also
made under its row's lock, so that a lock lost with its connection costs double work and nothing else.
"""
import logging
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connection
from django.db.transaction import TransactionManagementError

logger = logging.getLogger("app.logger")

#: The first of an advisory lock's two numbers; "OS" and what the second one counts.
_SCAN, _JOB, _LINE = 0x4F530001, 0x4F530002, 0x4F530003


#: A host that loses its power or its network closes no connection: PostgreSQL asks after it, and drops its locks within two
#: minutes instead of the system's two hours. Without effect on a local socket.
_KEEPALIVE = "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 5"


@contextmanager
def scan_lock(scan_id: int) -> Iterator[bool]:
    """Whether this process may work on the scan; if so, nobody else does inside the block."""
    with _advisory_lock(_SCAN, scan_id) as held:
        yield held


@contextmanager
def job_lock(name: str, patience_seconds: float = 0) -> Iterator[bool]:
    """Whether this process may run a job of which only one may run at a time.

    :param patience_seconds: how long to wait for the one that runs: it may have looked before there was our work to see
    """
    deadline = time.monotonic() + patience_seconds
    number = zlib.crc32(name.encode()) & 0x7FFFFFFF
    while True:
        with _advisory_lock(_JOB, number) as held:
            if held or time.monotonic() >= deadline:
                yield held
                return
        time.sleep(0.05)


def wait_in_line(name: str) -> None:
    """Wait until nobody else has this name, and keep it until the transaction at hand ends. For a count and the insert that it allows.

    :raises TransactionManagementError: there is no transaction
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("a place in line lasts as long as its transaction, and there is none")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LINE, zlib.crc32(name.encode()) & 0x7FFFFFFF])


@contextmanager
def _advisory_lock(group: int, number: int) -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute(_KEEPALIVE)
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [group, number])
        held = cursor.fetchone()[0]
    try:
        yield held
    finally:
        if held:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [group, number])
            except Error as problem:
                # The connection is gone, and the lock with it.
                logger.warning("OpenScan: a lock could not be given back, its connection dropped it: %s", problem)
