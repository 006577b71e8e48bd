"""The OpenScan app's figures for monitoring: queue, ages, bytes, failures by cause, credit, mail."""
from collections.abc import Iterable
from typing import Any, Optional

from django.db.models import Count, Min, Q, Sum
from django.utils import timezone

from app_extensions.host import counters
from app_extensions.openscan.conf import conf
from app_extensions.openscan.models import ArchivedSet, NodeRecord, OutgoingMail, Scan, StoredObject, Token, TokenRequest
from app_extensions.shared.metrics import COUNTER, Metric, register


def collect() -> Iterable[Metric]:
    """Every figure, from a handful of aggregates over our own tables."""
    yield from _scans()
    yield from _credit()
    yield from _objects()
    yield from _traffic()
    yield from _nodes()
    yield Metric("openscan_token_requests_open", "Requests for a token that nobody has decided").add(
        TokenRequest.objects.filter(state=TokenRequest.PENDING).count())
    yield Metric("openscan_mails_waiting", "Mails that have not gone out yet").add(
        OutgoingMail.objects.filter(state=OutgoingMail.WAITING).count())


def connect() -> None:
    """Registers the figures with the metrics page."""
    register("openscan", collect)


def _scans() -> Iterable[Metric]:
    counts = dict(Scan.objects.values_list("state").annotate(number=Count("pk")).order_by())
    states = Metric("openscan_scans", "Scans by what was done with them")
    for state, _ in Scan.STATES:
        states.add(counts.get(state, 0), state=state)
    yield states

    now = timezone.now()
    oldest = Metric("openscan_oldest_seconds", "Age of the scan that waits longest: for ingest, for a node, in processing")
    for stage, state, since in (("ingest", Scan.INITIALIZED, "started_at"), ("queue", Scan.APPROVED, "approved_at"),
                                ("processing", Scan.RELEASED, "released_at")):
        oldest.add(_age(now, Scan.objects.filter(state=state).aggregate(at=Min(since))["at"]), stage=stage)
    yield oldest

    sums = Scan.objects.aggregate(
        results=Sum("result_bytes", filter=Q(state=Scan.DONE)), photos=Sum("images_count"), seconds=Sum("processing_seconds"))
    yield Metric("openscan_photos_total", "Photos that reached WebODM", COUNTER).add(sums["photos"] or 0)
    yield Metric("openscan_result_bytes", "Bytes of results that can be downloaded").add(sums["results"] or 0)
    # Not a counter: a scan that is processed again has the seconds of its last run.
    yield Metric("openscan_processing_seconds", "Seconds that nodes worked on all scans, each scan's last run").add(
        float(sums["seconds"] or 0))

    failed = Scan.objects.filter(state=Scan.FAILED)
    ours = Q(released_at=None, ingest_attempts__gte=conf.ingest_attempts)
    failures = Metric("openscan_failures", "Scans that failed: the set was refused, could not be read in, or failed in processing")
    failures.add(failed.filter(released_at=None).exclude(ours).count(), cause="refused")
    failures.add(failed.filter(ours).count(), cause="ingest")
    failures.add(failed.exclude(released_at=None).count(), cause="processing")
    yield failures


def _objects() -> Iterable[Metric]:
    objects = Metric("openscan_objects", "What is in object storage or on its way there, by kind and state")
    kept = Metric("openscan_object_bytes", "Bytes that are in object storage")
    sent = Metric("openscan_published_bytes_total", "Bytes that were sent to object storage, repeats included", COUNTER)
    failures = Metric("openscan_object_failures_total", "Attempts at object storage that failed", COUNTER)
    for kind, model in (("result", StoredObject), ("research", ArchivedSet)):
        counts = dict(model.objects.values_list("state").annotate(number=Count("pk")).order_by())
        for state, _ in model.STATES:
            objects.add(counts.get(state, 0), kind=kind, state=state)
        sums = model.objects.aggregate(
            kept=Sum("size_bytes", filter=Q(state=model.STORED)), sent=Sum("sent_bytes"), failures=Sum("failures"))
        kept.add(sums["kept"] or 0, kind=kind)
        sent.add(sums["sent"] or 0, kind=kind)
        failures.add(sums["failures"] or 0, kind=kind)
    yield from (objects, kept, sent, failures)
    yield Metric("openscan_results_in_file_system", "Results that are in the file system, not in object storage").add(
        Scan.objects.filter(state=Scan.DONE).exclude(result_file="").count())


def _traffic() -> Iterable[Metric]:
    """Figures that only rise. Rows cannot provide them, because a reset takes a scan's bytes back.

    All processes count in Redis. While Redis does not answer, these figures are left out.
    """
    counted = counters.counted()
    if counted is not None:
        yield Metric("openscan_received_bytes_total", "Bytes of parts that were kept, also of scans that were reset", COUNTER).add(
            counted.get("openscan_received_bytes", 0))
        yield Metric("openscan_sent_bytes_total", "Bytes of results that were sent, including partial downloads", COUNTER).add(
            counted.get("openscan_sent_bytes", 0))
        yield Metric("openscan_downloads_total", "Downloads of results, each range counted", COUNTER).add(
            counted.get("openscan_downloads", 0))
        yield Metric("openscan_redirects_total", "Downloads that were redirected to object storage, which counts their bytes", COUNTER).add(
            counted.get("openscan_redirects", 0))


def _nodes() -> Iterable[Metric]:
    now = timezone.now()
    troubles = NodeRecord.objects.aggregate(number=Sum("troubles"), resting=Count("pk", filter=Q(rests_until__gt=now)))
    yield Metric("openscan_node_troubles_total", "Scans that were taken off a processing node that failed them", COUNTER).add(
        troubles["number"] or 0)
    yield Metric("openscan_nodes_resting", "Processing nodes that get no scans for a while after failing one").add(troubles["resting"])


def _credit() -> Iterable[Metric]:
    tokens = Metric("openscan_tokens", "Tokens that can be used, by kind")
    credit = Metric("openscan_credit_bytes", "Credit that is left on them")
    usable = Token.objects.filter(revoked_at=None).values("kind")
    for row in usable.annotate(number=Count("pk"), left=Sum("credit_bytes")).order_by("kind"):
        tokens.add(row["number"], kind=row["kind"])
        credit.add(row["left"] or 0, kind=row["kind"])
    yield tokens
    yield credit
    used = Metric("openscan_credit_used_bytes", "Credit that scans have used up, without what was given back")
    for row in Scan.objects.values("token__kind").annotate(used=Sum("posted_bytes")).order_by("token__kind"):
        used.add(row["used"] or 0, kind=row["token__kind"])
    yield used


def _age(now: Any, at: Optional[Any]) -> float:
    return max(0.0, (now - at).total_seconds()) if at else 0.0
