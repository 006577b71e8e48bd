"""A scan (one photo set under a token) and the parts it is uploaded in."""
from django.db import models
from django.db.models import Q
from django.utils import timezone


class Scan(models.Model):
    """One photo set from createProject to its expiry.

    `state` is what this app has done. What the client sees is `status.scan_status`, which also looks at the WebODM task.

    created      credit held, links signed, parts may arrive
    initialized  started by the client, waits for ingest
    approved     archive checked, images are in a waiting WebODM task, credit posted; waits in the queue
    released     the task was handed to WebODM
    done         the result was packed and can be downloaded
    failed       refused by ingest or failed in processing; `error` tells the owner why
    expired      the result, or a set that nobody started, is gone
    reset        forgotten by its owner: the name is free again, the row stays for the books
    """

    CREATED, INITIALIZED, APPROVED, RELEASED = "created", "initialized", "approved", "released"
    DONE, FAILED, EXPIRED, RESET = "done", "failed", "expired", "reset"
    STATES = tuple(
        (state, state) for state in (CREATED, INITIALIZED, APPROVED, RELEASED, DONE, FAILED, EXPIRED, RESET)
    )
    NOT_CHARGED, HELD, POSTED, VOIDED, REFUNDED = "none", "held", "posted", "voided", "refunded"
    CHARGES = tuple((charge, charge) for charge in (NOT_CHARGED, HELD, POSTED, VOIDED, REFUNDED))

    token = models.ForeignKey("openscan.Token", on_delete=models.PROTECT, related_name="scans")
    name = models.CharField(max_length=255, help_text="As the client sent it")
    state = models.CharField(max_length=12, choices=STATES, default=CREATED, db_index=True)
    client_address = models.CharField(max_length=64, blank=True, help_text="For public tokens: the client that the name belongs to")
    base_url = models.CharField(max_length=200, blank=True, help_text="The address at which the client reached us; for links in emails")
    research_consent = models.BooleanField(default=False, help_text="Sent with a public token, and so kept for research")

    photos = models.IntegerField(help_text="As declared")
    parts_count = models.IntegerField()
    declared_bytes = models.BigIntegerField()
    received_bytes = models.BigIntegerField(default=0)
    upload_nonce = models.CharField(max_length=16, editable=False)
    links_expire_at = models.DateTimeField()

    charge = models.CharField(max_length=8, choices=CHARGES, default=NOT_CHARGED)
    held_bytes = models.BigIntegerField(default=0, help_text="Credit that is held for this scan and not used yet")
    posted_bytes = models.BigIntegerField(default=0, help_text="Credit that this scan has used")

    webodm_project_id = models.IntegerField(null=True, blank=True)
    webodm_task_id = models.UUIDField(null=True, blank=True, db_index=True)
    error = models.TextField(blank=True, help_text="One sentence for the owner")
    set_aside = models.TextField(blank=True, help_text="Files that were left out and why, one sentence per line")
    images_count = models.IntegerField(default=0, help_text="Number of photos in the WebODM task")
    ingest_attempts = models.IntegerField(default=0, help_text="Number of times that ingest has begun; more than one after a crash")
    finish_attempts = models.IntegerField(default=0, help_text="Number of failures to pack the result since the last success")
    retry_at = models.DateTimeField(null=True, blank=True, help_text="There is no automatic attempt before this time")

    queue_rank = models.IntegerField(default=0, help_text="Lower numbers go first, whatever the other rules of the queue say")
    on_hold = models.BooleanField(default=False, help_text="Stays in the queue until an administrator releases it")

    moves = models.IntegerField(default=0, help_text="Number of times that it was moved away from a processing node that failed")
    tried_nodes = models.CharField(max_length=200, blank=True, editable=False, help_text="Ids of these nodes, separated by commas")
    node_notes = models.TextField(blank=True, help_text="What happened on processing nodes, one line for each event")

    created_at = models.DateTimeField(default=timezone.now)
    first_byte_at = models.DateTimeField(null=True, blank=True, help_text="When the first byte of a part arrived")
    started_at = models.DateTimeField(null=True, blank=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    released_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    expired_at = models.DateTimeField(null=True, blank=True)
    reset_at = models.DateTimeField(null=True, blank=True)
    discarded_at = models.DateTimeField(null=True, blank=True, help_text="When the remains of a reset were removed")

    result_file = models.CharField(max_length=200, blank=True, help_text="Relative to the results' directory")
    result_object = models.CharField(max_length=300, blank=True, help_text="Key in object storage, if it was published there")
    result_bytes = models.BigIntegerField(default=0)
    result_link = models.CharField(max_length=64, blank=True, db_index=True)
    result_expires_at = models.DateTimeField(null=True, blank=True)
    result_source = models.CharField(
        max_length=64, blank=True, editable=False, help_text="Fingerprint of the files the result was packed from"
    )
    processing_seconds = models.FloatField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["token", "name"], condition=~Q(state="reset"), name="openscan_scan_name"),
            models.CheckConstraint(
                check=Q(declared_bytes__gt=0, photos__gt=0, parts_count__gt=0, received_bytes__gte=0,
                        held_bytes__gte=0, posted_bytes__gte=0),
                name="openscan_scan_numbers",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "started_at"], name="openscan_scan_queue"),
            models.Index(fields=["token", "client_address"], condition=Q(state__in=["created", "initialized"]),
                         name="openscan_scan_open"),
            models.Index(fields=["result_file"], condition=~Q(result_file=""), name="openscan_scan_result"),
            models.Index(fields=["-finished_at"], condition=Q(processing_seconds__gt=0), name="openscan_scan_pace"),
            # The periodic jobs look for a few rows among all that have ended. Migration 0012 has one more index for them.
            models.Index(fields=["id"], condition=Q(state__in=["released", "approved"]), name="openscan_scan_moving"),
            models.Index(fields=["reset_at"], condition=Q(state="reset", discarded_at=None), name="openscan_scan_discard"),
            models.Index(fields=["finished_at"], condition=Q(state="failed", released_at=None), name="openscan_scan_refused"),
            models.Index(fields=["result_expires_at"], condition=Q(state="done"), name="openscan_scan_expires"),
            models.Index(fields=["reset_at"], condition=Q(state="reset") & ~Q(client_address=""), name="openscan_scan_forget"),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"


class Part(models.Model):
    """A received part of a scan. Its file is in the scan's directory."""

    id = models.BigAutoField(primary_key=True)
    scan = models.ForeignKey(Scan, on_delete=models.CASCADE, related_name="parts")
    number = models.IntegerField(help_text="From 1, in the order of the links")
    size_bytes = models.BigIntegerField()
    file_name = models.CharField(max_length=80)
    received_at = models.DateTimeField()

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["scan", "number"], name="openscan_part_number")]

    def __str__(self) -> str:
        return f"part {self.number}"
