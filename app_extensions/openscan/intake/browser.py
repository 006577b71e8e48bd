"""Uploads from a browser: a scan like any other, except that we know the name and size of each file.

Each photo is one part, sent unchanged. So a browser can send several at once, repeat a single one, and continue with the missing
ones after a reload. A zip is cut into slices. The names are stored beside the scan, because a bare photo does not carry its name.
"""
import json
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import QuerySet
from typing_extensions import TypeGuard

from app_extensions.openscan import links
from app_extensions.openscan.accounts import limits
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.intake import scans
from app_extensions.openscan.models import BrowserUpload, Scan, Token
from app_extensions.shared.formatting import format_exact_bytes

#: Size of a zip's slices. Small enough that a broken connection costs little, large enough that 2 GB do not take thousands of requests.
SLICE_BYTES = 16_000_000
LONGEST_PATH = 500
CONFLICT = 409


class FileState(NamedTuple):
    """One file of an upload. `link` is where to send it; empty for one that has arrived."""

    path: str
    size_bytes: int
    link: str


def create_upload(token: Token, name: str, files: Any, *, address: str = "", base_url: str = "") -> Scan:
    """Create a scan for bare photos (and small zips), one part per file. A second call with the same files renews its links.

    :param files: a list of [path, bytes], unchecked from the request's JSON
    :raises OpenScanError: 400 if `files` is malformed or exceeds a limit, 409 if the name belongs to other files, and as `create_scan`
    """
    wanted = _checked(token, files)
    return _create(token, name, wanted, photos=len(wanted), archive="", address=address, base_url=base_url)


def create_archive_upload(token: Token, name: str, archive: Any, size_bytes: Any, photos: Any, *, address: str = "",
                          base_url: str = "") -> Scan:
    """Create a scan for one zip, cut into slices. The values come unchecked from the browser's JSON and are checked here.

    :param archive: the zip's file name
    :param size_bytes: the zip's size
    :param photos: how many photos the browser counted in it
    :raises OpenScanError: 400 if one of these is missing or has the wrong type, and as `create_upload`
    """
    if not isinstance(archive, str) or not archive or len(archive) > 255 or not limits.is_storable(archive):
        raise OpenScanError("The zip has no usable name; rename it and choose it again.")
    if not _is_count(size_bytes) or not _is_count(photos):
        raise OpenScanError("The zip's size and number of photos have to be numbers above zero.")
    step = min(SLICE_BYTES, token.limit_part_bytes)
    sizes = [min(step, size_bytes - start) for start in range(0, min(size_bytes, token.limit_filesize_bytes + 1), step)]
    slices = [(f"{archive} ({number} of {len(sizes)})", size) for number, size in enumerate(sizes, 1)]
    return _create(token, name, slices, photos=photos, archive=archive, address=address, base_url=base_url, size_bytes=size_bytes)


def file_states(scan: Scan, base: str = "") -> "list[FileState]":
    """Each file of an upload, in the order of the parts.

    :param base: what links begin with; empty for paths on this server
    :raises OpenScanError: 409 for a scan that did not come from a browser
    """
    upload = BrowserUpload.objects.filter(scan_id=scan.pk).first()
    if upload is None:
        raise OpenScanError("This scan is not sent by a browser; check the program or rig that sends it.", CONFLICT)
    received = set(scan.parts.exclude(size_bytes=None).values_list("number", flat=True))
    open_links = links.upload_links(scan, base) if scan.state == Scan.CREATED else [""] * scan.parts_count
    return [FileState(path, size, "" if number in received else link)
            for number, ((path, size), link) in enumerate(zip(upload.file_list(), open_links), 1)]


def renew_links(scan: Scan, base_url: str) -> Scan:
    """Renew the links of an unfinished upload for their full time. The caller has checked that the visitor may do this.

    :raises OpenScanError: the scan was started or has expired meanwhile
    """
    if scan.state != Scan.CREATED:
        raise OpenScanError("This upload is complete, or it was deleted; nothing can be added to it.", CONFLICT)
    return scans.create_scan(scan.token, scan.name, photos=scan.photos, parts=scan.parts_count, filesize_bytes=scan.declared_bytes,
                             address=scan.client_address, base_url=base_url)


def part_names(scan: Scan) -> "list[str]":
    """The file names of a scan's parts, in the order of the parts. Empty if the parts are not separate files."""
    upload = BrowserUpload.objects.filter(scan_id=scan.pk, archive="").first()
    return [path for path, _ in upload.file_list()] if upload is not None else []


def _create(token: Token, name: str, files: "list[tuple[str, int]]", *, photos: int, archive: str, address: str, base_url: str,
            size_bytes: int = 0) -> Scan:
    told = json.dumps(files, ensure_ascii=False, separators=(",", ":"))
    with transaction.atomic():
        _check_same_files(token, name, told)
        scan = scans.create_scan(token, name, photos=photos, parts=len(files), address=address, base_url=base_url,
                                 filesize_bytes=size_bytes or sum(size for _, size in files))
        BrowserUpload.objects.update_or_create(scan=scan, defaults={"files": told, "archive": archive})
    return scan


def _check_same_files(token: Token, name: str, told: str) -> None:
    """Refuse other files under a name that has received parts: `create_scan` would keep those parts if number and size match."""
    limits.check_name(name)
    scan = Scan.objects.filter(token_id=token.pk, name=name, state=Scan.CREATED).select_for_update().first()
    if scan is None or not scan.parts.exclude(size_bytes=None).exists():
        return
    upload = BrowserUpload.objects.filter(scan_id=scan.pk).first()
    if upload is None or upload.files != told:
        raise OpenScanError("An unfinished upload of other files has this name. Choose another name, or delete that upload.", CONFLICT)


def _checked(token: Token, files: Any) -> "list[tuple[str, int]]":
    if not isinstance(files, list) or not files:
        raise OpenScanError("There are no files to send; choose photos, a folder or a zip.")
    seen: set[str] = set()
    checked: list[tuple[str, int]] = []
    for entry in files:
        path, size = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if not isinstance(path, str) or not path or len(path) > LONGEST_PATH or not limits.is_storable(path) or not _is_count(size):
            raise OpenScanError(f"Each file needs a name of at most {LONGEST_PATH} characters and a size above zero.")
        if size > token.limit_part_bytes:
            raise OpenScanError(f"The file “{path[-80:]}” is too large: it has {format_exact_bytes(size)}, and this token allows "
                                f"{format_exact_bytes(token.limit_part_bytes)} per file; leave it out.")
        if path in seen:
            raise OpenScanError(f"The file “{path[-80:]}” is in the list twice; choose the folder again.")
        seen.add(path)
        checked.append((path, size))
    return checked


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**15


def unfinished(mine: QuerySet) -> "list[Scan]":
    """The unfinished browser uploads under somebody's private tokens, newest first.

    Uploads under a public token are listed to nobody, because everybody shares it; each browser remembers its own.

    :param mine: that person's tokens
    """
    found = Scan.objects.filter(token__in=mine.filter(kind=Token.PRIVATE), state=Scan.CREATED, browser_upload__isnull=False)
    return list(found.select_related("token", "browser_upload").order_by("-pk"))
