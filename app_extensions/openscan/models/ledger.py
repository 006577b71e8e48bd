"""The credit ledger: append-only entries, each with the balance it left."""
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone


class LedgerError(Exception):
    """Somebody tried to change or remove an entry."""


class LedgerQuerySet(models.QuerySet):
    """Refuses bulk updates and deletes, because the table is append-only."""

    def update(self, **kwargs: Any) -> int:
        raise LedgerError("The ledger is append-only: entries are not changed.")

    def delete(self) -> tuple[int, dict]:
        raise LedgerError("The ledger is append-only: entries are not deleted.")


class LedgerEntry(models.Model):
    """One movement of a token's credit. `amount_bytes` is the change of the balance (negative for a hold).

    `key` names the movement (`post:17`, `refill:3:2026-05-01`) and is unique, so the database refuses to book it twice.
    A scan's hold ends in exactly one post or void. Changing the amount of a hold takes two entries: one gives the old hold back,
    if anything of it comes back, and one takes the new hold. An opening changes nothing. The upgrade that introduced the present
    rule for daily credit wrote it, and `books` proves the rule from there on.
    """

    GRANT, REFILL, HOLD, POST, VOID, REFUND, OPENING = "grant", "refill", "hold", "post", "void", "refund", "opening"
    KINDS = tuple((kind, kind) for kind in (GRANT, REFILL, HOLD, POST, VOID, REFUND, OPENING))

    token = models.ForeignKey("openscan.Token", on_delete=models.PROTECT, related_name="entries")
    scan = models.ForeignKey("openscan.Scan", null=True, on_delete=models.PROTECT, related_name="entries")
    kind = models.CharField(max_length=8, choices=KINDS)
    amount_bytes = models.BigIntegerField()
    balance_bytes = models.BigIntegerField(help_text="The token's credit after this entry")
    key = models.CharField(max_length=80, unique=True)
    note = models.CharField(max_length=200, blank=True)
    actor = models.CharField(max_length=150, blank=True, help_text="User who caused it; empty for the program itself")
    created_at = models.DateTimeField(default=timezone.now)

    objects = LedgerQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "ledger entries"
        constraints = [
            models.CheckConstraint(check=Q(balance_bytes__gte=0), name="openscan_ledger_balance_not_negative"),
            models.UniqueConstraint(
                fields=["scan"], condition=Q(kind__in=["post", "void"]), name="openscan_ledger_hold_ends_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.amount_bytes:+d} bytes"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk is not None:
            raise LedgerError("The ledger is append-only: entries are not changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict]:
        raise LedgerError("The ledger is append-only: entries are not deleted.")


class Refill(models.Model):
    """How much of a daily top-up still stands, in bytes.

    If a set costs nothing in the end, the token should have had more credit at midnight and a smaller top-up. When the set's
    credit comes back, that difference is taken from here, so that it is not given twice.
    """

    token = models.ForeignKey("openscan.Token", on_delete=models.PROTECT, related_name="refills")
    entry = models.OneToOneField(LedgerEntry, on_delete=models.PROTECT, related_name="refill")
    standing_bytes = models.BigIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(check=Q(standing_bytes__gte=0), name="openscan_refill_not_negative")]

    def __str__(self) -> str:
        return f"refill of token {self.token_id}, {self.standing_bytes} bytes stand"
