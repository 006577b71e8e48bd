"""Downloads of results by signed link: one file, whole or in ranges (RFC 9110, 14), from here or by a redirect to the object storage."""
import io
import logging
import os
import re
from pathlib import Path
from typing import Any, BinaryIO, Callable, Optional

from django.http import FileResponse, HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date, parse_http_date_safe

from app_extensions.host import log_fields
from app_extensions.openscan import traffic
from app_extensions.openscan.results import packing

from .http import method_not_allowed, rig_view
from .slots import Slot, release_database

logger = logging.getLogger("app.logger")

_RANGE = re.compile(r"bytes=[ \t]*(\d*)-(\d*)\Z", re.ASCII)
_METHODS = ["GET", "HEAD"]


class FilePiece(io.RawIOBase):
    """Bytes `start` to `end` (inclusive) of a file. When it is closed, it reports how many bytes were sent.

    It has a file number and is positioned at `start`, so gunicorn's file wrapper can give it to the kernel's sendfile, which sends as many
    bytes as Content-Length says and then seeks to where it stopped. When read in Python, it stops at `end`.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, at_end: Callable[[int], None]):
        super().__init__()
        self._file = file
        self._start, self._position, self._end = start, start, end
        self._at_end = at_end
        file.seek(start)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Record the position. `socket.sendfile` calls this at its end with the position up to which it sent."""
        self._position = self._file.seek(offset, whence)
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), max(0, self._end + 1 - self._position)))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            self._at_end(max(0, self._position - self._start))
        super().close()


class ResultResponse(FileResponse):
    """Streams a piece of a file. The view sets the headers."""

    def set_headers(self, filelike: Any) -> None:
        """Do nothing. FileResponse would announce the whole file."""


@rig_view
def result_view(request: HttpRequest, link: str) -> HttpResponse:
    """The result behind a link.

    Answers 200, 206 for one range, or 302 to the object storage. Errors: 404 if the link is not ours, 410 if it has expired, 503 if the
    result is temporarily not available.
    """
    if request.method not in _METHODS:
        return method_not_allowed(_METHODS)
    result = packing.find_result(link)
    unchanged = get_conditional_response(request, etag=result.etag, last_modified=int(result.modified_at))
    if unchanged is not None:
        return _with_headers(unchanged, result)
    is_get = request.method == "GET"
    if is_get and result.path is None:
        return _redirect(result)
    wanted = _wanted_range(request, result)
    if wanted == ():
        response = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{result.size_bytes}"
        return _with_headers(response, result)
    start, end = wanted or (0, result.size_bytes - 1)
    if is_get and result.path is not None:
        response = _streamed(result.path, link, start, end)
    else:
        response = HttpResponse(content_type="application/zip")
    response["Content-Length"] = str(end - start + 1)
    if wanted:
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{end}/{result.size_bytes}"
    response["Content-Disposition"] = f'attachment; filename="{result.file_name}"'
    return _with_headers(response, result)


def _streamed(path: Path, link: str, start: int, end: int) -> HttpResponse:
    """Bytes `start` to `end` of a result's file. Raises OpenScanError: 410 if the file vanished, 503 if there are too many transfers."""
    slot = Slot()
    try:
        file = packing.open_file(path)
    except BaseException:
        slot.free()
        raise
    release_database()
    return ResultResponse(FilePiece(file, start, end, _when_sent(link, end - start + 1, slot)), content_type="application/zip")


def _redirect(result: packing.Result) -> HttpResponse:
    """Redirect to the object storage, which serves ranges itself. HEAD is answered here, because the signed address only allows GET."""
    traffic.note_redirect()
    response = HttpResponse(status=302)
    response["Location"] = result.url
    response["Cache-Control"] = "no-store"
    response["Referrer-Policy"] = "no-referrer"
    return response


def _when_sent(link: str, wanted_bytes: int, slot: Slot) -> Callable[[int], None]:
    """A function to call when a download has ended. That is after the view, so it keeps the log line's fields until then."""
    fields = {**log_fields.current(), "scan": link.partition(".")[0]}

    def sent(sent_bytes: int) -> None:
        slot.free()
        traffic.note_sent(sent_bytes)
        with log_fields.log_fields(**fields):
            logger.info("OpenScan: %d of %d bytes of a result sent", sent_bytes, wanted_bytes)

    return sent


def _with_headers(response: HttpResponse, result: packing.Result) -> HttpResponse:
    response["Accept-Ranges"] = "bytes"
    response["ETag"] = result.etag
    response["Last-Modified"] = http_date(result.modified_at)
    # The link works as a key, so shared caches must not store the result, and no other site may learn the link from a Referer.
    response["Cache-Control"] = "private, no-cache"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _wanted_range(request: HttpRequest, result: packing.Result) -> Optional[tuple]:
    """The (first, last) byte; None for the whole file; () for a range beyond its end.

    A request with several ranges or an unknown form gets the whole file, which RFC 9110, 14.2 allows.
    """
    match = _RANGE.match(request.META.get("HTTP_RANGE", "").strip())
    if not match or match.groups() == ("", "") or not _range_holds(request, result):
        return None
    first, last = match.groups()
    size = result.size_bytes
    if not first:
        length = min(int(last), size)
        return (size - length, size - 1) if length else ()
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return (start, end) if start < size else ()


def _range_holds(request: HttpRequest, result: packing.Result) -> bool:
    """Whether If-Range, if it is sent, matches the current file. If not, the client gets the whole new file."""
    condition = request.META.get("HTTP_IF_RANGE", "").strip()
    if not condition:
        return True
    if condition.startswith('"'):
        return condition == result.etag
    since = parse_http_date_safe(condition)
    return since is not None and int(result.modified_at) == since
