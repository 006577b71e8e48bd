"""What an administrator's page shows: what waits for a decision, the queue, failures by cause, figures over time, and first steps."""
import re
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Sum
from django.utils import timezone

from app_extensions.host import heartbeat, media, presets
from app_extensions.host import nodes as host_nodes
from app_extensions.openscan import page_links, part_files
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import CreditRequest, OutgoingMail, Scan, Token, TokenRequest
from app_extensions.openscan.processing import queue

MOST_ROWS = 50
FAILURE_DAYS = 30
HOURS, DAYS = 24, 30
_BEAT_MINUTES = 5


def for_admin(user: Any) -> "dict[str, Any]":
    """Everything on the page except figures over time, which are in ``figures``. Takes a handful of queries."""
    return {
        "requests": [_request(row) for row in TokenRequest.objects.filter(state=TokenRequest.PENDING).order_by("created_at")[:MOST_ROWS]],
        "credit_requests": [_credit_request(row) for row in CreditRequest.objects.filter(decided_at=None).select_related("token")
                            .order_by("created_at")[:MOST_ROWS]],
        "unused": [_unused(row) for row in TokenRequest.objects.filter(
            state=TokenRequest.APPROVED, token__last_used_at=None, token__revoked_at=None,
            decided_at__gt=timezone.now() - timedelta(days=FAILURE_DAYS)).select_related("token").order_by("-decided_at")[:MOST_ROWS]],
        "queue": _queue(), "failures": failures(), "mails": _mails(), "disk": _disk(), "steps": first_steps(user),
    }


def _request(row: TokenRequest) -> "dict[str, Any]":
    return {"id": row.pk, "name": f"{row.forename} {row.surname}", "mail": row.mail, "times": row.times_asked,
            "at": row.created_at.isoformat()}


def _credit_request(row: CreditRequest) -> "dict[str, Any]":
    return {"id": row.pk, "person": row.token.person, "prefix": row.token.prefix, "wanted": row.wanted_bytes, "reason": row.reason,
            "left": row.token.credit_bytes, "at": row.created_at.isoformat()}


def _unused(row: TokenRequest) -> "dict[str, Any]":
    return {"id": row.token_id, "name": f"{row.forename} {row.surname}", "mail": row.mail, "at": row.decided_at.isoformat()}


def _queue() -> "dict[str, Any]":
    front = queue.front(MOST_ROWS)
    waiting = Scan.objects.filter(state=Scan.APPROVED).select_related("token")
    first = waiting.in_bulk(list(front.places))
    # Scans on hold have no place. They are always listed, however long the queue is, because only an administrator can let them go.
    rows = [first[pk] for pk in front.places if pk in first] + list(waiting.filter(on_hold=True).order_by("started_at", "pk")[:MOST_ROWS])
    return {"waiting": [_waiting(scan, front.places.get(scan.pk, 0)) for scan in rows], "count": queue.waiting_count(),
            "running": Scan.objects.filter(state=Scan.RELEASED).count()}


def _waiting(scan: Scan, place: int) -> "dict[str, Any]":
    return {"key": page_links.page_key(scan), "name": scan.name, "place": place, "on_hold": scan.on_hold, "photos": scan.images_count,
            "token": f"{scan.token.prefix}… {scan.token.person}", "at": scan.started_at.isoformat() if scan.started_at else ""}


def failures() -> "list[dict[str, Any]]":
    """Scans that failed recently, grouped by error sentence without names and numbers, most frequent first."""
    since = timezone.now() - timedelta(days=FAILURE_DAYS)
    groups: dict[str, dict[str, Any]] = {}
    for scan in Scan.objects.filter(state=Scan.FAILED, finished_at__gt=since).order_by("-pk").defer("set_aside")[:2000]:
        group = groups.setdefault(_cause(scan.error), {"cause": _cause(scan.error), "count": 0, "scans": []})
        group["count"] += 1
        if len(group["scans"]) < 5:
            group["scans"].append({"key": page_links.page_key(scan), "name": scan.name, "error": scan.error})
    return sorted(groups.values(), key=lambda group: -group["count"])


def _cause(sentence: str) -> str:
    """An error sentence without the parts that differ between scans."""
    return re.sub(r"\d[\d,.]*", "…", re.sub(r"“[^”]*”", "“…”", sentence))[:200] or "No reason was given."


def _mails() -> "dict[str, Any]":
    given_up = OutgoingMail.objects.filter(state=OutgoingMail.GIVEN_UP).order_by("-pk")
    return {"waiting": OutgoingMail.objects.filter(state=OutgoingMail.WAITING, attempts__gt=1).count(), "given_up": given_up.count(),
            "last": [{"kind": mail.kind, "error": mail.last_error, "at": mail.created_at.isoformat()} for mail in given_up[:10]]}


def _disk() -> "dict[str, int]":
    open_scans = Scan.objects.filter(state__in=(Scan.CREATED, Scan.INITIALIZED)).aggregate(
        declared=Sum("declared_bytes"), received=Sum("received_bytes"))
    received = open_scans["received"] or 0
    return {
        "free": media.free_bytes(part_files.incoming_dir()), "reserve": conf.free_reserve_bytes, "parts": received,
        "promised": max(0, (open_scans["declared"] or 0) - received),
        "results": Scan.objects.filter(state=Scan.DONE).aggregate(sum=Sum("result_bytes"))["sum"] or 0,
    }


def figures(days: bool) -> "dict[str, list]":
    """Scans and photos finished, and the median wait in seconds, per hour of the last day or per day of the last month.

    :param days: per day, else per hour
    :return: `at` (seconds since 1970), `scans`, `photos`, `waits` (None if nothing was released), all of the same length
    """
    step = timedelta(days=1) if days else timedelta(hours=1)
    number = DAYS if days else HOURS
    end = _floor(timezone.now(), days) + step
    start = end - number * step
    scans, photos = [0] * number, [0] * number
    waits: list[list[float]] = [[] for _ in range(number)]
    for at, images in Scan.objects.filter(finished_at__gte=start, released_at__isnull=False, images_count__gt=0).values_list(
            "finished_at", "images_count"):
        place = int((at - start) / step)
        if 0 <= place < number:
            scans[place] += 1
            photos[place] += images
    for began, released in Scan.objects.filter(released_at__gte=start, started_at__isnull=False).values_list("started_at", "released_at"):
        place = int((released - start) / step)
        if 0 <= place < number:
            waits[place].append((released - began).total_seconds())
    return {"at": [int((start + index * step).timestamp()) for index in range(number)], "scans": scans, "photos": photos,
            "waits": [round(sorted(values)[len(values) // 2]) if values else None for values in waits]}


def _floor(at: datetime, day: bool) -> datetime:
    return at.replace(hour=0 if day else at.hour, minute=0, second=0, microsecond=0)


def first_steps(user: Any) -> "list[dict[str, Any]]":
    """What a new site needs before the first rig can send: each step, whether it is done, and what to do."""
    nodes = host_nodes.all_nodes()
    beat_at = heartbeat.last_beat_at()
    steps = (
        ("The public address is set", bool(conf.public_url),
         "Set WO_OPENSCAN_PUBLIC_URL to the address that rigs and browsers use, so that links lead there."),
        ("A processing node is online", any(node.online for node in nodes),
         "Add a processing node in WebODM, or start the one that you have."),
        ("The preset exists", presets.has_preset(conf.preset, user),
         f"Make a preset “{conf.preset}” in WebODM, or set WO_OPENSCAN_PRESET to another one."),
        ("Mail can be sent", settings.EMAIL_HOST not in ("", "localhost"),
         "Set WO_SMTP_HOST and the other WO_SMTP settings; without email nobody gets a token."),
        ("Jobs are run", beat_at is not None and timezone.now().timestamp() - beat_at < 60 * _BEAT_MINUTES,
         "Start WebODM's worker and scheduler; `./webodm.sh doctor` shows what is missing."),
        ("Somebody has a token", Token.objects.filter(revoked_at=None).exists(), "Create a token, or approve a request."),
        ("A first model was made", Scan.objects.filter(finished_at__isnull=False, processing_seconds__isnull=False).exists(),
         "Upload the photos of an object, here or with a rig."),
    )
    return [{"what": what, "done": done, "how": "" if done else how} for what, done, how in steps]
