"""The Tapis app's metrics for monitoring: flights, syncs, bytes and rates."""
from collections.abc import Iterable
from datetime import timedelta

from django.db.models import Count, Min, Sum
from django.utils import timezone

from app_extensions.shared.metrics import COUNTER, Metric, register
from app_extensions.tapis.models import Flight, TapisJob

#: Jobs that moved data within this time count towards the rate.
RATE_WINDOW = timedelta(minutes=10)


def collect() -> Iterable[Metric]:
    """Every metric, from a few aggregates over our own tables."""
    yield Metric("tapis_flights", "Flights that have a project").add(Flight.objects.exclude(project_id=None).count())
    counts = {(row["kind"], row["state"]): row["number"]
              for row in TapisJob.objects.values("kind", "state").annotate(number=Count("pk")).order_by()}
    jobs = Metric("tapis_jobs", "Discoveries, syncs and jobs for previews by state")
    for kind in TapisJob.KINDS:
        for state in TapisJob.STATES:
            jobs.add(counts.get((kind, state), 0), kind=kind, state=state)
    yield jobs
    now = timezone.now()
    oldest = TapisJob.objects.filter(state=TapisJob.QUEUED).aggregate(at=Min("created_at"))["at"]
    yield Metric("tapis_oldest_queued_seconds", "Age of the job that waits longest").add(
        max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)
    moved = TapisJob.objects.aggregate(total=Sum("bytes_moved"))["total"] or 0
    yield Metric("tapis_sync_bytes_total", "Bytes that syncs have fetched", COUNTER).add(moved)
    yield Metric("tapis_sync_bytes_per_second", "Rate of the syncs that run or ended in the last ten minutes").add(
        sum(_rate(job, now) for job in TapisJob.objects.filter(kind=TapisJob.SYNC, moved_at__gte=now - RATE_WINDOW)))


def connect() -> None:
    """Add these metrics to the metrics page."""
    register("tapis", collect)


def _rate(job: TapisJob, now: "timezone.datetime") -> float:
    seconds = ((job.finished_at or now) - job.started_at).total_seconds() if job.started_at else 0.0
    return job.bytes_moved / seconds if seconds > 0 else 0.0
