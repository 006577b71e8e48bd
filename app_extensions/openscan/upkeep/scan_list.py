"""A visitor's scans as a filtered and sorted list, one page at a time. Even with 10,000 scans, a page reads only its rows and a count."""
from typing import Any

from django.db.models import QuerySet

from app_extensions.openscan import page_links
from app_extensions.openscan.accounts.visitors import Visitor
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan
from app_extensions.openscan.processing import status
from app_extensions.openscan.upkeep.overview import TONES

ROWS = 24
LONGEST_SEARCH = 255
#: Filter → the states of our rows. A row's own status may be newer, because it also looks at WebODM.
GROUPS = {
    "arriving": (Scan.CREATED,), "waiting": (Scan.INITIALIZED, Scan.APPROVED), "processing": (Scan.RELEASED,),
    "done": (Scan.DONE,), "failed": (Scan.FAILED,), "expired": (Scan.EXPIRED,),
}
SORTS = {"newest": ("-pk",), "oldest": ("pk",), "name": ("name", "-pk"), "photos": ("-photos", "-pk")}


def page_of_scans(visitor: Visitor, *, search: str = "", group: str = "", sort: str = "newest", token_id: str = "",
                  page: str = "1") -> "dict[str, Any]":
    """One page of a visitor's scans, and how many there are in all.

    :param search: a piece of the name
    :param group: a key of ``GROUPS``; empty for all
    :param sort: a key of ``SORTS``
    :param token_id: only this token's; empty for all
    :param page: from 1; too large a number gives the last page
    :raises OpenScanError: the group or sort is unknown, or the page or token is not a number
    """
    if group and group not in GROUPS:
        raise OpenScanError(f"There is no filter {group[:20]}; take one of {', '.join(GROUPS)}.")
    if sort not in SORTS:
        raise OpenScanError(f"There is no order {sort[:20]}; take one of {', '.join(SORTS)}.")
    if not page.isdecimal() or len(page) > 6 or (token_id and (not token_id.isdecimal() or len(token_id) > 9)):
        raise OpenScanError("The page has to be a whole number.")
    found = _filtered(visitor.scans(), search[:LONGEST_SEARCH].replace("\0", ""), group, token_id)
    total = found.count()
    pages = max(1, -(-total // ROWS))
    number = min(max(1, int(page)), pages)
    rows = list(found.order_by(*SORTS[sort])[(number - 1) * ROWS:number * ROWS])
    known = status.Known(rows)
    return {"scans": [_row(scan, known) for scan in rows], "total": total, "page": number, "pages": pages}


def _filtered(scans: QuerySet, search: str, group: str, token_id: str) -> QuerySet:
    if search.strip():
        scans = scans.filter(name__icontains=search.strip())
    if group:
        scans = scans.filter(state__in=GROUPS[group])
    if token_id:
        scans = scans.filter(token_id=int(token_id))
    return scans


def _row(scan: Scan, known: status.Known) -> "dict[str, Any]":
    seen = status.look(scan, known)
    task = known.task(scan)
    return {
        "key": page_links.page_key(scan), "name": scan.name, "status": seen.status, "tone": TONES.get(seen.status, "open"),
        "progress": round(seen.progress, 3), "place": known.position(scan), "photos": scan.images_count or scan.photos,
        "bytes": scan.declared_bytes, "created_at": scan.created_at.isoformat(), "token": scan.token.person or scan.token.prefix,
        "public": scan.token.is_public, "left_out": len(scan.set_aside.splitlines()),
        "error": status.error_text(scan, seen) if seen.status == status.FAILED else "",
        # Part of the picture's address, so that browsers reload it after a change. A scan without photos in WebODM has no picture.
        "picture": f"{scan.state}-{scan.result_link}" if task is not None and scan.approved_at else "",
    }
