"""How long a call to Tapis may take in all. requests only limits the silence between two bytes: a trickle would go on for ever."""
import os
import socket
import threading
from typing import Any, Callable, Optional

import requests
from requests.adapters import HTTPAdapter

from app_extensions.tapis.conf import conf


class CutAfter:
    """Within the block, the connection of a response is cut when the seconds are over; ``cut`` tells whether it was.

    The socket is duplicated, so that what is shut down is this connection even where its number was given to another since.
    """

    def __init__(self, response: requests.Response, seconds: float) -> None:
        """:param response: one whose body is still to be read"""
        self.cut = False
        self._socket: Optional[socket.socket] = None
        try:
            self._socket = socket.socket(fileno=os.dup(response.raw.fileno()))
        except (OSError, AttributeError, ValueError):
            pass  # an answer without a body: http.client and urllib3 differ in how they say that the connection is closed already
        self._timer = threading.Timer(max(0.0, seconds), self._end)
        self._timer.daemon = True

    def __enter__(self) -> "CutAfter":
        self._timer.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._timer.cancel()
        if self._socket is not None:
            self._socket.close()

    def _end(self) -> None:
        self.cut = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # over at this very moment


class BoundedAdapter(HTTPAdapter):
    """A transport for tapipy, which knows no time limits: one between bytes, and one for a call with its whole body.

    :param left: the seconds that a call may still take
    """

    def __init__(self, left: Callable[[], float]) -> None:
        self._left = left
        super().__init__()

    def send(self, request: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """As in requests, with the body read. :raises requests.ReadTimeout: the time is over"""
        left = max(0.1, self._left())
        kwargs["timeout"] = (min(conf.connect_timeout, left), min(conf.timeout, left))
        response = super().send(request, **kwargs)
        with CutAfter(response, self._left()) as limit:
            try:
                response.content  # noqa: B018 (reads the body, and keeps it)
            except requests.RequestException:
                if not limit.cut:
                    raise
        if limit.cut:
            raise requests.ReadTimeout("timed out as a whole", request=request)
        return response
