"""The credit ledger: books every change of a token's credit exactly once.

A scan's credit is held when the scan is created. The hold ends in a post (its bytes were used up) or in a void (it never ran).
Posted credit is refunded if the scan then fails through our fault. The balance is stored on the token. Each change locks the scan's
row first and the token's row second, always in this order, and writes one entry with the balance it left. Every function may be
called again after a crash: it books nothing twice and says whether it booked anything.

The rule for daily credit: when a set's credit comes back, its token has what it would have if that credit had never been taken. So a
hold that was topped up at midnight does not come back a second time, and one that was not topped up comes back whole. `books` proves it.
"""
import datetime
import secrets
from typing import Optional

from django.db import transaction
from django.utils import timezone

from app_extensions.openscan.accounts import shares
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import LedgerEntry, Refill, Scan, Token
from app_extensions.shared.formatting import format_exact_bytes

LARGEST_GRANT_BYTES = 10**15


def hold(scan: Scan, amount_bytes: int) -> bool:
    """Set `amount_bytes` of the token's credit aside for `scan`. Its earlier hold is given back first.

    :param amount_bytes: 0 gives the hold back and leaves the scan without one for now
    :return: whether anything was booked
    :raises OpenScanError: 400, the token's credit or the client's share of it is too small
    """
    with transaction.atomic():
        scan_row, token = _lock(scan)
        if scan_row.charge not in (Scan.NOT_CHARGED, Scan.HELD):
            return False
        _refill(token, _today())
        before = scan_row.held_bytes
        if amount_bytes == before and scan_row.charge == Scan.HELD:
            return False
        number = LedgerEntry.objects.filter(scan_id=scan_row.pk, kind=LedgerEntry.HOLD).count() + 1
        back = _take_back(token, scan_row, before) if before else 0
        if back:
            _book(token, LedgerEntry.HOLD, back, f"hold:{scan_row.pk}:{number}", scan=scan_row, note="given back")
            number += 1
        if amount_bytes > token.credit_bytes:
            raise OpenScanError(_not_enough(token, amount_bytes))
        shares.check_share(token, scan_row, amount_bytes)
        if amount_bytes:
            _book(token, LedgerEntry.HOLD, -amount_bytes, f"hold:{scan_row.pk}:{number}", scan=scan_row)
        _mark(scan, scan_row, Scan.HELD, held_bytes=amount_bytes)
        return True


def post(scan: Scan, amount_bytes: Optional[int] = None) -> bool:
    """Uses up `amount_bytes` (default: what was received) of the hold of `scan` and gives back the rest.

    Returns False if the hold has already ended. Raises ValueError for more than was held.
    """
    with transaction.atomic():
        scan_row, token = _lock(scan)
        if scan_row.charge != Scan.HELD:
            _copy(scan, scan_row)
            return False
        # Bytes that a zip adds to the declared sum of its photos (`limits.packing_bytes`) are free.
        used = min(scan_row.received_bytes, scan_row.held_bytes) if amount_bytes is None else amount_bytes
        if not 0 <= used <= scan_row.held_bytes:
            raise ValueError(f"scan {scan_row.pk} holds {scan_row.held_bytes} bytes of credit, {used} cannot be posted")
        back = _take_back(token, scan_row, scan_row.held_bytes - used)
        _book(token, LedgerEntry.POST, back, f"post:{scan_row.pk}", scan=scan_row, note=f"{used} bytes used up")
        shares.note_used(token, scan_row.client_address, used)
        _mark(scan, scan_row, Scan.POSTED, held_bytes=0, posted_bytes=used)
        return True


def void(scan: Scan, note: str = "") -> bool:
    """Gives back the hold of `scan`. Returns False if there is none (any more)."""
    with transaction.atomic():
        scan_row, token = _lock(scan)
        if scan_row.charge != Scan.HELD:
            _copy(scan, scan_row)
            return False
        back = _take_back(token, scan_row, scan_row.held_bytes)
        _book(token, LedgerEntry.VOID, back, f"void:{scan_row.pk}", scan=scan_row, note=note)
        _mark(scan, scan_row, Scan.VOIDED, held_bytes=0)
        return True


def refund(scan: Scan, note: str = "") -> bool:
    """Gives back what `scan` has used up, because its failure was ours. Returns False if nothing is posted."""
    with transaction.atomic():
        scan_row, token = _lock(scan)
        if scan_row.charge != Scan.POSTED:
            _copy(scan, scan_row)
            return False
        back = _take_back(token, scan_row, scan_row.posted_bytes)
        _book(token, LedgerEntry.REFUND, back, f"refund:{scan_row.pk}", scan=scan_row, note=note)
        shares.note_used(token, scan_row.client_address, -scan_row.posted_bytes)
        _mark(scan, scan_row, Scan.REFUNDED, posted_bytes=0)
        return True


def grant(token: Token, amount_bytes: int, actor: str = "", note: str = "", key: Optional[str] = None) -> bool:
    """Adds `amount_bytes` to the credit of `token`. If the caller gives a `key`, a second call with that key books nothing.

    Raises OpenScanError if the amount is not above zero or exceeds `LARGEST_GRANT_BYTES`.
    """
    if not 0 < amount_bytes <= LARGEST_GRANT_BYTES:
        raise OpenScanError(
            f"A grant has to be between 1 byte and {format_exact_bytes(LARGEST_GRANT_BYTES)}, not {amount_bytes:,} bytes."
        )
    with transaction.atomic():
        row = Token.objects.select_for_update().get(pk=token.pk)
        entry_key = f"grant:{key}" if key else f"grant:{row.pk}:{secrets.token_hex(8)}"
        if LedgerEntry.objects.filter(key=entry_key).exists():
            return False
        _book(row, LedgerEntry.GRANT, amount_bytes, entry_key, note=note, actor=actor)
        token.credit_bytes = row.credit_bytes
        return True


def refill(token: Token, day: Optional[datetime.date] = None) -> bool:
    """Tops a public `token` up to its daily amount for `day` (default: today, UTC), at most once a day."""
    day = day or _today()
    if not _is_due(token, day):
        return False  # rigs get here all day long, so take no lock
    with transaction.atomic():
        row = Token.objects.select_for_update().get(pk=token.pk)
        filled = _refill(row, day)
        token.credit_bytes, token.refilled_on, token.refilled_at = row.credit_bytes, row.refilled_on, row.refilled_at
        return filled


def refill_all(day: Optional[datetime.date] = None) -> int:
    """Tops up every token with a daily amount that was not yet topped up for `day`. Returns how many were."""
    due = Token.objects.filter(daily_bytes__gt=0, revoked_at=None).exclude(refilled_on__gte=day or _today())
    due = due.order_by("pk") | Token.objects.filter(daily_bytes__gt=0, revoked_at=None, refilled_on=None)
    return sum(refill(token, day) for token in due)


def _today() -> datetime.date:
    return timezone.now().astimezone(datetime.timezone.utc).date()


def _lock(scan: Scan) -> tuple[Scan, Token]:
    """The rows of a scan and its token, locked in the order that the whole app uses."""
    scan_row = Scan.objects.select_for_update().get(pk=scan.pk)
    return scan_row, Token.objects.select_for_update().get(pk=scan_row.token_id)


def _book(token: Token, kind: str, amount_bytes: int, key: str, scan: Optional[Scan] = None, note: str = "",
          actor: str = "") -> LedgerEntry:
    """Change the balance of a locked token and write the entry for it."""
    token.credit_bytes += amount_bytes
    token.save(update_fields=["credit_bytes"])
    return LedgerEntry.objects.create(token=token, scan=scan, kind=kind, amount_bytes=amount_bytes, key=key, note=note[:200],
                                      balance_bytes=token.credit_bytes, actor=actor)


def _mark(scan: Scan, row: Scan, charge: str, **fields: int) -> None:
    """Writes a scan's charge to its locked row and to the caller's object."""
    row.charge = charge
    for name, value in fields.items():
        setattr(row, name, value)
    row.save(update_fields=["charge", *fields])
    _copy(scan, row)


def _copy(scan: Scan, row: Scan) -> None:
    scan.charge, scan.held_bytes, scan.posted_bytes = row.charge, row.held_bytes, row.posted_bytes


def _is_due(token: Token, day: datetime.date) -> bool:
    return bool(token.daily_bytes) and (token.refilled_on is None or token.refilled_on < day)


def _refill(token: Token, day: datetime.date) -> bool:
    """Tops a locked token up, if it has a daily amount and `day` is a new one."""
    if not _is_due(token, day):
        return False
    missing = token.daily_bytes - token.credit_bytes
    token.refilled_on, token.refilled_at = day, timezone.now()
    token.save(update_fields=["refilled_on", "refilled_at"])
    if missing > 0:
        entry = _book(token, LedgerEntry.REFILL, missing, f"refill:{token.pk}:{day.isoformat()}")
        Refill.objects.create(token=token, entry=entry, standing_bytes=missing)
    return missing > 0


def _take_back(token: Token, scan: Scan, amount_bytes: int) -> int:
    """How much of a scan's credit comes back to a locked token, by the rule for daily credit.

    Without the charge, each later top-up would have been smaller. That share of the top-ups stops standing, and only the rest of
    the amount comes back.

    :param amount_bytes: by how much the scan's charge shrinks
    """
    if not amount_bytes or not token.daily_bytes:
        return amount_bytes
    taken = LedgerEntry.objects.filter(scan_id=scan.pk, kind=LedgerEntry.HOLD, amount_bytes__lt=0).order_by("-pk").first()
    opening = LedgerEntry.objects.filter(key=f"opening:{token.pk}").first()
    if taken is None or (opening is not None and taken.pk < opening.pk):
        return amount_bytes  # taken under the rule of an earlier version
    for refill in Refill.objects.filter(token=token, entry_id__gt=taken.pk, standing_bytes__gt=0).order_by("entry_id"):
        covered = min(amount_bytes, refill.standing_bytes)
        refill.standing_bytes -= covered
        refill.save(update_fields=["standing_bytes"])
        amount_bytes -= covered
        if not amount_bytes:
            break
    return amount_bytes


def _not_enough(token: Token, asked_bytes: int) -> str:
    advice = "wait for the daily top-up at 00:00 UTC" if token.daily_bytes else "ask the site's administrator for more credit"
    return (f"Not enough credit: the set needs {format_exact_bytes(asked_bytes)}, this token has "
            f"{format_exact_bytes(token.credit_bytes)} left. Send a smaller set, or {advice}.")
