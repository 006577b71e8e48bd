"""Data for pages: a token's state for its holder, and queue, scans and tokens for the people who run the site."""
from collections import Counter
from typing import Any, NamedTuple, Optional

from django.db.models import Count, F, QuerySet, Sum, prefetch_related_objects

from app_extensions.host import nodes as host_nodes
from app_extensions.host import tasks as host_tasks
from app_extensions.openscan.accounts import ledger
from app_extensions.openscan.models import LedgerEntry, OutgoingMail, Scan, Token, TokenRequest
from app_extensions.openscan.processing import queue, status
from app_extensions.openscan.results.object_storage import client, lifecycle

MOST_ROWS = 30
#: A scan's status → the tone that pages show it in.
TONES = {status.DONE: "good", status.FAILED: "bad", status.EXPIRED: "past", status.STARTED: "busy"}


class ScanRow(NamedTuple):
    """A scan as one line of a table."""

    scan: Scan
    status: str
    tone: str
    percent: int
    message: str
    set_aside: "list[str]"
    link: str
    task_url: str


class TokenRow(NamedTuple):
    """A token as one line of a table."""

    token: Token
    credit_percent: int
    waiting: int
    running: int
    scans: int


def scan_rows(scans: "list[Scan]", base_url: str = "", known: Optional[status.Known] = None) -> "list[ScanRow]":
    """A line for each scan, its status read live.

    :param base_url: the start of download links
    :param known: data that was already read for these scans and others
    """
    known = known or status.Known(scans)
    return [_scan_row(scan, base_url, known) for scan in scans]


def _scan_row(scan: Scan, base_url: str, known: status.Known) -> ScanRow:
    details = status.scan_details(scan, base_url, known)
    word = details["status"]
    task = known.task(scan)
    message = details.get("error_text", "") or details["message"]
    if details["queue_position"]:
        message = f"Place {details['queue_position']} in the queue. {message}".strip()
    return ScanRow(
        scan=scan, status=word, tone=TONES.get(word, "open"), percent=int(round(100 * details["progress"])),
        message=message, set_aside=details["set_aside"], link=details["dlink"],
        task_url=host_tasks.task_url(task) if task is not None else "",
    )


def for_token(token: Token, base_url: str, address: str = "") -> "dict[str, Any]":
    """What the holder of a token sees. A public token is shared, so its scans are not listed.

    :param base_url: the start of download links
    :param address: the client's address
    """
    ledger.refill(token)
    scans: list[ScanRow] = []
    if not token.is_public:
        mine = token.scans.exclude(state=Scan.RESET).select_related("token").order_by("-pk")[:MOST_ROWS]
        scans = scan_rows(list(mine), base_url)
    return {
        "token": token, "scans": scans, "estimate_seconds": queue.estimate_seconds(token, address),
        "credit_percent": _credit_percent(token, _granted([token]).get(token.pk, 0)), "waiting": queue.waiting_count(),
    }


def for_operator(user: Any) -> "dict[str, Any]":
    """What a WebODM user sees: a superuser everything, others only their own tokens and the scans of these."""
    mine = Token.objects.all() if user.is_superuser else Token.objects.filter(owner=user)
    scans = Scan.objects.all() if user.is_superuser else Scan.objects.filter(token__in=mine)
    # Query in the order in which scans advance: a scan that advances between two queries is then listed twice and not missed.
    arriving = list(_arriving(scans))
    front = queue.front(MOST_ROWS, None if user.is_superuser else user.pk)
    waiting = scans.in_bulk(list(front.places))
    groups = {
        "waiting": [waiting[pk] for pk in front.places if pk in waiting],
        "running": list(scans.filter(state=Scan.RELEASED).order_by("released_at")[:MOST_ROWS]),
        "arriving": arriving, "ended": list(_ended(scans)),
    }
    listed = [scan for group in groups.values() for scan in group]
    prefetch_related_objects(listed, "token")  # many scans share one
    known = status.Known(listed, front.places)
    tokens = _with_counts(mine)
    granted = _granted(tokens)
    nodes = host_nodes.nodes_for(user)
    return {
        "everything": user.is_superuser, "most": MOST_ROWS,
        **{name: scan_rows(group, known=known) for name, group in groups.items()},
        "waiting_count": front.waiting, "running_count": scans.filter(state=Scan.RELEASED).count(),
        "tokens": [_token_row(token, granted.get(token.pk, 0)) for token in tokens],
        "nodes_online": sum(node.online for node in nodes), "nodes": nodes,
        "requests": TokenRequest.objects.filter(state=TokenRequest.PENDING).count() if user.is_superuser else 0,
        "tokens_lost": lost_tokens().count() if user.is_superuser else 0,
        "mails_stuck": OutgoingMail.objects.filter(state=OutgoingMail.WAITING, attempts__gt=1).count()
        if user.is_superuser else 0,
        "object_storage": lifecycle.summary() if user.is_superuser and client.is_configured() else None,
        "estimate_seconds": queue.estimate_seconds(_any_token(mine)),
        "pace_seconds": queue.seconds_per_photo(),
    }


def lost_tokens() -> QuerySet:
    """Approved requests whose token never arrived because its email was given up. Approving them again makes a new token."""
    return TokenRequest.objects.filter(state=TokenRequest.APPROVED, token_mail__state=OutgoingMail.GIVEN_UP, token__last_used_at=None)


def _arriving(scans: QuerySet) -> QuerySet:
    return scans.filter(state__in=(Scan.CREATED, Scan.INITIALIZED)).order_by("-created_at")[:MOST_ROWS]


def _ended(scans: QuerySet) -> QuerySet:
    return scans.filter(state__in=(Scan.DONE, Scan.FAILED, Scan.EXPIRED)).order_by("-pk")[:MOST_ROWS]


def _with_counts(mine: QuerySet) -> "list[Token]":
    """The tokens on the page, each with its numbers of scans. Scans of other tokens are not counted, as there may be many."""
    # PostgreSQL sorts a missing time as the latest. By default, revoked tokens would come first and push the others off the page.
    shown = list(mine.order_by(F("revoked_at").asc(nulls_first=True), F("last_used_at").desc(nulls_last=True), "-pk")[:MOST_ROWS])
    counts: dict[int, Counter] = {token.pk: Counter() for token in shown}
    rows = Scan.objects.filter(token_id__in=list(counts)).values_list("token_id", "state").annotate(number=Count("pk")).order_by()
    for token_id, state, number in rows:
        counts[token_id][state] = number
    for token in shown:
        of_token = counts[token.pk]
        token.waiting_scans, token.running_scans = of_token[Scan.APPROVED], of_token[Scan.RELEASED]
        token.all_scans = sum(of_token.values()) - of_token[Scan.RESET]
    return shown


def _token_row(token: Token, granted_bytes: int) -> TokenRow:
    return TokenRow(token, _credit_percent(token, granted_bytes), token.waiting_scans, token.running_scans, token.all_scans)


def _granted(tokens: "list[Token]") -> "dict[int, int]":
    """All bytes that were ever granted, by token id."""
    rows = LedgerEntry.objects.filter(token_id__in=[token.pk for token in tokens], kind=LedgerEntry.GRANT).values_list("token_id")
    return dict(rows.annotate(granted=Sum("amount_bytes")).order_by())


def _credit_percent(token: Token, granted_bytes: int) -> int:
    """The credit left as a percentage of what the token gets: the daily amount, or all that was ever granted."""
    given = token.daily_bytes or granted_bytes
    return min(100, round(100 * token.credit_bytes / given)) if given else 0


def _any_token(mine: QuerySet) -> Optional[Token]:
    return mine.filter(revoked_at=None, kind=Token.PUBLIC).first() or mine.filter(revoked_at=None).first()
