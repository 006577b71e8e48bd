"""Proves that the credit books add up, in a few queries and without blocking anybody.

All reads share one snapshot of the database, so balances and entries match while others keep booking. The database computes the
sums. Only what does not add up, and the entries to replay, are read into this process.
"""
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, Optional

from django.db import connection, transaction

from app_extensions.openscan.models import LedgerEntry, Token

MOST_SENTENCES = 1000
_ROWS_AT_ONCE = 5000

_BALANCES = """
    SELECT token_id, id, balance_bytes, running FROM (
        SELECT token_id, id, balance_bytes, SUM(amount_bytes) OVER (PARTITION BY token_id ORDER BY id) AS running
        FROM openscan_ledgerentry WHERE {tokens}) entries
    WHERE balance_bytes <> running ORDER BY token_id, id"""

_CREDIT = """
    SELECT t.id, t.credit_bytes, COALESCE(e.total, 0) FROM openscan_token t
    LEFT JOIN (SELECT token_id, SUM(amount_bytes) AS total FROM openscan_ledgerentry WHERE {tokens} GROUP BY token_id) e
        ON e.token_id = t.id
    WHERE t.credit_bytes <> COALESCE(e.total, 0) AND {ids} ORDER BY t.id"""

#: Scans that do not match their entries, with their charge and the kinds of their entries after the holds, in order.
_SCANS = """
    SELECT s.id, s.charge, s.held_bytes, s.posted_bytes, COALESCE(e.taken, 0), COALESCE(e.kinds, ''), COALESCE(e.strangers, 0)
    FROM openscan_scan s LEFT JOIN (
        SELECT scan_id, string_agg(kind, ', ' ORDER BY e.id) FILTER (WHERE kind <> 'hold') AS kinds,
               COUNT(*) FILTER (WHERE kind = 'hold') AS holds,
               -SUM(amount_bytes) FILTER (WHERE kind = 'hold' AND amount_bytes < 0) AS taken,
               COUNT(*) FILTER (WHERE e.token_id <> s.token_id) AS strangers
        FROM openscan_ledgerentry e JOIN openscan_scan s ON s.id = e.scan_id GROUP BY scan_id) e ON e.scan_id = s.id
    WHERE {scans} AND (
        COALESCE(e.kinds, '') <> CASE s.charge WHEN 'posted' THEN 'post' WHEN 'voided' THEN 'void'
                                               WHEN 'refunded' THEN 'post, refund' ELSE '' END
        OR COALESCE(e.strangers, 0) > 0 OR (s.charge <> 'none') <> (COALESCE(e.holds, 0) > 0)
        OR (s.charge <> 'held' AND s.held_bytes <> 0) OR (s.charge <> 'posted' AND s.posted_bytes <> 0)
        OR s.held_bytes + s.posted_bytes > COALESCE(e.taken, 0))
    ORDER BY s.id"""

#: The entries of tokens. Each comes with the last entry that took credit for its scan, and with what that scan costs now.
_ENTRIES = """
    SELECT e.token_id, e.id, e.kind, e.amount_bytes, e.balance_bytes, e.scan_id, h.last_id, s.held_bytes + s.posted_bytes,
           r.standing_bytes, t.credit_bytes
    FROM openscan_ledgerentry e
    JOIN openscan_token t ON t.id = e.token_id
    LEFT JOIN openscan_scan s ON s.id = e.scan_id
    LEFT JOIN (SELECT scan_id, MAX(id) AS last_id FROM openscan_ledgerentry
               WHERE kind = 'hold' AND amount_bytes < 0 GROUP BY scan_id) h ON h.scan_id = e.scan_id
    LEFT JOIN openscan_refill r ON r.entry_id = e.id
    WHERE {tokens} ORDER BY e.token_id, e.id"""


def find_discrepancies(tokens: Optional[Iterable[Token]] = None) -> "list[str]":
    """List what does not add up, one sentence each. An empty list proves the books.

    The rules: a balance is the sum of its entries; a scan's entries match its charge; a token has the credit that it would have if
    credit that came back had never been taken.

    :param tokens: check only these; all by default
    """
    ids = None if tokens is None else [token.pk for token in tokens]
    found: list[str] = []
    with _snapshot():
        for sentence in _sentences(ids):
            found.append(sentence)
            if len(found) == MOST_SENTENCES:
                found.append(f"There may be more: only the first {MOST_SENTENCES:,} problems are listed.")
                break
    return found


def _sentences(ids: "Optional[list[int]]") -> Iterator[str]:
    def only(column: str) -> str:
        return f"{column} = ANY(%s)" if ids is not None else "TRUE"

    for token, entry, balance, running in _rows(_BALANCES.format(tokens=only("token_id")), ids):
        yield f"Token {token}: entry {entry} says a balance of {balance} bytes, the entries up to it add up to {running}."
    for token, credit, total in _rows(_CREDIT.format(tokens=only("token_id"), ids=only("t.id")), ids):
        yield f"Token {token}: its credit is {credit} bytes, its entries add up to {total}."
    for scan, charge, held, posted, taken, kinds, strangers in _rows(_SCANS.format(scans=only("s.token_id")), ids):
        if charge != "held" and held:
            yield f"Scan {scan} is {charge}, yet holds {held} bytes of credit."
        elif charge != "posted" and posted:
            yield f"Scan {scan} is {charge}, yet has used up {posted} bytes of credit."
        elif held + posted > taken:
            yield f"Scan {scan} holds or has used up {held + posted} bytes of credit, but its entries take only {taken}."
        else:
            other = f", {strangers} of them of another token" if strangers else ""
            yield f"Scan {scan} is {charge}, but its entries after the hold are {kinds or 'none'}{other}."
    for _, entries in groupby(_rows(_ENTRIES.format(tokens=only("e.token_id")), ids), key=itemgetter(0)):
        yield from _against_the_rule(entries)


def _against_the_rule(entries: "Iterable[tuple]") -> Iterator[str]:
    """Replay a token's entries as if credit that came back had never been taken, and compare the result with the token's credit.

    Credit taken before an opening follows the rule of an earlier version: entries that give it back count as they are.
    """
    balance, opened = 0, False
    taken: set[int] = set()
    for token, entry, kind, amount, left, scan, last_hold, costs, standing, credit in entries:
        stated = credit
        if kind == LedgerEntry.OPENING:
            balance, opened = left, True
            taken.clear()
        elif kind == LedgerEntry.GRANT:
            balance += amount
        elif kind == LedgerEntry.REFILL:
            stands = max(0, left - balance)
            balance += stands
            if standing is not None and standing != stands:
                yield f"Token {token}: {standing} bytes of a daily top-up are recorded as standing, but the rule gives {stands}."
        elif kind == LedgerEntry.HOLD and amount < 0:
            taken.add(scan)
            if entry == last_hold:
                balance -= costs
        elif opened and scan not in taken:
            balance += amount
    if balance != stated:
        yield f"Token {token}: its credit is {stated} bytes, but the rule for credit that comes back gives {balance}."


@contextmanager
def _snapshot() -> Iterator[None]:
    """Inside the block, all reads see one moment. It blocks nobody and waits for nobody."""
    if connection.in_atomic_block:  # a caller's transaction keeps its own view
        yield
        return
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


def _rows(query: str, ids: "Optional[list[int]]") -> "Iterator[tuple[Any, ...]]":
    """The rows of a query, a few thousand in memory at a time."""
    values = [ids] * query.count("%s")
    with connection.chunked_cursor() as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        cursor.execute(query, values)
        while True:
            rows = cursor.fetchmany(_ROWS_AT_ONCE)
            if not rows:
                return
            yield from rows
