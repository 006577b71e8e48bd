"""Limit how long a whole call to Tapis may take. requests only limits the silence between two bytes, so a trickle would never end."""
import os
import socket
import threading
from typing import Any, Callable, Optional

import requests
from requests.adapters import HTTPAdapter

from app_extensions.tapis.conf import conf


class CutAfter:
    """Context manager that cuts the connection of a response after some seconds. ``cut`` says whether it did.

    It duplicates the socket. Otherwise the file descriptor could belong to another connection by the time it is shut down.
    """

    def __init__(self, response: requests.Response, seconds: float) -> None:
        """:param response: its body has not been read yet"""
        self.cut = False
        self._socket: Optional[socket.socket] = None
        try:
            self._socket = socket.socket(fileno=os.dup(response.raw.fileno()))
        except (OSError, AttributeError, ValueError):
            pass  # an answer without a body: the connection is closed already, and http.client and urllib3 raise different errors
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
                pass  # the connection was closed just now


class BoundedAdapter(HTTPAdapter):
    """Adds time limits, which tapipy lacks: one between bytes, and one for a call with its whole body.

    :param left: returns the seconds that a call may still take
    """

    def __init__(self, left: Callable[[], float]) -> None:
        self._left = left
        super().__init__()

    def send(self, request: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """Send the request and read the whole body. :raises requests.ReadTimeout: the time is up"""
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
