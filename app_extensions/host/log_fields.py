"""What a log line is about, from the request to the worker: `request=… scan=… flight=… job=…` at the end of each line.

Fields hold inside a block and travel with every Celery job that is queued in it, WebODM's own included, so that one word in
all logs finds the whole way of a scan or a flight. They are ids: nothing secret, and nothing that a client wrote.
"""
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, Optional

from celery import signals
from django.http import HttpRequest

#: The header of a message in which fields travel, and of a request and its answer in which the request's id does.
MESSAGE_HEADER = "app_extensions_log"
REQUEST_HEADER = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9._:@/-]{1,64}\Z", re.ASCII)
#: Jobs of ours; their lines also get the first letters of the job's id.
_OURS = ("app_extensions.", "app.tasks.tapis_storage.")
_MOST_FIELDS = 8

_fields: "ContextVar[Optional[dict[str, str]]]" = ContextVar("app_extensions_log_fields", default=None)
_jobs: "dict[str, Token]" = {}


def current() -> "dict[str, str]":
    """The fields of this moment, in the order in which they were set."""
    return _fields.get() or {}


@contextmanager
def log_fields(**fields: Any) -> Iterator[None]:
    """Adds fields to all log lines, and to the jobs queued, inside the block."""
    token = _fields.set(_merged(fields))
    try:
        yield
    finally:
        _fields.reset(token)


def note_fields(**fields: Any) -> None:
    """Adds fields from here to the end of the block around; nothing where there is none."""
    if _fields.get() is not None:
        _fields.set(_merged(fields))


@contextmanager
def request_fields(request: HttpRequest) -> Iterator[str]:
    """The block of a web request. Gives its id: the one that a proxy in front gave it (``X-Request-ID``), or a new one."""
    given = request.META.get("HTTP_X_REQUEST_ID", "")
    request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(6)
    with log_fields(request=request_id):
        yield request_id


def connect() -> None:
    """Has fields travel with Celery's messages; call it once in every process."""
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
    # The broker is trusted with jobs, but whatever comes from outside the process is looked at before it is printed.
    fields = {name: value for name, value in list(carried.items())[:_MOST_FIELDS]
              if name.isidentifier() and isinstance(value, str) and _VALUE.match(value)} if isinstance(carried, dict) else {}
    if task.name.startswith(_OURS):
        fields["job"] = task_id[:8]
    _jobs[task_id] = _fields.set(fields)


def _end(task_id: str, **_: Any) -> None:
    token = _jobs.pop(task_id, None)
    if token is not None:
        _fields.reset(token)
