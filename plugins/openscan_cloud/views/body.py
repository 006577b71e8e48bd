"""Read a request's body as a stream, with a Content-Length or in chunks, holding only one piece in memory.

Django 2.2 silently treats a chunked body as empty, so we read from `wsgi.input`. gunicorn's own `Body.read` reads in steps of 1 KiB
and copies the rest of its buffer each time. Calling its inner reader directly needs only a fraction of the CPU time. With other
servers, we read in the standard way.
"""
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError

PIECE_BYTES = 1 << 18
_DRAIN_SECONDS = 30


class RequestBody:
    """The body of a request, from its WSGI `environ`. `length` is None if the body is sent in chunks."""

    def __init__(self, environ: dict):
        self._environ = environ
        self._input = environ["wsgi.input"]
        self._read_bytes = 0
        self._is_broken = False
        self.length = self._announced_length()

    def pieces(self) -> Iterator[bytes]:
        """Yield the body piece by piece, up to its end or Content-Length. If the client stops early, so does this: compare with `length`.

        Raises OpenScanError: 408 if nothing came for a while, 400 if the upload broke off.
        """
        read = self._reader()
        with self._patience():
            while self.length is None or self._read_bytes < self.length:
                wanted = PIECE_BYTES if self.length is None else min(PIECE_BYTES, self.length - self._read_bytes)
                piece = self._read_piece(read, wanted)
                if not piece:
                    return
                self._read_bytes += len(piece)
                yield piece

    def read_small(self, most_bytes: int) -> bytes:
        """The whole body. Raises OpenScanError (413) if it is larger than `most_bytes`."""
        pieces = []
        for piece in self.pieces():
            pieces.append(piece)
            if self._read_bytes > most_bytes:
                raise OpenScanError(f"The request's body is too large: {most_bytes:,} bytes are allowed here.", 413)
        return b"".join(pieces)

    def drain(self, most_bytes: int) -> None:
        """Read and drop what the client still sends, up to a limit. If we closed now, many clients would see a reset, not our answer."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        limit = self._read_bytes + most_bytes
        try:
            for _ in () if self._is_broken else self.pieces():
                if self._read_bytes > limit or time.monotonic() > deadline:
                    return
        except OpenScanError:
            return  # the client is gone or silent; the answer already says what went wrong

    def _announced_length(self) -> Optional[int]:
        if "chunked" in self._environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            return None
        text = self._environ.get("CONTENT_LENGTH") or "0"
        return int(text) if text.isascii() and text.isdigit() else 0

    def _read_piece(self, read: Any, wanted: int) -> bytes:
        try:
            return read(wanted)
        except OSError as error:
            self._is_broken = True
            if "timed out" in str(error):
                raise OpenScanError(
                    f"No data came for {conf.upload_idle_seconds} seconds, so the upload was stopped. Send this part again.",
                    408) from error
            raise OpenScanError("The upload broke off; send this part again.") from error

    def _reader(self) -> Any:
        reader = getattr(self._input, "reader", None)
        unreader = getattr(reader, "unreader", None) or getattr(getattr(reader, "req", None), "unreader", None)
        if type(self._input).__module__ != "gunicorn.http.body" or reader is None or unreader is None or self._input.buf.tell():
            return self._input.read
        if hasattr(unreader, "mxchunk"):
            unreader.mxchunk = PIECE_BYTES
        return reader.read

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Limit the silence on the connection while the body is read, so that a stalled rig does not block a worker."""
        connection = self._environ.get("gunicorn.socket")
        if connection is None:
            yield
            return
        before = connection.gettimeout()
        connection.settimeout(conf.upload_idle_seconds)
        try:
            yield
        finally:
            connection.settimeout(before)
