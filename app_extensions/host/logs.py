"""Keep secrets out of logs, and add the fields of ``log_fields`` to each line, as text or as JSON.

Every record is masked when it is made, whichever logger and handler it uses. A filter on a handler would not be enough: Celery, gunicorn
and libraries have their own handlers.
"""
import json
import logging
import os
import re
import traceback
from datetime import datetime, timezone
from typing import Any

from celery import signals
from django.conf import settings

from app_extensions.host import log_fields

MASK = "********"

# The first are always masked. `code` and `state` are masked only if long enough to be OAuth's, and not an exit code or a country.
_SECRETS = ("token|access_token|refresh_token|id_token|jwt|client_secret|password|secret|signature|sig|"
            "x-amz-signature|x-amz-security-token|x-tapis-token")
_LONG = "code|state"
#: Clients can influence the text of log lines, so each pattern must run in linear time on any text. No two repetitions may match the
#: same characters, and a match must not start inside text that an earlier attempt has already read.
_PATTERNS = (
    # token=… in queries and forms
    (re.compile(rf"(?i)(?<![a-z0-9_])((?:{_SECRETS})=)[^\s&\"'<>#;,)]+"), r"\1" + MASK),
    (re.compile(rf"(?i)(?<![a-z0-9_])((?:{_LONG})=)[^\s&\"'<>#;,)]{{8,}}"), r"\1" + MASK),
    # "token": "…" in JSON and in printed dictionaries
    (re.compile(rf"(?i)([\"'](?:{_SECRETS})[\"']\s*:\s*[\"'])[^\"']+"), r"\1" + MASK),
    (re.compile(rf"(?i)([\"'](?:{_LONG})[\"']\s*:\s*[\"'])[^\"']{{8,}}"), r"\1" + MASK),
    # headers
    (re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|jwt)\s+)?)[A-Za-z0-9._~+/=-]{4,}"), r"\1" + MASK),
    (re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}"), r"\1" + MASK),
    (re.compile(r"(?i)(x-tapis-token[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9._~+/=-]{8,}"), r"\1" + MASK),
    # JSON web tokens anywhere, even if they are cut off
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}"), MASK),
    # In upload and download links, the key follows the scan's number. Django logs the path of every request that it refuses.
    (re.compile(r"(/api/openscan/(?:u|download)/[0-9]{1,18})[A-Za-z0-9._-]{8,}"), r"\1." + MASK),
    # user:password@host in URLs
    (re.compile(r"(://[^/\s:@]*:)[^/\s]+(@)"), r"\1" + MASK + r"\2"),
)


def mask(text: str) -> str:
    """``text`` with the values of tokens, codes, passwords and signatures replaced by stars."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class _MaskingFactory:
    """Makes log records, masks their text, and adds the current fields."""

    def __init__(self, make: Any, as_json: bool) -> None:
        self.make = make
        self.as_json = as_json

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            return record  # the handler will report the wrong arguments, without their values
        masked = mask(text)
        record.fields = log_fields.current()
        if record.fields and not self.as_json:
            masked += "".join(f" {name}={value}" for name, value in record.fields.items())
        if masked != text:
            record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[1] is not None:
            # Formatters use this text instead of formatting the exception themselves.
            record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return record


class JsonFormatter(logging.Formatter):
    """Writes one line of JSON per record: time, level, logger, message, the fields, and the traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of JSON."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname, "logger": record.name, "message": record.getMessage(),
        }
        for name, value in getattr(record, "fields", {}).items():
            told.setdefault(name, value)
        if record.exc_text or record.exc_info:
            told["exception"] = record.exc_text or mask(self.formatException(record.exc_info))  # type: ignore[arg-type]
        return json.dumps(told, ensure_ascii=False, default=str)


def wants_json() -> bool:
    """Whether the setting LOG_JSON (environment: WO_LOG_JSON) is switched on."""
    return str(getattr(settings, "LOG_JSON", os.environ.get("WO_LOG_JSON", "NO"))).strip().upper() in ("YES", "TRUE", "1", "ON")


def install() -> None:
    """Mask every record made from now on in this process and its forks, and add the fields. A second call does no harm."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _MaskingFactory):
        logging.setLogRecordFactory(_MaskingFactory(factory, wants_json()))
    log_fields.connect()
    if wants_json():
        for name in ("", "app.logger", "django"):
            _format_as_json(logging.getLogger(name))
        # A worker makes its own handlers after the applications are loaded.
        signals.after_setup_logger.connect(_format_as_json, dispatch_uid="app_extensions.logs.json")
        signals.after_setup_task_logger.connect(_format_as_json, dispatch_uid="app_extensions.logs.json_task")


def _format_as_json(logger: logging.Logger, **_: Any) -> None:
    for handler in logger.handlers:
        handler.setFormatter(JsonFormatter())
