"""Keeps secrets out of logs: every record is masked when it is made, whoever logs it and wherever it goes.

A filter on a handler would miss what Celery, gunicorn and libraries write through handlers of their own.
"""
import logging
import re
import traceback
from typing import Any

MASK = "********"

# Always masked, and masked only when they are long enough to be OAuth's and not an exit code or a country.
_SECRETS = ("token|access_token|refresh_token|id_token|jwt|client_secret|password|secret|signature|sig|"
            "x-amz-signature|x-amz-security-token|x-tapis-token")
_LONG = "code|state"
_PATTERNS = (
    # token=… in queries and forms
    (re.compile(rf"(?i)(?<![a-z0-9_])((?:{_SECRETS})=)[^\s&\"'<>#;,)]+"), r"\1" + MASK),
    (re.compile(rf"(?i)(?<![a-z0-9_])((?:{_LONG})=)[^\s&\"'<>#;,)]{{8,}}"), r"\1" + MASK),
    # "token": "…" in JSON and in printed dictionaries
    (re.compile(rf"(?i)([\"'](?:{_SECRETS})[\"']\s*:\s*[\"'])[^\"']+"), r"\1" + MASK),
    (re.compile(rf"(?i)([\"'](?:{_LONG})[\"']\s*:\s*[\"'])[^\"']{{8,}}"), r"\1" + MASK),
    # headers
    (re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|jwt)?\s*)[A-Za-z0-9._~+/=-]{4,}"), r"\1" + MASK),
    (re.compile(r"(?i)(\bbearer\s+)[A-Za-z0-9._~+/=-]{16,}"), r"\1" + MASK),
    (re.compile(r"(?i)(x-tapis-token[\"']?\s*[:=]\s*[\"']?)[A-Za-z0-9._~+/=-]{8,}"), r"\1" + MASK),
    # JSON web tokens anywhere
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"), MASK),
    # user:password@host in URLs
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^/\s:@]*:)[^/\s@]+(@)"), r"\1" + MASK + r"\2"),
)


def mask(text: str) -> str:
    """``text`` with the values of tokens, codes, passwords and signatures replaced by stars."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class _MaskingFactory:
    """Makes log records and masks their text."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self.make(*args, **kwargs)
        try:
            text = record.getMessage()
        except (TypeError, ValueError):
            return record  # the handler will complain about the wrong arguments, without their values
        masked = mask(text)
        if masked != text:
            record.msg, record.args = masked, ()
        if record.exc_info and record.exc_info[1] is not None:
            # Formatters take this text instead of making their own.
            record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return record


def install() -> None:
    """Masks every record made from now on in this process and its forks. Repeatable."""
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _MaskingFactory):
        logging.setLogRecordFactory(_MaskingFactory(factory))
