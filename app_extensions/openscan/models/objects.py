"""What is in object storage: results, and public sets that are kept for research.

Each row is written before its bytes are sent and stays after they are removed. So we know every object in the bucket, and none
is forgotten there.
"""
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Stored(models.Model):
    """Common fields: where the bytes are, their state, and the last failure.

    writing  being sent, or waiting for the next attempt
    stored   complete and verified
    leaving  nothing refers to it any more; removed as soon as the storage answers
    gone     removed; the row stays for the figures
    """

    WRITING, STORED, LEAVING, GONE = "writing", "stored", "leaving", "gone"
    STATES = tuple((state, state) for state in (WRITING, STORED, LEAVING, GONE))

    state = models.CharField(max_length=8, choices=STATES, default=WRITING, db_index=True)
    place = models.CharField(max_length=300, help_text="Endpoint and bucket")
    source = models.CharField(max_length=240, blank=True, editable=False, help_text="What it was made from")
    size_bytes = models.BigIntegerField(default=0)
    sent_bytes = models.BigIntegerField(default=0, help_text="Bytes sent for it, including repeated ones")
    attempts = models.IntegerField(default=0, help_text="Failures since the last success")
    failures = models.IntegerField(default=0, help_text="Total number of failures")
    problem = models.CharField(max_length=300, blank=True, help_text="The last failure; empty after a success")
    failed_at = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True, help_text="There is no automatic attempt before this time")
    created_at = models.DateTimeField(default=timezone.now)
    stored_at = models.DateTimeField(null=True, blank=True)
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True


class StoredObject(Stored):
    """A result in object storage; `Scan.result_object` is the key of the one that can be downloaded."""

    scan = models.ForeignKey("openscan.Scan", on_delete=models.PROTECT, related_name="stored_objects")
    key = models.CharField(max_length=300, unique=True)
    sha256 = models.CharField(max_length=64, blank=True)
    etag = models.CharField(max_length=100, blank=True, help_text="The object storage's entity tag, without quotes")

    class Meta:
        verbose_name = "result in object storage"
        verbose_name_plural = "results in object storage"
        constraints = [
            models.UniqueConstraint(fields=["scan"], condition=Q(state="stored"), name="openscan_object_one_stored"),
        ]

    def __str__(self) -> str:
        return f"{self.key} ({self.state})"


class ArchivedSet(Stored):
    """A public set's photos, model and consent under one prefix, independent of the WebODM task."""

    scan = models.OneToOneField("openscan.Scan", on_delete=models.PROTECT, related_name="archived_set")
    prefix = models.CharField(max_length=300, unique=True)
    files = models.IntegerField(default=0, help_text="Number of photos and model files")

    class Meta:
        verbose_name = "set archived for research"
        verbose_name_plural = "sets archived for research"

    def __str__(self) -> str:
        return f"{self.prefix} ({self.state})"
