"""Add fields to log lines, from the request to the worker: `request=… scan=… flight=… job=…` at the end of each line.

Fields apply inside a block. Every Celery job that is queued in the block carries them along, even WebODM's own jobs. So searching all logs
for one id finds everything that happened to a scan or a flight. Fields are ids: never a secret, and never text from a client.
"""
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Optional

from celery import signals
from django.http import HttpRequest

#: The header of Celery messages that carries the fields, and the HTTP header of requests and answers that carries the request's id.
MESSAGE_HEADER = "app_extensions_log"
REQUEST_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9._:@/-]{1,64}\Z", re.ASCII)
#: Prefixes of our own jobs. Their log lines also get the first letters of the job's id.
_OURS = ("app_extensions.", "app.tasks.tapis_storage.")
_MOST_FIELDS = 8

_fields: "ContextVar[Optional[dict[str, str]]]" = ContextVar("app_extensions_log_fields", default=None)
_jobs: "dict[str, Token]" = {}


def current() -> "dict[str, str]":
    """The current fields, in the order in which they were set."""
    return _fields.get() or {}


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Add fields to all log lines and queued jobs inside the block."""
    token = _fields.set(_merged(fields))
    try:
        yield
    finally:
        _fields.reset(token)


def note_fields(**fields: Any) -> None:
    """Add fields from here to the end of the enclosing block. Does nothing outside of a block."""
    if _fields.get() is not None:
        _fields.set(_merged(fields))


@contextmanager
def request_fields(request: HttpRequest) -> Iterator[str]:
    """The block for a web request. Yields the request's id: the one that a proxy set (``X-Request-ID``), or a new one."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(6)
    with log_fields(request=request_id):
        yield request_id


def connect() -> None:
    """Make Celery's messages carry the fields. Call this once in every process."""
    signals.before_task_publish.connect(_send, dispatch_uid="app_extensions.log_fields.send")
    signals.task_prerun.connect(_begin, dispatch_uid="app_extensions.log_fields.begin")
    signals.task_postrun.connect(_end, dispatch_uid="app_extensions.log_fields.end")


def _merged(fields: "dict[str, Any]") -> "dict[str, str]":
    return {**current(), **{name: str(value) for name, value in fields.items() if value is not None}}


def _send(headers: Any = None, **_: Any) -> None:
    fields = {name: value for name, value in current().items() if name != "job"}
    if fields and isinstance(headers, dict):
        headers[MESSAGE_HEADER] = fields


def _begin(task_id: str, task: Any, **_: Any) -> None:
    carried = task.request.get(MESSAGE_HEADER)
    # We trust the broker with jobs, but still check anything from outside the process before printing it.
    fields = {name: value for name, value in list(carried.items())[:_MOST_FIELDS]
              if name.isidentifier() and isinstance(value, str) and _VALUE.match(value)} if isinstance(carried, dict) else {}
    if task.name.startswith(_OURS):
        fields["job"] = task_id[:8]
    _jobs[task_id] = _fields.set(fields)


def _end(task_id: str, **_: Any) -> None:
    token = _jobs.pop(task_id, None)
    if token is not None:
        _fields.reset(token)
