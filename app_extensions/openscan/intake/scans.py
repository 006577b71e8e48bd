"""What a client does to a scan: create, start, find and reset it. Also expires scans that nobody starts.

Lock a scan's row first and its token's row second (see `ledger`). Celery jobs and the removal of files follow once a change is
committed. If the process dies before that, the periodic jobs catch up.
"""
import datetime
import logging
import secrets
from typing import Any, Optional

from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.utils import timezone

from app_extensions.host import media, quota
from app_extensions.host.log_fields import note_fields
from app_extensions.openscan import lifecycle, part_files
from app_extensions.openscan.accounts import addresses, limits, shares, tokens
from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import Scan, Token
from app_extensions.shared.formatting import format_bytes, format_exact_bytes

logger = logging.getLogger("app.logger")

UNKNOWN_PROJECT_STATUS = 401  # getProjectInfo's answer for an unknown project
NO_ROOM_STATUS = 507
NAME_CONSTRAINT = "openscan_scan_name"
_MISSING_PARTS_SHOWN = 20


def create_scan(token: Token, name: str, *, photos: int, parts: int, filesize_bytes: int, address: str = "",
                base_url: str = "") -> Scan:
    """Creates the scan `name`, or renews its links if it exists and was not started. Its credit is held only once.

    Received parts stay if the number of parts and the size are the same. Otherwise they are dropped, because they are slices of
    another archive. Raises OpenScanError (400; 507 without room on the disk; 503 after repeated races) with the reason.
    """
    client = address if token.is_public else ""
    shares.count_call(token, client)
    limits.check_name(name)
    limits.check_set(token, photos=photos, parts=parts, filesize_bytes=filesize_bytes)
    _check_owner_and_room(token, name, filesize_bytes)
    declared = {"photos": photos, "parts_count": parts, "declared_bytes": filesize_bytes}
    for _ in range(3):
        try:
            with transaction.atomic():
                scan = _find_locked(token, name)
                if scan is not None and _is_overdue(scan):
                    _check_address(scan, token, address)
                    scan = _abandoned(scan)
                if scan is not None and scan.state == Scan.EXPIRED and scan.started_at is None:
                    _forget(scan, why="createProject was called for a project that nobody had started in time.")
                    scan = None
                if scan is not None:
                    _check_address(scan, token, address)
                    return _renew(scan, base_url, declared)
                scan = _create(token, name, client, base_url, declared)
                if scan is not None:
                    return scan
        except IntegrityError as error:
            if _broken_constraint(error) != NAME_CONSTRAINT:
                raise
            continue  # another client created this name between our query and our insert: the next round renews it
    raise OpenScanError("This project is being created by several clients at once; try again.", 503)


def start_scan(token: Token, name: str, address: str = "") -> Scan:
    """Starts a scan once all its parts are there. Starting it again does nothing.

    Raises OpenScanError (400) if parts are missing or their sizes do not add up; the scan then stays created.
    """
    with transaction.atomic():
        scan = _find_locked(token, name)
        if scan is None:
            raise OpenScanError("This project is not known under this token; create it before starting it.")
        _check_address(scan, token, address)
        if scan.state == Scan.EXPIRED:
            raise OpenScanError("This project has expired; reset it, then create and upload it again.")
        if scan.state != Scan.CREATED:
            return scan
        _check_complete(scan)
        scan = _applied(scan, lifecycle.START)
        note_fields(scan=scan.pk)
    logger.info("OpenScan: scan %s started: %d parts, %d bytes", scan.pk, scan.parts_count, scan.received_bytes)
    return scan


def reset_scan(token: Token, name: str, address: str = "") -> bool:
    """Resets a scan: frees its name, removes its files, and gives back credit that was only held. False if there was none.

    Raises OpenScanError (400) if the name belongs to another client of a public token.
    """
    if not limits.is_name(name):
        return False  # no scan can have such a name, and a rig gets stuck on any error
    with transaction.atomic():
        scan = _find_locked(token, name)
        if scan is None:
            return False
        _check_address(scan, token, address)
        _forget(scan)
    return True


def reset_scan_row(scan: Scan, actor: str = "", why: str = "An administrator reset it.") -> bool:
    """Like `reset_scan`, for a scan that the caller already has. False if it was reset before.

    :param actor: the user who wants it
    :param why: for the scan's history
    """
    done = _forget(scan, why=why, actor=actor)
    scan.refresh_from_db()
    return done


def find_scan(token: Token, name: str, address: str = "") -> Scan:
    """The scan `name` of `token`. Raises OpenScanError (401) if this client has no scan of that name."""
    scan = _scans(token, name).first() if limits.is_storable(name) else None
    if scan is None or not _is_allowed(scan, token, address):
        raise OpenScanError("This project is not known under this token; it was reset, or never created.",
                            UNKNOWN_PROJECT_STATUS)
    scan.token = token
    return scan


def missing_parts(scan: Scan) -> list[int]:
    """The numbers (from 1) of the parts of `scan` that have not arrived."""
    there = set(scan.parts.values_list("number", flat=True))
    return [number for number in range(1, scan.parts_count + 1) if number not in there]


def expire_unstarted(now: Optional[datetime.datetime] = None) -> int:
    """Expires scans that were created long ago and never started: gives back credit and drops parts. Returns how many."""
    now = now or timezone.now()
    limit = now - datetime.timedelta(hours=conf.unstarted_hours)
    due = Scan.objects.filter(state=Scan.CREATED, created_at__lt=limit, links_expire_at__lt=now)
    expired = 0
    for scan_id in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            # Check again under the lock: the client may have renewed or started it meanwhile.
            row = due.select_for_update().filter(pk=scan_id).first()
            if row is None:
                continue
            _abandoned(row)
            expired += 1
    return expired


def release_idle_holds(now: Optional[datetime.datetime] = None) -> int:
    """Release public tokens' credit that is held for projects without any received byte.

    Their links stay valid. When the first byte arrives, the credit is held again if enough is left.

    :return: of how many projects
    """
    now = now or timezone.now()
    due = Scan.objects.filter(
        state=Scan.CREATED, held_bytes__gt=0, first_byte_at=None, token__kind=Token.PUBLIC,
        created_at__lt=now - datetime.timedelta(minutes=conf.public_hold_minutes))
    released = 0
    for scan_id in list(due.values_list("pk", flat=True)):
        with transaction.atomic():
            # Check again under the lock: a byte may have arrived meanwhile.
            row = Scan.objects.select_for_update().filter(pk=scan_id, state=Scan.CREATED, held_bytes__gt=0, first_byte_at=None).first()
            if row is not None:
                lifecycle.apply(row.pk, lifecycle.LAPSE)
                released += 1
    return released


def hold_again(scan: Scan) -> None:
    """Hold the credit of a created scan again if its hold has lapsed. Does nothing to a scan that still holds its credit.

    :raises OpenScanError: there is too little credit left
    """
    if scan.state == Scan.CREATED and scan.charge == Scan.HELD and not scan.held_bytes:
        _applied(scan, lifecycle.RESUME)


def _scans(token: Token, name: str) -> Any:
    return Scan.objects.filter(token_id=token.pk, name=name).exclude(state=Scan.RESET)


def _find_locked(token: Token, name: str) -> Optional[Scan]:
    limits.check_name(name)
    return _scans(token, name).select_for_update().first()


def _is_allowed(scan: Scan, token: Token, address: str) -> bool:
    """Everybody shares a public token, so a name there belongs to the client address that created it."""
    return not token.is_public or not conf.bind_public_names or addresses.belongs_to(scan.client_address, scan.pk, address)


def _check_address(scan: Scan, token: Token, address: str) -> None:
    if not _is_allowed(scan, token, address):
        raise OpenScanError("This project's name is taken by another user of this public token; choose another name.")


def _is_overdue(scan: Scan) -> bool:
    """Whether a scan that nobody started is past its deadline, counted from its creation."""
    return scan.state == Scan.CREATED and scan.created_at < timezone.now() - datetime.timedelta(hours=conf.unstarted_hours)


def _abandoned(scan: Scan) -> Scan:
    return _applied(scan, lifecycle.ABANDON, error=(
        f"Nobody started this project within {conf.unstarted_hours} hours; create and upload it again."))


def _broken_constraint(error: IntegrityError) -> str:
    """The name of the database constraint that an insert or update violated."""
    return getattr(getattr(error.__cause__, "diag", None), "constraint_name", None) or ""


def _check_owner_and_room(token: Token, name: str, filesize_bytes: int) -> None:
    """Check that quota and disk have room for the set, after what other projects were promised."""
    owner = tokens.token_owner(token)
    if owner is None:
        raise OpenScanError("The WebODM user of this token was deleted; ask the site's administrator to choose another one.")
    arriving = Scan.objects.filter(state__in=shares.OPEN).exclude(token=token, name=name)
    of_owner = arriving.filter(token__owner_id=owner.pk).aggregate(at=Sum("declared_bytes"))["at"] or 0
    if quota.quota_exceeded(owner, filesize_bytes + of_owner):
        raise OpenScanError(
            f"The set's {format_exact_bytes(filesize_bytes)} do not fit into the storage quota of this token's WebODM user; "
            "delete old tasks there, or ask the site's administrator."
        )
    to_come = arriving.filter(state=Scan.CREATED, held_bytes__gt=0)
    promised = to_come.aggregate(at=Sum(F("declared_bytes") - F("received_bytes")))["at"] or 0
    check_disk(filesize_bytes, promised)


def check_disk(wanted_bytes: int, promised_bytes: int = 0) -> None:
    """Raises OpenScanError (507) if `wanted_bytes` would use the reserve that must stay free.

    :param promised_bytes: what other projects may still upload
    """
    usable = media.free_bytes(part_files.incoming_dir()) - promised_bytes - conf.free_reserve_bytes
    if wanted_bytes > usable:
        raise OpenScanError(
            f"The server's disk is full: {format_bytes(wanted_bytes)} are needed, {format_bytes(max(0, usable))} can be used; "
            "try again later.", NO_ROOM_STATUS)


def _create(token: Token, name: str, client: str, base_url: str, declared: dict) -> Optional[Scan]:
    """Create a scan. None if another client created it while this one waited for the token's row.

    Inserting it anyway could deadlock: the insert would wait for a client that is renewing that scan, and that client would wait
    for the token's row, which is locked here.
    """
    locked = Token.objects.select_for_update().get(pk=token.pk)
    if _scans(token, name).exists():
        return None
    shares.check_client(locked, client)
    scan = lifecycle.create(
        token=token, name=name, client_address=client, base_url=base_url[:200],
        research_consent=token.is_public, upload_nonce=secrets.token_hex(8), links_expire_at=_links_expire_at(), **declared)
    note_fields(scan=scan.pk)
    logger.info("OpenScan: scan %s created: %d photos, %d parts, %d bytes", scan.pk, scan.photos, scan.parts_count, scan.declared_bytes)
    return scan


def _renew(scan: Scan, base_url: str, declared: dict) -> Scan:
    if scan.state != Scan.CREATED:
        raise OpenScanError("This project was started before; reset it first, or choose another name.")
    fresh = {"links_expire_at": _links_expire_at(), "base_url": base_url[:200], **declared}
    if (scan.parts_count, scan.declared_bytes) == (declared["parts_count"], declared["declared_bytes"]):
        for field, value in fresh.items():
            setattr(scan, field, value)
        scan.save(update_fields=list(fresh))
        hold_again(scan)
        scan.refresh_from_db(fields=["held_bytes"])
        return scan
    return _applied(scan, lifecycle.RECUT, upload_nonce=secrets.token_hex(8), **fresh)


def _links_expire_at() -> datetime.datetime:
    return timezone.now() + datetime.timedelta(seconds=conf.upload_link_seconds)


def _check_complete(scan: Scan) -> None:
    missing = missing_parts(scan)
    if missing:
        shown = ", ".join(str(number) for number in missing[:_MISSING_PARTS_SHOWN])
        more = f" and {len(missing) - _MISSING_PARTS_SHOWN} more" if len(missing) > _MISSING_PARTS_SHOWN else ""
        raise OpenScanError(f"{len(missing)} of {scan.parts_count} parts are missing ({shown}{more}); "
                            "upload them, then start again.")
    if not 0 <= scan.received_bytes - scan.declared_bytes <= limits.packing_bytes(scan.parts_count, scan.photos):
        raise OpenScanError(
            f"The parts add up to {format_exact_bytes(scan.received_bytes)}, but {format_exact_bytes(scan.declared_bytes)} "
            "were declared as filesize; upload the parts again, or create the project with the right filesize."
        )


def _forget(scan: Scan, why: str = "", actor: str = "") -> bool:
    """Reset a scan. Its row stays for the books; a job removes its WebODM task. False if it was reset before."""
    note_fields(scan=scan.pk)
    if lifecycle.apply(scan.pk, lifecycle.RESET, why=why, actor=actor) is None:
        return False
    logger.info("OpenScan: scan %s is reset", scan.pk)
    return True


def _applied(scan: Scan, event: str, **fields: Any) -> Scan:
    """Apply an event to a locked scan that is known to be in the right state."""
    row = lifecycle.apply(scan.pk, event, **fields)
    if row is None:
        raise RuntimeError(f"scan {scan.pk} is {scan.state} and locked, yet cannot {event}")
    return row
