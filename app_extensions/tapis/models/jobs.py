"""Long-running jobs for a user: discoveries, syncs and previews, with their progress and the leases of their workers."""
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
    """The database's clock plus some seconds, so that workers on hosts with different clocks agree on leases."""
    return ExpressionWrapper(Now() + timedelta(seconds=seconds), output_field=models.DateTimeField())


class TapisJob(models.Model):
    """A discovery, a sync, or a job that fetches previews.

    The database allows one active sync per flight, and one active job of each other kind per user and purpose. ``lifecycle.apply`` is the
    only code that writes ``state``. A worker takes a job with ``sync.claims.claim``.
    """

    DISCOVERY, SYNC, PREVIEW = "discovery", "sync", "preview"
    KINDS = (DISCOVERY, SYNC, PREVIEW)
    QUEUED, RUNNING, PAUSED = "queued", "running", "paused"
    COMPLETED, FAILED, CANCELED = "completed", "failed", "canceled"
    STATES = (QUEUED, RUNNING, PAUSED, COMPLETED, FAILED, CANCELED)
    #: States in which workers take the job.
    ACTIVE = (QUEUED, RUNNING)
    #: States of jobs that have not ended. A paused job waits for a Tapis login.
    OPEN = (QUEUED, RUNNING, PAUSED)
    #: A sync lists, then fetches. A discovery lists the systems, scans them, then creates projects. A preview job starts by fetching.
    LISTING, FETCHING, SCANNING, CREATING = "listing", "fetching", "scanning", "creating"
    PHASES = (LISTING, FETCHING, SCANNING, CREATING)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=10, choices=[(name, name) for name in KINDS])
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_constraint=False, related_name="tapis_jobs"
    )
    client = models.ForeignKey("tapis.TapisOAuth2Client", on_delete=models.SET_NULL, null=True, blank=True)
    flight = models.ForeignKey("tapis.Flight", on_delete=models.CASCADE, null=True, blank=True, related_name="jobs")
    state = models.CharField(max_length=10, default=QUEUED,
                             choices=[(name, name) for name in STATES])
    phase = models.CharField(max_length=10, default=LISTING,
                             choices=[(name, name) for name in PHASES])
    automatic = models.BooleanField(default=False, help_text="Started by a login or the scheduler, not by a request.")
    images_done = models.IntegerField(default=0)
    images_total = models.IntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0, help_text="Bytes of images that are here, whether this job fetched them or not.")
    bytes_total = models.BigIntegerField(default=0)
    bytes_moved = models.BigIntegerField(default=0, help_text="Bytes that this job has fetched.")
    connections = models.IntegerField(default=0, help_text="Number of simultaneous downloads that Tapis allowed recently; 0 if not known.")
    error = models.TextField(blank=True, default="")
    note = models.CharField(max_length=300, blank=True, default="", help_text="What an unfinished job waits for.")
    history = JSONField(default=list, blank=True, help_text="Transitions: when, from, to, why.")
    purpose = models.CharField(max_length=80, blank=True, default="",
                               help_text="What a discovery or a job for previews is for; each user has at most one of each.")
    request = JSONField(default=dict, blank=True, help_text="What was requested: systems, flights.")
    to_tell = models.BooleanField(default=False, help_text="Its user has not been told yet that it has ended.")
    listing = models.CharField(max_length=64, blank=True, default="", help_text="A digest of the flight's last listing.")
    unchanged_since = models.DateTimeField(null=True, blank=True, help_text="Time since which the listing has not changed.")
    settled = models.BooleanField(default=False, help_text="The flight has not changed for a while: it is complete at Tapis.")
    results = JSONField(default=dict, blank=True)
    process = models.NullBooleanField(help_text="Process the flight when it is complete; empty: follow the user's preferences.")
    access_token = EncryptedTextField(blank=True, default="", help_text="A token that came with the request.")
    lease_owner = models.CharField(max_length=36, blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(default=timezone.now, help_text="No worker takes it before this time.")
    claimed_at = models.DateTimeField(null=True, blank=True, help_text="When a worker last took it.")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    moved_at = models.DateTimeField(null=True, blank=True, help_text="When it last made progress.")

    class Meta:
        app_label = "tapis"
        verbose_name = "Tapis job"
        ordering = ("-created_at",)
        constraints = [
            models.UniqueConstraint(fields=["flight"], name="tapis_one_active_sync",
                                    condition=Q(kind="sync", state__in=["queued", "running", "paused"])),
            models.UniqueConstraint(fields=["user", "purpose"], name="tapis_one_active_discovery",
                                    condition=Q(kind="discovery", state__in=["queued", "running"])),
            models.UniqueConstraint(fields=["user", "purpose"], name="tapis_one_active_preview",
                                    condition=Q(kind="preview", state__in=["queued", "running"])),
        ]
        indexes = [
            models.Index(fields=["due_at"], name="tapis_job_due", condition=Q(state__in=["queued", "running"])),
            models.Index(fields=["user", "state", "-created_at"], name="tapis_job_user_state"),
            models.Index(fields=["flight", "kind", "-created_at"], name="tapis_job_flight"),
            models.Index(fields=["finished_at"], name="tapis_job_finished"),
            models.Index(fields=["user"], name="tapis_job_to_tell", condition=Q(to_tell=True)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def active(self) -> bool:
        """Whether the job is queued or running."""
        return self.state in self.ACTIVE

    @property
    def rate(self) -> float:
        """Bytes per second since the job began to fetch; 0 before that."""
        if not self.started_at or not self.bytes_moved:
            return 0.0
        end = self.finished_at or timezone.now()
        return round(self.bytes_moved / max((end - self.started_at).total_seconds(), 0.001), 1)


class DiscoverySystem(models.Model):
    """Progress of a discovery on one system. Every directory up to ``cursor`` has been read."""

    WAITING, DONE, FAILED = "waiting", "done", "failed"

    job = models.ForeignKey(TapisJob, on_delete=models.CASCADE, related_name="systems")
    system_id = models.CharField(max_length=255)
    state = models.CharField(max_length=10, default=WAITING, choices=[(name, name) for name in (WAITING, DONE, FAILED)])
    offset = models.IntegerField(default=0, help_text="Number of entries of the root directory before the current page.")
    cursor = models.CharField(max_length=255, blank=True, default="", help_text="Directories up to this name have been read.")
    read = models.IntegerField(default=0)
    known = models.IntegerField(default=0)
    flights = models.IntegerField(default=0)
    unread = models.IntegerField(default=0, help_text="Number of directories that could not be read.")
    error = models.TextField(blank=True, default="")
    status = models.IntegerField(default=0, help_text="The HTTP status that fits the error.")
    gave_up = models.BooleanField(default=False, help_text="Too many directories in a row could not be read.")

    class Meta:
        app_label = "tapis"
        unique_together = [("job", "system_id")]
        ordering = ("system_id",)

    def __str__(self) -> str:
        return self.system_id


class SyncBatch(models.Model):
    """A worker that is fetching images for a job, and the number of connections that it may have open until its lease ends.

    The sums over these rows limit the connections per flight and for the whole WebODM. If a worker is killed, its row is deleted when
    the lease ends, and other workers fetch its files.
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
    """The sync of this flight that is under way or waits for a login, if there is one."""
    rows = TapisJob.objects.filter(flight_id=flight_id, kind=TapisJob.SYNC, state__in=TapisJob.OPEN)
    return rows.select_related("user", "client", "flight").first()
