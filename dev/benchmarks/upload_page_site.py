"""The sandbox's web application, and beside it the page with WebODM's uploader: one server for both sides of `upload_page.py`."""
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from webodm.wsgi import application as webodm

from dev.benchmarks.upload_page import PREFIX

_FILES = {"dropzone.html": "text/html; charset=utf-8", "dropzone.js": "text/javascript"}
_DIRECTORY = Path(os.environ["BENCH_FILES"])


def application(environ: "dict[str, Any]", start_response: Any) -> Iterable[bytes]:
    """Answer for our two files, and leave the rest to WebODM."""
    name = environ["PATH_INFO"].rpartition("/")[2]
    if environ["PATH_INFO"] != PREFIX + name or name not in _FILES:
        return webodm(environ, start_response)
    body = (_DIRECTORY / name).read_bytes()
    start_response("200 OK", [("Content-Type", _FILES[name]), ("Content-Length", str(len(body)))])
    return [body]
