"""What the tests of object storage share: models that take several parts, and looks at where a result lies."""
import io
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable

from app_extensions.openscan import part_files
from app_extensions.openscan.models import Scan, StoredObject
from app_extensions.openscan.processing import status
from app_extensions.openscan.results import packing
from app_extensions.openscan.results.object_storage import lifecycle
from dev.standins.s3 import PART_BYTES
from tests.openscan.finished import MODEL, link_text

#: A model that is published in three parts.
LARGE = {**MODEL, "odm_texturing/texture.png": os.urandom(2 * PART_BYTES + 1000)}


def link_of(web: Any, scan: Scan) -> str:
    """A result's link at another web server."""
    return f"{web.address}{packing.DOWNLOAD_PATH}{link_text(scan)}.zip"


def files_of(scan: Scan) -> "list[str]":
    """The names of a scan's results in the file system, unfinished ones too."""
    return [path.name for path in part_files.results_dir().iterdir() if path.name.startswith(f"{scan.pk}-")]


def in_the_bucket(scan: Scan, store: Any) -> dict:
    """What the scan's only object holds, after everything was tidied up; nothing of it lies elsewhere."""
    lifecycle.tidy()
    scan.refresh_from_db()
    assert scan.state == Scan.DONE and scan.result_file == "" and status.scan_status(scan) == "processing done"
    assert store.results_of(scan) == [scan.result_object] and store.open_uploads(f"openscan/results/{scan.pk}-") == []
    assert files_of(scan) == []
    entry = StoredObject.objects.get(key=scan.result_object)
    data = store.read(entry.key)
    assert entry.state == "stored" and len(data) == entry.size_bytes
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def in_the_file_system(scan: Scan) -> bytes:
    """What a result in the file system holds; it can be downloaded."""
    scan.refresh_from_db()
    assert scan.state == Scan.DONE and status.scan_status(scan) == "processing done"
    data = (part_files.results_dir() / scan.result_file).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
    return data


def later(scan: Scan) -> None:
    """As if the waits after a failure were over."""
    StoredObject.objects.filter(scan=scan).update(retry_at=None, failed_at=None)


def in_a_thread(work: Callable[[], Any]) -> None:
    """Run `work` in a thread with its own database access, and wait for its end."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result(60)
