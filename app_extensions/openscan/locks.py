"""Locks that the database holds, and releases by itself when their holder dies.

They are session-level PostgreSQL advisory locks: a job may hold one across many transactions, and a killed worker leaves
nothing that must time out. They only prevent duplicate work. Every change of a scan's state also takes the scan's row lock,
so a lock that is lost with its connection costs double work and nothing else.
"""
import logging
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connection
from django.db.transaction import TransactionManagementError

logger = logging.getLogger("app.logger")

#: First of an advisory lock's two numbers: "OS" in ASCII, then what the second number stands for.
_SCAN, _JOB, _LINE = 0x4F530001, 0x4F530002, 0x4F530003


#: A host that loses power or network does not close its connections. With these keepalives, PostgreSQL notices within two
#: minutes instead of the system's two hours and releases the locks. They have no effect on a local socket.
_KEEPALIVE = "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 5"


@contextmanager
def scan_lock(scan_id: int) -> Iterator[bool]:
    """Try to lock a scan. Yields whether it worked; if so, no other process works on the scan inside the block."""
    with _advisory_lock(_SCAN, scan_id) as held:
        yield held


@contextmanager
def job_lock(name: str, patience_seconds: float = 0) -> Iterator[bool]:
    """Try to lock a job that only one process may run at a time. Yields whether it worked.

    :param patience_seconds: how long to wait for the process that runs it: it may have looked for work before ours was there
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
    """Wait for the lock of this name and keep it until the transaction ends. Use it around a count and the insert that it allows.

    :raises TransactionManagementError: no transaction is open
    """
    if not connection.in_atomic_block:
        raise TransactionManagementError("wait_in_line needs a transaction: the lock is held until it ends")
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
                logger.warning("OpenScan: a connection was lost, and its lock with it: %s", problem)
