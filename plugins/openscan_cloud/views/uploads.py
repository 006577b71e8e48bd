"""Upload links: POST or PUT of one part's raw bytes. The link is the only key, so an Authorization header is ignored."""
from django.http import HttpRequest, HttpResponse

from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import uploads

from .body import RequestBody
from .http import answer, method_not_allowed, rig_view
from .slots import Slot, release_database

_METHODS = ["POST", "PUT"]
_DRAIN_MORE_BYTES = 64_000_000


@rig_view
def upload_view(request: HttpRequest, link: str) -> HttpResponse:
    """Receive a part. Answers exactly 200 once the part is safely on disk and in the database.

    On an error, first reads and drops the rest of the body, then answers with the reason.
    If this process has as many transfers as it may, answers 503 at once without reading the body, so that no thread is blocked.
    """
    if request.method not in _METHODS:
        return method_not_allowed(_METHODS)
    body = RequestBody(request.environ)
    with Slot():
        try:
            upload = uploads.open_upload(link.rstrip("/"))
            upload.check_length(body.length)
            release_database()
            part = uploads.receive(upload, body.pieces(), body.length)
        except OpenScanError:
            release_database()
            body.drain(conf.limit_part_bytes + _DRAIN_MORE_BYTES)
            raise
    return answer({"status": "uploaded", "part": part.number, "received": part.size_bytes, "crc32": f"{upload.crc32:08x}"})
