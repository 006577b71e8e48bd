"""Long work for a user: discoveries and syncs, with their progress and the leases of those who work on them."""
import uuid
from datetime import timedelta
from typing import Optional

from django.conf import settings
from django.contrib.postgres.fields import JSONField
from django.db import models
from django.db.models import ExpressionWrapper, Q
from django.db.models.functions import Now
from django.utils import timezone

from app_extensions.shared.crypto import EncryptedTextField


def from_now(seconds: float) -> ExpressionWrapper:
    """The database's own clock plus seconds: workers on hosts whose clocks differ agree on leases."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=models.DateTimeField())


class TapisJob(models.Model):
    """A discovery or a sync. At most one is active a flight (sync) and a user (discovery): the database says so."""

    DISCOVERY, SYNC = "discovery", "sync"
    QUEUED, RUNNING, COMPLETED, FAILED, CANCELED = "queued", "running", "completed", "failed", "canceled"
    ACTIVE = (QUEUED, RUNNING)
    LISTING, FETCHING = "listing", "fetching"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=10, choices=[(DISCOVERY, DISCOVERY), (SYNC, SYNC)])
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_jobs"
    )
    client = models.ForeignKey("tapis.TapisOAuth2Client", on_delete=models.SET_NULL, null=True, blank=True)
    flight = models.ForeignKey("tapis.Flight", on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    state = models.CharField(max_length=10, default=QUEUED,
                             choices=[(name, name) for name in (QUEUED, RUNNING, COMPLETED, FAILED, CANCELED)])
    phase = models.CharField(max_length=10, default=LISTING,
                             choices=[(name, name) for name in (LISTING, FETCHING)])
    automatic = models.BooleanField(default=False, help_text="Started by a login or the clock, not by a request.")
    images_done = models.IntegerField(default=0)
    images_total = models.IntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0, help_text="Bytes that are here, new and old.")
    bytes_total = models.BigIntegerField(default=0)
    bytes_moved = models.BigIntegerField(default=0, help_text="Bytes that this job has fetched.")
    connections = models.IntegerField(default=0, help_text="Downloads at once that Tapis bore lately; 0: not known.")
    error = models.TextField(blank=True, default="")
    results = JSONField(default=dict, blank=True)
    process = models.NullBooleanField(help_text="Process when complete; empty: as the user's preferences say.")
    access_token = EncryptedTextField(blank=True, default="", help_text="A token that came with the request.")
    lease_owner = models.CharField(max_length=36, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    moved_at = models.DateTimeField(null=True, blank=True, help_text="When it last got on.")

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis job"
        ordering = ("-created_at",)
        constraints = [
            models.UniqueConstraint(fields=["flight"], name="tapis_one_active_sync",
                                    condition=Q(kind="sync", state__in=["queued", "running"])),
            models.UniqueConstraint(fields=["user"], name="tapis_one_active_discovery",
                                    condition=Q(kind="discovery", state__in=["queued", "running"])),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def active(self) -> bool:
        """Whether it is still to end."""
        return self.state in self.ACTIVE

    @property
    def rate(self) -> float:
        """Bytes a second since it began to fetch; 0 before."""
        if not self.started_at or not self.bytes_moved:
            return 0.0
        end = self.finished_at or timezone.now()
        return round(self.bytes_moved / max((end - self.started_at).total_seconds(), 0.001), 1)


class SyncBatch(models.Model):
    """A worker that fetches images of a flight right now, with the connections it may have open until its lease ends.

    The rows are the count of connections of a flight and of the instance; a worker that was killed is forgotten when
    its lease ends, and its files are to be fetched again.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.ForeignKey(TapisJob, on_delete=models.CASCADE, related_name="batches")
    connections = models.IntegerField(default=0)
    lease_until = models.DateTimeField()

    class Meta:
        app_label = "tapis"

    def __str__(self) -> str:
        return f"{self.connections} connections for {self.job_id}"


def active_sync(flight_id: int) -> Optional[TapisJob]:
    """The sync of this flight that is under way, if there is one."""
    return TapisJob.objects.filter(flight_id=flight_id, kind=TapisJob.SYNC, state__in=TapisJob.ACTIVE).first()
