"""Requests for private tokens and for more credit, and attempts counted per client address."""
from django.db import models
from django.utils import timezone


class TokenRequest(models.Model):
    """One row per email address. Asking again only raises the count, so no address gets a token twice."""

    PENDING, APPROVED, REFUSED = "pending", "approved", "refused"
    STATES = tuple((state, state) for state in (PENDING, APPROVED, REFUSED))

    mail = models.EmailField(unique=True, help_text="In lower case")
    forename = models.CharField(max_length=100)
    surname = models.CharField(max_length=100)
    state = models.CharField(max_length=8, choices=STATES, default=PENDING, db_index=True)
    times_asked = models.IntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)
    last_asked_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    token = models.ForeignKey(
        "openscan.Token", null=True, blank=True, on_delete=models.PROTECT, related_name="requests"
    )

    told_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="When administrators were told about it")
    token_mail = models.ForeignKey(
        "openscan.OutgoingMail", null=True, blank=True, editable=False, on_delete=models.SET_NULL, related_name="token_requests",
        help_text="The email with the token")

    def __str__(self) -> str:
        return f"{self.forename} {self.surname} ({self.state})"


class RequestAttempt(models.Model):
    """One requestToken call, kept for an hour to limit the calls of one client address."""

    client_address = models.CharField(max_length=64, db_index=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.client_address} at {self.created_at}"


class CreditRequest(models.Model):
    """A request for more credit on a token. Open until `decided_at` is set."""

    token = models.ForeignKey("openscan.Token", on_delete=models.PROTECT, related_name="credit_requests")
    wanted_bytes = models.BigIntegerField()
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    granted_bytes = models.BigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["token"], condition=models.Q(decided_at=None), name="openscan_one_open_credit_request"),
        ]

    def __str__(self) -> str:
        return f"{self.wanted_bytes} bytes for token {self.token_id}"
