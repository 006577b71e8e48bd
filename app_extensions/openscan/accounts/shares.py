"""What one client may do with a token in a day, so that a public token serves everybody.

A client is an address under a public token, and the holder of a private one. Each has a share of a public token's daily credit, and
limits on createProject calls, on sets that are open at the same time, and on sets that are refused. The counts are stored under a
keyed hash that changes each day (`ClientDay`).
"""
import datetime

from django.db import connection
from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Greatest
from django.utils import timezone
from django.utils.crypto import salted_hmac

from app_extensions.openscan.conf import conf
from app_extensions.openscan.errors import OpenScanError
from app_extensions.openscan.models import ClientDay, Scan, Token
from app_extensions.shared.formatting import format_exact_bytes

OPEN = (Scan.CREATED, Scan.INITIALIZED)
#: Days for which counts are kept. Yesterday's help to understand a client's complaint.
KEPT_DAYS = 1
_ADD = """
    INSERT INTO openscan_clientday AS known (token_id, day, client, calls, refusals, used_bytes) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (token_id, day, client) DO UPDATE SET
        calls = known.calls + EXCLUDED.calls, refusals = known.refusals + EXCLUDED.refusals,
        used_bytes = known.used_bytes + EXCLUDED.used_bytes
    RETURNING calls"""
_TOMORROW = "Try again after 00:00 UTC"


def count_call(token: Token, address: str) -> None:
    """Count a createProject call, whether it succeeds or not.

    :param address: the client's; "" for a private token, or if it is unknown
    :raises OpenScanError: the client made too many today
    """
    if _count(token, address, calls=1) > conf.calls_per_day:
        raise OpenScanError(f"Too many createProject calls: {conf.calls_per_day:,} a day are allowed for {_whom(token)}. {_TOMORROW}.")


def count_refusal(token: Token, address: str) -> None:
    """Count a set that was refused when it was read in. It costs no credit, but it cost the server work."""
    _count(token, address, refusals=1)


def check_client(token: Token, address: str) -> None:
    """Check a client's open and refused sets before it creates another one. Lock the token's row first.

    :raises OpenScanError: too many sets are open, or too many were refused today
    """
    refusals = _today(token, address).values_list("refusals", flat=True).first() or 0
    if refusals >= conf.refusals_per_day:
        raise OpenScanError(f"Too many refused sets: {refusals:,} sets of {_whom(token)} could not be used today, "
                            f"{conf.refusals_per_day:,} are allowed. {_TOMORROW}, and check what your scanner sends.")
    scans = Scan.objects.filter(token=token, state__in=OPEN)
    mine = scans.filter(client_address=address).count()
    if mine >= conf.open_scans:
        raise OpenScanError(f"Too many open projects: {mine:,} projects of {_whom(token)} are created and not read in yet, "
                            f"{conf.open_scans:,} are allowed. Start or reset some of them first.")
    if token.is_public and scans.count() >= conf.open_scans_per_token:
        raise OpenScanError(f"Too many open projects: all users of this public token together may have {conf.open_scans_per_token:,}. "
                            "Try again later.")


def check_share(token: Token, scan: Scan, wanted_bytes: int) -> None:
    """Check that a client of a public token stays within its share of the daily credit. Lock the token's row first.

    :param scan: the scan that the credit is for; what it holds now does not count
    :raises OpenScanError: the share is too small
    """
    if not wanted_bytes or not token.is_public or not token.daily_bytes or not scan.client_address:
        return
    share = token.daily_bytes * conf.public_share // 100
    left = max(0, share - _used_bytes(token, scan))
    if wanted_bytes > left:
        raise OpenScanError(
            f"Your share of this public token is not enough: the set needs {format_exact_bytes(wanted_bytes)}, one user may use "
            f"{format_exact_bytes(share)} a day and you have {format_exact_bytes(left)} left. Send a smaller set, or try again after "
            "00:00 UTC.")


def note_used(token: Token, address: str, amount_bytes: int) -> None:
    """Count credit that a client's set used up today; a negative amount was refunded. Lock the token's row first."""
    if token.is_public and address and amount_bytes:
        if amount_bytes > 0:
            _count(token, address, used_bytes=amount_bytes)
        else:
            _today(token, address).update(used_bytes=Greatest(F("used_bytes") + amount_bytes, 0))


def drop_old_days() -> int:
    """Remove the counts of past days. :return: how many rows"""
    before = _day() - datetime.timedelta(days=KEPT_DAYS)
    return ClientDay.objects.filter(day__lt=before).delete()[0]


def _used_bytes(token: Token, scan: Scan) -> int:
    """Credit that the client holds now or used up today, not counting this scan."""
    held = Scan.objects.filter(token=token, client_address=scan.client_address, state__in=OPEN, charge=Scan.HELD).exclude(pk=scan.pk)
    used = _today(token, scan.client_address).values_list("used_bytes", flat=True).first() or 0
    return used + (held.aggregate(at=Sum("held_bytes"))["at"] or 0)


def _count(token: Token, address: str, *, calls: int = 0, refusals: int = 0, used_bytes: int = 0) -> int:
    """Add to the client's counts of today; one statement, because each createProject call does this. :return: today's calls"""
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [token.pk, _day(), _pseudonym(address), calls, refusals, used_bytes])
        return cursor.fetchone()[0]


def _today(token: Token, address: str) -> QuerySet:
    return ClientDay.objects.filter(token=token, day=_day(), client=_pseudonym(address))


def _day() -> datetime.date:
    return timezone.now().astimezone(datetime.timezone.utc).date()


def _pseudonym(address: str) -> str:
    return salted_hmac("openscan.client-day", f"{_day().isoformat()} {address}").hexdigest()[:32]


def _whom(token: Token) -> str:
    return "one user of this public token" if token.is_public else "this token"
