"""Results: packs a model into one zip, signs the link to it, and removes it in the end.

The task's files are packed into a new file, which is renamed into place before the row refers to it. So a link never delivers half a
zip. If a bucket is set, the result then moves there (``object_storage.publish``). A fingerprint records which files were packed: a
task that was restarted in WebODM has other files, so its result is packed again.
"""
import base64
import datetime
import errno
import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import zipfile
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple, Optional

from django.utils import timezone
from django.utils.crypto import salted_hmac

from app_extensions.host import assets
from app_extensions.openscan import links, part_files
from app_extensions.openscan.conf import conf
from app_extensions.openscan.dispatch import dispatch
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.file_names import plain
from app_extensions.openscan.models import Scan
from app_extensions.openscan.results.object_storage import client, offer

logger = logging.getLogger("app.logger")

DOWNLOAD_PATH = "/api/openscan/download/"
NOT_FOUND, GONE, AWAY = 404, 410, 503
TEMPORARY_SUFFIX = ".packing"
#: The names from `new_file_name`, and those of files that are being packed.
_OURS = re.compile(r"[0-9]+-[0-9a-f]{16}\.zip(\.packing)?")
#: File types that belong to a model. ODM leaves settings and intermediate files beside it.
_MODEL_SUFFIXES = (".obj", ".mtl", ".glb", ".ply", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
#: Already compressed: deflating them again costs time and saves nothing.
_STORED_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".glb", ".laz")
#: Files that our engine makes for people: a page that shows the model offline, and a picture of it.
_FOR_PEOPLE = ("viewer.html", "odm_report/preview.png")
_FALLBACKS = ("odm_georeferencing/odm_georeferenced_model.laz", "odm_georeferencing/odm_georeferenced_model.ply")
_FORM = re.compile(r"(\d{1,18})\.(\d{1,12})\.([A-Za-z0-9_-]{22})\Z", re.ASCII)


_NAMES_AT_ONCE = 500


class NoModel(Exception):
    """The node reported success but delivered no model."""


class Result(NamedTuple):
    """A result that can be downloaded: a local file, or an address in object storage."""

    path: Optional[Path]
    file_name: str
    etag: str
    modified_at: float
    size_bytes: int
    url: str = ""


def model_files(directory: Path) -> "list[Path]":
    """The files of a task's model, sorted, then the files that show it to people. The point cloud if there is no mesh.

    :param directory: the task's assets
    """
    texturing = directory / "odm_texturing"
    found = [path for path in _regular_files(texturing) if path.suffix.lower() in _MODEL_SUFFIXES]
    if any(path.suffix.lower() in (".obj", ".glb") for path in found):
        return found + _present(directory, _FOR_PEOPLE)
    return _present(directory, _FALLBACKS)


def _present(directory: Path, names: "tuple[str, ...]") -> "list[Path]":
    return [path for path in (directory / name for name in names) if path.is_file() and not path.is_symlink()]


def _regular_files(directory: Path) -> "list[Path]":
    try:
        return sorted(path for path in directory.iterdir() if stat.S_ISREG(path.lstat().st_mode))
    except FileNotFoundError:
        return []


def fingerprint(files: "list[Path]", *, exact: bool = False) -> str:
    """A hash of names, sizes and times, which differs between runs of a task. Empty for no files.

    :param exact: use times in nanoseconds, as older versions did. By default we use whole seconds, which survive a backup with tar.
    """
    if not files:
        return ""
    told = "\n".join(f"{path.name}\t{path.stat().st_size}\t{path.stat().st_mtime_ns // (1 if exact else 10**9)}" for path in files)
    return hashlib.sha256(told.encode()).hexdigest()


def is_current(scan: Scan, task: Any) -> bool:
    """Whether the scan's outcome (its result, or having none) matches the completed task's present files."""
    if scan.state not in (Scan.DONE, Scan.EXPIRED, Scan.FAILED) or scan.released_at is None:
        return False
    return scan.result_source == source_of(task) or scan.result_source == source_of(task, exact=True)


def source_of(task: Any, *, exact: bool = False) -> str:
    """The fingerprint of a task's model; ``none`` if it has no model. :param exact: as in ``fingerprint``"""
    try:
        return fingerprint(model_files(assets.assets_dir(task)), exact=exact) or "none"
    except FileNotFoundError:
        return "none"  # replaced while we looked; the next look sees the new ones


def pack(files: "list[Path]", name: str) -> "tuple[Path, int]":
    """Zip a model's files, all at the archive's root.

    :param name: the result's file name; a random one, never the project's
    :return: path and size in bytes of the zip, which is complete and durable
    :raises NoModel: there is nothing to pack
    :raises OSError: the disk is full, or a file vanished
    """
    if not files:
        raise NoModel("The processing node delivered no model.")
    final = part_files.results_dir() / name
    temporary = final.with_name(final.name + TEMPORARY_SUFFIX)
    try:
        with open(temporary, "wb") as out:
            write_zip(out, files)
            out.flush()
            os.fsync(out.fileno())
        size = temporary.stat().st_size
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    part_files.sync_directory(final.parent)
    return final, size


def write_zip(out: Any, files: "list[Path]") -> None:
    """Write a model's files as a zip, each at the archive's root; the same files give the same bytes.

    :param out: a binary file
    """
    # Not strict: some nodes write dates before 1980, which zips cannot hold.
    with zipfile.ZipFile(out, "w", allowZip64=True, strict_timestamps=False) as archive:
        for path in files:
            compressed = path.suffix.lower() in _STORED_SUFFIXES
            archive.write(path, plain(path.name), zipfile.ZIP_STORED if compressed else zipfile.ZIP_DEFLATED, None if compressed else 6)


def new_file_name(scan: Scan) -> str:
    """A new file name for a scan's next result."""
    return f"{scan.pk}-{secrets.token_hex(8)}.zip"


def expiry() -> datetime.datetime:
    """When a result that is packed now will expire."""
    return timezone.now() + datetime.timedelta(days=conf.result_days)


def new_link() -> str:
    """A nonce for a result's link. It ends the links to the scan's earlier results. It is no secret by itself."""
    return secrets.token_hex(8)


def is_expired(scan: Scan) -> bool:
    """Whether a result has expired, even if its file is still there."""
    return not (scan.result_file or scan.result_object) or scan.result_expires_at is None or scan.result_expires_at <= timezone.now()


def result_url(scan: Scan, base_url: str = "") -> str:
    """The result's absolute link. It works without a login until it expires and has no characters that need quoting.

    :param base_url: the link's start if no setting gives it; empty: the address under which the scan was created
    """
    base = links.base_url() or base_url or scan.base_url
    expires = int(scan.result_expires_at.timestamp())
    return f"{base}{DOWNLOAD_PATH}{scan.pk}.{expires}.{_sign(scan.pk, expires, scan.result_link)}.zip"


def find_result(link_text: str) -> Result:
    """The result behind a link: the object, else the file.

    :param link_text: the text between ``download/`` and ``.zip``
    :raises OpenScanError: 404 if the link is not ours or a newer result has replaced its own, 410 if the result has expired, was reset
        or is missing, 503 if the object storage does not answer and there is no file
    """
    match = _FORM.match(link_text)
    number, expires, signature = match.groups() if match else ("0", "0", "")
    scan = Scan.objects.filter(pk=int(number)).first() if match and int(number) < 2**31 else None
    if scan is None:
        raise OpenScanError("This download link is not valid.", NOT_FOUND)
    if not hmac.compare_digest(signature, _sign(scan.pk, int(expires), scan.result_link)):
        raise OpenScanError("This download link is no longer valid; ask for the project's state again.", NOT_FOUND)
    if int(expires) <= timezone.now().timestamp() or scan.state != Scan.DONE or is_expired(scan):
        raise OpenScanError(f"This result has expired; results are kept for {conf.result_days} days.", GONE)
    if scan.result_object:
        published = _published(scan)
        if published is not None:
            return published
    path = part_files.results_dir() / scan.result_file
    try:
        found = path.stat()
    except FileNotFoundError:
        logger.error("OpenScan: the result %s of scan %s is missing on disk", path.name, scan.pk)
        raise OpenScanError("This result no longer exists; ask the site's support.", GONE) from None
    return Result(path, download_name(scan), f'"{scan.result_link}-{found.st_size:x}"', found.st_mtime, found.st_size)


def open_file(path: Path) -> FileIO:
    """Open a result's file, unbuffered: sendfile would skip what Python had read ahead. Raises OpenScanError (410) if it vanished."""
    try:
        return FileIO(path)
    except OSError as problem:
        if problem.errno not in (errno.ENOENT, errno.ESTALE):
            raise
        raise OpenScanError("This result no longer exists; ask the site's support.", GONE) from None


def download_name(scan: Scan) -> str:
    """The file name of a download: the project's name in letters, digits and ``._-``."""
    return f"{plain(scan.name).strip('._-')[:80] or 'model'}.zip"


def _published(scan: Scan) -> Optional[Result]:
    """The object of a result; None if it is unavailable but the file is there.

    :raises OpenScanError: 503 if neither is available; the result is then packed again
    """
    try:
        offered = offer.offer(scan, download_name(scan))
    except client.StorageError as problem:
        logger.error("OpenScan: the result of scan %s cannot be handed out from object storage: %s", scan.pk, problem)
        if scan.result_file:
            return None
        dispatch("restore_result", scan.pk)
        raise OpenScanError("The storage of this result does not answer at the moment; the result is being prepared again, "
                            "try again in a minute.", AWAY) from None
    return Result(None, download_name(scan), offered.etag, offered.stored_at, offered.size_bytes, offered.url)


def _sign(scan_id: int, expires: int, nonce: str) -> str:
    """128 bits of an HMAC-SHA256 keyed by the site's secret key, in URL-safe base64."""
    key = salted_hmac("openscan.result-link", "key").digest()
    text = f"{scan_id}.{expires}.{nonce}".encode("ascii")
    return base64.urlsafe_b64encode(hmac.new(key, text, hashlib.sha256).digest()[:16]).rstrip(b"=").decode("ascii")


def remove_file(name: str) -> None:
    """Remove a result's file if it exists."""
    if name:
        (part_files.results_dir() / name).unlink(missing_ok=True)


def stray_files(min_age_seconds: float) -> "list[Path]":
    """Result files that no row refers to. A process leaves them if it is killed between packing and commit, or before a removal."""
    before = timezone.now().timestamp() - min_age_seconds
    old = []
    for path in part_files.results_dir().iterdir():
        try:
            # Leave other files alone, in case our directory is shared.
            if _OURS.fullmatch(path.name) and path.stat().st_ctime <= before:
                old.append(path)
        except FileNotFoundError:
            continue  # removed by its owner while we looked
    named: set[str] = set()
    for start in range(0, len(old), _NAMES_AT_ONCE):
        names = [path.name for path in old[start:start + _NAMES_AT_ONCE]]
        # The exclusion is redundant, but it matches the condition of the index.
        named.update(Scan.objects.filter(result_file__in=names).exclude(result_file="").values_list("result_file", flat=True))
    return [path for path in old if path.name not in named]
